"""What the domain needs from the outside world, said in its own words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

import msgspec

from domain import reference
from domain.capabilities import Capabilities
from domain.group_snapshot import GroupSnapshot
from domain.snapshot import Snapshot
from domain.volume import Volume
from domain.volume_status import ALREADY_MANAGED, NOT_THERE


@dataclass(frozen=True)
class Cause:
    """The event that a driver acts for: its position in the log, and when it was."""

    position: int
    at: str


@dataclass(frozen=True)
class Export:
    """Who is to reach a volume: the connectors of the hosts that hold it, each once."""

    volume_id: UUID
    connectors: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True)
class Adopted:
    """Where storage is that was taken over, and how many whole GiB it has."""

    location: str
    size_gib: int


class Manageable(msgspec.Struct, frozen=True):
    """Storage that a backend has, and whether it can be taken over.

    `size_gib` is what it would have as a volume or a snapshot; `id` is the one that
    it is.
    """

    reference: dict[str, str]
    size_gib: int
    safe_to_manage: bool
    reason_not_safe: str | None = None
    id: UUID | None = None

    @property
    def place(self) -> str:
        """Return where it stands in the list; each has one of its own."""
        return reference.name_in(self.reference)


class SourceReference(msgspec.Struct, frozen=True):
    """The volume that a snapshot is of."""

    id: UUID


class ManageableSnapshot(Manageable, frozen=True):
    """Storage that is or could be a snapshot, and of which volume.

    Several may have one name, if they are of different volumes.
    """

    source_reference: SourceReference | None = None

    @property
    def place(self) -> str:
        """Return where it stands in the list: by its name, then by its volume."""
        of = self.source_reference
        return f"{super().place}\0{of.id}" if of else super().place


class Object(msgspec.Struct, frozen=True):
    """Something that a backend's storage has, and what it says of itself.

    `noun` and `id`: the volume or snapshot that it is by its tags, or else by its
    name; `lacks`: which tags it should have then. `of`: the volume that a snapshot is
    of, as far as the storage knows.
    """

    name: str
    size_bytes: int
    noun: str | None = None
    id: UUID | None = None
    made_at: str | None = None
    of: UUID | None = None
    lacks: tuple[str, ...] = ()
    active: bool = True


class Survey(msgspec.Struct, frozen=True):
    """All that a backend's storage has, read at once.

    `exported`: the volumes that hosts can reach because we let them, None where
    nothing is ever exported; `initiators`: who can, where the target tells them apart
    by that; `used`: those that somebody else has open.
    """

    objects: tuple[Object, ...] = ()
    exported: frozenset[UUID] | None = None
    used: frozenset[UUID] = frozenset()
    initiators: Mapping[UUID, frozenset[str]] = {}


# Told how much of a long operation is done, in percent. What it raises is to end the
# operation where it is: it is asked for again.
Progress = Callable[[float], None]


def unheard(_: float) -> None:
    """Tell nobody."""


class DriverFailed(Exception):
    """The driver could not do what was asked, and trying again will not help.

    `code` is one word for programs; the message is a sentence an operator can
    act on.
    """

    code = "driver_failed"


class VolumeIsBusy(DriverFailed):
    """Something still uses the volume or the snapshot; nothing was changed."""

    code = "busy"


class TimedOut(DriverFailed):
    """The storage did not answer in time; what came of it shows when it does."""

    code = "timed_out"


class HalfReverted(DriverFailed):
    """The volume holds neither what it held nor what its snapshot does."""

    code = "half_reverted"


class Untidy(DriverFailed):
    """The volume holds what its snapshot does; what it held could not be removed."""

    code = "untidy"

    def __init__(self, volume_id: UUID, failure: DriverFailed) -> None:
        super().__init__(volume_id, failure)
        self.volume_id = volume_id
        self.failure = failure

    def __str__(self) -> str:
        return (
            f"{self.failure}; volume {self.volume_id} holds what the snapshot does, "
            "and what it held takes room until you ask for the reversion again"
        )


class UnknownReference(DriverFailed):
    """The backend has no storage of that name that could become a volume."""

    code = NOT_THERE


class AlreadyManaged(DriverFailed):
    """The storage is a volume already."""

    code = ALREADY_MANAGED


class Driver(Protocol):
    """Storage that can hold volumes.

    Every operation looks before it changes: asked for twice, it does the work
    once and answers twice the same. It may be killed at any point and is then
    asked again. Calls for different volumes may come from several threads at
    once, those for one volume come one after another. All but `set_up` raise
    `DriverFailed` where the storage cannot do what is asked.
    """

    def recognize(self) -> None:
        """Raise `DriverFailed` where nothing shows that the storage was set up before.

        Asked before `set_up`, of a backend that was usable once: where its storage is
        out of sight, what is in its place is not to be taken for it.
        """

    def set_up(self) -> None:
        """Look whether the storage is usable, and remove what crashes left behind.

        Raises `DriverFailed` where the storage is not usable.
        """

    def capabilities(self) -> Capabilities:
        """Measure."""

    def create(
        self, asked: Volume.Created, cause: Cause, progress: Progress = unheard
    ) -> str:
        """Make the storage, `asked.size_gib` GiB that read as zeros.

        With `asked.source`, a snapshot or a volume of this backend, they read as that
        does at one moment, and as zeros behind its end; what was copied before a
        crash need not be copied again. A source that has less than
        `asked.source_size_gib` has lost something: `DriverFailed`. Returns where it
        is. Something of that name that was made for another cause is never adopted:
        `DriverFailed`.

        Raises `VolumeIsBusy` where a source that hosts write cannot be read at one
        moment.
        """

    def delete(
        self, volume_id: UUID, made_at: str, progress: Progress = unheard
    ) -> str | None:
        """Remove the storage that was made at that time, its cause's `at`.

        What is absent counts as removed; what was made at another time is not the
        volume's, and stays. Returns how its blocks were cleared before others get
        them (Cinder's `volume_clear`), None where nobody else can.

        Raises `VolumeIsBusy` while something uses it.
        """

    def manageable(self) -> list[Manageable]:
        """Tell of all storage that is or could be a volume, sorted by its place."""

    def adopt(self, asked: Volume.ManagingStarted, cause: Cause) -> Adopted:
        """Make the storage that `asked.reference` names the volume's, data and all.

        It is grown to whole GiB, one at least. From then on it is as if it had been
        made for the cause. Where it cannot be taken over, nothing is changed.

        Raises `UnknownReference`, `AlreadyManaged`, and `VolumeIsBusy` while
        something uses it.
        """

    def unmanage(self, volume_id: UUID, made_at: str | None) -> dict[str, str] | None:
        """Let go of the storage that was made at that time (None: at any), `delete`'s.

        Returns the reference by which it can be taken over again. What is absent, or
        was made at another time, is none of the volume's: None, and it stays.

        Raises `VolumeIsBusy` while something uses it.
        """

    def take_snapshot(
        self, asked: Snapshot.Created, cause: Cause, progress: Progress = unheard
    ) -> str:
        """Keep what the volume holds at one moment, while hosts may write it.

        Returns where it is; `create`'s rules about causes hold.

        Raises `VolumeIsBusy` where a volume that hosts write cannot be read at one
        moment.
        """

    def delete_snapshot(
        self, snapshot_id: UUID, made_at: str, progress: Progress = unheard
    ) -> str | None:
        """Remove a snapshot, as `delete` does a volume."""

    def take_group_snapshot(self, asked: GroupSnapshot.Created, cause: Cause) -> bool:
        """Take all the snapshots, or keep none; tells whether it was at one moment.

        It is one where `asked.consistent` wants it: no host sees a write to a member
        done that its snapshot lacks, unless every later write to others is lacking as
        well. Whatever happens, hosts can go on writing soon.

        Raises `VolumeIsBusy` where hosts that write cannot be held up.
        """

    def revert(
        self, asked: Volume.ReversionStarted, cause: Cause, progress: Progress = unheard
    ) -> None:
        """Let the volume hold again what its snapshot does, which stays.

        A safety copy of what it held is kept until then: what is cut short goes on
        when asked again, and what fails leaves either content, never a mixture. A
        snapshot that has less than `asked.size_gib` has lost something.

        Raises `VolumeIsBusy` while something uses the volume, `HalfReverted` where
        neither content is whole, and `Untidy` where it holds the new one; whatever
        else is raised leaves the old.
        """

    def check_unused(self, volume_ids: Sequence[UUID]) -> None:
        """Raise `VolumeIsBusy` if something uses any of the volumes that are there.

        Or whatever else is known to keep one from being removed.
        """

    def manageable_snapshots(self) -> list[ManageableSnapshot]:
        """Tell of all storage that is or could be a snapshot, sorted by its place."""

    def adopt_snapshot(self, asked: Snapshot.ManagingStarted, cause: Cause) -> Adopted:
        """Take over what `asked.reference` names as a snapshot of `asked.volume_id`.

        As `adopt`, but it is not grown: it is as large as the volume was when it was
        taken. What has no whole GiB, or more than the volume, or is otherwise no
        snapshot of that volume is an `UnknownReference`.
        """

    def unmanage_snapshot(
        self, snapshot_id: UUID, made_at: str
    ) -> dict[str, str] | None:
        """Let go of a snapshot, as `unmanage` does of a volume."""

    def survey(self) -> Survey:
        """Tell of all that is there, read anew.

        Of what is out of sight nothing is told: `DriverFailed`. What is half-made or
        half-removed, and what volumes are made of, is none of it. Of several objects
        that say they are the same, the one that is served comes first.
        """

    def mark(self, noun: str, its_id: UUID, cause: Cause, of: UUID | None) -> None:
        """Let what is called as the volume or snapshot say again that it is that.

        `of` is the volume that a snapshot is of. What says that it is anything else
        stays as it is: `DriverFailed`.
        """

    def extend(self, volume_id: UUID, size_gib: int) -> None:
        """Grow the storage to at least `size_gib` GiB; what is there stays."""

    def connect(self, volume_id: UUID, connector: dict[str, Any]) -> dict[str, Any]:
        """Let the connector's host reach the volume.

        Returns Cinder's connection_info, `{"driver_volume_type", "data"}`, without
        the secret that `domain.chap` derives.
        """

    def disconnect(self, volume_id: UUID, connector: dict[str, Any]) -> None:
        """Take the volume away from the connector's host, if it has it."""

    def remove_export(self, volume_id: UUID) -> None:
        """Take the volume away from every host."""

    def has_session(self, volume_id: UUID, connector: dict[str, Any] | None) -> bool:
        """Tell whether the connector's host (None: any host) uses the volume now."""

    def exports(self) -> set[UUID]:
        """Tell which volumes any host can reach because we let it."""

    def converge(self, wanted: Export) -> bool:
        """Let exactly these hosts reach the volume, as `connect` would.

        Returns whether anything was otherwise. A volume that is not there is
        reached by nobody.
        """


class Target(Protocol):
    """A way for hosts to reach block devices: one target a volume, all of them ours.

    Every operation looks before it changes, as a driver's do, and outlives nothing
    but its own kernel or daemon: after a restart, `connect` makes anew what is
    wanted. Raises `DriverFailed`.
    """

    storage_protocol: str  # Cinder's name: "iSCSI", "nbd", "local"

    def set_up(self) -> None:
        """Look whether the target's kernel modules or daemon are there to be used."""

    def connect(
        self, volume_id: UUID, device: str, connector: dict[str, Any]
    ) -> dict[str, Any]:
        """Let the connector's host reach the device; connection_info without secret."""

    def disconnect(self, volume_id: UUID, connector: dict[str, Any]) -> None:
        """Take the volume away from the connector's host; its sessions end."""

    def remove(self, volume_id: UUID) -> None:
        """Take the volume away from every host, and let go of its device."""

    def resized(self, volume_id: UUID, device: str) -> None:
        """Let those who have the device open learn that it has grown."""

    def has_session(
        self, volume_id: UUID, device: str, connector: dict[str, Any] | None
    ) -> bool:
        """Tell whether the connector's host (None: any host) uses the volume now."""

    def exports(self) -> set[UUID]:
        """Tell which volumes are exported."""

    def initiators(self) -> dict[UUID, frozenset[str]]:
        """Tell which initiators may log in to each volume that is exported.

        Of none, where hosts are told apart by something else.
        """

    def converge(self, wanted: Export, device: str) -> bool:
        """Let exactly these hosts reach it; returns whether anything was otherwise."""
