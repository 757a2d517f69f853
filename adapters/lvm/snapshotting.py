"""Snapshots: taken, removed, taken over and let go."""

from __future__ import annotations

from contextlib import suppress
from threading import Lock
from uuid import UUID

from adapters.lvm import snapshots, volumes
from adapters.lvm.failures import (
    AlreadyThere,
    Gone,
    MadeForAnother,
    NoSnapshot,
    SnapshotGone,
    Taken,
    Unexplained,
)
from adapters.lvm.group import Group
from adapters.lvm.lvs import Lvs
from adapters.lvm.report import Lv
from domain import reference
from domain.ports import Adopted, Cause, ManageableSnapshot, Progress
from domain.snapshot import Snapshot


class Snapshots:
    """The snapshots of one volume group."""

    def __init__(self, group: Group, lvs: Lvs) -> None:
        self._group = group
        self._lvs = lvs
        self._adopting = Lock()  # or two would take the same

    def find(self, snapshot_id: UUID) -> Lv | None:
        """Return the snapshot; one is looked for before it is absent."""
        if lv := snapshots.of(self._group.seen().lvs, snapshot_id):
            return lv
        self._group.forget()
        return snapshots.of(self._group.seen().lvs, snapshot_id)

    def there(self, snapshot_id: UUID) -> Lv:
        """Return the snapshot, whole, or raise `SnapshotGone`."""
        lv = self.find(snapshot_id)
        if lv and snapshots.is_whole(lv):
            return lv
        raise SnapshotGone(snapshot_id, self._path(snapshot_id))

    def of(self, volume_id: UUID, snapshot_id: UUID, made_at: str) -> Lv:
        """Return the volume's snapshot of that time, or raise why there is none."""
        lv = self.there(snapshot_id)
        if (made_by := self.made_by(lv)).at != made_at:
            raise MadeForAnother(self._lvs.path(lv.name), made_by)
        if lv not in snapshots.of_volume(self._group.seen().lvs, volume_id):
            raise SnapshotGone(snapshot_id, self._path(snapshot_id))
        return lv

    def origin(self, volume_id: UUID, size_gib: int) -> Lv:
        """Return a volume of which one can be taken; raise `Gone` or `CutShort`."""
        lv = volumes.of(self._group.seen().lvs, volume_id)
        if lv is None:
            raise Gone(volume_id, self._lvs.path(volumes.name(volume_id)))
        self._lvs.check_whole(lv, size_gib)
        return lv

    def take(
        self, snapshot_id: UUID, volume_id: UUID, size_gib: int, cause: Cause
    ) -> str:
        """Take one of a volume of that size, and return its device's path."""
        lv = snapshots.of(self._group.seen().lvs, snapshot_id)
        if lv is None:
            with suppress(AlreadyThere):
                self._take(snapshot_id, volume_id, size_gib, cause)
            lv = self.find(snapshot_id)
        if lv is None:
            raise Unexplained(self._path(snapshot_id))
        if (made_by := self.made_by(lv)) != cause:
            raise MadeForAnother(self._lvs.path(lv.name), made_by)
        if not snapshots.is_whole(lv):
            self._lvs.remove(lv)
            lv = self._take(snapshot_id, volume_id, size_gib, cause)
        return self._lvs.path(lv.name)

    def delete(self, snapshot_id: UUID, made_at: str, progress: Progress) -> str | None:
        """Remove one that was taken at that time, its cause's `at`."""
        lv = self.find(snapshot_id)
        if lv is None or self.made_by(lv).at != made_at:
            return None
        with self._lvs.removing(lv, progress) as tell:
            self._lvs.check_closed(lv)
            return self._lvs.remove(lv, tell)

    def manageable(self) -> list[ManageableSnapshot]:
        """Tell of the snapshots, and of logical volumes that could become some."""
        self._group.forget()  # others make them, and have them open
        lvs = self._group.seen().lvs
        those = filter(snapshots.could_be, (lvs[name] for name in sorted(lvs)))
        return [snapshots.offered(lvs, lv) for lv in those]

    def adopt(self, asked: Snapshot.ManagingStarted, cause: Cause) -> Adopted:
        """Give a snapshot of the volume our tags, and then our name."""
        snapshot_id, name = asked.originator_id, reference.name_in(asked.reference)
        with self._adopting:
            lv = self.find(snapshot_id)
            if lv is None:
                lv = self._stranger(name, asked.volume_id)
                self._lvs.check_name(lv, snapshots.name(snapshot_id))
                # Before anything says whose it is: there may be no room.
                lv = self._lvs.cover(lv)
                kept = volumes.without(lv, snapshots.WAS_OF).tags
                tags = kept | snapshots.tags(snapshot_id, asked.volume_id, cause)
                lv = self._lvs.tag(lv, tags, keep=False)
            elif (made_by := self.made_by(lv)) != cause:
                raise MadeForAnother(self._lvs.path(lv.name), made_by)
            lv = self._lvs.rename(lv, snapshots.name(snapshot_id))
        return Adopted(self._lvs.path(lv.name), volumes.whole_gib(lv.reads_bytes))

    def unmanage(self, snapshot_id: UUID, made_at: str) -> dict[str, str] | None:
        """Take our tags from the snapshot; its name stays."""
        lv = self.find(snapshot_id)
        if lv is None:
            name = snapshots.name(snapshot_id)
            return reference.to(name) if self._group.find(name) else None
        if self.made_by(lv).at != made_at:
            return None
        self._lvs.check_closed(lv)
        self._lvs.tag(lv, snapshots.let_go(lv).tags, keep=False)
        return reference.to(lv.name)

    def made_by(self, lv: Lv) -> Cause:
        """Return what it was taken for."""
        if cause := volumes.cause(lv):
            return cause
        raise Unexplained(self._lvs.path(lv.name))

    def _take(
        self, snapshot_id: UUID, volume_id: UUID, size_gib: int, cause: Cause
    ) -> Lv:
        origin = self.origin(volume_id, size_gib)
        self._lvs.check_room([origin])
        name = snapshots.name(snapshot_id)
        tags = snapshots.tags(snapshot_id, volume_id, cause)
        return self._lvs.snapshot(origin, name, tags)

    def _stranger(self, name: str, volume_id: UUID) -> Lv:
        """Return what is to become the volume's snapshot, or raise why not."""
        self._group.forget()  # others make them
        lvs = self._group.seen().lvs
        lv = lvs.get(name) if reference.NAME.fullmatch(name) else None
        if lv is None:
            raise NoSnapshot(self._group.name, name, "there is none")
        if volumes.cause(lv):
            raise Taken(self._lvs.path(name))
        if snapshots.origin(lvs, lv) != volume_id or not snapshots.could_be(lv):
            raise NoSnapshot(self._group.name, name, f"it is none of {volume_id}")
        if why := snapshots.unfit(lvs, lv):
            raise NoSnapshot(self._group.name, name, why)
        self._lvs.check_closed(lv)
        return lv

    def _path(self, snapshot_id: UUID) -> str:
        return self._lvs.path(snapshots.name(snapshot_id))
