"""What is in a volume group, read once and kept up with what we change.

Reading one logical volume costs as much as reading all. So all are read when the
group is set up, now and then, and whenever a change has failed: nothing is decided
before the group has been seen again. LVM looks for it everywhere then, and at nothing
but its disks from then on, until one of them is missed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from itertools import count
from threading import Lock

from adapters.lvm.disks import look_at
from adapters.lvm.failures import AnothersGroup, DiskFailed, GroupOutOfSight, LvmFailed
from adapters.lvm.limits import left
from adapters.lvm.report import LV_FIELDS, VG_FIELDS, Lv, lv_of
from adapters.lvm.worker import Worker

# A group's tags: that it is a backend's, and before its name, whose.
OWNED, OWNER = "holdfast.owned", "holdfast.backend="
SWEEP = 60.0  # seconds that what was read is good for measuring
# Can be run twice: that something is switched on or lacks a tag, `is_as` does not see.
AGAIN = frozenset({"lvchange"})


@dataclass(frozen=True)
class Seen:
    """A volume group as it was when it was looked at."""

    uuid: str
    size_bytes: int
    free_bytes: int
    extent_bytes: int
    tags: frozenset[str]
    lvs: Mapping[str, Lv]
    at: float

    def with_one(self, name: str, lv: Lv | None) -> Seen:
        """Return it with one logical volume as it is now, None for gone.

        Snapshots of one that was renamed are of what it is called now.
        """
        lvs = dict(self.lvs)
        before = lvs.pop(name, None)
        if lv and lv.name != name:
            those = [each for each in lvs.values() if each.origin == name]
            lvs |= {each.name: replace(each, origin=lv.name) for each in those}
        if lv:
            lvs[lv.name] = lv
        more = taken(lv) - taken(before)
        return replace(self, lvs=lvs, free_bytes=self.free_bytes - more)


def taken(lv: Lv | None) -> int:
    """Return the bytes of the group that a logical volume takes for itself."""
    return lv.size_bytes if lv and not lv.pool else 0


class Group:
    """One volume group; each change is tried several times if it can heal."""

    def __init__(self, name: str, worker: Worker, tries: int) -> None:
        self.name = name
        self._worker = worker
        self._tries = tries
        self._uuid = ""
        self._seen: Seen | None = None
        self.forgotten = 0  # times
        self._noting = Lock()
        self._disks: Sequence[str] = ()
        self._doubted = False  # a disk has failed since all took a write
        # Does what an LVM was kept from that had made its change, and was killed.
        self.after_kill: Callable[[], None] = lambda: None

    def set_up(self, backend: str, disks: Sequence[str] = ()) -> None:
        """Read the group, remember which it is, and note in it whose it is.

        Raises `AnothersGroup` where that is another backend. The group is looked for
        on these disks, if there are any, and everywhere unless it is there.
        """
        self._uuid = ""
        self.forget()
        self._worker.look_at(disks)
        self._uuid = self.seen().uuid
        self._own(backend)
        self._prove()

    def _own(self, backend: str) -> None:
        """Note in the group whose it is, or raise `AnothersGroup`."""
        if OWNED not in self.seen().tags:
            # LVM looks under its lock: of several at once, one comes first.
            tags = "--addtag", OWNED, "--addtag", OWNER + backend
            unless = "--select", f"vg_tags!={OWNED}"
            self._worker.run("vgchange", *tags, *unless, self.name)
            self.forget()
        known = sorted(self.seen().tags)
        if OWNER + backend not in known:
            said = [tag for tag in known if tag.startswith((OWNED, OWNER))]
            raise AnothersGroup(self.name, said)

    def seen(self, age: float = float("inf")) -> Seen:
        """Return what is in the group, read at most so many seconds ago."""
        seen = self._seen
        if seen is None or time.monotonic() - seen.at > age:
            before = seen
            with self._worker.alone():
                seen = self._seen
                # Or somebody has read it while we waited.
                if seen is None or seen is before:
                    forgotten = self.forgotten
                    seen = self._read()
                    self._note(seen, forgotten)
        return seen

    def find(self, name: str) -> Lv | None:
        """Return the logical volume of that name, if there is one."""
        return self.seen().lvs.get(name)

    def look(self) -> None:
        """Read a little of each disk, which takes no LVM; raise what it does.

        Where one has failed, they have to take a write besides: some can only be read.
        """
        for disk in self._disks:
            look_at(disk)
        self._prove()

    def look_everywhere(self) -> None:
        """Let LVM know all of its disks that there is to know, until it is read anew.

        How large their own blocks are, for example.
        """
        self._worker.look_at()

    def forget(self) -> None:
        """Have the group read anew before anything else is decided.

        What others have begun to change or to read before counts no more.
        """
        with self._noting:
            self.forgotten += 1
            self._seen = None

    def alone(self) -> AbstractContextManager[None]:
        """Keep LVM from changing anything for a while."""
        return self._worker.alone()

    def rounded(self, size_bytes: int) -> int:
        """Return the size that LVM makes of it: whole extents."""
        extent = self.seen().extent_bytes
        return -(-size_bytes // extent) * extent

    def change(self, name: str, wanted: Lv | None, *words: str) -> None:
        """Run the command after which a logical volume is as wanted, None for gone.

        One that failed may have done it nevertheless, and one that was killed too.
        """
        for attempt in count(1):
            try:
                self._change(name, wanted, *words)
            except LvmFailed as failure:
                self._doubted |= isinstance(failure, DiskFailed)
                if attempt == 1 and self._is_elsewhere(failure):
                    continue
                if not failure.can_heal or attempt >= self._tries:
                    raise
                if left() <= attempt**2:
                    raise
                time.sleep(attempt**2)
                if self._has_done(name, wanted, words[0]):
                    self.after_kill()
                    return
            else:
                return

    def _has_done(self, name: str, wanted: Lv | None, command: str) -> bool:
        """Tell whether one that failed shows to have made its change."""
        if command in AGAIN:
            return False
        return is_as(self.find(wanted.name if wanted else name), wanted)

    def _prove(self) -> None:
        """Have LVM write, if need be; to take away a tag that is not there will do."""
        if self._doubted:
            self._worker.run("vgchange", "--deltag", "holdfast.doubted", self.name)
            self._doubted = False

    def _change(self, name: str, wanted: Lv | None, *words: str) -> None:
        with self._worker.alone():
            forgotten, seen = self.forgotten, self.seen()
            try:
                self._worker.run(*words)
            except LvmFailed:
                self.forget()
                raise
            self._note(seen.with_one(name, wanted), forgotten)

    def _note(self, seen: Seen, forgotten: int) -> None:
        """Take it for what is there, unless all was forgotten since."""
        with self._noting:
            self._seen = seen if self.forgotten == forgotten else None

    def _is_elsewhere(self, failure: LvmFailed) -> bool:
        """Tell whether the group may have disks that LVM was not told to look at."""
        elsewhere = isinstance(failure, GroupOutOfSight) and bool(self._worker.disks)
        if elsewhere:
            self._worker.look_at()
        return elsewhere

    def _read(self) -> Seen:
        try:
            return self._read_what_is_seen()
        except GroupOutOfSight as failure:
            if not self._is_elsewhere(failure):
                raise
            return self._read_what_is_seen()

    def _read_what_is_seen(self) -> Seen:
        fields = f"vg_uuid,vg_tags,{VG_FIELDS},pv_name"
        group, *more = self._worker.run("vgs", "-o", fields, self.name)  # a row a disk
        if group["vg_missing_pv_count"] != "0":
            said = f"{group['vg_missing_pv_count']} of its disks are missing"
            raise GroupOutOfSight(self.name, "reading", said, "see where they are")
        if self._uuid and group["vg_uuid"] != self._uuid:
            said = "it is not the volume group that was set up"
            raise GroupOutOfSight(self.name, "reading", said, "restart the agent")
        called = [each["pv_name"] for each in (group, *more)]
        self._disks = [self._worker.disks.get(name, name) for name in called]
        if len(self._disks) != len(self._worker.disks):  # it has looked at others too
            self._worker.look_at(self._disks)
        rows = self._worker.run("lvs", "-o", LV_FIELDS, self.name)
        lvs = map(lv_of, rows)
        return Seen(
            uuid=group["vg_uuid"],
            size_bytes=int(group["vg_size"]),
            free_bytes=int(group["vg_free"]),
            extent_bytes=int(group["vg_extent_size"]),
            tags=frozenset(group["vg_tags"].split(",")),
            lvs={lv.name: lv for lv in lvs},
            at=time.monotonic(),
        )


def is_as(found: Lv | None, wanted: Lv | None) -> bool:
    """Tell whether a change has been made, whatever else is so of the volume."""
    if found is None or wanted is None:
        return found is wanted
    if found.is_cow is not wanted.is_cow:
        return False
    return found.size_bytes >= wanted.size_bytes and found.tags >= wanted.tags
