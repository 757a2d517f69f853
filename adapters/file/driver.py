"""The port: a folder of sparse files as storage that can hold volumes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from operator import attrgetter
from pathlib import Path
from threading import Lock
from typing import Any
from uuid import UUID

from adapters.file.copying import copy, copy_held, held
from adapters.file.failures import (
    GIB,
    Gone,
    NoRoom,
    NoSnapshot,
    NoSpace,
    Unrecognized,
    in_words,
)
from adapters.file.naming import names, readable, size_of
from adapters.file.owner import OWNER, check_owner, own
from adapters.file.volumes import SNAPSHOT, Fill, Volumes
from adapters.holders import is_held, is_held_by_others
from adapters.noting import noted
from adapters.tracing import step
from domain import reference
from domain.capabilities import Capabilities
from domain.group_snapshot import GroupSnapshot, Member
from domain.ports import (
    Adopted,
    Cause,
    DriverFailed,
    Export,
    Manageable,
    ManageableSnapshot,
    Object,
    Progress,
    SourceReference,
    Survey,
    unheard,
)
from domain.snapshot import Snapshot
from domain.volume import Volume

MANAGED = "already managed"
# What drift knows in the folder besides: what a filesystem has, and whose it is.
KNOWN = frozenset({"lost+found", OWNER})


class FileDriver:
    """Volumes as sparse files, for hosts that share the folder's filesystem.

    What is asked for before `set_up` may fail; what is under way during one is
    taken for a leftover, so set up first.
    """

    def __init__(
        self,
        folder: Path,
        *,
        name: str = "files",
        reserved_percentage: int = 0,
        max_over_subscription_ratio: float = 20.0,
    ) -> None:
        self._folder = folder.absolute()
        self._volumes = Volumes(self._folder)
        self._snapshots = Volumes(self._folder, SNAPSHOT)
        self._name = name
        self._reserved_percentage = reserved_percentage
        self._ratio = max_over_subscription_ratio
        self._taking_in = Lock()
        self._can_be_held = False

    def recognize(self) -> None:
        """Raise `Unrecognized` for a folder that has nothing of ours."""
        with in_words(f"look into {self._folder}"):
            if self._volumes.is_blank() and self._snapshots.is_blank():
                raise Unrecognized(self._folder, self._name)

    def set_up(self) -> None:
        """Make the folder if there is none, clean it, and try it out.

        Raises `AnothersFolder` before anything in it is touched.
        """
        doing = f"use {self._folder} for volumes"
        those = self._volumes, self._snapshots
        with in_words(doing):
            check_owner(self._folder, self._name)
            for kept in those:
                kept.set_up()
        # A full disk is no reason not to start: volumes can be deleted from it.
        with suppress(NoSpace), in_words(doing):
            own(self._folder, self._name)
        with in_words(doing):
            for kept in those:
                kept.sweep()
        with suppress(NoSpace), in_words(doing):
            self._volumes.open_incoming()
            self._can_be_held = self._volumes.rehearse()

    def capabilities(self) -> Capabilities:
        """Measure the filesystem, and count what was set up and made since."""
        with self._at_work(f"measure {self._folder}"):
            space = os.statvfs(self._folder)
            sizes, taken = self._volumes.sizes(), self._snapshots.sizes()
        return Capabilities(
            volume_backend_name=self._name,
            vendor_name="Holdfast",
            driver_version="1.0.0",
            storage_protocol="local",
            total_capacity_gb=in_gib(space.f_blocks * space.f_frsize),
            free_capacity_gb=in_gib(space.f_bavail * space.f_frsize),
            provisioned_capacity_gb=in_gib(sum(sizes) + sum(taken)),
            total_volumes=len(sizes),
            thin_provisioning_support=True,
            thick_provisioning_support=False,
            reserved_percentage=self._reserved_percentage,
            max_over_subscription_ratio=self._ratio,
            consistent_group_snapshot_enabled=self._can_be_held,
        )

    def create(
        self, asked: Volume.Created, cause: Cause, progress: Progress = unheard
    ) -> str:
        """Make a sparse file; returns its absolute path."""
        volume_id, size_bytes = asked.originator_id, asked.size_gib * GIB
        with self._at_work(f"make volume {volume_id} in {self._folder}"):
            if not self._volumes.is_made(volume_id, cause):
                self._make_room(size_bytes)
                least = (asked.source_size_gib or 0) * GIB
                source = asked.source
                fill = self._fill(source, least, progress) if source else None
                self._volumes.make(volume_id, size_bytes, cause, fill)
            else:
                self._volumes.finish(volume_id, size_bytes, cause)
        return str(self._volumes.path(volume_id))

    def delete(
        self, volume_id: UUID, made_at: str, progress: Progress = unheard
    ) -> None:
        """Remove the file and give its blocks back, which a filesystem clears.

        What another made stays.

        Raises `VolumeIsBusy` while anything has it open, `DriverFailed` for
        something that does not say what made it.
        """
        with self._at_work(f"remove volume {volume_id} from {self._folder}"):
            self._volumes.remove_made(volume_id, made_at)
            self._close_incoming(volume_id)

    def manageable(self) -> list[Manageable]:
        """Tell of the volumes, and of the files in `incoming`."""
        with self._at_work(f"list what {self._folder} has"):
            found = [
                told(name, size, said(why))
                for name, size, why in self._volumes.offers(self._volumes.incoming)
            ]
            found += [
                told(reference.name_of(its_id), size, MANAGED, its_id)
                for its_id, size in self._volumes.managed().items()
            ]
        return sorted(found, key=attrgetter("place"))

    def manageable_snapshots(self) -> list[ManageableSnapshot]:
        """Tell of the snapshots, and of the files in `incoming-snapshots`."""
        with self._at_work(f"list what snapshots {self._folder} has"):
            found = [
                snapshot_told(name, size, said(why), of)
                for of in self._snapshots.expected()
                for name, size, why in self._snapshots.offers(
                    self._of(of), partial(self._check_snapshot, of)
                )
            ]
            for its_id, size in self._snapshots.managed().items():
                name = reference.name_of_snapshot(its_id)
                said_of = self._snapshots.said_of(its_id)
                found.append(snapshot_told(name, size, MANAGED, said_of, its_id))
        return sorted(found, key=attrgetter("place"))

    def adopt(self, asked: Volume.ManagingStarted, cause: Cause) -> Adopted:
        """Move a file from `incoming` to where volumes are."""
        incoming, name = self._volumes.incoming, reference.name_in(asked.reference)
        with self._at_work(f"take {name} over as volume {asked.originator_id}"):
            return self._take_in(
                self._volumes, asked.originator_id, incoming, name, cause
            )

    def adopt_snapshot(self, asked: Snapshot.ManagingStarted, cause: Cause) -> Adopted:
        """Move a file from `incoming-snapshots` to where snapshots are."""
        of, name = asked.volume_id, reference.name_in(asked.reference)
        with self._at_work(f"take {name} over as snapshot {asked.originator_id}"):
            return self._take_in(
                self._snapshots, asked.originator_id, self._of(of), name, cause, of
            )

    def unmanage(self, volume_id: UUID, made_at: str | None) -> dict[str, str] | None:
        """Move the file to `incoming`, under the name that Cinder would give it."""
        left = self._volumes.incoming / reference.name_of(volume_id)
        with self._at_work(f"let go of volume {volume_id} in {self._folder}"):
            made_by = self._volumes.made_by(volume_id)
            if made_by and made_at in (None, made_by.at):
                self._volumes.let_go(volume_id, left)
            elif made_by or not os.path.lexists(left):
                return None
            self._close_incoming(volume_id)
        return reference.to(left.name)

    def unmanage_snapshot(
        self, snapshot_id: UUID, made_at: str
    ) -> dict[str, str] | None:
        """Move the file to `incoming-snapshots`, likewise."""
        name = reference.name_of_snapshot(snapshot_id)
        with self._at_work(f"let go of snapshot {snapshot_id} in {self._folder}"):
            made_by = self._snapshots.made_by(snapshot_id)
            if made_by and made_by.at == made_at:
                of = self._snapshots.of(snapshot_id)
                self._snapshots.let_go(snapshot_id, self._of(of) / name)
            elif made_by or not any(self._snapshots.incoming.glob(f"*/{name}")):
                return None
        return reference.to(name)

    def take_snapshot(
        self, asked: Snapshot.Created, cause: Cause, progress: Progress = unheard
    ) -> str:
        """Copy the file; returns the copy's absolute path."""
        snapshot_id, volume_id = asked.originator_id, asked.volume_id
        with self._at_work(f"take snapshot {snapshot_id} of volume {volume_id}"):
            if not self._snapshots.is_made(snapshot_id, cause):
                size_bytes = self._volumes.size(volume_id)
                self._make_room(size_bytes)
                least = asked.size_gib * GIB
                fill = self._fill({"volume": volume_id}, least, progress)
                self._snapshots.make(snapshot_id, size_bytes, cause, fill, volume_id)
            else:
                self._snapshots.finish(snapshot_id, 0, cause)
        return str(self._snapshots.path(snapshot_id))

    def delete_snapshot(
        self, snapshot_id: UUID, made_at: str, progress: Progress = unheard
    ) -> None:
        """Remove the copy, as `delete` does a volume."""
        with self._at_work(f"remove snapshot {snapshot_id} from {self._folder}"):
            self._snapshots.remove_made(snapshot_id, made_at)

    def take_group_snapshot(self, asked: GroupSnapshot.Created, cause: Cause) -> bool:
        """Copy the files; those of a consistent group while all are held still."""
        with self._at_work(f"take group snapshot {asked.originator_id}"):
            taken = [
                member
                for member in asked.members
                if self._snapshots.is_made(member.snapshot_id, cause)
            ]
            if len(taken) == len(asked.members):
                for member in taken:
                    self._snapshots.finish(member.snapshot_id, 0, cause)
            else:
                self._drop(taken, cause)  # at another moment than the others will be
                self._take_all(asked, cause)
        return asked.consistent

    def revert(
        self, asked: Volume.ReversionStarted, cause: Cause, progress: Progress = unheard
    ) -> None:
        """Copy the snapshot beside the volume's file, then let the copy be that."""
        volume_id, snapshot_id = asked.originator_id, asked.snapshot_id
        doing = f"revert volume {volume_id} to snapshot {snapshot_id}"
        with self._at_work(doing):
            if not self._volumes.is_reverted(volume_id, cause):
                least = (asked.size_gib or 0) * GIB
                fill = self._fill({"snapshot": snapshot_id}, least, progress)
                self._make_room(self._volumes.size(volume_id))
                self._volumes.bring(volume_id, cause, fill)
            taking_back = self._volumes.taken_back_on_failure(volume_id, cause)
            with taking_back, in_words(doing):
                self._volumes.revert(volume_id, cause)

    def check_unused(self, volume_ids: Sequence[UUID]) -> None:
        """Look whether anything has one of the files open, or lies beside it."""
        with self._at_work(f"see who uses volumes in {self._folder}"):
            for volume_id in volume_ids:
                self._volumes.check_removable(volume_id)

    def survey(self) -> Survey:
        """Tell of the files, and of what else somebody has put beside them."""
        with self._at_work(f"survey {self._folder}"):
            kept = self._volumes, self._snapshots
            objects = [each for some in kept for each in some.objects()]
            known = {each.name for each in objects} | KNOWN
            known |= {some.incoming.name for some in kept}
            for name in names(self._folder) - known:  # homes without data as well
                if not any(some.is_leftover(name) for some in kept):
                    with suppress(FileNotFoundError):  # it may go meanwhile
                        size_bytes = size_of(self._folder / name)
                        objects.append(Object(readable(name), size_bytes))
            ids = (each.id for each in objects if each.noun == "volume")
            used = {i for i in ids if i and is_held_by_others(self._volumes.path(i))}
            self._volumes.look()  # it may have gone out of sight meanwhile
        return Survey(tuple(objects), None, frozenset(used))

    def mark(self, noun: str, its_id: UUID, cause: Cause, of: UUID | None) -> None:
        """Link the data once more, under a name that tells."""
        kept = self._snapshots if noun == "snapshot" else self._volumes
        with self._at_work(f"mark {noun} {its_id} in {self._folder}"):
            kept.mark(its_id, cause, of)

    def extend(self, volume_id: UUID, size_gib: int) -> None:
        """Grow the file; hosts that have it open see its new size at once."""
        size_bytes = size_gib * GIB
        with self._at_work(f"grow volume {volume_id} in {self._folder}"):
            self._volumes.clean(volume_id)
            self._make_room(size_bytes - self._volumes.size(volume_id))
            self._volumes.grow(volume_id, size_bytes)

    def connect(self, volume_id: UUID, connector: dict[str, Any]) -> dict[str, Any]:
        """Tell where the file is: whoever shares the filesystem reaches it already."""
        with self._at_work(f"connect volume {volume_id} in {self._folder}"):
            self._volumes.size(volume_id)
        path = str(self._volumes.path(volume_id))
        return {"driver_volume_type": "local", "data": {"device_path": path}}

    def disconnect(self, volume_id: UUID, connector: dict[str, Any]) -> None:
        """Do nothing: a file is not exported."""

    def remove_export(self, volume_id: UUID) -> None:
        """Do nothing: a file is not exported."""

    def has_session(self, volume_id: UUID, connector: dict[str, Any] | None) -> bool:
        """Tell whether anything has the file open; hosts cannot be told apart."""
        with self._at_work(f"see who uses volume {volume_id} in {self._folder}"):
            return is_held(self._volumes.path(volume_id))

    def exports(self) -> set[UUID]:
        """Tell of none: a file is not exported."""
        return set()

    def converge(self, wanted: Export) -> bool:
        """Do nothing: a file is not exported."""
        return False

    @contextmanager
    def _at_work(self, doing: str) -> Iterator[None]:
        verb = doing.partition(" ")[0]
        with (
            step(f"file {verb}", **{"holdfast.doing": doing}),
            noted(doing),
            in_words(doing),
        ):
            self._volumes.look()
            yield

    def _of(self, volume_id: UUID) -> Path:
        return self._snapshots.incoming / str(volume_id)

    def _close_incoming(self, volume_id: UUID) -> None:
        """Remove where snapshots of a volume came in that is gone, if none is there."""
        if not os.path.lexists(self._volumes.path(volume_id)):
            with suppress(OSError):
                self._of(volume_id).rmdir()

    def _check_snapshot(self, volume_id: UUID, path: Path, size_bytes: int) -> None:
        """Raise `NoSnapshot` where a file is none of that volume."""
        try:
            most = self._volumes.size(volume_id)
        except Gone as error:
            why = f"there is no volume {volume_id}"
            raise NoSnapshot(path, why) from error
        if size_bytes > most:
            why = f"it has {size_bytes} bytes and is larger than {volume_id}"
            raise NoSnapshot(path, why)
        if size_bytes % GIB or not size_bytes:
            why = f"it has {size_bytes} bytes, no whole GiB as every volume has"
            raise NoSnapshot(path, why)

    def _take_in(
        self,
        kept: Volumes,
        its_id: UUID,
        incoming: Path,
        name: str,
        cause: Cause,
        of: UUID | None = None,
    ) -> Adopted:
        if not kept.is_made(its_id, cause):
            with self._taking_in:  # or two would take the same file
                size_bytes = kept.check(incoming, name)
                if of:
                    self._check_snapshot(of, incoming / name, size_bytes)
                grown = whole_gib(size_bytes) * GIB
                self._make_room(grown - size_bytes)
                fill = partial(os.link, incoming / name)
                kept.make(its_id, grown, cause, fill, of)
        size_bytes = kept.settle_in(its_id, incoming / name)
        return Adopted(str(kept.path(its_id)), whole_gib(size_bytes))

    def _take_all(self, asked: GroupSnapshot.Created, cause: Cause) -> None:
        files = {
            m.snapshot_id: self._volumes.whole(m.volume_id, m.size_gib * GIB)
            for m in asked.members
        }
        sizes = {m.snapshot_id: self._volumes.size(m.volume_id) for m in asked.members}
        self._make_room(sum(sizes.values()))
        try:
            with ExitStack() as filled:
                self._fill_all(files, asked, cause, filled)
                for member in asked.members:
                    self._snapshots.complete(
                        member.snapshot_id,
                        sizes[member.snapshot_id],
                        cause,
                        member.volume_id,
                    )
        except (OSError, DriverFailed):
            self._drop(asked.members, cause)
            raise

    def _fill_all(
        self,
        files: dict[UUID, Path],
        asked: GroupSnapshot.Created,
        cause: Cause,
        filled: ExitStack,
    ) -> None:
        with ExitStack() as holding:
            copying = copy
            if asked.consistent:
                check = holding.enter_context(held(*files.values()))
                copying = partial(copy_held, check=check)
            for snapshot_id, path in files.items():
                fill = partial(copying, path)
                filled.enter_context(self._snapshots.filled(snapshot_id, cause, fill))

    def _drop(self, members: Sequence[Member], cause: Cause) -> None:
        for member in members:
            self._snapshots.remove_made(member.snapshot_id, cause.at)

    def _fill(self, source: dict[str, UUID], least: int, progress: Progress) -> Fill:
        """Return what makes a file that holds what a source does.

        Raises where the source is gone, or has less than so many bytes.
        """
        [(kind, source_id)] = source.items()
        kept = {"volume": self._volumes, "snapshot": self._snapshots}[kind]
        path, lasting = kept.whole(source_id, least), kept is self._snapshots
        return partial(copy, path, progress=progress, lasting=lasting)

    def _make_room(self, more_bytes: int) -> None:
        """Refuse what could never be filled, by the space that is free now.

        What is reserved and what was promised before are the scheduler's sums
        (Cinder's CapacityFilter); this only stops what it could not know.
        """
        space = os.statvfs(self._folder)
        free = space.f_bavail * space.f_frsize
        if more_bytes > free * self._ratio:
            raise NoRoom(self._folder, more_bytes, free, self._ratio)


def told(
    name: str, size_bytes: int, why: str | None, its_id: UUID | None = None
) -> Manageable:
    """Tell of what could be a volume, and why not, if so."""
    return Manageable(
        reference.to(readable(name)), whole_gib(size_bytes), not why, why, its_id
    )


def snapshot_told(
    name: str,
    size_bytes: int,
    why: str | None,
    of: UUID | None,
    its_id: UUID | None = None,
) -> ManageableSnapshot:
    """Tell of what could be a snapshot of a volume, likewise."""
    source = SourceReference(of) if of else None
    size_gib = whole_gib(size_bytes)
    return ManageableSnapshot(
        reference.to(readable(name)), size_gib, not why, why, its_id, source
    )


def said(why: DriverFailed | None) -> str | None:
    """Return why not, if so."""
    return str(why) if why else None


def in_gib(size_bytes: int) -> float:
    """Return bytes as GiB, to the hundredth."""
    return round(size_bytes / GIB, 2)


def whole_gib(size_bytes: int) -> int:
    """Return how many GiB a volume has that holds so many bytes, one at least."""
    return max(1, -(-size_bytes // GIB))
