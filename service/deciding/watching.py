"""Those who wait for what becomes of an aggregate."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from uuid import UUID

from domain.aggregate import Aggregate, Event

Look = Callable[[Aggregate, Event, int], None]


class Watchers:
    """Who is to be told of which aggregates."""

    def __init__(self) -> None:
        self._of: dict[UUID, dict[asyncio.Event, Look]] = {}

    def __bool__(self) -> bool:
        return bool(self._of)

    def __contains__(self, aggregate_id: UUID) -> bool:
        return aggregate_id in self._of

    @contextmanager
    def watching(
        self, aggregate_id: UUID, look: Look = lambda *_: None
    ) -> Iterator[asyncio.Event]:
        """Yield what is set when something may have happened to the aggregate.

        Here or on another replica, once or twice. What was stored here can be looked
        at first: what became of the aggregate, by which event, at which position.
        """
        happened = asyncio.Event()
        watchers = self._of.setdefault(aggregate_id, {})
        watchers[happened] = look
        try:
            yield happened
        finally:
            watchers.pop(happened, None)
            if not watchers:
                self._of.pop(aggregate_id, None)

    def tell(self, changed: Iterable[UUID]) -> None:
        """Let those who watch know that something has happened."""
        for aggregate_id in changed:
            for happened in self._of.get(aggregate_id, ()):
                happened.set()

    def show(self, aggregate: Aggregate, event: Event, position: int) -> None:
        """Let those who watch look at what an event has made of it."""
        for look in self._of.get(aggregate.id, {}).values():
            look(aggregate, event, position)
