"""A volume comes to hold again what its snapshot does; the snapshot stays.

Thin, another logical volume takes its place. Thick, what differs is copied over it:
LVM's own merge takes as long, and takes the snapshot away.
"""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

from adapters.lvm import snapshots, volumes
from adapters.lvm.failures import DeviceFailed, HalfReverted, InUse, LvmFailed
from adapters.lvm.filling import Filling
from adapters.lvm.group import Group
from adapters.lvm.limits import within
from adapters.lvm.lvs import Lvs
from adapters.lvm.report import Lv
from adapters.lvm.volumes import OURS
from domain.ports import Cause, Progress, TimedOut, Untidy

BY = f"{OURS}reverted-by="
RESTORED = f"{OURS}restored="  # how many of its bytes, from the beginning
BEFORE = "_reverting-"  # what the copy is called of what it held
# What ends a copy for good: disks, LVM, and who has the volume open.
FAILURES = OSError, LvmFailed, InUse


class Reverting:
    """Reversions in one volume group; each does its work once, for its cause."""

    def __init__(self, group: Group, lvs: Lvs, filling: Filling) -> None:
        self._group = group
        self._lvs = lvs
        self._filling = filling

    def is_done(self, volume: Lv, cause: Cause) -> bool:
        """Tell whether the volume was reverted for that cause."""
        return by(cause) in volume.tags

    def revert(
        self,
        volume_id: UUID,
        volume: Lv,
        snapshot: Lv,
        cause: Cause,
        progress: Progress,
    ) -> None:
        """Revert an unused volume, or go on where that was left."""
        if volume.name != volumes.name(volume_id):  # as far as an earlier one came
            volume = self.finish(volume_id, volume, progress)
        way = self._swap if volume.pool and snapshot.pool else self._overwrite
        volume = way(volume_id, volume, snapshot, by(cause), progress)
        self.end(volume_id, volume, progress)

    def end(self, volume_id: UUID, volume: Lv, progress: Progress) -> None:
        """Finish what is done, or raise `Untidy`: the volume holds what it is to."""
        try:
            self.finish(volume_id, volume, progress)
        except (TimeoutError, TimedOut):
            raise
        except OSError as error:
            failure = DeviceFailed(self._group.name, f"revert {volume_id}", error)
            raise Untidy(volume_id, failure) from error
        except (LvmFailed, InUse) as failure:
            raise Untidy(volume_id, failure) from failure

    def finish(self, volume_id: UUID, volume: Lv, progress: Progress) -> Lv:
        """Give a volume that was reverted its name, and remove what it held before."""
        name = volumes.name(volume_id)
        if volume.name != name:
            if before := self._group.find(name):
                self._lvs.rename(before, f"{BEFORE}{volume_id}")
            volume = self._lvs.rename(volume, name)
        self._filling.tidy(volume_id, progress, 100)
        return volume

    def check_whole(self, volume_id: UUID, volume: Lv) -> None:
        """Raise `HalfReverted` while it may hold a mixture."""
        if is_mixed(volume):
            raise HalfReverted(volume_id, self._lvs.path(f"{BEFORE}{volume_id}"))

    def _swap(
        self, volume_id: UUID, volume: Lv, snapshot: Lv, said: str, progress: Progress
    ) -> Lv:
        """Let a clone of the snapshot be the volume.

        Both say that they are, for a moment: it is the one of its name until that
        says that it is only the copy.
        """
        helping, name = volumes.helping(volume_id), f"{volumes.REVERTED}{volume_id}"
        twin = self._group.find(name)
        if twin is None or said not in twin.tags:
            self._filling.tidy(volume_id, progress, 0)
            tags = volumes.without(volume, BY).tags | {helping, said}
            self._lvs.check_room([snapshot])
            twin = self._lvs.snapshot(snapshot, name, tags, to_use=True)
        if twin.size_bytes < volume.size_bytes:
            twin = self._lvs.grow(twin, volume.size_bytes)
        twin = self._lvs.tag(twin, twin.tags - {helping}, keep=False)
        self._lvs.tag(volume, frozenset({helping}))
        return twin

    def _overwrite(
        self, volume_id: UUID, volume: Lv, snapshot: Lv, said: str, progress: Progress
    ) -> Lv:
        """Copy what differs over the volume; what it held is kept until then."""
        before, done = self._before(volume_id), volumes.kept(volume, RESTORED)
        # One that was left behind is older than what hosts have written since.
        is_old = before and said not in before.tags and not is_mixed(volume)
        if before is None or is_old:
            self._filling.tidy(volume_id, progress, 0)
            before = self._keep(volume_id, volume, said)
        if said not in before.tags:
            tags = volumes.without(before, BY).tags | {said}
            before, done = self._lvs.tag(before, tags, keep=False), 0
        volume = self._say(volume, volumes.with_kept(volume, RESTORED, done))
        try:
            self._filling.copy(snapshot, volume, done, progress, RESTORED)
        except TimeoutError as error:
            # What hangs may yet be written: nothing can be copied back before.
            raise HalfReverted(volume_id, self._lvs.path(before.name)) from error
        except FAILURES:
            self._go_back(volume_id, volume, before, progress)
            raise
        wanted = volumes.without(volumes.without(volume, BY), RESTORED)
        return self._be_whole(volume_id, replace(wanted, tags=wanted.tags | {said}))

    def _before(self, volume_id: UUID) -> Lv | None:
        lv = self._group.find(f"{BEFORE}{volume_id}")
        return lv if lv and snapshots.is_whole(lv) else None

    def _keep(self, volume_id: UUID, volume: Lv, said: str) -> Lv:
        self._lvs.check_room([volume])
        tags = frozenset({volumes.helping(volume_id), said})
        return self._lvs.snapshot(volume, f"{BEFORE}{volume_id}", tags)

    def _go_back(
        self, volume_id: UUID, volume: Lv, before: Lv, progress: Progress
    ) -> None:
        """Let the volume hold what it held, or raise `HalfReverted`."""

        def waiting(_: float) -> None:
            progress(0.0)

        try:
            self._filling.copy(before, volume, 0, waiting, None)
        except FAILURES as error:
            raise HalfReverted(volume_id, self._lvs.path(before.name)) from error
        self._be_whole(volume_id, volumes.without(volume, RESTORED))
        self._filling.tidy(volume_id, progress, 0)

    def _be_whole(self, volume_id: UUID, wanted: Lv) -> Lv:
        """Have a volume say that it is no mixture, or raise `HalfReverted`."""
        try:
            with within():
                return self._say(wanted, wanted)
        except FAILURES as error:
            path = self._lvs.path(f"{BEFORE}{volume_id}")
            raise HalfReverted(volume_id, path) from error

    def _say(self, volume: Lv, wanted: Lv) -> Lv:
        now = self._group.find(volume.name)
        assert now
        return self._lvs.tag(now, wanted.tags, keep=False)


def is_mixed(volume: Lv) -> bool:
    """Tell whether it may hold some of what it held, and some of what it is to."""
    return volumes.says(volume, RESTORED)


def by(cause: Cause) -> str:
    """Return the tag of what was reverted for a cause."""
    return f"{BY}{cause.position}/{cause.at}"
