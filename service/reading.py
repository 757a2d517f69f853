"""Answering lists from the read models, and keeping those in step with the log."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from logging import getLogger
from typing import Any
from uuid import UUID

import msgspec
from eventsourcing.persistence import Notification
from marshmallow import ValidationError

from adapters.postgres.follower import Follower
from adapters.postgres.read_models import Found, PostgresReadModels
from adapters.postgres.recorder import LogRecorder
from domain import log as language
from domain.aggregate import Aggregate, Event
from projections.attachment_status import ATTACHMENTS
from projections.capabilities import BACKENDS
from projections.in_flight import IN_FLIGHT
from projections.reading import Fold
from projections.volumes import VOLUMES
from service import history
from service.log import Log, Unavailable, replayed

MODELS = (VOLUMES, ATTACHMENTS, BACKENDS, IN_FLIGHT)
PATIENCE = 5.0  # seconds that a list may wait for `min_position`
MOST_REMEMBERED = 64
MOST_IN_FLIGHT = 250

logger = getLogger(__name__)


class Reading:
    """Follows the log on behalf of one replica, and lists what it has read."""

    def __init__(self, recorder: LogRecorder, log: Log) -> None:
        self.tables = PostgresReadModels(recorder.datastore, MODELS)
        self._recorder = recorder
        self._log = log
        self._remembered: dict[bytes, tuple[float, dict[str, Any]]] = {}

    def start(self) -> None:
        """Begin to follow, from where any replica has stopped."""
        self.tables.create_tables()
        self._loop = asyncio.get_running_loop()
        self._fold = Fold(self._load)
        self._follower = Follower(self._recorder, self._handle, self.tables.reached())
        self._follower.start()

    def stop(self) -> None:
        """Stop following, after the page that is being stored."""
        self._follower.stop()

    @property
    def failure(self) -> BaseException | None:
        """Why following has ended, if it has."""
        return self._follower.failure

    async def listed(self, model: str, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Return a page of a read model, as the contract's lists are.

        Raises `Unavailable` where the read model does not reach `min_position` in
        time, or cannot be read and the same was not asked before.
        """
        conditions = {
            name: str(value)
            for name, value in asked.items()
            if name not in ("limit", "cursor", "min_position")
        }
        key = msgspec.json.encode([model, asked], order="sorted")
        try:
            await self._wait_for(asked["min_position"])
            page = await self._page(model, conditions, asked["limit"], asked["cursor"])
        except Unavailable as away:
            return self._from_memory(key, asked["min_position"], away)
        self._remembered.pop(key, None)
        self._remembered[key] = (time.monotonic(), page)
        if len(self._remembered) > MOST_REMEMBERED:
            del self._remembered[next(iter(self._remembered))]
        return dict(page)

    async def in_flight(self, backend: str, after: int) -> dict[str, Any]:
        """Return work that is asked of a backend, behind a position of the log.

        It is what there is at `position`; what the log says later is not here.
        """
        newest = await self._log.read(self._recorder.max_notification_id) or 0
        await self._wait_for(newest)
        found = await self._log.read(
            lambda: self.tables.find(
                IN_FLIGHT.name,
                {"backend": backend},
                hidden=False,
                after=(after, "~"),
                limit=MOST_IN_FLIGHT + 1,
            )
        )
        page = history.fitting(found[:MOST_IN_FLIGHT], lambda row: len(row.body))
        items = [
            {
                "position": row.created,
                "topic": row.filters["topic"],
                "event": msgspec.Raw(row.body),
            }
            for row in page
        ]
        more = len(found) > len(page)
        return {"items": items, "more": more, "position": newest}

    async def _wait_for(self, position: int) -> None:
        if position > self._follower.reached:
            reached = await asyncio.to_thread(
                self._follower.wait_for, position, PATIENCE
            )
            if not reached:
                raise Unavailable(
                    f"position {position} is not read yet, only "
                    f"{self._follower.reached}; ask again later"
                )

    async def _page(
        self, model: str, conditions: dict[str, str], limit: int, cursor: str | None
    ) -> dict[str, Any]:
        reached = self._follower.reached
        found = await self._log.read(
            lambda: self.tables.find(
                model,
                conditions,
                hidden="status" in conditions,
                after=place_of(cursor),
                limit=limit + 1,
            )
        )
        page = history.fitting(found[:limit], lambda row: len(row.body))
        return {
            "items": [msgspec.json.decode(row.body) for row in page],
            "next": place_behind(page[-1]) if len(found) > len(page) else None,
            "position": reached,
        }

    def _from_memory(
        self, key: bytes, min_position: int, away: Unavailable
    ) -> dict[str, Any]:
        """Answer as last time, saying how old that is, or say why not."""
        read_at, page = self._remembered.get(key, (0.0, {"position": -1}))
        if page["position"] < max(0, min_position):
            raise away
        return page | {"age": max(0.1, time.monotonic() - read_at)}

    def _handle(self, page: Sequence[Notification]) -> None:
        """Store a page, in the follower's thread, and let those who wait know."""
        events: list[tuple[Event, int]] = [
            (language.decode(seen.topic, seen.state), int(seen.id)) for seen in page
        ]
        try:
            self.tables.store(self._fold.page(events), events[-1][1])
        except Exception:
            # The page will come again, and must not meet what it has left.
            self._fold = Fold(self._load)
            raise
        self._loop.call_soon_threadsafe(self._log.tell, [event for event, _ in events])

    def _load(self, ids: list[UUID], until: int) -> dict[UUID, Aggregate]:
        written = self._recorder.histories(ids)
        before = [event for event in written if event.position <= until]
        return {key: aggregate for key, (aggregate, _) in replayed(before).items()}


def place_of(cursor: str | None) -> tuple[int, str]:
    """Return what a list's cursor stands for: a position and a key."""
    if cursor is None:
        return -1, ""
    position, _, key = history.uncovered(cursor).partition(" ")
    printable = position.isdecimal() and key.isprintable()
    if not printable or len(position) > 18:  # noqa: PLR2004 - a bigint
        raise ValidationError("Must be the `next` of an earlier answer.", "cursor")
    return int(position), key


def place_behind(row: Found) -> str:
    """Return the cursor that goes on behind a row."""
    return history.covered(f"{row.created} {row.key}")
