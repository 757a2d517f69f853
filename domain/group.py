"""A group: volumes of one backend that are made, kept and deleted together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from msgspec import UNSET, UnsetType

from domain import aggregate
from domain.aggregate import Aggregate, Done, NotDone, given
from domain.lifecycle import Lifecycle, Refused


class GroupStatus(StrEnum):
    CREATING = "creating"
    AVAILABLE = "available"
    DELETING = "deleting"
    DELETED = "deleted"
    ERROR = "error"


S = GroupStatus
AT_REST = [S.AVAILABLE, S.ERROR]
# A snapshot of all of them is one event, which has to fit into the stream.
MOST_MEMBERS = 1000

# fmt: off
LIFECYCLE = Lifecycle(GroupStatus, [
    # command              from           to            only if
    ["made",               S.CREATING,    S.AVAILABLE,  "complete"      ],
    ["made",               S.CREATING,    S.ERROR,      "making_ends"   ],
    ["made",               S.CREATING,    "="                           ],
    ["made",               S.ERROR,       "="                           ],
    ["making_failed",      S.CREATING,    S.ERROR,      "making_ends"   ],
    ["making_failed",      S.CREATING,    "="                           ],
    ["making_failed",      S.ERROR,       "="                           ],
    ["update",             AT_REST,       "="                           ],
    ["update/members",     S.AVAILABLE,   "="                           ],
    ["snapshot",           S.AVAILABLE,   "="                           ],
    ["copy",               S.AVAILABLE,   "="                           ],
    ["delete",             AT_REST,       S.DELETED,    "empty"         ],
    ["delete",             AT_REST,       S.DELETING                    ],
    ["looked_at",          S.DELETING,    "="                           ],
    ["deletion_put_off",   S.DELETING,    S.AVAILABLE,  "was_available" ],
    ["deletion_put_off",   S.DELETING,    S.ERROR                       ],
    ["member_gone",        S.DELETING,    S.DELETED,    "one_is_left"   ],
    ["member_gone",        S.DELETING,    "="                           ],
    ["member_gone",        AT_REST,       "="                           ],
    ["member_stays",       S.DELETING,    S.ERROR                       ],
    ["member_stays",       S.ERROR,       "="                           ],
])
# fmt: on


@dataclass(eq=False)
class Inconsistent(Exception):
    """A backend cannot take snapshots of a group at one moment."""

    backend: str

    def __str__(self) -> str:
        return (
            f"backend {self.backend} cannot take snapshots of a group at one moment; "
            "leave out `consistent`, or choose another backend"
        )


class Group(Aggregate):
    """Volumes that belong together; a member is a member of no other group.

    `consistent`: its snapshots hold what all members held at one moment.
    """

    # Events

    class Created(aggregate.First, frozen=True, kw_only=True):
        """A group was made, empty or of what its `source` has.

        `volumes`: what is being made for it, one for each of the source's.
        """

        TOPIC = "group.created"
        backend: str
        name: str = ""
        description: str = ""
        consistent: bool = False
        volume_types: list[str] = []  # noqa: RUF012 - msgspec copies it
        source: dict[str, UUID] | None = None
        volumes: list[UUID] = []  # noqa: RUF012

        def apply(self, group: Group) -> None:
            group.backend = self.backend
            group.name = self.name
            group.description = self.description
            group.consistent = self.consistent
            group.volume_types = self.volume_types
            group.source = self.source
            group.volumes = dict.fromkeys(self.volumes)
            group.being_made = frozenset(self.volumes)
            group.created_at = self.timestamp

    class VolumeMade(aggregate.Event, frozen=True, kw_only=True):
        """A volume was made of its source's."""

        TOPIC = "group.volume_made"
        volume_id: UUID

        def apply(self, group: Group) -> None:
            group.being_made = group.being_made - {self.volume_id}

    class MakingFailed(aggregate.Event, frozen=True, kw_only=True):
        """A volume could not be made of its source's; the others are whole."""

        TOPIC = "group.making_failed"
        volume_id: UUID
        code: str
        message: str

        def apply(self, group: Group) -> None:
            group.being_made = group.being_made - {self.volume_id}
            group.error = aggregate.Fault(self.code, self.message, self.timestamp)

    class Updated(aggregate.Event, frozen=True, kw_only=True):
        """What is said of the group, or who is in it, changed; the rest did not."""

        TOPIC = "group.updated"
        name: str | UnsetType = UNSET
        description: str | UnsetType = UNSET
        added: list[UUID] = []  # noqa: RUF012
        removed: list[UUID] = []  # noqa: RUF012

        def apply(self, group: Group) -> None:
            group.name = given(self.name, group.name)
            group.description = given(self.description, group.description)
            group.volumes = members(group.volumes, self.added, self.removed)

    class SnapshotAdded(aggregate.Event, frozen=True, kw_only=True):
        """A snapshot of all members was asked for: the group stays as long."""

        TOPIC = "group.snapshot_added"
        group_snapshot_id: UUID

        def apply(self, group: Group) -> None:
            group.snapshots = {**group.snapshots, self.group_snapshot_id: None}

    class SnapshotRemoved(aggregate.Event, frozen=True, kw_only=True):
        """A snapshot of all members is gone."""

        TOPIC = "group.snapshot_removed"
        group_snapshot_id: UUID

        def apply(self, group: Group) -> None:
            gone = self.group_snapshot_id
            group.snapshots = {s: None for s in group.snapshots if s != gone}

    class DeletionStarted(aggregate.Intent, frozen=True, kw_only=True):
        """Removal was asked for: the backend is to see that no member is in use.

        Only then does any of them go.
        """

        TOPIC = "group.deletion_started"
        volumes: list[UUID]
        previous_status: GroupStatus

        def apply(self, group: Group) -> None:
            group.previous_status = self.previous_status

    class LookedAt(aggregate.Outcome, frozen=True, kw_only=True):
        """No member is in use, so all of them are being removed."""

        TOPIC = "group.looked_at"

    class DeletionPutOff(aggregate.Failure, frozen=True, kw_only=True):
        """A member is in use, or nobody could tell; nothing was removed."""

        TOPIC = "group.deletion_put_off"

    class VolumeRemoved(aggregate.Event, frozen=True, kw_only=True):
        """A member is gone, with its storage."""

        TOPIC = "group.volume_removed"
        volume_id: UUID

        def apply(self, group: Group) -> None:
            group.volumes = members(group.volumes, [], [self.volume_id])

    class VolumeKept(aggregate.Event, frozen=True, kw_only=True):
        """A member could not be removed after all."""

        TOPIC = "group.volume_kept"
        volume_id: UUID
        code: str
        message: str

        def apply(self, group: Group) -> None:
            group.error = aggregate.Fault(self.code, self.message, self.timestamp)

    class Deleted(aggregate.Event, frozen=True, kw_only=True):
        """The group, which had no members, is gone."""

        TOPIC = "group.deleted"

    # Commands

    @classmethod
    def create(cls, group_id: UUID, *, backend: str, **described: Any) -> Group:
        """Make a group without members."""
        status = GroupStatus.AVAILABLE
        return cls.begin(
            Group.Created, group_id, status=status, backend=backend, **described
        )

    @classmethod
    def create_from(
        cls,
        group_id: UUID,
        *,
        source: dict[str, UUID],
        volumes: Iterable[UUID],
        **described: Any,
    ) -> Group:
        """Make a group whose volumes are being made of those of its source."""
        return cls.begin(
            Group.Created,
            group_id,
            status=GroupStatus.CREATING,
            source=source,
            volumes=list(volumes),
            **described,
        )

    def volume_made(self, volume_id: UUID) -> None:
        """Note that a volume was made; after the last, the group is there, or not."""
        if volume_id in self.being_made:
            status = LIFECYCLE.after("made", self)
            self.record(Group.VolumeMade, status=status, volume_id=volume_id)

    def making_failed(self, volume_id: UUID, why: NotDone) -> None:
        """Note that a volume could not be made; others go on."""
        if volume_id in self.being_made:
            self._note_failure(Group.MakingFailed, "making_failed", volume_id, why)

    def update(
        self, added: Iterable[UUID] = (), removed: Iterable[UUID] = (), **said: Any
    ) -> None:
        """Change what is said of the group, and who is in it."""
        changes = {k: v for k, v in said.items() if getattr(self, k) != v}
        joining = [each for each in added if each not in self.volumes]
        leaving = list(removed)
        changing = bool(joining or leaving)
        status = LIFECYCLE.after("update/members" if changing else "update", self)
        if strangers := [each for each in leaving if each not in self.volumes]:
            unmet = [f"with volume {each} as a member" for each in strangers]
            raise Refused("update", self.status, unmet)
        if joining and len(members(self.volumes, joining, leaving)) > MOST_MEMBERS:
            unmet = [f"with at most {MOST_MEMBERS} members"]
            raise Refused("update", self.status, unmet)
        if changes or changing:
            told = {"added": joining, "removed": leaving}
            self.record(Group.Updated, status=status, **told, **changes)

    def check_type(self, volume_type: str | None) -> None:
        """Raise `Refused` unless volumes of the type may be members."""
        if self.volume_types and volume_type not in self.volume_types:
            unmet = [f"of type {' or '.join(self.volume_types)}"]
            raise Refused("group", self.status, unmet)

    def add_snapshot(self, group_snapshot_id: UUID) -> None:
        """Stay as long as a snapshot of all members does."""
        status = LIFECYCLE.after("snapshot", self)
        if not self.volumes:
            raise Refused("snapshot", self.status, ["with any member"])
        told = {"status": status, "group_snapshot_id": group_snapshot_id}
        self.record(Group.SnapshotAdded, **told)

    def remove_snapshot(self, group_snapshot_id: UUID) -> None:
        """Note that a snapshot of all members is gone."""
        if group_snapshot_id in self.snapshots:
            told = {"status": self.status, "group_snapshot_id": group_snapshot_id}
            self.record(Group.SnapshotRemoved, **told)

    def check_source(self) -> None:
        """Raise `Refused` unless another group can be made of its members."""
        LIFECYCLE.after("copy", self)
        if not self.volumes:
            raise Refused("copy", self.status, ["with any member"])

    def delete(self, *, delete_volumes: bool) -> None:
        """Ask for the group to go; with its volumes, or it has to be empty.

        Once asked for, asking adds nothing.
        """
        if self.status in (S.DELETING, S.DELETED):
            return
        status = LIFECYCLE.after("delete", self)
        unmet = [f"without group snapshot {each}" for each in self.snapshots]
        if self.volumes and not delete_volumes:
            unmet.append(f"delete_volumes given: it has {len(self.volumes)} volumes")
        if unmet:
            raise Refused("delete", self.status, unmet)
        if status is S.DELETED:
            self.record(Group.Deleted, status=status)
            return
        self.record(
            Group.DeletionStarted,
            status=status,
            backend=self.backend,
            volumes=list(self.volumes),
            previous_status=self.status,
        )

    def report(self, version: int, result: Done | NotDone) -> None:
        """Accept what came of an intent; `NotInFlight` for one that is settled."""
        intent = self.intended(version)
        if isinstance(result, Done):
            status = LIFECYCLE.after("looked_at", self)
            self.settle(Group.LookedAt, intent, status=status)
        else:
            status = LIFECYCLE.after("deletion_put_off", self)
            self.fail(Group.DeletionPutOff, intent, result, status=status)

    def member_gone(self, volume_id: UUID) -> None:
        """Note that a member is gone; after the last, so is a group that is to go."""
        if volume_id in self.volumes:
            status = LIFECYCLE.after("member_gone", self)
            self.record(Group.VolumeRemoved, status=status, volume_id=volume_id)

    def member_stays(self, volume_id: UUID, why: NotDone) -> None:
        """Note that a member could not be removed after all."""
        if volume_id in self.volumes and self.status in (S.DELETING, S.ERROR):
            self._note_failure(Group.VolumeKept, "member_stays", volume_id, why)

    def _note_failure(
        self,
        event: type[MakingFailed | VolumeKept],
        command: str,
        volume_id: UUID,
        why: NotDone,
    ) -> None:
        self.record(
            event,
            status=LIFECYCLE.after(command, self),
            volume_id=volume_id,
            code=why.code,
            message=why.message,
        )

    # Guards

    @property
    def complete(self) -> bool:
        """All but one of its volumes are made, and none has failed."""
        return self.making_ends and self.error is None

    @property
    def making_ends(self) -> bool:
        """One of its volumes is being made, and no other."""
        return len(self.being_made) == 1

    @property
    def empty(self) -> bool:
        """It has no members."""
        return not self.volumes

    @property
    def one_is_left(self) -> bool:
        """It has one member."""
        return len(self.volumes) == 1

    @property
    def was_available(self) -> bool:
        """Removing it began with a group that was whole."""
        return self.previous_status == S.AVAILABLE

    @property
    def unsettled(self) -> bool:
        """Whether something is under way that will change its status."""
        return self.status in (S.CREATING, S.DELETING)

    # State: empty until the events fill it.

    def __init__(self, aggregate_id: UUID) -> None:
        super().__init__(aggregate_id)
        self.volumes: dict[UUID, None] = {}
        self.being_made: frozenset[UUID] = frozenset()
        self.snapshots: dict[UUID, None] = {}
        self.previous_status: GroupStatus | None = None

    name: str
    description: str
    consistent: bool
    volume_types: list[str]
    source: dict[str, UUID] | None
    created_at: datetime


def members(
    before: dict[UUID, None], added: Iterable[UUID], removed: Iterable[UUID]
) -> dict[UUID, None]:
    """Return who is in a group when some have come and some have gone."""
    gone = set(removed)
    return {each: None for each in (*before, *added) if each not in gone}
