"""A group snapshot: what all volumes of a group held, at one moment if they can."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import msgspec

from domain import aggregate
from domain.aggregate import Aggregate, Done, NotDone
from domain.lifecycle import Lifecycle


class GroupSnapshotStatus(StrEnum):
    CREATING = "creating"
    AVAILABLE = "available"
    DELETING = "deleting"
    DELETED = "deleted"
    ERROR = "error"


class Consistency(StrEnum):
    """What the snapshots of a group have in common."""

    GROUP = "crash-consistent-group"  # one moment
    VOLUME = "per-volume"  # nothing


S = GroupSnapshotStatus

# fmt: off
LIFECYCLE = Lifecycle(GroupSnapshotStatus, [
    # command              from                     to            only if
    ["created",            S.CREATING,              S.AVAILABLE               ],
    ["creation_failed",    S.CREATING,              S.ERROR                   ],
    ["copy",               S.AVAILABLE,             "="                       ],
    ["delete",             [S.AVAILABLE, S.ERROR],  S.DELETING                ],
    ["member_gone",        S.DELETING,              S.DELETED,  "one_is_left" ],
    ["member_gone",        S.DELETING,              "="                       ],
    ["member_gone",        S.ERROR,                 "="                       ],
    ["member_stays",       S.DELETING,              S.ERROR                   ],
    ["member_stays",       S.ERROR,                 "="                       ],
])
# fmt: on


class Member(msgspec.Struct, frozen=True):
    """A snapshot that is taken with others, and of which volume."""

    snapshot_id: UUID
    volume_id: UUID
    size_gib: int


class GroupSnapshot(Aggregate):
    """Snapshots that were taken together, and go together."""

    # Events

    class Created(aggregate.First, aggregate.Intent, frozen=True, kw_only=True):
        """Snapshots of all members were asked for: the backend is to take them.

        `consistent`: at one moment, or not at all.
        """

        TOPIC = "group_snapshot.created"
        group_id: UUID
        consistent: bool
        members: list[Member]
        name: str = ""
        description: str = ""

        @property
        def in_turn_with(self) -> Collection[UUID]:
            return [member.volume_id for member in self.members]

        def apply(self, taken: GroupSnapshot) -> None:
            taken.backend = self.backend
            taken.group_id = self.group_id
            taken.name = self.name
            taken.description = self.description
            taken.snapshots = {m.snapshot_id: m.volume_id for m in self.members}
            taken.created_at = self.timestamp

    class CreationFinished(aggregate.Outcome, frozen=True, kw_only=True):
        """The backend has taken all of them; `consistency` says what that promises."""

        TOPIC = "group_snapshot.creation_finished"
        consistency: Consistency

        def apply(self, taken: GroupSnapshot) -> None:
            taken.consistency = self.consistency

    class CreationFailed(aggregate.Failure, frozen=True, kw_only=True):
        """The backend could not take all of them, and kept none."""

        TOPIC = "group_snapshot.creation_failed"

    class DeletionStarted(aggregate.Event, frozen=True, kw_only=True):
        """Removal was asked for: each of the snapshots is to go."""

        TOPIC = "group_snapshot.deletion_started"

    class SnapshotRemoved(aggregate.Event, frozen=True, kw_only=True):
        """One of the snapshots is gone."""

        TOPIC = "group_snapshot.snapshot_removed"
        snapshot_id: UUID

        def apply(self, taken: GroupSnapshot) -> None:
            taken.snapshots = {
                snapshot: volume
                for snapshot, volume in taken.snapshots.items()
                if snapshot != self.snapshot_id
            }

    class SnapshotKept(aggregate.Event, frozen=True, kw_only=True):
        """One of the snapshots could not be removed; deleting may be asked again."""

        TOPIC = "group_snapshot.snapshot_kept"
        snapshot_id: UUID
        code: str
        message: str

        def apply(self, taken: GroupSnapshot) -> None:
            taken.error = aggregate.Fault(self.code, self.message, self.timestamp)

    # Commands

    @classmethod
    def create(cls, group_snapshot_id: UUID, **asked: Any) -> GroupSnapshot:
        """Ask for snapshots of all members that a backend will take."""
        status = GroupSnapshotStatus.CREATING
        return cls.begin(
            GroupSnapshot.Created, group_snapshot_id, status=status, **asked
        )

    def check_source(self) -> None:
        """Raise `Refused` unless a group can be made of it."""
        LIFECYCLE.after("copy", self)

    def delete(self) -> None:
        """Ask for all of them to go; once asked for, asking adds nothing."""
        if self.status not in (S.DELETING, S.DELETED):
            status = LIFECYCLE.after("delete", self)
            self.record(GroupSnapshot.DeletionStarted, status=status)

    def report(self, version: int, result: Done | NotDone) -> None:
        """Accept what came of an intent; `NotInFlight` for one that is settled."""
        intent = self.intended(version)
        if isinstance(result, Done):
            self.settle(
                GroupSnapshot.CreationFinished,
                intent,
                status=LIFECYCLE.after("created", self),
                consistency=Consistency.GROUP
                if result.consistent
                else Consistency.VOLUME,
            )
        else:
            status = LIFECYCLE.after("creation_failed", self)
            self.fail(GroupSnapshot.CreationFailed, intent, result, status=status)

    def member_gone(self, snapshot_id: UUID) -> None:
        """Note that a snapshot is gone; after the last, so are all of them."""
        if snapshot_id in self.snapshots:
            status = LIFECYCLE.after("member_gone", self)
            told = {"status": status, "snapshot_id": snapshot_id}
            self.record(GroupSnapshot.SnapshotRemoved, **told)

    def member_stays(self, snapshot_id: UUID, why: NotDone) -> None:
        """Note that a snapshot could not be removed."""
        if snapshot_id in self.snapshots:
            self.record(
                GroupSnapshot.SnapshotKept,
                status=LIFECYCLE.after("member_stays", self),
                snapshot_id=snapshot_id,
                code=why.code,
                message=why.message,
            )

    # Guards

    @property
    def one_is_left(self) -> bool:
        """All but one of its snapshots are gone."""
        return len(self.snapshots) == 1

    @property
    def unsettled(self) -> bool:
        """Whether something is under way that will change its status."""
        return self.status in (S.CREATING, S.DELETING)

    # State: empty until the events fill it.

    def __init__(self, aggregate_id: UUID) -> None:
        super().__init__(aggregate_id)
        self.snapshots: dict[UUID, UUID] = {}  # and of which volume each is
        self.consistency: Consistency | None = None

    group_id: UUID
    name: str
    description: str
    created_at: datetime
