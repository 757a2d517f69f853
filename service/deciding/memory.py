"""The aggregates in memory: brought from the log, the one used last kept longest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from itertools import islice
from typing import Any, TypeVar
from uuid import UUID

from adapters.postgres.recorder import LogRecorder
from domain import log
from domain.aggregate import Aggregate, Event, OutOfOrder
from service.deciding.command import Key, Live, Part, Unreadable
from service.deciding.reach import Reach

K = TypeVar("K")
Decided = Callable[[Iterable[UUID]], Mapping[UUID, list[Event]]]
Found = dict[UUID, tuple[Any, int]]


class Memory:
    """Aggregates with what is decided and not stored yet, and where each has come to.

    `decided` tells what that is.
    """

    def __init__(self, reach: Reach, decided: Decided) -> None:
        self._reach, self._decided = reach, decided
        self.live: Live = {}
        # Of the last event of each that is stored.
        self.positions: dict[UUID, int] = {}

    async def bring(self, keys: Iterable[Key]) -> None:
        """Bring things into memory; one that does not exist is None there.

        What was taken back may hold what others have decided. It is brought with
        that, or not at all where that was stored meanwhile: it is wanted again.
        Raises `PersistenceError`.
        """
        wanted = [key for key in keys if key not in self.live]
        ids = [key for key in wanted if isinstance(key, UUID)]
        parts = [UUID(int=key) for key in wanted if isinstance(key, int)]
        known = [self.positions.get(aggregate_id) for aggregate_id in ids]
        found, wholes = await self._reach.loaded(read, self._reach.recorder, ids, parts)
        decided = self._decided(ids)
        for aggregate_id, was in zip(ids, known, strict=True):
            if (
                aggregate_id not in self.live
                and self.positions.get(aggregate_id) == was
            ):
                aggregate, position = found.get(aggregate_id, (None, 0))
                with suppress(OutOfOrder):  # the batch is stored, or in conflict
                    now = brought_up(aggregate, decided[aggregate_id])
                    self.live[aggregate_id] = now
                    self.positions[aggregate_id] = position
        for part_id in parts:
            self.live.setdefault(Part(part_id.int), wholes.get(part_id))

    def forget(self, keys: Iterable[Key]) -> None:
        """Leave it to the log what they are."""
        for key in keys:
            self.live.pop(key, None)

    def forget_oldest(self, most: int, busy: Callable[[], set[UUID]]) -> None:
        """Keep no more than so many, and what is `busy`."""
        if max(len(self.live), len(self.positions)) <= most:
            return
        kept = busy()
        for key in excess(self.live, most):
            if key not in kept:
                del self.live[key]
        for aggregate_id in excess(self.positions, most):
            if aggregate_id not in kept and aggregate_id not in self.live:
                del self.positions[aggregate_id]


def read(
    recorder: LogRecorder, ids: list[UUID], parts: list[UUID]
) -> tuple[Found, dict[UUID, UUID]]:
    """Return aggregates as the log has them, and what parts are parts of."""
    found: Found = {}
    written = recorder.histories(ids) if ids else []
    try:
        found |= log.replayed(written)
    except Exception as wrong:  # noqa: BLE001 - nobody else's commands may suffer
        if ids[1:]:
            for each in ids:
                found |= read(recorder, [each], [])[0]
        else:
            found[ids[0]] = Unreadable(*wrong.args), 0
    return found, recorder.wholes(parts) if parts else {}


def brought_up(known: Any, events: Iterable[Event]) -> Any:
    """Return an aggregate with what follows, or raise `OutOfOrder` if that does not."""
    for event in events:
        version = known.version if isinstance(known, Aggregate) else 0
        if isinstance(known, Unreadable) or event.originator_version != version + 1:
            raise OutOfOrder(event.originator_id, version, event.originator_version)
        known = event.mutate(known)
    return known


def excess(bounded: Mapping[K, Any], most: int) -> list[K]:
    """Return the oldest keys of what is too large."""
    return list(islice(bounded, max(0, len(bounded) - most)))
