"""A snapshot: what a volume held at one moment."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, TypedDict, Unpack
from uuid import UUID

from msgspec import UNSET, UnsetType

from domain import aggregate, copying
from domain.aggregate import Done, NotDone, given
from domain.copying import Copied
from domain.lifecycle import Lifecycle, Refused


class SnapshotStatus(StrEnum):
    CREATING = "creating"
    AVAILABLE = "available"
    RESTORING = "restoring"
    DELETING = "deleting"
    UNMANAGING = "unmanaging"
    DELETED = "deleted"
    ERROR = "error"
    ERROR_DELETING = "error_deleting"


S = SnapshotStatus
AT_REST = [S.AVAILABLE, S.ERROR, S.ERROR_DELETING]
THERE = [S.CREATING, S.RESTORING, *AT_REST]

# fmt: off
LIFECYCLE = Lifecycle(SnapshotStatus, [
    # command               from             to                 only if
    ["created",             S.CREATING,      S.AVAILABLE                      ],
    ["creation_failed",     S.CREATING,      S.ERROR                          ],
    ["update",              THERE,           "="                              ],
    ["copy",                S.AVAILABLE,     "="                              ],
    ["restore",             S.AVAILABLE,     S.RESTORING                      ],
    ["restored",            S.RESTORING,     S.AVAILABLE                      ],
    ["delete",              AT_REST,         S.DELETING                       ],
    ["delete/force",        AT_REST,         S.DELETING                       ],
    ["delete/force",        S.CREATING,      S.DELETING                       ],
    ["deleted",             S.DELETING,      S.DELETED                        ],
    ["deletion_failed",     S.DELETING,      S.ERROR_DELETING                 ],
    ["deletion_put_off",    S.DELETING,      S.AVAILABLE,      "was_available"],
    ["deletion_put_off",    S.DELETING,      S.ERROR_DELETING                 ],
    ["unmanage",            AT_REST,         S.UNMANAGING                     ],
    ["unmanaged",           S.UNMANAGING,    S.DELETED                        ],
    ["unmanaging_failed",   S.UNMANAGING,    S.ERROR_DELETING                 ],
    ["unmanaging_put_off",  S.UNMANAGING,    S.AVAILABLE,      "was_available"],
    ["unmanaging_put_off",  S.UNMANAGING,    S.ERROR_DELETING                 ],
])
# fmt: on


class Description(TypedDict, total=False):
    """What a caller may say about a new snapshot; what is left out is empty."""

    name: str
    description: str
    metadata: dict[str, str]


class Snapshot(Copied):
    """What a volume held at one moment; it takes as much room as the volume."""

    # Events

    class Created(aggregate.First, aggregate.Intent, frozen=True, kw_only=True):
        """A snapshot was asked for: the backend is to take it.

        `crash_consistent`: hosts may have been writing.
        """

        TOPIC = "snapshot.created"
        volume_id: UUID
        size_gib: int
        crash_consistent: bool = False
        name: str = ""
        description: str = ""
        metadata: dict[str, str] = {}  # noqa: RUF012 - msgspec copies it

        @property
        def in_turn_with(self) -> Collection[UUID]:
            return [self.volume_id]

        def apply(self, snapshot: Snapshot) -> None:
            snapshot.volume_id = self.volume_id
            snapshot.size_gib = self.size_gib
            snapshot.allocated_gib = self.size_gib
            snapshot.backend = self.backend
            snapshot.name = self.name
            snapshot.description = self.description
            snapshot.metadata = self.metadata
            snapshot.created_at = self.timestamp

    class CreatedInGroup(aggregate.First, frozen=True, kw_only=True):
        """A snapshot was asked for with those of other volumes, which says the rest."""

        TOPIC = "snapshot.created_in_group"
        backend: str
        volume_id: UUID
        group_snapshot_id: UUID
        size_gib: int
        name: str = ""
        description: str = ""

        def apply(self, snapshot: Snapshot) -> None:
            snapshot.volume_id = self.volume_id
            snapshot.group_snapshot_id = self.group_snapshot_id
            snapshot.size_gib = self.size_gib
            snapshot.allocated_gib = self.size_gib
            snapshot.backend = self.backend
            snapshot.name = self.name
            snapshot.description = self.description
            snapshot.metadata = {}
            snapshot.created_at = self.timestamp

    class CreationFinished(aggregate.Outcome, frozen=True, kw_only=True):
        """The backend has taken the snapshot, or found what it had taken before."""

        TOPIC = "snapshot.creation_finished"
        location: str
        size_gib: int | None = None  # whole GiB of what was taken over

        def apply(self, snapshot: Snapshot) -> None:
            snapshot.percent = 100
            snapshot.size_gib = self.size_gib or snapshot.size_gib
            snapshot.allocated_gib = snapshot.size_gib

    class CreationFailed(aggregate.Failure, frozen=True, kw_only=True):
        """The backend could not take the snapshot."""

        TOPIC = "snapshot.creation_failed"

        def apply(self, snapshot: Snapshot) -> None:
            snapshot.allocated_gib = 0

    class CreationProgressed(aggregate.Progress, frozen=True, kw_only=True):
        """What the volume holds is being copied, which may take hours."""

        TOPIC = "snapshot.creation_progressed"

        def apply(self, snapshot: Snapshot) -> None:
            snapshot.percent = self.percent

    class TakenInGroup(aggregate.Event, frozen=True, kw_only=True):
        """The backend has taken it with the others of its group."""

        TOPIC = "snapshot.taken_in_group"

        def apply(self, snapshot: Snapshot) -> None:
            snapshot.percent = 100

    class NotTakenInGroup(aggregate.Event, frozen=True, kw_only=True):
        """The backend could not take it with the others of its group."""

        TOPIC = "snapshot.not_taken_in_group"
        code: str
        message: str

        def apply(self, snapshot: Snapshot) -> None:
            snapshot.allocated_gib = 0
            snapshot.error = aggregate.Fault(self.code, self.message, self.timestamp)

    class ManagingStarted(Created, frozen=True, kw_only=True):
        """Storage that is there was named: the backend is to take it over."""

        TOPIC = "snapshot.managing_started"
        reference: dict[str, str]

    class Updated(aggregate.Event, frozen=True, kw_only=True):
        """What callers say about the snapshot changed; what is absent did not."""

        TOPIC = "snapshot.updated"
        name: str | UnsetType = UNSET
        description: str | UnsetType = UNSET
        metadata: dict[str, str] | UnsetType = UNSET

        def apply(self, snapshot: Snapshot) -> None:
            snapshot.name = given(self.name, snapshot.name)
            snapshot.description = given(self.description, snapshot.description)
            snapshot.metadata = given(self.metadata, snapshot.metadata)

    class CopyBegun(copying.CopyBegun, frozen=True, kw_only=True):
        """A volume is being made from the snapshot."""

        TOPIC = "snapshot.copy_begun"

    class CopyEnded(copying.CopyEnded, frozen=True, kw_only=True):
        """The volume that was made from the snapshot needs it no more."""

        TOPIC = "snapshot.copy_ended"

    class RestorationStarted(aggregate.Event, frozen=True, kw_only=True):
        """The volume is to hold again what the snapshot does."""

        TOPIC = "snapshot.restoration_started"

    class RestorationEnded(aggregate.Event, frozen=True, kw_only=True):
        """The volume has been restored, or could not be; the snapshot is whole."""

        TOPIC = "snapshot.restoration_ended"

    class DeletionStarted(aggregate.Intent, frozen=True, kw_only=True):
        """Removal was asked for; whatever else was under way is moot."""

        TOPIC = "snapshot.deletion_started"
        volume_id: UUID
        previous_status: SnapshotStatus
        made_at: datetime
        force: bool = False

        @property
        def may_take_long(self) -> bool:
            return True

        @property
        def in_turn_with(self) -> Collection[UUID]:
            return [self.volume_id]

        def apply(self, snapshot: Snapshot) -> None:
            snapshot.in_flight = {}
            snapshot.progressed_at = None
            snapshot.previous_status = self.previous_status

    class Deleted(aggregate.Outcome, frozen=True, kw_only=True):
        """The snapshot's storage is gone."""

        TOPIC = "snapshot.deleted"
        cleared: str | None = None  # how, before others get its blocks

        def apply(self, snapshot: Snapshot) -> None:
            snapshot.allocated_gib = 0
            snapshot.error = None

    class DeletionProgressed(aggregate.Progress, frozen=True, kw_only=True):
        """The snapshot's storage is being cleared, which may take hours."""

        TOPIC = "snapshot.deletion_progressed"

    class DeletionFailed(aggregate.Failure, frozen=True, kw_only=True):
        """The storage could not be removed; deleting may be asked for again."""

        TOPIC = "snapshot.deletion_failed"

    class DeletionPutOff(aggregate.Failure, frozen=True, kw_only=True):
        """Something still uses the snapshot; nothing was changed."""

        TOPIC = "snapshot.deletion_put_off"

    class UnmanagingStarted(DeletionStarted, frozen=True, kw_only=True):
        """The snapshot is to be forgotten, and its storage left for others."""

        TOPIC = "snapshot.unmanaging_started"

    class Unmanaged(Deleted, frozen=True, kw_only=True):
        """The snapshot is forgotten; its storage goes by this name, if any."""

        TOPIC = "snapshot.unmanaged"
        reference: dict[str, str] | None

        def apply(self, snapshot: Snapshot) -> None:
            snapshot.allocated_gib = 0
            snapshot.error = None
            snapshot.let_go = True

    class UnmanagingFailed(aggregate.Failure, frozen=True, kw_only=True):
        """The storage could not be let go of; unmanaging may be asked for again."""

        TOPIC = "snapshot.unmanaging_failed"

    class UnmanagingPutOff(aggregate.Failure, frozen=True, kw_only=True):
        """Something still uses the snapshot; nothing was changed."""

        TOPIC = "snapshot.unmanaging_put_off"

    # Commands

    @classmethod
    def create(
        cls,
        snapshot_id: UUID,
        *,
        volume_id: UUID,
        backend: str,
        size_gib: int,
        crash_consistent: bool = False,
        **described: Unpack[Description],
    ) -> Snapshot:
        """Ask for a snapshot that a backend will take."""
        return cls.begin(
            Snapshot.Created,
            snapshot_id,
            status=SnapshotStatus.CREATING,
            volume_id=volume_id,
            backend=backend,
            size_gib=size_gib,
            crash_consistent=crash_consistent,
            **described,
        )

    @classmethod
    def manage(
        cls,
        snapshot_id: UUID,
        *,
        volume_id: UUID,
        backend: str,
        size_gib: int,
        reference: dict[str, str],
        **described: Unpack[Description],
    ) -> Snapshot:
        """Ask for storage that a backend has to be taken over as a snapshot."""
        return cls.begin(
            Snapshot.ManagingStarted,
            snapshot_id,
            status=SnapshotStatus.CREATING,
            volume_id=volume_id,
            backend=backend,
            size_gib=size_gib,
            reference=reference,
            **described,
        )

    @classmethod
    def create_in_group(cls, snapshot_id: UUID, **asked: Any) -> Snapshot:
        """Ask for a snapshot that is taken with those of other volumes."""
        return cls.begin(
            Snapshot.CreatedInGroup,
            snapshot_id,
            status=SnapshotStatus.CREATING,
            **asked,
        )

    def taken_in_group(self) -> None:
        """Note that it was taken with the others; one that has gone stays so."""
        if self.status == S.CREATING:
            status = LIFECYCLE.after("created", self)
            self.record(Snapshot.TakenInGroup, status=status)

    def not_taken_in_group(self, why: NotDone) -> None:
        """Note that it could not be taken with the others."""
        if self.status == S.CREATING:
            self.record(
                Snapshot.NotTakenInGroup,
                status=LIFECYCLE.after("creation_failed", self),
                code=why.code,
                message=why.message,
            )

    def update(self, **said: Any) -> None:
        """Change what callers say about the snapshot."""
        changes = {k: v for k, v in said.items() if getattr(self, k) != v}
        status = LIFECYCLE.after("update", self)
        if changes:
            self.record(Snapshot.Updated, status=status, **changes)

    def begin_copy(self, copy_id: UUID) -> None:
        """Stay until a volume is made from it."""
        status = LIFECYCLE.after("copy", self)
        self.record(Snapshot.CopyBegun, status=status, copy_id=copy_id)

    def restore(self) -> None:
        """Stay until the volume holds again what the snapshot does."""
        status = LIFECYCLE.after("restore", self)
        self.record(Snapshot.RestorationStarted, status=status)

    def end_restoration(self) -> None:
        """Be as before: the volume is restored, or cannot be."""
        if self.status == S.RESTORING:
            status = LIFECYCLE.after("restored", self)
            self.record(Snapshot.RestorationEnded, status=status)

    def delete(
        self,
        *,
        force: bool = False,
        with_group: bool = False,
        needed_by: Sequence[str] = (),
    ) -> None:
        """Ask for the storage to be removed; once asked for, asking adds nothing.

        One that was taken in a group goes `with_group` alone. What its volume needs
        (`needed_by`) goes with the volume alone.
        """
        if self.status not in (S.DELETING, S.DELETED):
            command = "delete/force" if force else "delete"
            event = Snapshot.DeletionStarted
            self._leave(command, event, force, with_group, needed_by)

    def check_goes(self, *, force: bool) -> None:
        """Raise `Refused` where `delete` would."""
        if self.status not in (S.DELETING, S.DELETED):
            self._may_leave("delete/force" if force else "delete")

    def unmanage(self) -> None:
        """Ask for the snapshot to be forgotten; its storage stays, under some name."""
        if self.status not in (S.UNMANAGING, S.DELETED):
            self._leave("unmanage", Snapshot.UnmanagingStarted)

    def report(self, version: int, result: Done | NotDone) -> None:
        """Accept what came of an intent; `NotInFlight` for one that is settled."""
        intent = self.intended(version)
        # fmt: off
        outcomes: dict[type[aggregate.Intent], tuple[Any, Any]] = {
            # asked                    done             not done
            Snapshot.Created:           (self._created,   self._creation_failed),
            Snapshot.ManagingStarted:   (self._managed,   self._creation_failed),
            Snapshot.DeletionStarted:   (self._deleted,   self._deletion_failed),
            Snapshot.UnmanagingStarted: (self._unmanaged, self._unmanaging_failed),
        }
        # fmt: on
        done, not_done = outcomes[type(intent)]
        if isinstance(result, Done):
            done(intent, result)
        else:
            not_done(intent, result)

    def progress(self, version: int, percent: int) -> None:
        """Note how far work is that takes its time."""
        intent = self.intended(version)
        going = isinstance(intent, Snapshot.DeletionStarted)
        event = Snapshot.DeletionProgressed if going else Snapshot.CreationProgressed
        self.settle(event, intent, status=self.status, percent=percent)

    # Outcomes

    def _created(self, intent: Created, done: Done) -> None:
        self.settle(
            Snapshot.CreationFinished,
            intent,
            status=LIFECYCLE.after("created", self),
            location=done.location,
        )

    def _managed(self, intent: ManagingStarted, done: Done) -> None:
        self.settle(
            Snapshot.CreationFinished,
            intent,
            status=LIFECYCLE.after("created", self),
            location=done.location,
            size_gib=done.size_gib,
        )

    def _creation_failed(self, intent: Created, why: NotDone) -> None:
        status = LIFECYCLE.after("creation_failed", self)
        self.fail(Snapshot.CreationFailed, intent, why, status=status)

    def _deleted(self, intent: DeletionStarted, done: Done) -> None:
        status = LIFECYCLE.after("deleted", self)
        self.settle(Snapshot.Deleted, intent, status=status, cleared=done.cleared)

    def _deletion_failed(self, intent: DeletionStarted, why: NotDone) -> None:
        kind = Snapshot.DeletionPutOff if why.busy else Snapshot.DeletionFailed
        command = "deletion_put_off" if why.busy else "deletion_failed"
        self.fail(kind, intent, why, status=LIFECYCLE.after(command, self))

    def _unmanaged(self, intent: UnmanagingStarted, done: Done) -> None:
        self.settle(
            Snapshot.Unmanaged,
            intent,
            status=LIFECYCLE.after("unmanaged", self),
            reference=done.reference,
        )

    def _unmanaging_failed(self, intent: UnmanagingStarted, why: NotDone) -> None:
        kind = Snapshot.UnmanagingPutOff if why.busy else Snapshot.UnmanagingFailed
        command = "unmanaging_put_off" if why.busy else "unmanaging_failed"
        self.fail(kind, intent, why, status=LIFECYCLE.after(command, self))

    def _leave(
        self,
        command: str,
        event: type[DeletionStarted],
        force: bool = False,  # noqa: FBT001, FBT002
        with_group: bool = False,  # noqa: FBT001, FBT002
        needed_by: Sequence[str] = (),
    ) -> None:
        self.record(
            event,
            status=self._may_leave(command, with_group, needed_by),
            backend=self.backend,
            volume_id=self.volume_id,
            previous_status=self.status,
            made_at=self.created_at,
            force=force,
        )

    def _may_leave(
        self,
        command: str,
        with_group: bool = False,  # noqa: FBT001, FBT002
        needed_by: Sequence[str] = (),
    ) -> SnapshotStatus:
        """Return the status that leaving leads to, or raise `Refused`."""
        status = LIFECYCLE.after(command, self)
        unmet = [*self.copied_to, *needed_by]
        if self.group_snapshot_id and not with_group:
            unmet.append(f"outside group snapshot {self.group_snapshot_id}")
        if unmet:
            raise Refused(command, self.status, unmet)
        return status

    # Guards

    @property
    def was_available(self) -> bool:
        """Removing it began with a snapshot that could be used."""
        return self.previous_status == S.AVAILABLE

    @property
    def came_to_nothing(self) -> bool:
        """It could not be taken, so it holds nothing."""
        return bool(self.status == S.ERROR)

    @property
    def unsettled(self) -> bool:
        """Whether something is under way that will change its status."""
        return super().unsettled or self.status in (S.CREATING, S.RESTORING)

    # State: empty until the events fill it.

    def __init__(self, aggregate_id: UUID) -> None:
        super().__init__(aggregate_id)
        self.group_snapshot_id: UUID | None = None
        self.previous_status: SnapshotStatus | None = None
        self.percent = 0
        self.let_go = False  # it went, but not its storage

    volume_id: UUID
    size_gib: int
    name: str
    description: str
    metadata: dict[str, str]
    created_at: datetime
