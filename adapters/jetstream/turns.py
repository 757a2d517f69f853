"""Turns: what is done to one aggregate is done one after another."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID


class Turns:
    """The last that was begun for each aggregate, until it has ended."""

    def __init__(self) -> None:
        self._last: dict[UUID, asyncio.Task[Any]] = {}
        self._met: set[UUID] = set()

    def last(self, aggregate_id: UUID) -> asyncio.Task[Any] | None:
        """Return what goes on for an aggregate, for which the next has to wait."""
        return self._last.get(aggregate_id)

    def take(self, aggregate_id: UUID, task: asyncio.Task[Any]) -> None:
        """Let what comes later for an aggregate wait for the task."""
        self._met.add(aggregate_id)
        self._last[aggregate_id] = task

        def forget(done: asyncio.Task[Any]) -> None:
            if self._last.get(aggregate_id) is done:
                del self._last[aggregate_id]

        task.add_done_callback(forget)

    def all(self) -> list[asyncio.Task[Any]]:
        """Return everything that goes on, the last for each aggregate."""
        return list(self._last.values())

    def watch(self) -> None:
        """Begin to note for which aggregates anything goes on or is begun."""
        self._met = set(self._last)

    def met(self, aggregate_id: UUID) -> bool:
        """Tell whether anything went on for an aggregate since `watch`."""
        return aggregate_id in self._met
