"""Turns: what is done to one aggregate is done one after another."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any
from uuid import UUID


class Turns:
    """The last that was begun for each aggregate, until it has ended."""

    def __init__(self) -> None:
        self._last: dict[UUID, asyncio.Task[Any]] = {}
        self._met: set[UUID] = set()

    def last(self, ids: Collection[UUID]) -> set[asyncio.Task[Any]]:
        """Return what goes on for aggregates, for which the next has to wait."""
        return {self._last[each] for each in ids if each in self._last}

    def take(self, ids: Collection[UUID], task: asyncio.Task[Any]) -> None:
        """Let what comes later for any of the aggregates wait for the task."""
        self._met.update(ids)
        self._last.update(dict.fromkeys(ids, task))

        def forget(done: asyncio.Task[Any]) -> None:
            for each in ids:
                if self._last.get(each) is done:
                    del self._last[each]

        task.add_done_callback(forget)

    def all(self) -> list[asyncio.Task[Any]]:
        """Return everything that goes on, the last for each aggregate."""
        return list(set(self._last.values()))

    def watch(self) -> None:
        """Begin to note for which aggregates anything goes on or is begun."""
        self._met = set(self._last)

    def met(self, aggregate_id: UUID) -> bool:
        """Tell whether anything went on for an aggregate since `watch`."""
        return aggregate_id in self._met
