"""What happens to a volume, and what it is from then on."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from domain import aggregate, copying
from domain.aggregate import given
from domain.attachment import Attachment, AttachStatus, connector_mode, reached_from
from domain.copying import Copied
from domain.placement import Basis
from domain.volume_status import NOT_OURS, NOTHING_TAKEN, Status


def with_mode(fields: dict[str, Any]) -> None:
    """Lift an export that was asked for before it had to say whether hosts may write.

    Where nothing was said, the driver did what the connector asked for.
    """
    asked = fields.get("mode") or connector_mode(fields["connector"])
    fields["mode"] = asked or "rw"


class VolumeEvents(Copied):
    """A volume as an auditor knows it; a topic, once released, never changes."""

    # State: empty until the events fill it.

    def __init__(self, aggregate_id: UUID) -> None:
        super().__init__(aggregate_id)
        self.attachments: dict[UUID, Attachment] = {}
        self.gone: dict[UUID, Attachment] = {}
        self.connections: dict[str, dict[str, Any]] = {}
        self.snapshots: dict[UUID, None] = {}  # the latest last
        self.attempts: list[datetime] = []  # to take it over, before the last
        # Backends that could not make it, and when they were asked.
        self.given_up: dict[str, datetime] = {}

    location: str | None = None
    previous_status: Status | None = None
    readonly: bool = False
    let_go: bool = False  # it went, but not its storage
    refused: bool = False  # it was left alone, last, for somebody else has it
    awaited: str | None = None  # what is to be done before it is removed
    reverted_to: UUID | None = None  # the snapshot, last
    name: str
    description: str
    project: str
    size_gib: int
    volume_type: str | None
    multiattach: bool
    bootable: bool
    metadata: dict[str, str]
    source: dict[str, UUID] | None
    group_id: UUID | None
    created_at: datetime

    # Events: of the volume as a whole.

    class Created(aggregate.First, aggregate.Intent, frozen=True, kw_only=True):
        """A volume was asked for: the backend is to make its storage."""

        TOPIC = "volume.created"
        size_gib: int
        name: str = ""
        description: str = ""
        project: str = ""
        volume_type: str | None = None
        multiattach: bool = False
        metadata: dict[str, str] = {}  # noqa: RUF012 - msgspec copies it
        bootable: bool = False
        source: dict[str, UUID] | None = None  # {"snapshot": id} or {"volume": id}
        group_id: UUID | None = None
        considered: list[Basis] = []  # noqa: RUF012 - msgspec copies it
        source_size_gib: int | None = None  # what that has, at least

        @property
        def may_take_long(self) -> bool:
            return self.source is not None

        @property
        def attempts(self) -> list[datetime]:
            """When it was asked for before this, and may have been done in part."""
            return []

        def apply(self, volume: VolumeEvents) -> None:
            volume.attempts = self.attempts
            volume.name = self.name
            volume.description = self.description
            volume.project = self.project
            volume.size_gib = self.size_gib
            volume.allocated_gib = self.size_gib
            volume.backend = self.backend
            volume.volume_type = self.volume_type
            volume.multiattach = self.multiattach
            volume.metadata = self.metadata
            volume.bootable = self.bootable
            volume.source = self.source
            volume.group_id = self.group_id
            volume.created_at = self.timestamp

    class CreationFinished(aggregate.Outcome, frozen=True, kw_only=True):
        """The backend has made the storage, or found what it had made before."""

        TOPIC = "volume.creation_finished"
        location: str

        def apply(self, volume: VolumeEvents) -> None:
            volume.location = self.location
            volume.error = None

    class CreationGivenUp(aggregate.Failure, frozen=True, kw_only=True):
        """The backend could not make the storage; another one is asked for it."""

        TOPIC = "volume.creation_given_up"

        def apply(self, volume: VolumeEvents) -> None:
            volume.allocated_gib = 0
            volume.given_up = {**volume.given_up, volume.backend: volume.created_at}

    class Rescheduled(Created, frozen=True, kw_only=True):
        """Another backend is to make the storage, after one could not."""

        TOPIC = "volume.rescheduled"

    class CreationFailed(aggregate.Failure, frozen=True, kw_only=True):
        """The backend could not make the storage."""

        TOPIC = "volume.creation_failed"

        def apply(self, volume: VolumeEvents) -> None:
            volume.allocated_gib = 0

    class CreationProgressed(aggregate.Progress, frozen=True, kw_only=True):
        """What the source holds is being copied, which may take hours."""

        TOPIC = "volume.creation_progressed"

    class ManagingStarted(Created, frozen=True, kw_only=True):
        """Storage that is there was named: the backend is to take it over.

        `earlier`: when that was last asked for in vain, or so it seemed; `attempts`:
        all such times since the backend last had nothing of it for certain.
        """

        TOPIC = "volume.managing_started"
        reference: dict[str, str]
        size_gib: int = 0  # known once it is taken over
        earlier: datetime | None = None
        attempts: list[datetime] = []  # noqa: RUF012

        @property
        def in_vain(self) -> list[datetime]:
            """The attempts; an earlier version told of the last alone."""
            last = [self.earlier] if self.earlier else []
            return self.attempts or last

    class ManagingFinished(aggregate.Outcome, frozen=True, kw_only=True):
        """The storage is the volume's from now on, whole GiB of it."""

        TOPIC = "volume.managing_finished"
        location: str
        size_gib: int

        def apply(self, volume: VolumeEvents) -> None:
            volume.location = self.location
            volume.size_gib = self.size_gib
            volume.allocated_gib = self.size_gib
            volume.error = None
            volume.refused = False
            volume.attempts = []

    class ManagingFailed(aggregate.Failure, frozen=True, kw_only=True):
        """The backend could not take the storage over, and left it as it was."""

        TOPIC = "volume.managing_failed"

        def apply(self, volume: VolumeEvents) -> None:
            volume.refused = False  # unless its code says so
            # What was taken before is let go of by then.
            volume.attempts = [] if self.code in NOTHING_TAKEN else volume.attempts

    class Updated(aggregate.Event, frozen=True, kw_only=True):
        """What callers say about the volume changed; what is absent did not."""

        TOPIC = "volume.updated"
        name: str | UnsetType = UNSET
        description: str | UnsetType = UNSET
        metadata: dict[str, str] | UnsetType = UNSET
        readonly: bool | UnsetType = UNSET
        bootable: bool | UnsetType = UNSET

        def apply(self, volume: VolumeEvents) -> None:
            volume.name = given(self.name, volume.name)
            volume.description = given(self.description, volume.description)
            volume.metadata = given(self.metadata, volume.metadata)
            volume.readonly = given(self.readonly, volume.readonly)
            volume.bootable = given(self.bootable, volume.bootable)

    class ExtensionStarted(aggregate.Intent, frozen=True, kw_only=True):
        """More room was asked for: the backend is to grow the storage."""

        TOPIC = "volume.extension_started"
        size_gib: int
        considered: list[Basis] = []  # noqa: RUF012 - msgspec copies it

        def apply(self, volume: VolumeEvents) -> None:
            volume.allocated_gib = self.size_gib

    class ExtensionFinished(aggregate.Outcome, frozen=True, kw_only=True):
        """The storage has grown."""

        TOPIC = "volume.extension_finished"
        size_gib: int

        def apply(self, volume: VolumeEvents) -> None:
            volume.size_gib = self.size_gib
            volume.allocated_gib = self.size_gib
            volume.error = None

    class ExtensionFailed(aggregate.Failure, frozen=True, kw_only=True):
        """The storage could not grow; it is as large as it was."""

        TOPIC = "volume.extension_failed"

        def apply(self, volume: VolumeEvents) -> None:
            volume.allocated_gib = volume.size_gib

    class SnapshotAdded(aggregate.Event, frozen=True, kw_only=True):
        """A snapshot was asked for: the volume stays as long as that does."""

        TOPIC = "volume.snapshot_added"
        snapshot_id: UUID

        def apply(self, volume: VolumeEvents) -> None:
            volume.snapshots = {**volume.snapshots, self.snapshot_id: None}

    class SnapshotRemoved(aggregate.Event, frozen=True, kw_only=True):
        """A snapshot of the volume is gone."""

        TOPIC = "volume.snapshot_removed"
        snapshot_id: UUID

        def apply(self, volume: VolumeEvents) -> None:
            gone = self.snapshot_id
            volume.snapshots = {s: None for s in volume.snapshots if s != gone}

    class CopyBegun(copying.CopyBegun, frozen=True, kw_only=True):
        """Another volume is being made from the volume."""

        TOPIC = "volume.copy_begun"

    class CopyEnded(copying.CopyEnded, frozen=True, kw_only=True):
        """The volume that was made from the volume needs it no more."""

        TOPIC = "volume.copy_ended"

    class Grouped(aggregate.Event, frozen=True, kw_only=True):
        """The volume is a member of a group from now on."""

        TOPIC = "volume.grouped"
        group_id: UUID

        def apply(self, volume: VolumeEvents) -> None:
            volume.group_id = self.group_id

    class Ungrouped(aggregate.Event, frozen=True, kw_only=True):
        """The volume is a member of no group."""

        TOPIC = "volume.ungrouped"

        def apply(self, volume: VolumeEvents) -> None:
            volume.group_id = None

    class ReversionStarted(aggregate.Intent, frozen=True, kw_only=True):
        """The backend is to let the volume hold again what its snapshot does.

        `snapshot_made_at` tells when that was asked for, `size_gib` what both have.
        """

        TOPIC = "volume.reversion_started"
        snapshot_id: UUID
        snapshot_made_at: datetime
        previous_status: Status
        size_gib: int | None = None

        @property
        def may_take_long(self) -> bool:
            return True

        def apply(self, volume: VolumeEvents) -> None:
            volume.reverted_to = self.snapshot_id
            volume.previous_status = self.previous_status

    class ReversionFinished(aggregate.Outcome, frozen=True, kw_only=True):
        """The volume holds what its snapshot does."""

        TOPIC = "volume.reversion_finished"

        def apply(self, volume: VolumeEvents) -> None:
            volume.error = None

    class ReversionProgressed(aggregate.Progress, frozen=True, kw_only=True):
        """What the snapshot holds is being copied, which may take hours."""

        TOPIC = "volume.reversion_progressed"

    class ReversionFailed(aggregate.Failure, frozen=True, kw_only=True):
        """The volume could not be reverted; the message says what it holds."""

        TOPIC = "volume.reversion_failed"

    class ReversionPutOff(aggregate.Failure, frozen=True, kw_only=True):
        """Something still uses the volume, or keeps it from being reverted.

        It holds what it did.
        """

        TOPIC = "volume.reversion_put_off"

    class CascadeStarted(aggregate.Intent, frozen=True, kw_only=True):
        """Removal was asked for with all snapshots: does anybody use the volume?

        Only if nobody does, they go, and then the volume. Whatever else was under
        way is moot.
        """

        TOPIC = "volume.cascade_started"
        previous_status: Status
        force: bool = False

        def apply(self, volume: VolumeEvents) -> None:
            volume.in_flight = {}
            volume.progressed_at = None
            volume.awaited = "look"
            volume.previous_status = self.previous_status

    class CascadeLookedAt(aggregate.Outcome, frozen=True, kw_only=True):
        """Nobody uses the volume, so its snapshots are being removed."""

        TOPIC = "volume.cascade_looked_at"
        force: bool

        def apply(self, volume: VolumeEvents) -> None:
            volume.awaited = "snapshots"

    class CascadePutOff(aggregate.Failure, frozen=True, kw_only=True):
        """Something uses the volume, or nobody could tell; nothing was removed."""

        TOPIC = "volume.cascade_put_off"

        def apply(self, volume: VolumeEvents) -> None:
            volume.awaited = None

    class DeletionAwaited(aggregate.Event, frozen=True, kw_only=True):
        """Removal was asked for; it begins once something else is done.

        `awaited` says what that is: the members of its "group" were looked at.
        """

        TOPIC = "volume.deletion_awaited"
        awaited: str
        previous_status: Status

        def apply(self, volume: VolumeEvents) -> None:
            volume.awaited = self.awaited
            volume.previous_status = self.previous_status

    class DeletionCalledOff(aggregate.Event, frozen=True, kw_only=True):
        """What had to be done before the removal failed; the volume stays."""

        TOPIC = "volume.deletion_called_off"
        code: str
        message: str

        def apply(self, volume: VolumeEvents) -> None:
            volume.awaited = None
            volume.error = aggregate.Fault(self.code, self.message, self.timestamp)

    class DeletionStarted(aggregate.Intent, frozen=True, kw_only=True):
        """Removal was asked for; whatever else was under way is moot."""

        TOPIC = "volume.deletion_started"
        LETS_GO: ClassVar[bool] = False
        previous_status: Status
        made_at: datetime
        force: bool = False

        @property
        def may_take_long(self) -> bool:
            return not self.LETS_GO

        def apply(self, volume: VolumeEvents) -> None:
            volume.in_flight = {}
            volume.progressed_at = None
            volume.previous_status = self.previous_status
            volume.awaited = None
            volume.let_go = self.LETS_GO

    class Deleted(aggregate.Outcome, frozen=True, kw_only=True):
        """The storage is gone."""

        TOPIC = "volume.deleted"
        cleared: str | None = None  # how, before others get its blocks

        def apply(self, volume: VolumeEvents) -> None:
            volume.allocated_gib = 0
            volume.connections = {}
            volume.error = None
            volume.attempts = []

    class DeletionProgressed(aggregate.Progress, frozen=True, kw_only=True):
        """The storage is being cleared, which may take hours."""

        TOPIC = "volume.deletion_progressed"

    class DeletionFailed(aggregate.Failure, frozen=True, kw_only=True):
        """The storage could not be removed; deleting may be asked for again."""

        TOPIC = "volume.deletion_failed"

    class DeletionPutOff(aggregate.Failure, frozen=True, kw_only=True):
        """Something still uses the storage; nothing was changed."""

        TOPIC = "volume.deletion_put_off"

    class UnmanagingStarted(DeletionStarted, frozen=True, kw_only=True):
        """The volume is to be forgotten, and its storage left for others."""

        TOPIC = "volume.unmanaging_started"
        LETS_GO: ClassVar[bool] = True
        left_alone: bool = False  # taking it over was refused: it is somebody else's

        @property
        def never_ours(self) -> bool:
            """It was not known to be taken over, though it may have been."""
            return self.previous_status in NOT_OURS and not self.left_alone

    class Unmanaged(Deleted, frozen=True, kw_only=True):
        """The volume is forgotten; its storage goes by this name, if there was any."""

        TOPIC = "volume.unmanaged"
        reference: dict[str, str] | None

    class UnmanagingFailed(aggregate.Failure, frozen=True, kw_only=True):
        """The storage could not be let go of; unmanaging may be asked for again."""

        TOPIC = "volume.unmanaging_failed"
        left_alone: bool = False  # as it was asked

        def apply(self, volume: VolumeEvents) -> None:
            volume.refused = self.left_alone

    class UnmanagingPutOff(aggregate.Failure, frozen=True, kw_only=True):
        """Something still uses the storage; nothing was changed."""

        TOPIC = "volume.unmanaging_put_off"
        left_alone: bool = False  # as it was asked

        def apply(self, volume: VolumeEvents) -> None:
            volume.refused = self.left_alone

    # Events: of who holds it, and of the hosts that reach it.

    class Reserved(aggregate.Event, frozen=True, kw_only=True):
        """The volume was promised; without a name, to whoever attaches it next."""

        TOPIC = "volume.reserved"
        attachment_id: UUID
        attach_status: AttachStatus
        instance: str | None = None
        host: str | None = None
        mode: str | None = None

        @property
        def adds_part(self) -> UUID:
            return self.attachment_id

        def apply(self, volume: VolumeEvents) -> None:
            volume.attachments[self.attachment_id] = Attachment(
                self.attachment_id,
                self.attach_status,
                self.timestamp,
                self.instance,
                self.host,
                self.mode,
            )

    class Attached(aggregate.Event, frozen=True, kw_only=True):
        """A holder reads and writes the volume, or may begin to."""

        TOPIC = "volume.attached"
        attachment_id: UUID
        attach_status: AttachStatus
        instance: str | None
        host: str | None
        mode: str
        mountpoint: str | None

        def apply(self, volume: VolumeEvents) -> None:
            move(
                volume,
                self,
                attached_at=self.timestamp,
                instance=self.instance,
                host=self.host,
                mode=self.mode,
                mountpoint=self.mountpoint,
            )

    class DetachingBegun(aggregate.Event, frozen=True, kw_only=True):
        """The holder was asked to let go."""

        TOPIC = "volume.detaching_begun"
        attachment_id: UUID
        attach_status: AttachStatus

        def apply(self, volume: VolumeEvents) -> None:
            move(volume, self)

    class DetachingRolledBack(aggregate.Event, frozen=True, kw_only=True):
        """The holder kept the volume after all."""

        TOPIC = "volume.detaching_rolled_back"
        attachment_id: UUID
        attach_status: AttachStatus

        def apply(self, volume: VolumeEvents) -> None:
            move(volume, self)

    class Released(aggregate.Event, frozen=True, kw_only=True):
        """An attachment ended without work for the backend, and why."""

        TOPIC = "volume.released"
        attachment_id: UUID
        attach_status: AttachStatus
        why: str

        def apply(self, volume: VolumeEvents) -> None:
            move(volume, self)

    class ConnectionStarted(aggregate.Intent, frozen=True, kw_only=True):
        """The backend is to let an attachment's host reach the volume.

        `shared`: it reaches the volume from there already, or another hold does.
        """

        TOPIC = "volume.connection_started"
        attachment_id: UUID
        attach_status: AttachStatus
        connector: dict[str, Any]
        shared: bool
        mode: str
        mountpoint: str | None

        def apply(self, volume: VolumeEvents) -> None:
            move(
                volume,
                self,
                connector=self.connector,
                mode=self.mode,
                mountpoint=self.mountpoint,
            )

    class ConnectionFinished(aggregate.Outcome, frozen=True, kw_only=True):
        """The attachment's host can reach the volume; no secret is written here."""

        TOPIC = "volume.connection_finished"
        attachment_id: UUID
        attach_status: AttachStatus
        connection: dict[str, Any]

        def apply(self, volume: VolumeEvents) -> None:
            move(volume, self, connection=self.connection, error=None)

    class ConnectionFailed(aggregate.Failure, frozen=True, kw_only=True):
        """The backend could not let the attachment's host reach the volume."""

        TOPIC = "volume.connection_failed"
        attachment_id: UUID
        attach_status: AttachStatus

        def apply(self, volume: VolumeEvents) -> None:
            move(volume, self, error=self.fault)

    class DisconnectionStarted(aggregate.Intent, frozen=True, kw_only=True):
        """The backend is to take the volume away from an attachment's host.

        `shared`: another hold reaches the volume from there, so the export stays.
        """

        TOPIC = "volume.disconnection_started"
        attachment_id: UUID
        attach_status: AttachStatus
        connector: dict[str, Any]
        shared: bool

        def apply(self, volume: VolumeEvents) -> None:
            move(volume, self)

    class DisconnectionFinished(aggregate.Outcome, frozen=True, kw_only=True):
        """The host no longer reaches the volume; the attachment has ended."""

        TOPIC = "volume.disconnection_finished"
        attachment_id: UUID
        attach_status: AttachStatus

        def apply(self, volume: VolumeEvents) -> None:
            move(volume, self)

    class DisconnectionFailed(aggregate.Failure, frozen=True, kw_only=True):
        """The volume could not be taken away from the host, which may still write."""

        TOPIC = "volume.disconnection_failed"
        attachment_id: UUID
        attach_status: AttachStatus

        def apply(self, volume: VolumeEvents) -> None:
            move(volume, self, error=self.fault)

    class ExportStarted(aggregate.Intent, frozen=True, kw_only=True):
        """The backend is to let a host reach the volume, for no attachment.

        `shared`: the host reaches the volume already, or is being given a way to it.
        """

        TOPIC = "volume.export_started"
        UPCASTS = (with_mode,)
        event_version: int = 2
        connector: dict[str, Any]
        shared: bool
        mode: str

    class ExportFinished(aggregate.Outcome, frozen=True, kw_only=True):
        """The host can reach the volume; no secret is written here."""

        TOPIC = "volume.export_finished"
        connector: dict[str, Any]
        connection: dict[str, Any]

        def apply(self, volume: VolumeEvents) -> None:
            volume.connections[reached_from(self.connector)] = self.connector

    class ExportFailed(aggregate.Failure, frozen=True, kw_only=True):
        """The backend could not let the host reach the volume."""

        TOPIC = "volume.export_failed"

    class ExportRemovalStarted(aggregate.Intent, frozen=True, kw_only=True):
        """The backend is to take the volume away from a host, or from every host.

        `shared`: something else reaches the volume by that way, so the export stays.
        """

        TOPIC = "volume.export_removal_started"
        connector: dict[str, Any] | None
        shared: bool
        force: bool

    class ExportRemovalFinished(aggregate.Outcome, frozen=True, kw_only=True):
        """The host, or every host, no longer reaches the volume."""

        TOPIC = "volume.export_removal_finished"
        connector: dict[str, Any] | None

        def apply(self, volume: VolumeEvents) -> None:
            volume.connections = left_without(volume.connections, self.connector)

    class ExportRemovalFailed(aggregate.Failure, frozen=True, kw_only=True):
        """The host may still reach the volume."""

        TOPIC = "volume.export_removal_failed"

    class SessionLookedFor(aggregate.Intent, frozen=True, kw_only=True):
        """Nobody finished attaching or detaching: does the host use the volume?

        If it does not, the backend is to take the volume away from it, unless
        another hold reaches it from there (`shared`).
        """

        TOPIC = "volume.session_looked_for"
        attachment_id: UUID
        connector: dict[str, Any] | None
        shared: bool

    class SessionFound(aggregate.Outcome, frozen=True, kw_only=True):
        """The host uses the volume, so it is attached."""

        TOPIC = "volume.session_found"
        attachment_id: UUID
        attach_status: AttachStatus

        def apply(self, volume: VolumeEvents) -> None:
            move(volume, self, attached_at=self.timestamp)

    class SessionMissing(aggregate.Outcome, frozen=True, kw_only=True):
        """The host does not use the volume; its hold ends, unless it went on since."""

        TOPIC = "volume.session_missing"
        attachment_id: UUID
        attach_status: AttachStatus

        def apply(self, volume: VolumeEvents) -> None:
            move(volume, self)

    class SessionUnclear(aggregate.Failure, frozen=True, kw_only=True):
        """Nobody could tell; it will be asked again."""

        TOPIC = "volume.session_unclear"
        attachment_id: UUID
        attach_status: AttachStatus

        def apply(self, volume: VolumeEvents) -> None:
            move(volume, self)


def left_without(
    connections: dict[str, dict[str, Any]], connector: dict[str, Any] | None
) -> dict[str, dict[str, Any]]:
    """Return the connections but that of one host, or none at all."""
    gone = reached_from(connector)
    return {h: c for h, c in connections.items() if connector is not None and h != gone}


def move(volume: VolumeEvents, event: Any, **changes: Any) -> None:
    """Bring the event's attachment to the status that the event led to."""
    before = volume.attachments.get(event.attachment_id)
    if before is None:
        return  # it ended while a backend was still at work for it
    changes |= {"status": event.attach_status, "since": event.timestamp}
    if event.attach_status is not AttachStatus.DETACHED:
        volume.attachments[before.id] = replace(before, **changes)
        return
    changes |= {"detached_at": event.timestamp, "ended": volume.version}
    volume.gone[before.id] = replace(before, **changes)
    del volume.attachments[before.id]
