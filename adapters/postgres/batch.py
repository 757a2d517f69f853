"""What is stored together: as the function that appends takes it, and what it tells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast
from uuid import UUID

import msgspec
from eventsourcing.persistence import IntegrityError, OperationalError, StoredEvent
from psycopg.pq.abc import PGresult

from adapters.postgres.arrays import Array, bigints, blobs, texts, uuids

# The words of commits: one that asks a backend for work is in a hurry, unless its
# replica publishes it itself, which says who that is.
WORK, NO_WORK, PUBLISHED_BY = "", "no work", "published by "


class Kept(msgspec.Struct, frozen=True):
    """What the first answer to a request showed, kept for when it is repeated.

    An answer is an aggregate, or a part of it, as it was at a version. So it is
    not stored but given again from the log.
    """

    request_id: str
    fingerprint: bytes
    aggregate_id: UUID
    version: int
    part_id: UUID | None = None
    position: int = 0


@dataclass(frozen=True)
class Batch:
    """What is stored together, or not at all.

    `based_on` is the version of every aggregate that was looked at, `asked`
    every request id. A key is kept with the index of its command's last event,
    -1 for none. `parts` are new parts and what they are parts of. `taken` is
    how many GiB of each backend the events take more, or less; with it, what is
    taken in all must stay within its limit in `limits`. `seen` is how many GiB
    were thought to be taken where something was refused. `word` is what whoever
    follows the log is told, who looks by himself a little later where that is nothing.
    """

    events: Sequence[StoredEvent] = ()
    based_on: Mapping[UUID, int] = field(default_factory=dict)
    kept: Sequence[tuple[Kept, int]] = ()
    asked: Sequence[str] = ()
    parts: Mapping[UUID, UUID] = field(default_factory=dict)
    taken: Mapping[str, int] = field(default_factory=dict)
    limits: Mapping[str, int] = field(default_factory=dict)
    seen: Mapping[str, int] = field(default_factory=dict)
    word: str | None = WORK

    @property
    def words(self) -> list[str]:
        """What is told, if anything."""
        return [] if self.word is None or not self.events else [self.word]

    @property
    def new_ids(self) -> list[UUID]:
        """The ids that must not be anything's: of new aggregates and new parts."""
        begun = [e.originator_id for e in self.events if e.originator_version == 1]
        return [*self.parts, *cast("list[UUID]", begun)]


class Stored(NamedTuple):
    """The positions of a batch's events, and what is now taken of its backends."""

    positions: range
    allocated: dict[str, int]


class Conflict(IntegrityError):
    """Others have changed aggregates, used keys or parts, or taken room meanwhile."""

    def __init__(
        self,
        moved_on: set[UUID],
        answered: Sequence[Kept] = (),
        allocated: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__(moved_on, answered, allocated)
        self.moved_on = moved_on
        self.answered = {kept.request_id: kept for kept in answered}
        self.allocated = dict(allocated or {})


class CommitUnknown(OperationalError):
    """The connection was lost while committing; the log knows what came of it."""

    def __init__(self, events: Sequence[StoredEvent]) -> None:
        super().__init__("the connection was lost while committing")
        self.events = events


def arrays(batch: Batch) -> list[Array]:
    """Return a batch as the function that appends it takes it."""
    events, kept = batch.events, [key for key, _ in batch.kept]
    ids = cast("list[UUID]", [event.originator_id for event in events])
    written = set(ids)
    looked_at = {i: v for i, v in batch.based_on.items() if i not in written}
    return [
        uuids(looked_at),
        bigints(looked_at.values()),
        texts(batch.asked),
        uuids(batch.new_ids),
        uuids(batch.parts),
        uuids(batch.parts.values()),
        texts(batch.seen),
        bigints(batch.seen.values()),
        uuids(ids),
        bigints([event.originator_version for event in events]),
        texts([event.topic for event in events]),
        blobs([event.state for event in events]),
        texts([key.request_id for key in kept]),
        blobs([key.fingerprint for key in kept]),
        uuids([key.aggregate_id for key in kept]),
        bigints([key.version for key in kept]),
        uuids([key.part_id for key in kept]),
        bigints([index + 1 for _, index in batch.kept]),
        bigints([key.position for key in kept]),
        texts(batch.taken),
        bigints(batch.taken.values()),
        bigints([batch.limits.get(backend, 2**62) for backend in batch.taken]),
        texts(batch.words),
    ]


def conflict_of(told: dict[str, Any]) -> Conflict:
    """Return what got in the way, as the function tells it."""
    return Conflict(
        set(map(UUID, told["moved_on"])),
        [
            Kept(
                used["request_id"],
                bytes.fromhex(used["fingerprint"].removeprefix("\\x")),
                UUID(used["aggregate_id"]),
                used["version"],
                UUID(used["part_id"]) if used["part_id"] else None,
                used["position"],
            )
            for used in told["used"]
        ],
        told["allocated"],
    )


def stored_of(batch: Batch, told: PGresult) -> Stored:
    """Return what the function that appends tells, or raise the `Conflict` it was."""
    conflict, last, allocated = (told.get_value(0, n) for n in range(told.nfields))
    if conflict:
        raise conflict_of(msgspec.json.decode(conflict))
    first = int(last or 0) + 1
    allocated_gib: dict[str, int] = msgspec.json.decode(allocated or b"{}")
    return Stored(range(first, first + len(batch.events)), allocated_gib)
