"""A block volume, from the request for it to its removal."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime
from enum import StrEnum
from functools import reduce
from itertools import takewhile
from typing import Any, ClassVar, TypedDict, Unpack
from uuid import UUID, uuid5

from msgspec import UNSET, UnsetType

from domain import aggregate, copying
from domain.aggregate import Done, NotDone, given
from domain.attachment import (
    ATTACHMENT,
    Attachment,
    AttachStatus,
    connector_mode,
    for_driver,
    known_by,
    reached_from,
    same_way,
)
from domain.copying import Copied
from domain.lifecycle import Lifecycle, Refused
from domain.placement import Basis


class Status(StrEnum):
    CREATING = "creating"
    AVAILABLE = "available"
    RESERVED = "reserved"
    ATTACHING = "attaching"
    IN_USE = "in-use"
    DETACHING = "detaching"
    EXTENDING = "extending"
    REVERTING = "reverting"
    MAINTENANCE = "maintenance"
    DELETING = "deleting"
    DELETED = "deleted"
    MANAGING = "managing"
    UNMANAGING = "unmanaging"
    ERROR = "error"
    ERROR_EXTENDING = "error_extending"
    ERROR_DELETING = "error_deleting"
    ERROR_MANAGING = "error_managing"
    ERROR_UNMANAGING = "error_unmanaging"


S = Status
HELD = [S.RESERVED, S.ATTACHING, S.IN_USE, S.DETACHING]
AT_REST = [S.AVAILABLE, *HELD]
FAILED = [S.ERROR, S.ERROR_EXTENDING, S.ERROR_DELETING, S.ERROR_UNMANAGING]
# Its storage is whole, as far as anybody knows, and may be left to others.
OWN = [S.AVAILABLE, S.ERROR, S.ERROR_EXTENDING, S.ERROR_UNMANAGING]
NOT_OURS = [S.MANAGING, S.ERROR_MANAGING]
# A backend is at work on the volume as a whole, and says when that has ended.
UNDER_WAY = [
    S.CREATING,
    S.EXTENDING,
    S.REVERTING,
    S.DELETING,
    S.MANAGING,
    S.UNMANAGING,
]
THERE = [s for s in Status if s not in (S.DELETING, S.UNMANAGING, S.DELETED)]
GOING = [S.DELETING, S.UNMANAGING, S.DELETED, S.ERROR_DELETING]

# fmt: off
# A row that leads to `available` leads to rest, where a volume shows the
# strongest of its attachments: see SHOWN.
LIFECYCLE = Lifecycle(Status, [
    # command               from                to                 only if
    ["created",             S.CREATING,         S.AVAILABLE                       ],
    ["creation_failed",     S.CREATING,         S.ERROR                           ],
    ["manage",              S.ERROR_MANAGING,   S.MANAGING                        ],
    ["manage",              S.DELETED,          S.MANAGING,        "let_go"       ],
    ["managed",             S.MANAGING,         S.AVAILABLE                       ],
    ["managing_failed",     S.MANAGING,         S.ERROR_MANAGING                  ],
    ["update",              THERE,              "="                               ],
    ["update/readonly",     S.AVAILABLE,        S.AVAILABLE,       "disconnected" ],
    ["reserve",             S.AVAILABLE,        S.AVAILABLE                       ],
    ["reserve",             HELD,               S.AVAILABLE,       "multiattach"  ],
    ["reserve/again",       HELD,               S.AVAILABLE                       ],
    ["attach",              S.AVAILABLE,        S.AVAILABLE                       ],
    ["attach",              HELD,               S.AVAILABLE,       "multiattach"  ],
    ["attach/claim",        HELD,               S.AVAILABLE                       ],
    ["complete",            HELD,               S.AVAILABLE                       ],
    ["connect",             AT_REST,            S.AVAILABLE                       ],
    ["connect",             S.EXTENDING,        "="                               ],
    ["connect",             S.ERROR_EXTENDING,  "="                               ],
    ["detach",              AT_REST,            S.AVAILABLE                       ],
    ["detach",              S.EXTENDING,        "="                               ],
    ["detach",              FAILED,             "="                               ],
    ["remove_export",       AT_REST,            S.AVAILABLE,       "unused"       ],
    ["remove_export",       FAILED,             "=",               "unused"       ],
    ["extend",              S.AVAILABLE,        S.EXTENDING                       ],
    ["extend",              S.IN_USE,           S.EXTENDING                       ],
    ["extend",              S.ERROR_EXTENDING,  S.EXTENDING                       ],
    ["extended",            S.EXTENDING,        S.AVAILABLE                       ],
    ["extension_failed",    S.EXTENDING,        S.ERROR_EXTENDING                 ],
    ["snapshot",            S.AVAILABLE,        "="                               ],
    ["snapshot/force",      AT_REST,            "="                               ],
    ["copy",                [S.AVAILABLE, S.IN_USE], "="                          ],
    ["group",               [S.AVAILABLE, S.IN_USE], "="                          ],
    ["ungroup",             [*AT_REST, *FAILED], "="                              ],
    ["revert",              S.AVAILABLE,        S.REVERTING,       "disconnected" ],
    ["revert",              S.ERROR,            S.REVERTING,       "disconnected" ],
    ["reverted",            S.REVERTING,        S.AVAILABLE                       ],
    ["reversion_failed",    S.REVERTING,        S.ERROR                           ],
    ["reversion_put_off",   S.REVERTING,        S.AVAILABLE,       "was_available"],
    ["reversion_put_off",   S.REVERTING,        S.ERROR                           ],
    ["delete",              S.AVAILABLE,        S.DELETING,        "disconnected" ],
    ["delete",              FAILED,             S.DELETING,        "disconnected" ],
    ["delete/force",        S.AVAILABLE,        S.DELETING                        ],
    ["delete/force",        FAILED,             S.DELETING,        "detached"     ],
    ["delete/force",        S.CREATING,         S.DELETING                        ],
    ["delete/force",        S.EXTENDING,        S.DELETING,        "detached"     ],
    ["delete/force",        S.MAINTENANCE,      S.DELETING,        "detached"     ],
    ["delete/awaited",      S.DELETING,         S.DELETING                        ],
    ["deleted",             S.DELETING,         S.DELETED                         ],
    ["deletion_failed",     S.DELETING,         S.ERROR_DELETING                  ],
    ["deletion_put_off",    S.DELETING,         S.AVAILABLE,       "was_available"],
    ["deletion_put_off",    S.DELETING,         S.ERROR_DELETING                  ],
    # What was never taken over is not ours to delete: it is let go of.
    ["delete",              S.ERROR_MANAGING,   S.UNMANAGING                      ],
    ["delete/force",        S.ERROR_MANAGING,   S.UNMANAGING                      ],
    ["delete/force",        S.MANAGING,         S.UNMANAGING                      ],
    ["unmanage",            OWN,                S.UNMANAGING,      "disconnected" ],
    ["unmanage",            S.ERROR_MANAGING,   S.UNMANAGING                      ],
    ["unmanaged",           S.UNMANAGING,       S.DELETED                         ],
    ["unmanaging_failed",   S.UNMANAGING,       S.ERROR_MANAGING,  "never_ours"   ],
    ["unmanaging_failed",   S.UNMANAGING,       S.ERROR_UNMANAGING                ],
    ["unmanaging_put_off",  S.UNMANAGING,       S.AVAILABLE,       "was_available"],
    ["unmanaging_put_off",  S.UNMANAGING,       S.ERROR_MANAGING,  "never_ours"   ],
    ["unmanaging_put_off",  S.UNMANAGING,       S.ERROR_UNMANAGING                ],
])

# What a volume at rest shows, strongest first. A host that could not be taken
# off may still write; one that never got on does not.
SHOWN = {
    AttachStatus.ATTACHED:        S.IN_USE,
    AttachStatus.ERROR_DETACHING: S.IN_USE,
    AttachStatus.ATTACHING:       S.ATTACHING,
    AttachStatus.DETACHING:       S.DETACHING,
    AttachStatus.RESERVED:        S.RESERVED,
    AttachStatus.ERROR_ATTACHING: S.AVAILABLE,
    AttachStatus.DETACHED:        S.AVAILABLE,
}
# fmt: on
TAKEN_AWAY = NotDone("taken-away", "the volume was taken away from the host since")


class Undersized(Exception):
    """A volume can only grow."""

    def __init__(self, size_gib: int, current_gib: int) -> None:
        super().__init__(size_gib, current_gib)
        self.size_gib = size_gib
        self.current_gib = current_gib

    def __str__(self) -> str:
        return f"{self.size_gib} GiB is not more than the {self.current_gib} GiB it has"


class UnknownAttachment(Exception):
    """The volume has no such attachment."""

    def __init__(self, attachment_id: UUID) -> None:
        super().__init__(attachment_id)
        self.attachment_id = attachment_id

    def __str__(self) -> str:
        return f"there is no attachment {self.attachment_id}"


class Description(TypedDict, total=False):
    """What a caller may say about a new volume; what is left out is empty.

    `source`: what it is made from, `{"snapshot": id}` or `{"volume": id}`;
    `considered`: backends that were fit for it, the roomiest, as they were known.
    """

    name: str
    description: str
    project: str
    volume_type: str | None
    multiattach: bool
    bootable: bool
    metadata: dict[str, str]
    source: dict[str, UUID] | None
    group_id: UUID | None
    considered: list[Basis]


class Holder(TypedDict, total=False):
    """Who is to hold a volume, and how."""

    instance: str | None
    host: str | None
    mode: str | None
    mountpoint: str | None


def with_mode(fields: dict[str, Any]) -> None:
    """Lift an export that was asked for before it had to say whether hosts may write.

    Where nothing was said, the driver did what the connector asked for.
    """
    asked = fields.get("mode") or connector_mode(fields["connector"])
    fields["mode"] = asked or "rw"


class Volume(Copied):
    """Storage that hosts can hold; one at a time unless it is `multiattach`."""

    # Events: what an auditor reads. A topic, once released, never changes.

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

        @property
        def may_take_long(self) -> bool:
            return self.source is not None

        def apply(self, volume: Volume) -> None:
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

        def apply(self, volume: Volume) -> None:
            volume.location = self.location

    class CreationFailed(aggregate.Failure, frozen=True, kw_only=True):
        """The backend could not make the storage."""

        TOPIC = "volume.creation_failed"

        def apply(self, volume: Volume) -> None:
            volume.allocated_gib = 0

    class CreationProgressed(aggregate.Progress, frozen=True, kw_only=True):
        """What the source holds is being copied, which may take hours."""

        TOPIC = "volume.creation_progressed"

    class ManagingStarted(Created, frozen=True, kw_only=True):
        """Storage that is there was named: the backend is to take it over.

        `earlier`: when that was last asked for in vain, or so it seemed.
        """

        TOPIC = "volume.managing_started"
        reference: dict[str, str]
        size_gib: int = 0  # known once it is taken over
        earlier: datetime | None = None

    class ManagingFinished(aggregate.Outcome, frozen=True, kw_only=True):
        """The storage is the volume's from now on, whole GiB of it."""

        TOPIC = "volume.managing_finished"
        location: str
        size_gib: int

        def apply(self, volume: Volume) -> None:
            volume.location = self.location
            volume.size_gib = self.size_gib
            volume.allocated_gib = self.size_gib
            volume.error = None

    class ManagingFailed(aggregate.Failure, frozen=True, kw_only=True):
        """The backend could not take the storage over, and left it as it was."""

        TOPIC = "volume.managing_failed"

    class Updated(aggregate.Event, frozen=True, kw_only=True):
        """What callers say about the volume changed; what is absent did not."""

        TOPIC = "volume.updated"
        name: str | UnsetType = UNSET
        description: str | UnsetType = UNSET
        metadata: dict[str, str] | UnsetType = UNSET
        readonly: bool | UnsetType = UNSET
        bootable: bool | UnsetType = UNSET

        def apply(self, volume: Volume) -> None:
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

        def apply(self, volume: Volume) -> None:
            volume.allocated_gib = self.size_gib

    class ExtensionFinished(aggregate.Outcome, frozen=True, kw_only=True):
        """The storage has grown."""

        TOPIC = "volume.extension_finished"
        size_gib: int

        def apply(self, volume: Volume) -> None:
            volume.size_gib = self.size_gib
            volume.allocated_gib = self.size_gib
            volume.error = None

    class ExtensionFailed(aggregate.Failure, frozen=True, kw_only=True):
        """The storage could not grow; it is as large as it was."""

        TOPIC = "volume.extension_failed"

        def apply(self, volume: Volume) -> None:
            volume.allocated_gib = volume.size_gib

    class SnapshotAdded(aggregate.Event, frozen=True, kw_only=True):
        """A snapshot was asked for: the volume stays as long as that does."""

        TOPIC = "volume.snapshot_added"
        snapshot_id: UUID

        def apply(self, volume: Volume) -> None:
            volume.snapshots = {**volume.snapshots, self.snapshot_id: None}

    class SnapshotRemoved(aggregate.Event, frozen=True, kw_only=True):
        """A snapshot of the volume is gone."""

        TOPIC = "volume.snapshot_removed"
        snapshot_id: UUID

        def apply(self, volume: Volume) -> None:
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

        def apply(self, volume: Volume) -> None:
            volume.group_id = self.group_id

    class Ungrouped(aggregate.Event, frozen=True, kw_only=True):
        """The volume is a member of no group."""

        TOPIC = "volume.ungrouped"

        def apply(self, volume: Volume) -> None:
            volume.group_id = None

    class ReversionStarted(aggregate.Intent, frozen=True, kw_only=True):
        """The backend is to let the volume hold again what its snapshot does.

        `snapshot_made_at` tells when that was asked for.
        """

        TOPIC = "volume.reversion_started"
        snapshot_id: UUID
        snapshot_made_at: datetime
        previous_status: Status

        @property
        def may_take_long(self) -> bool:
            return True

        def apply(self, volume: Volume) -> None:
            volume.reverted_to = self.snapshot_id
            volume.previous_status = self.previous_status

    class ReversionFinished(aggregate.Outcome, frozen=True, kw_only=True):
        """The volume holds what its snapshot does."""

        TOPIC = "volume.reversion_finished"

        def apply(self, volume: Volume) -> None:
            volume.error = None

    class ReversionProgressed(aggregate.Progress, frozen=True, kw_only=True):
        """What the snapshot holds is being copied, which may take hours."""

        TOPIC = "volume.reversion_progressed"

    class ReversionFailed(aggregate.Failure, frozen=True, kw_only=True):
        """The volume could not be reverted; the message says what it holds."""

        TOPIC = "volume.reversion_failed"

    class ReversionPutOff(aggregate.Failure, frozen=True, kw_only=True):
        """Something still uses the volume; nothing was changed."""

        TOPIC = "volume.reversion_put_off"

    class CascadeStarted(aggregate.Intent, frozen=True, kw_only=True):
        """Removal was asked for with all snapshots: does anybody use the volume?

        Only if nobody does, they go, and then the volume. Whatever else was under
        way is moot.
        """

        TOPIC = "volume.cascade_started"
        previous_status: Status
        force: bool = False

        def apply(self, volume: Volume) -> None:
            volume.in_flight = {}
            volume.progressed_at = None
            volume.awaited = "look"
            volume.previous_status = self.previous_status

    class CascadeLookedAt(aggregate.Outcome, frozen=True, kw_only=True):
        """Nobody uses the volume, so its snapshots are being removed."""

        TOPIC = "volume.cascade_looked_at"
        force: bool

        def apply(self, volume: Volume) -> None:
            volume.awaited = "snapshots"

    class CascadePutOff(aggregate.Failure, frozen=True, kw_only=True):
        """Something uses the volume, or nobody could tell; nothing was removed."""

        TOPIC = "volume.cascade_put_off"

        def apply(self, volume: Volume) -> None:
            volume.awaited = None

    class DeletionAwaited(aggregate.Event, frozen=True, kw_only=True):
        """Removal was asked for; it begins once something else is done.

        `awaited` says what that is: the members of its "group" were looked at.
        """

        TOPIC = "volume.deletion_awaited"
        awaited: str
        previous_status: Status

        def apply(self, volume: Volume) -> None:
            volume.awaited = self.awaited
            volume.previous_status = self.previous_status

    class DeletionCalledOff(aggregate.Event, frozen=True, kw_only=True):
        """What had to be done before the removal failed; the volume stays."""

        TOPIC = "volume.deletion_called_off"
        code: str
        message: str

        def apply(self, volume: Volume) -> None:
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

        def apply(self, volume: Volume) -> None:
            volume.in_flight = {}
            volume.progressed_at = None
            volume.previous_status = self.previous_status
            volume.awaited = None
            volume.let_go = self.LETS_GO

    class Deleted(aggregate.Outcome, frozen=True, kw_only=True):
        """The storage is gone."""

        TOPIC = "volume.deleted"
        cleared: str | None = None  # how, before others get its blocks

        def apply(self, volume: Volume) -> None:
            volume.allocated_gib = 0
            volume.connections = {}
            volume.error = None

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

        @property
        def never_ours(self) -> bool:
            """It was not known to be taken over, though it may have been."""
            return self.previous_status in NOT_OURS

    class Unmanaged(Deleted, frozen=True, kw_only=True):
        """The volume is forgotten; its storage goes by this name, if there was any."""

        TOPIC = "volume.unmanaged"
        reference: dict[str, str] | None

    class UnmanagingFailed(aggregate.Failure, frozen=True, kw_only=True):
        """The storage could not be let go of; unmanaging may be asked for again."""

        TOPIC = "volume.unmanaging_failed"

    class UnmanagingPutOff(aggregate.Failure, frozen=True, kw_only=True):
        """Something still uses the storage; nothing was changed."""

        TOPIC = "volume.unmanaging_put_off"

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

        def apply(self, volume: Volume) -> None:
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

        def apply(self, volume: Volume) -> None:
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

        def apply(self, volume: Volume) -> None:
            move(volume, self)

    class DetachingRolledBack(aggregate.Event, frozen=True, kw_only=True):
        """The holder kept the volume after all."""

        TOPIC = "volume.detaching_rolled_back"
        attachment_id: UUID
        attach_status: AttachStatus

        def apply(self, volume: Volume) -> None:
            move(volume, self)

    class Released(aggregate.Event, frozen=True, kw_only=True):
        """An attachment ended without work for the backend, and why."""

        TOPIC = "volume.released"
        attachment_id: UUID
        attach_status: AttachStatus
        why: str

        def apply(self, volume: Volume) -> None:
            move(volume, self)

    class ConnectionStarted(aggregate.Intent, frozen=True, kw_only=True):
        """The backend is to let an attachment's host reach the volume.

        `shared`: another hold reaches the volume from there already.
        """

        TOPIC = "volume.connection_started"
        attachment_id: UUID
        attach_status: AttachStatus
        connector: dict[str, Any]
        shared: bool
        mode: str
        mountpoint: str | None

        def apply(self, volume: Volume) -> None:
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

        def apply(self, volume: Volume) -> None:
            move(volume, self, connection=self.connection, error=None)

    class ConnectionFailed(aggregate.Failure, frozen=True, kw_only=True):
        """The backend could not let the attachment's host reach the volume."""

        TOPIC = "volume.connection_failed"
        attachment_id: UUID
        attach_status: AttachStatus

        def apply(self, volume: Volume) -> None:
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

        def apply(self, volume: Volume) -> None:
            move(volume, self)

    class DisconnectionFinished(aggregate.Outcome, frozen=True, kw_only=True):
        """The host no longer reaches the volume; the attachment has ended."""

        TOPIC = "volume.disconnection_finished"
        attachment_id: UUID
        attach_status: AttachStatus

        def apply(self, volume: Volume) -> None:
            move(volume, self)

    class DisconnectionFailed(aggregate.Failure, frozen=True, kw_only=True):
        """The volume could not be taken away from the host, which may still write."""

        TOPIC = "volume.disconnection_failed"
        attachment_id: UUID
        attach_status: AttachStatus

        def apply(self, volume: Volume) -> None:
            move(volume, self, error=self.fault)

    class ExportStarted(aggregate.Intent, frozen=True, kw_only=True):
        """The backend is to let a host reach the volume, for no attachment.

        `shared`: the host reaches the volume already.
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

        def apply(self, volume: Volume) -> None:
            volume.connections[reached_from(self.connector)] = self.connector

    class ExportFailed(aggregate.Failure, frozen=True, kw_only=True):
        """The backend could not let the host reach the volume."""

        TOPIC = "volume.export_failed"

    class ExportRemovalStarted(aggregate.Intent, frozen=True, kw_only=True):
        """The backend is to take the volume away from a host, or from every host.

        `shared`: an attachment reaches the volume from there, so the export stays.
        """

        TOPIC = "volume.export_removal_started"
        connector: dict[str, Any] | None
        shared: bool
        force: bool

    class ExportRemovalFinished(aggregate.Outcome, frozen=True, kw_only=True):
        """The host, or every host, no longer reaches the volume."""

        TOPIC = "volume.export_removal_finished"
        connector: dict[str, Any] | None

        def apply(self, volume: Volume) -> None:
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

        def apply(self, volume: Volume) -> None:
            move(volume, self, attached_at=self.timestamp)

    class SessionMissing(aggregate.Outcome, frozen=True, kw_only=True):
        """The host does not use the volume; the attachment ends, unless it is busy."""

        TOPIC = "volume.session_missing"
        attachment_id: UUID
        attach_status: AttachStatus

        def apply(self, volume: Volume) -> None:
            move(volume, self)

    class SessionUnclear(aggregate.Failure, frozen=True, kw_only=True):
        """Nobody could tell; it will be asked again."""

        TOPIC = "volume.session_unclear"
        attachment_id: UUID
        attach_status: AttachStatus

        def apply(self, volume: Volume) -> None:
            move(volume, self)

    # Commands: ask the table, then record the answer.

    @classmethod
    def create(
        cls,
        volume_id: UUID,
        *,
        size_gib: int,
        backend: str,
        **described: Unpack[Description],
    ) -> Volume:
        """Ask for a volume that a backend will make."""
        return cls.begin(
            Volume.Created,
            volume_id,
            status=Status.CREATING,
            size_gib=size_gib,
            backend=backend,
            **described,
        )

    @classmethod
    def manage(
        cls,
        volume_id: UUID,
        *,
        backend: str,
        reference: dict[str, str],
        **described: Unpack[Description],
    ) -> Volume:
        """Ask for storage that a backend has to be taken over as a volume."""
        return cls.begin(
            Volume.ManagingStarted,
            volume_id,
            status=Status.MANAGING,
            backend=backend,
            reference=reference,
            **described,
        )

    def manage_again(self, **asked: Any) -> None:
        """Ask as `manage` does, where it came to nothing or the volume was let go."""
        status = self._after("manage")
        asked |= {"earlier": self.created_at}
        self.record(Volume.ManagingStarted, status=status, **asked)

    def unmanage(self) -> None:
        """Ask for the volume to be forgotten; its storage stays, under some name.

        Once that was asked for, or it is gone, asking adds nothing.
        """
        if self.status not in (Status.UNMANAGING, Status.DELETED):
            self._check_free("unmanage", self.needed_by)
            status = self._after("unmanage")
            self._remove(Volume.UnmanagingStarted, status, self.status)

    def update(self, **said: Any) -> None:
        """Change what callers say about the volume.

        `readonly` changes only while nobody holds the volume, so that no host
        is told otherwise than it was when it attached.
        """
        changes = {k: v for k, v in said.items() if getattr(self, k) != v}
        command = "update/readonly" if "readonly" in changes else "update"
        status = self._after(command)
        if changes:
            self.record(Volume.Updated, status=status, **changes)

    def extend(self, size_gib: int, considered: Sequence[Basis] = ()) -> None:
        """Ask for more room; raise `Undersized` unless it is more.

        `considered` is its backend as it was known then.
        """
        if size_gib <= self.size_gib:
            raise Undersized(size_gib, self.size_gib)
        status = self._after("extend")
        self._check_free("extend", self.copied_to)
        asked = {"size_gib": size_gib, "considered": list(considered)}
        self._intend(Volume.ExtensionStarted, status, **asked)

    def delete(self, *, force: bool = False) -> None:
        """Ask for the storage to be removed; once asked for, asking adds nothing."""
        if self.status not in (Status.DELETING, Status.DELETED):
            self._check_free("delete", self.needed_by)
            self._leave("delete/force" if force else "delete", force=force)

    def delete_with_group(self) -> None:
        """Ask for the storage to be removed once all of its group was looked at."""
        self._check_free("delete", [*self.copied_to, *self.unsnapped])
        self.record(
            Volume.DeletionAwaited,
            status=self._after("delete"),
            awaited="group",
            previous_status=self.status,
        )

    def cascade(self, *, force: bool) -> None:
        """Ask for its snapshots to be removed, and then the volume, if nobody uses it.

        Once asked for, asking adds nothing.
        """
        if self.status in (Status.DELETING, Status.DELETED):
            return
        command = "delete/force" if force else "delete"
        self._check_free(command, [*self.copied_to, *self.outside_group])
        self._intend(
            Volume.CascadeStarted,
            self._after(command),
            previous_status=self.status,
            force=force,
        )

    def begin_deletion(self, awaited: str) -> None:
        """Ask for the storage to be removed: what was awaited is done."""
        if self.awaited == awaited:
            status = self._after("delete/awaited")
            self._remove(Volume.DeletionStarted, status, self.previous_status)

    def call_off_deletion(self, awaited: str, why: NotDone) -> None:
        """Stay: what was awaited could not be done."""
        if self.awaited == awaited:
            self.record(
                Volume.DeletionCalledOff,
                status=self._after("deletion_put_off"),
                code=why.code,
                message=why.message,
            )

    def add_snapshot(self, snapshot_id: UUID, *, force: bool) -> None:
        """Stay as long as a snapshot does; `force` where hosts may be writing."""
        if not force and self.status in HELD:
            raise Refused("snapshot", self.status, ["force given"])
        status = self._after("snapshot/force" if force else "snapshot")
        self.record(Volume.SnapshotAdded, status=status, snapshot_id=snapshot_id)

    def remove_snapshot(self, snapshot_id: UUID) -> None:
        """Note that a snapshot is gone; a removal that awaited that goes on."""
        if snapshot_id in self.snapshots:
            told = {"status": self.status, "snapshot_id": snapshot_id}
            self.record(Volume.SnapshotRemoved, **told)
            if not self.snapshots:
                self.begin_deletion("snapshots")

    def check_stays(self, command: str) -> None:
        """Raise `Refused` where the volume is about to go."""
        if self.status in GOING:
            raise Refused(command, self.status, [])

    def begin_copy(self, copy_id: UUID) -> None:
        """Stay as it is until another volume is made from it."""
        status = self._after("copy")
        self.record(Volume.CopyBegun, status=status, copy_id=copy_id)

    def join(self, group_id: UUID) -> None:
        """Be a member of a group from now on."""
        if self.group_id == group_id:
            return
        self._check_free("group", self.outside_group)
        status = self._after("group")
        self.record(Volume.Grouped, status=status, group_id=group_id)

    def leave(self, group_id: UUID) -> None:
        """Be a member of the group no more."""
        if self.group_id == group_id:
            self.record(Volume.Ungrouped, status=self._after("ungroup"))

    def revert(
        self,
        snapshot_id: UUID,
        made_at: datetime,
        size_gib: int,
        failed: Collection[UUID] = (),
    ) -> None:
        """Ask for the volume to hold again what its latest snapshot does.

        Those that `failed` hold nothing, so they are not the latest.
        """
        unmet = list(self.copied_to)
        latest = next((s for s in reversed(self.snapshots) if s not in failed), None)
        if snapshot_id not in self.snapshots:
            unmet.append(f"the volume that snapshot {snapshot_id} is of")
        elif snapshot_id != latest:
            unmet.append(f"its latest snapshot, which is {latest}")
        elif size_gib != self.size_gib:
            unmet.append("as large as the snapshot")
        status = self._after("revert")
        self._check_free("revert", unmet)
        self._intend(
            Volume.ReversionStarted,
            status,
            snapshot_id=snapshot_id,
            snapshot_made_at=made_at,
            previous_status=self.status,
        )

    def snapshots_since(self, snapshot_id: UUID) -> list[UUID]:
        """Return the snapshots that were asked for after one of them."""
        since = takewhile(lambda each: each != snapshot_id, reversed(self.snapshots))
        return [*since]

    def reserve(self) -> None:
        """Promise the volume to whoever attaches it next."""
        self._hold("reserve", self._next_id(), AttachStatus.ATTACHING)

    def unreserve(self) -> None:
        """Take back a promise without a name; where there is none, nothing is done."""
        unclaimed = self._unclaimed()
        if unclaimed and unclaimed.unexported:
            self._release("unreserve", unclaimed, "unreserved")

    def attach(self, **holder: Unpack[Holder]) -> None:
        """Attach to the holder at once; one that is attached already stays so."""
        instance, host = holder.get("instance"), holder.get("host")
        own = self._held_by(instance, host)
        if own and own.status is AttachStatus.ATTACHED:
            self._after("detach")  # refused where nothing may be attached either
            if holder.get("mode") not in (None, own.mode):
                raise Refused("attach", self.status, [f"attached as {holder['mode']}"])
            return
        claimed = own or self._unclaimed()
        mode = self._mode("attach", holder.get("mode"), claimed)
        if claimed is None:
            claimed = self._hold(
                "attach", self._next_id(), AttachStatus.ATTACHING, instance, host, mode
            )
        self._attached("attach/claim", "attach", claimed, holder | {"mode": mode})

    def begin_detaching(self, attachment_id: UUID | None = None) -> None:
        """Note that the holder is asked to let go."""
        attachment = self._only("begin_detaching", attachment_id)
        self._after("detach")
        self._move(Volume.DetachingBegun, "begin_detaching", attachment)

    def roll_detaching(self, attachment_id: UUID | None = None) -> None:
        """Note that the holder kept the volume after all."""
        attachment = self._only("roll_detaching", attachment_id)
        self._after("detach")
        if self._being_disconnected(attachment.id):
            raise Refused("roll_detaching", self.status, ["connected"])
        self._move(Volume.DetachingRolledBack, "roll_detaching", attachment)

    def detach(self, attachment_id: UUID | None = None) -> None:
        """Take the volume back from a holder; one that is gone has let go already.

        Where a backend has let its host reach the volume, that is undone first.
        """
        if attachment_id in self.gone or not (attachment_id or self.attachments):
            return
        attachment = self._only("detach", attachment_id)
        self._after("detach")
        if self._being_disconnected(attachment.id):
            return
        if attachment.connector is None:
            self._release("detach", attachment, "detached")
            return
        to = ATTACHMENT.after("detach", attachment)
        self._intend(
            Volume.DisconnectionStarted,
            self._showing(attachment.id, to),
            attachment_id=attachment.id,
            attach_status=to,
            connector=attachment.connector,
            shared=self._shared(attachment.connector, attachment.id),
        )

    def hold(
        self,
        attachment_id: UUID,
        *,
        instance: str | None = None,
        host: str | None = None,
        mode: str | None = None,
    ) -> None:
        """Promise the volume to an instance or a host.

        An instance that holds it may hold it once more: it is on its way to
        another host.
        """
        again = instance is not None and self._held_by(instance, None)
        command = "reserve/again" if again else "reserve"
        self._mode(command, mode, None)
        to = AttachStatus.RESERVED
        self._hold(command, attachment_id, to, instance, host, mode)

    def connect(
        self,
        attachment_id: UUID,
        connector: dict[str, Any],
        mountpoint: str | None = None,
    ) -> None:
        """Ask for the attachment's host to reach the volume.

        Of the several holds of an ordinary volume, one at a time is connected, and
        each to one host: for another one it is detached first.
        """
        attachment = self.attachment(attachment_id)
        others = (a for i, a in self.attachments.items() if i != attachment_id)
        if not self.multiattach and any(other.connector for other in others):
            raise Refused("connect", self.status, ["multiattach"])
        self._after("connect")
        host = attachment.connector and reached_from(attachment.connector)
        if host and host != reached_from(connector):
            raise Refused("connect", self.status, [f"reached from {host}"])
        mode = self._mode("connect", attachment.mode or connector_mode(connector), None)
        to = ATTACHMENT.after("connect", attachment)
        self._intend(
            Volume.ConnectionStarted,
            self._showing(attachment_id, to),
            attachment_id=attachment_id,
            attach_status=to,
            connector=connector,
            shared=self._shared(connector, attachment_id),
            mode=mode,
            mountpoint=mountpoint or attachment.mountpoint,
        )

    def complete(self, attachment_id: UUID) -> None:
        """Note that the host uses the volume; once it does, saying so adds nothing."""
        attachment = self.attachment(attachment_id)
        if attachment.status is not AttachStatus.ATTACHED:
            self._attached("complete", "complete", attachment, {})

    def export(self, connector: dict[str, Any]) -> None:
        """Ask for a host to reach the volume, whoever holds it."""
        status = self._after("connect")
        mode = self._mode("connect", connector_mode(connector), None)
        shared = self._shared(connector, None) or self._exported_to(connector)
        self._intend(
            Volume.ExportStarted, status, connector=connector, shared=shared, mode=mode
        )

    def unexport(
        self, connector: dict[str, Any] | None = None, *, force: bool = False
    ) -> None:
        """Ask for the volume to be taken away from a host, or from every host.

        A host that does not reach it has nothing to lose; nothing is done.
        """
        if connector is None:
            status = self._after("remove_export")
        else:
            status = self._after("detach")
            if not self._exported_to(connector):
                return
        self._intend(
            Volume.ExportRemovalStarted,
            status,
            connector=connector,
            shared=connector is not None and self._shared(connector, None),
            force=force,
        )

    def expire(self, attachment_id: UUID) -> None:
        """End a promise that nobody used in time."""
        self._release(
            "expire", self.attachment(attachment_id), "nobody used it in time"
        )

    def look_for_session(self, attachment_id: UUID) -> None:
        """Ask whether a host that should have finished by now uses the volume."""
        attachment = self.attachment(attachment_id)
        ATTACHMENT.after("look_for_session", attachment)
        self._intend(
            Volume.SessionLookedFor,
            self.status,
            attachment_id=attachment_id,
            connector=attachment.connector,
            shared=self._shared(attachment.connector or {}, attachment_id),
        )

    def report(self, version: int, result: Done | NotDone) -> None:
        """Accept what came of an intent; `NotInFlight` for one that is settled."""
        intent = self.intended(version)
        # fmt: off
        V = Volume  # noqa: N806 - keeps the table narrow
        outcomes: dict[type[aggregate.Intent], tuple[Any, Any]] = {
            # asked                done                  not done
            V.Created:             (self._created,       self._creation_failed),
            V.ManagingStarted:     (self._managed,       self._managing_failed),
            V.ExtensionStarted:    (self._extended,      self._extension_failed),
            V.ReversionStarted:    (self._reverted,      self._reversion_failed),
            V.DeletionStarted:     (self._deleted,       self._deletion_failed),
            V.CascadeStarted:      (self._looked_at,     self._cascade_put_off),
            V.UnmanagingStarted:   (self._unmanaged,     self._unmanaging_failed),
            V.ConnectionStarted:   (self._connected,     self._connection_failed),
            V.DisconnectionStarted:(self._disconnected,  self._disconnection_failed),
            V.ExportStarted:       (self._exported,      self._export_failed),
            V.ExportRemovalStarted:(self._unexported,    self._unexport_failed),
            V.SessionLookedFor:    (self._session_found, self._session_unclear),
        }
        # fmt: on
        done, not_done = outcomes[type(intent)]
        if isinstance(result, Done):
            done(intent, result)
        else:
            not_done(intent, result)

    def progress(self, version: int, percent: int) -> None:
        """Note how far work is; what is always short has no more than its deadline."""
        intent = self.intended(version)
        told = {"status": self.status, "percent": percent}
        for asked, progressed in {
            Volume.DeletionStarted: Volume.DeletionProgressed,
            Volume.Created: Volume.CreationProgressed,
            Volume.ReversionStarted: Volume.ReversionProgressed,
        }.items():
            if isinstance(intent, asked):
                self.settle(progressed, intent, **told)

    # Outcomes: what a backend reported, one pair for each intent.

    def _created(self, intent: Created, done: Done) -> None:
        status = self._after("created")
        self.settle(
            Volume.CreationFinished, intent, status=status, location=done.location
        )

    def _creation_failed(self, intent: Created, why: NotDone) -> None:
        status = self._after("creation_failed")
        self.fail(Volume.CreationFailed, intent, why, status=status)

    def _managed(self, intent: ManagingStarted, done: Done) -> None:
        self.settle(
            Volume.ManagingFinished,
            intent,
            status=self._after("managed"),
            location=done.location,
            size_gib=done.size_gib,
        )

    def _managing_failed(self, intent: ManagingStarted, why: NotDone) -> None:
        status = self._after("managing_failed")
        self.fail(Volume.ManagingFailed, intent, why, status=status)

    def _extended(self, intent: ExtensionStarted, _: Done) -> None:
        status, size_gib = self._after("extended"), intent.size_gib
        self.settle(Volume.ExtensionFinished, intent, status=status, size_gib=size_gib)

    def _extension_failed(self, intent: ExtensionStarted, why: NotDone) -> None:
        status = self._after("extension_failed")
        self.fail(Volume.ExtensionFailed, intent, why, status=status)

    def _reverted(self, intent: ReversionStarted, _: Done) -> None:
        self.settle(Volume.ReversionFinished, intent, status=self._after("reverted"))

    def _reversion_failed(self, intent: ReversionStarted, why: NotDone) -> None:
        kind = Volume.ReversionPutOff if why.busy else Volume.ReversionFailed
        command = "reversion_put_off" if why.busy else "reversion_failed"
        self.fail(kind, intent, why, status=self._after(command))

    def _deleted(self, intent: DeletionStarted, done: Done) -> None:
        status = self._after("deleted")
        self._release_all("the volume was deleted")
        self.settle(Volume.Deleted, intent, status=status, cleared=done.cleared)

    def _deletion_failed(self, intent: DeletionStarted, why: NotDone) -> None:
        kind = Volume.DeletionPutOff if why.busy else Volume.DeletionFailed
        command = "deletion_put_off" if why.busy else "deletion_failed"
        self.fail(kind, intent, why, status=self._after(command))

    def _looked_at(self, intent: CascadeStarted, _: Done) -> None:
        status = self._after("delete/awaited")
        self.settle(Volume.CascadeLookedAt, intent, status=status, force=intent.force)

    def _cascade_put_off(self, intent: CascadeStarted, why: NotDone) -> None:
        self.fail(
            Volume.CascadePutOff, intent, why, status=self._after("deletion_put_off")
        )

    def _unmanaged(self, intent: UnmanagingStarted, done: Done) -> None:
        status = self._after("unmanaged")
        self._release_all("the volume is no longer managed")
        self.settle(Volume.Unmanaged, intent, status=status, reference=done.reference)

    def _unmanaging_failed(self, intent: UnmanagingStarted, why: NotDone) -> None:
        kind = Volume.UnmanagingPutOff if why.busy else Volume.UnmanagingFailed
        command = "unmanaging_put_off" if why.busy else "unmanaging_failed"
        self.fail(kind, intent, why, status=self._after(command))

    def _connected(self, intent: ConnectionStarted, done: Done) -> None:
        connection = self._connection(done, intent.mode)
        self._move_on(
            Volume.ConnectionFinished, "connected", intent, connection=connection
        )

    def _connection_failed(self, intent: ConnectionStarted, why: NotDone) -> None:
        self._move_on(Volume.ConnectionFailed, "connection_failed", intent, why)

    def _disconnected(self, intent: DisconnectionStarted, _: Done) -> None:
        self._move_on(Volume.DisconnectionFinished, "detached", intent)
        # A backend works in turn, so this ends what it was asked before, told or not.
        for earlier in self.work_for(intent.attachment_id):
            if isinstance(earlier, Volume.ConnectionStarted):
                self._connection_failed(earlier, TAKEN_AWAY)

    def _disconnection_failed(self, intent: DisconnectionStarted, why: NotDone) -> None:
        self._move_on(Volume.DisconnectionFailed, "detaching_failed", intent, why)

    def _exported(self, intent: ExportStarted, done: Done) -> None:
        self.settle(
            Volume.ExportFinished,
            intent,
            status=self.status,
            connector=intent.connector,
            connection=self._connection(done, intent.mode),
        )

    def _export_failed(self, intent: ExportStarted, why: NotDone) -> None:
        self.fail(Volume.ExportFailed, intent, why, status=self.status)

    def _unexported(self, intent: ExportRemovalStarted, _: Done) -> None:
        connector = intent.connector
        self.settle(
            Volume.ExportRemovalFinished,
            intent,
            status=self.status,
            connector=connector,
        )

    def _unexport_failed(self, intent: ExportRemovalStarted, why: NotDone) -> None:
        self.fail(Volume.ExportRemovalFailed, intent, why, status=self.status)

    def _session_found(self, intent: SessionLookedFor, done: Done) -> None:
        if done.found:
            self._move_on(Volume.SessionFound, "session_found", intent)
            return
        # What was asked for since decides how the attachment goes on.
        since = self.work_for(intent.attachment_id) != [intent]
        command = "session_missing/busy" if since else "session_missing"
        self._move_on(Volume.SessionMissing, command, intent)

    def _session_unclear(self, intent: SessionLookedFor, why: NotDone) -> None:
        self._move_on(Volume.SessionUnclear, "session_unclear", intent, why)

    # Recording: what several commands share.

    def _intend(
        self, event: type[aggregate.Intent], status: Status, **data: Any
    ) -> None:
        self.record(event, status=status, backend=self.backend, **data)

    def _leave(self, command: str, *, force: bool) -> None:
        """Record what the table makes of it: removal, or only letting go."""
        status = self._after(command)
        letting_go = status is Status.UNMANAGING
        event = Volume.UnmanagingStarted if letting_go else Volume.DeletionStarted
        self._remove(event, status, self.status, force=force)

    def _remove(
        self,
        event: type[DeletionStarted],
        status: Status,
        previous: Status | None,
        *,
        force: bool = False,
    ) -> None:
        self._intend(
            event,
            status,
            previous_status=previous,
            made_at=self.created_at,
            force=force,
        )

    def _check_free(self, command: str, unmet: list[str]) -> None:
        """Refuse what others would suffer from; `unmet` names them."""
        if unmet:
            raise Refused(command, self.status, unmet)

    def _hold(
        self,
        command: str,
        attachment_id: UUID,
        to: AttachStatus,
        instance: str | None = None,
        host: str | None = None,
        mode: str | None = None,
    ) -> Attachment:
        self._after(command)
        self.record(
            Volume.Reserved,
            status=self._showing(attachment_id, to),
            attachment_id=attachment_id,
            attach_status=to,
            instance=instance,
            host=host,
            mode=mode,
        )
        return self.attachments[attachment_id]

    def _attached(
        self, command: str, move: str, attachment: Attachment, holder: Holder
    ) -> None:
        self._after(command)
        to = ATTACHMENT.after(move, attachment)
        self.record(
            Volume.Attached,
            status=self._showing(attachment.id, to),
            attachment_id=attachment.id,
            attach_status=to,
            instance=holder.get("instance") or attachment.instance,
            host=holder.get("host") or attachment.host,
            mode=holder.get("mode") or attachment.mode,
            mountpoint=holder.get("mountpoint") or attachment.mountpoint,
        )

    def _move(
        self, event: type[aggregate.Event], command: str, attachment: Attachment
    ) -> None:
        to = ATTACHMENT.after(command, attachment)
        self.record(
            event,
            status=self._showing(attachment.id, to),
            attachment_id=attachment.id,
            attach_status=to,
        )

    def _move_on(
        self,
        event: type[aggregate.Outcome],
        command: str,
        intent: Any,
        why: NotDone | None = None,
        **data: Any,
    ) -> None:
        """Record what an intent did to its attachment, which may have ended since."""
        attachment_id = intent.attachment_id
        live = self.attachments.get(attachment_id)
        to = ATTACHMENT.after(command, live) if live else AttachStatus.DETACHED
        data |= {"attachment_id": attachment_id, "attach_status": to}
        status = self._showing(attachment_id, to)
        if why:
            self.fail(event, intent, why, status=status, **data)  # type: ignore[arg-type]
        else:
            self.settle(event, intent, status=status, **data)

    def _release(self, command: str, attachment: Attachment, why: str) -> None:
        gone = ATTACHMENT.after(command, attachment)
        self.record(
            Volume.Released,
            status=self._showing(attachment.id, gone),
            attachment_id=attachment.id,
            attach_status=gone,
            why=why,
        )

    def _release_all(self, why: str) -> None:
        for attachment in list(self.attachments.values()):
            self._release("detached", attachment, why)

    # Asking: what the tables and the attachments say.

    def attachment(self, attachment_id: UUID) -> Attachment:
        """Return a live attachment; `UnknownAttachment`, or `Refused` if it is gone."""
        if attachment_id in self.attachments:
            return self.attachments[attachment_id]
        if attachment_id in self.gone:
            raise Refused("use", AttachStatus.DETACHED, [])
        raise UnknownAttachment(attachment_id)

    @property
    def connectors(self) -> list[dict[str, Any]]:
        """The connectors of the hosts that are to reach it, each once.

        Of a volume that is going, or half gone, there is none.
        """
        if self.status in GOING or not (self.attachments or self.connections):
            return []
        held = [
            for_driver(a.connector, a.mode)
            for a in self.attachments.values()
            if a.exported and a.connector
        ]
        given = [
            for_driver(connector, connector_mode(connector) or self._default_mode)
            for connector in self.connections.values()
        ]
        # A host that may write for one of its instances may write.
        wanted = sorted([*held, *given], key=lambda c: connector_mode(c) != "ro")
        return list({known_by(connector): connector for connector in wanted}.values())

    def work_for(self, attachment_id: UUID) -> list[aggregate.Intent]:
        """Return what backends are asked to do for an attachment."""
        asked = self.in_flight.values()
        return [i for i in asked if getattr(i, "attachment_id", None) == attachment_id]

    def _after(self, command: str) -> Status:
        """Return the status a command leads to, or raise `Refused`."""
        status = LIFECYCLE.after(command, self)
        return self._shown({}) if status is Status.AVAILABLE else status

    def _showing(self, changed: UUID, to: AttachStatus) -> Status:
        """Return what the volume shows once one attachment has changed."""
        return self._shown({changed: to}) if self.status in AT_REST else self.status

    def _shown(self, changed: dict[UUID, AttachStatus]) -> Status:
        return SHOWN[strongest(self.attachments, changed)]

    def _only(self, command: str, attachment_id: UUID | None) -> Attachment:
        """Return the attachment meant; among several, it has to be named."""
        if attachment_id:
            return self.attachment(attachment_id)
        if len(self.attachments) > 1:
            raise Refused(command, self.status, ["attachment_id given"])
        for attachment in self.attachments.values():
            return attachment
        raise Refused(command, self.status, ["attached"])

    def _unclaimed(self) -> Attachment | None:
        found = (a for a in self.attachments.values() if a.nameless)
        return next((a for a in found if a.status is AttachStatus.ATTACHING), None)

    def _held_by(self, instance: str | None, host: str | None) -> Attachment | None:
        holds = (a for a in self.attachments.values() if a.held_by(instance, host))
        return next((a for a in holds if a.status in HOLDING), None)

    def _mode(self, command: str, mode: str | None, claimed: Attachment | None) -> str:
        """Return the mode to attach in; refuse what others were promised not to."""
        promised = claimed.mode if claimed else None
        wanted = mode or promised or self._default_mode
        if self.readonly and wanted != "ro":
            raise Refused(command, self.status, ["writable"])
        if promised and wanted != promised:
            raise Refused(command, self.status, [f"attached as {promised}"])
        return wanted

    def _connection(self, done: Done, mode: str) -> dict[str, Any]:
        """Return Cinder's connection_info: what the driver told, and how to use it."""
        told = done.connection or {}
        used = {"volume_id": str(self.id), "access_mode": mode, "encrypted": False}
        return told | {"data": told.get("data", {}) | used}

    def _shared(self, connector: dict[str, Any], but: UUID | None) -> bool:
        """Tell whether another hold reaches the volume from the connector's host.

        One that is being taken away does not: of two that go at once, the last takes
        the way with it.
        """
        holds = (a for i, a in self.attachments.items() if i != but and a.connector)
        if any(same_way(a.connector, connector) and self._stays(a) for a in holds):
            return True
        return but is not None and self._stays_exported_to(connector)

    def _stays(self, attachment: Attachment) -> bool:
        turned_away = attachment.status is AttachStatus.ERROR_ATTACHING
        return not turned_away and not self._being_disconnected(attachment.id)

    def _stays_exported_to(self, connector: dict[str, Any]) -> bool:
        going = (
            intent.connector
            for intent in self.in_flight.values()
            if isinstance(intent, Volume.ExportRemovalStarted)
        )
        left = reduce(left_without, going, self.connections)
        return any(same_way(stays, connector) for stays in left.values())

    def _being_disconnected(self, attachment_id: UUID) -> bool:
        asked = self.work_for(attachment_id)
        return any(isinstance(intent, Volume.DisconnectionStarted) for intent in asked)

    def _exported_to(self, connector: dict[str, Any]) -> bool:
        return reached_from(connector) in self.connections

    def _next_id(self) -> UUID:
        # Derived, so that a decision taken twice chooses the same.
        return uuid5(self.id, f"attachment {self.version + 1}")

    @property
    def needed_by(self) -> list[str]:
        """What keeps it from going, in words."""
        return [*self.unsnapped, *self.copied_to, *self.outside_group]

    @property
    def unsnapped(self) -> list[str]:
        """What has to be so before it can go without its snapshots."""
        return [f"without snapshot {each}" for each in self.snapshots]

    @property
    def outside_group(self) -> list[str]:
        """What has to be so before it can go, or join others, by itself."""
        return [f"outside group {self.group_id}"] if self.group_id else []

    @property
    def unsettled(self) -> bool:
        """Whether something is under way that will change its status."""
        return super().unsettled or self.awaited is not None

    # Guards: what the tables may ask.

    @property
    def detached(self) -> bool:
        """Nobody holds it."""
        return self._shown({}) is Status.AVAILABLE

    @property
    def disconnected(self) -> bool:
        """Nobody holds it, and no host was left a way to reach it."""
        return self.detached and not self.connections

    @property
    def unused(self) -> bool:
        """No host uses it, or is about to."""
        return not any(a.connector or a.attached for a in self.attachments.values())

    @property
    def was_available(self) -> bool:
        """Deleting it began with a volume that could be used."""
        return self.previous_status == Status.AVAILABLE

    @property
    def never_ours(self) -> bool:
        """Letting go of it began before it was known to be taken over."""
        return self.previous_status in NOT_OURS

    @property
    def attach_status(self) -> AttachStatus:
        """Cinder's attach_status: the strongest of the attachments."""
        return strongest(self.attachments, {})

    @property
    def _default_mode(self) -> str:
        return "ro" if self.readonly else "rw"

    # State: empty until the events fill it.

    def __init__(self, aggregate_id: UUID) -> None:
        super().__init__(aggregate_id)
        self.attachments: dict[UUID, Attachment] = {}
        self.gone: dict[UUID, Attachment] = {}
        self.connections: dict[str, dict[str, Any]] = {}
        self.location: str | None = None
        self.previous_status: Status | None = None
        self.readonly = False
        self.bootable = False
        self.let_go = False  # it went, but not its storage
        self.snapshots: dict[UUID, None] = {}  # the latest last
        self.awaited: str | None = None  # what is to be done before it is removed
        self.reverted_to: UUID | None = None  # the snapshot, last

    name: str
    description: str
    project: str
    size_gib: int
    volume_type: str | None
    multiattach: bool
    metadata: dict[str, str]
    source: dict[str, UUID] | None
    group_id: UUID | None
    created_at: datetime


HOLDING = [held for held, shown in SHOWN.items() if shown is not Status.AVAILABLE]


def strongest(
    attachments: dict[UUID, Attachment], changed: dict[UUID, AttachStatus]
) -> AttachStatus:
    """Return the strongest status among attachments, of which some have changed."""
    held = {i: a.status for i, a in attachments.items()} | changed
    if not held:
        return AttachStatus.DETACHED
    return next((s for s in SHOWN if s in held.values()), AttachStatus.DETACHED)


def left_without(
    connections: dict[str, dict[str, Any]], connector: dict[str, Any] | None
) -> dict[str, dict[str, Any]]:
    """Return the connections but that of one host, or none at all."""
    gone = reached_from(connector)
    return {h: c for h, c in connections.items() if connector is not None and h != gone}


def move(volume: Volume, event: Any, **changes: Any) -> None:
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
