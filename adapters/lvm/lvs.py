"""Logical volumes: made, copied, changed, switched on, and removed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from logging import getLogger
from pathlib import Path
from uuid import UUID

from adapters.lvm import snapshots, volumes
from adapters.lvm.clearing import Clearing, is_busy
from adapters.lvm.failures import (
    ENLARGE,
    GIB,
    LOOK,
    AlreadyThere,
    AnothersToo,
    CutShort,
    HalfRemoved,
    InUse,
    LvmFailed,
    NoSpace,
)
from adapters.lvm.group import Group
from adapters.lvm.limits import within
from adapters.lvm.mapper import Device, Mapper, mapped
from adapters.lvm.report import COW, Lv
from adapters.lvm.thin import ThinPool
from domain.ports import Progress, VolumeIsBusy, unheard

logger = getLogger(__name__)


class Lvs:
    """What is done to logical volumes of one volume group, whatever they are for."""

    def __init__(
        self, group: Group, mapper: Mapper, pool: ThinPool, clearing: Clearing
    ) -> None:
        self._group = group
        self._mapper = mapper
        self._pool = pool
        self._clearing = clearing

    def path(self, name: str) -> str:
        """Return where a logical volume's device is."""
        return f"/dev/{self._group.name}/{name}"

    def make(
        self, name: str, size_bytes: int, tags: frozenset[str], *, thin: bool
    ) -> Lv:
        """Make one; thick ones hold what was in their blocks, but for the first."""
        size = self._group.rounded(size_bytes)
        kind = ["-L", f"{size}b", "-Wn", "-Zy"]
        if thin:
            self._pool.has_room()
            kind = ["-V", f"{size}b", "--thinpool", self._pool.name]
        lv = Lv(name, size, tags=tags, pool=self._pool.name if thin else "")
        return self._create(lv, kind, self._group.name)

    def snapshot(
        self, origin: Lv, name: str, tags: frozenset[str], *, to_use: bool = False
    ) -> Lv:
        """Take a snapshot, while the origin is in use; a thin one `to_use` is a clone.

        A thick one has room for all of its origin to change: it is never lost.
        """
        self.active(origin)  # it may have been held up by an LVM that was killed
        return self.snapshot_active(origin, name, tags, to_use=to_use)

    def snapshot_active(
        self, origin: Lv, name: str, tags: frozenset[str], *, to_use: bool = False
    ) -> Lv:
        """Take a snapshot of what the kernel has, whole."""
        lv = Lv(name, origin.size_bytes, tags=tags, pool=origin.pool)
        kind = ["-kn", "-ay"] if to_use else []
        if not origin.pool:
            size = self.cow_bytes(origin.size_bytes)
            kind = ["-L", f"{size}b"]
            lv = replace(lv, size_bytes=size, attr=COW, origin_bytes=origin.size_bytes)
        lv = replace(lv, origin=origin.name)
        return self._create(lv, ["-s", *kind], f"{self._group.name}/{origin.name}")

    def cow_bytes(self, size_bytes: int) -> int:
        """Return the room that a thick snapshot takes when all has changed."""
        return self._group.rounded(snapshots.cow_bytes(size_bytes))

    def cover(self, lv: Lv) -> Lv:
        """Give a thick snapshot room for all to change, or raise `NoSpace`.

        LVM gives less than was asked where its chunks are larger than those of ours,
        for it needs less then.
        """
        wanted = self.cow_bytes(lv.reads_bytes) if lv.is_cow else 0
        more = wanted - lv.size_bytes
        if more <= 0:
            return lv
        if more > self._group.seen().free_bytes:
            said = f"it takes {more / GIB:.1f} GiB more"
            raise NoSpace(self._group.name, "covering a snapshot", said, ENLARGE)
        where = f"{self._group.name}/{lv.name}"
        grown = replace(lv, size_bytes=wanted)
        self._group.change(lv.name, grown, "lvextend", "-L", f"{wanted}b", where)
        self._group.forget()
        return self._group.seen().lvs[lv.name]

    def check_room(self, origins: Iterable[Lv]) -> None:
        """Raise `NoSpace` or `PoolIsFull` unless all can be snapshotted."""
        origins = list(origins)
        if any(lv.pool for lv in origins):
            self._pool.has_room()
        wanted = sum(self.cow_bytes(lv.size_bytes) for lv in origins if not lv.pool)
        if wanted > self._group.seen().free_bytes:
            said = f"it takes {wanted / GIB:.1f} GiB"
            raise NoSpace(self._group.name, "a snapshot", said, ENLARGE)

    def check_whole(self, lv: Lv, size_gib: int | None) -> None:
        """Raise `CutShort` where less can be read of it than there should be."""
        expected = (size_gib or 0) * GIB
        if lv.reads_bytes < expected:
            raise CutShort(self.path(lv.name), lv.reads_bytes, expected)

    def grow(self, lv: Lv, size_bytes: int) -> Lv:
        """Grow a logical volume that may be in use.

        LVM grows no active origin of thick snapshots. So what it has written down
        grows, with the kernel out of its sight, and the kernel is told next.
        """
        size = self._group.rounded(size_bytes)
        where = f"{self._group.name}/{lv.name}"
        grown = replace(lv, size_bytes=size)
        with self._group.alone():  # none is taken meanwhile
            held = self.cows(lv)
            said = ["--driverloaded", "n"] if held else []
            said += ["-L", f"{size}b", where]
            self._group.change(lv.name, grown, "lvextend", *said)
        return grown

    def cows(self, lv: Lv) -> list[Lv]:
        """Return the thick snapshots that depend on it, those of a moment ago, too.

        LVM would remove them with it. Whether there are any the kernel knows.
        """
        if self._mapper.device(f"{mapped(self._group.name, lv.name)}-real"):
            self._group.forget()  # others may have made some
        return snapshots.cows(self._group.seen().lvs, lv)

    def tag(self, lv: Lv, tags: frozenset[str], *, keep: bool = True) -> Lv:
        """Give a logical volume tags, and take those away that it is not to keep."""
        now = replace(lv, tags=tags | lv.tags if keep else tags)
        said = [f"--addtag={tag}" for tag in sorted(now.tags - lv.tags)]
        said += [f"--deltag={tag}" for tag in sorted(lv.tags - now.tags)]
        if said:
            where = f"{self._group.name}/{lv.name}"
            self._group.change(lv.name, now, "lvchange", *said, where)
        return now

    def check_nobody_elses(self, lv: Lv, volume_id: UUID) -> None:
        """Raise `AnothersToo` for one that may hold what another volume does."""
        if other := volumes.whose_else(lv, volume_id):
            raise AnothersToo(self.path(lv.name), volume_id, other)

    def check_name(self, lv: Lv, name: str) -> None:
        """Raise `AlreadyThere` where something else has the name it is to have."""
        if lv.name != name and self._group.find(name):
            said = f"{name} already exists"
            raise AlreadyThere(self._group.name, "lvrename", said, LOOK)

    def rename(self, lv: Lv, name: str) -> Lv:
        """Call it otherwise, if it is not called so."""
        renamed = replace(lv, name=name)
        if lv.name != name:
            words = "lvrename", self._group.name, lv.name, name
            self._group.change(lv.name, renamed, *words)
        return renamed

    def active(self, lv: Lv) -> str:
        """Return a logical volume's device, which the kernel has, whole, from now on.

        It has none after a reboot, and one that is not whole after an LVM command that
        was killed. Of what was to become another LVM makes nothing whole.
        """
        name = mapped(self._group.name, lv.name)
        device = self._mapper.device(name)
        where = f"{self._group.name}/{lv.name}"
        if device and not self._is_whole(device, lv):
            self._group.change(lv.name, lv, "lvchange", "--refresh", where)
            device = self._mapper.device(name)
            if device and not self._is_whole(device, lv):
                self._mapper.remove(name)
                device = None
        if device is None:
            self._group.change(lv.name, lv, "lvchange", "-ay", "-K", "-y", where)
        return self.path(lv.name)

    def go_on(self) -> None:
        """Let those go on that an LVM was at work on which was killed.

        The kernel may have held them up, or call them by the name that they had.
        """
        left = list(self._left())
        # One has its name only when the one before has another.
        for lv in (*left, *left):
            # Or something has it open: the next that needs it tries again.
            with suppress(LvmFailed, OSError):
                self.active(lv)
        for lv in left:
            logger.warning("%s was held up by an LVM that was killed", lv.name)

    def keep(self, name: str, what: str, done: int) -> None:
        """Have the logical volume say how much of it is done."""
        lv = self._group.find(name)
        assert lv
        self.tag(lv, volumes.with_kept(lv, what, done).tags, keep=False)

    def check_closed(self, lv: Lv) -> None:
        """Raise `InUse` while something has it open."""
        device = self._mapper.device(mapped(self._group.name, lv.name))
        if device and device.open_count:
            raise InUse(self.path(lv.name))

    def remove(self, lv: Lv, progress: Progress = unheard) -> str | None:
        """Remove it; returns how its blocks were cleared before, None if none can see.

        A thin pool gives out no block before it is zero; other blocks are cleared
        as `volume_clear` says, and what was killed goes on where it was.
        """
        cleared = None
        if not lv.pool:
            if lv.is_cow:
                lv = self._split(lv)
            with suppress(OSError):  # what LVM leaves of a split
                self._mapper.remove(f"{mapped(self._group.name, lv.name)}-cow")
            cleared = self._clear(lv, progress)
        where = f"{self._group.name}/{lv.name}"
        with within():
            self._pool.let_go(lv)
            with self._pool.telling(lv):
                self._group.change(lv.name, None, "lvremove", "-f", "-y", where)
        return cleared

    @contextmanager
    def removing(self, lv: Lv, progress: Progress) -> Iterator[Progress]:
        """Raise `HalfRemoved` for `VolumeIsBusy` once what it held is not whole.

        Yields what `remove` is to tell how far it is.
        """
        begun = False

        def tell(percent: float) -> None:
            nonlocal begun
            begun = True
            progress(percent)

        try:
            yield tell
        except VolumeIsBusy as busy:
            if begun or is_half_removed(self._group.find(lv.name) or lv):
                raise HalfRemoved(self.path(lv.name)) from busy
            raise

    def _left(self) -> Iterator[Lv]:
        """Yield what the kernel does not have as it should, whatever it calls it."""
        seen = self._group.seen()
        lvs = {dm_uuid(seen.uuid, lv.uuid): lv for lv in seen.lvs.values()}
        ours = filter(self._is_ours, self._mapper.names())
        for name, device in ((name, self._mapper.device(name)) for name in ours):
            if device and (lv := lvs.get(device.uuid)):
                is_called = mapped(self._group.name, lv.name)
                if device.is_suspended or device.waits or name != is_called:
                    yield lv

    def _is_ours(self, device: str) -> bool:
        return device.startswith(mapped(self._group.name, ""))

    def _is_whole(self, device: Device, lv: Lv) -> bool:
        """Tell whether the kernel has what LVM has written down, and it can be opened.

        An LVM that was killed leaves one that is suspended, or has not begun with its
        table, has none, or another's; without udev, also a node that leads elsewhere.
        """
        if device.is_suspended or device.waits:
            return False
        has = self._mapper.size_bytes(mapped(self._group.name, lv.name))
        return has >= lv.reads_bytes and leads_to(self.path(lv.name), device)

    def _create(self, lv: Lv, kind: Iterable[str], where: str) -> Lv:
        said = [f"--addtag={tag}" for tag in sorted(lv.tags)]
        words = "lvcreate", "-y", *kind, "-n", lv.name, *said, where
        with self._pool.telling(lv):
            self._group.change(lv.name, lv, *words)
        return lv

    def _split(self, lv: Lv) -> Lv:
        """Leave of a thick snapshot what it has kept, which can then be cleared.

        While its origin is in use, blocks would come to it behind our back.
        """
        self.check_closed(lv)
        alone = replace(lv, attr=Lv.attr, origin="", origin_bytes=0)
        where = f"{self._group.name}/{lv.name}"
        self._group.change(lv.name, alone, "lvconvert", "-y", "--splitsnapshot", where)
        return alone

    def _clear(self, lv: Lv, progress: Progress) -> str:
        """Clear what it holds; a volume says before the first block that it is begun.

        It says so no more where somebody has it open and nothing was cleared.
        """
        begun = not volumes.is_ours(lv) or volumes.is_cleared(lv)

        def keep(done: int, _: int) -> None:
            with within():
                self.keep(lv.name, volumes.CLEARED, done)

        def tell(done: int, size: int) -> None:
            nonlocal begun
            begun = True
            progress(100.0 * done / size)

        device = Path(self.active(lv))
        done = volumes.kept(lv, volumes.CLEARED)
        if self._clearing.is_needed and not begun:
            self.keep(lv.name, volumes.CLEARED, 0)
        try:
            self._clearing.clear(device, lv.size_bytes, done, keep, tell)
        except OSError as error:
            if is_busy(error):
                if not begun:
                    self.tag(self._group.seen().lvs[lv.name], lv.tags, keep=False)
                raise InUse(str(device)) from error
            raise
        return self._clearing.how


def is_half_removed(lv: Lv) -> bool:
    """Tell whether its clearing is begun, or it is no snapshot any more."""
    split = snapshots.is_managed(lv) and not snapshots.is_whole(lv)
    return split or volumes.is_cleared(lv)


def dm_uuid(group: str, lv: str) -> str:
    """Return what device-mapper knows a logical volume by, of LVM's two uuids."""
    return "LVM-" + f"{group}{lv}".replace("-", "")


def leads_to(path: str, device: Device) -> bool:
    """Tell whether it is the device, and not one that is gone or another one."""
    try:
        return os.stat(path).st_rdev == device.number  # noqa: PTH116 - no path is made
    except OSError:
        return False
