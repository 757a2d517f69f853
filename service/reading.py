"""Answering lists from the read models, which the keeper keeps in step with the log."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Any

import msgspec
from marshmallow import ValidationError

from adapters.postgres.read_models import Failure, Found, Page
from adapters.postgres.reading import written_at
from adapters.postgres.recorder import LogRecorder
from domain.drift import SNAPSHOT, VOLUME, Wanted, as_seen
from projections import resources
from projections.exports import EXPORTS
from projections.in_flight import IN_FLIGHT
from projections.reading import ReadModel
from projections.snapshots import SNAPSHOTS
from projections.volumes import VOLUMES
from service.asked import asked
from service.audit import history
from service.deciding.command import Unavailable
from service.deciding.log import Log
from service.keeping.projecting import Reached, tables

PATIENCE = 5.0  # seconds that a list may wait for `min_position`
LOOK_AGAIN = 0.5  # seconds until it is looked for, though nobody told
MOST_REMEMBERED = 64
MOST_IN_FLIGHT = 250
MOST_EXPORTS = 1000


class Stopped(Unavailable):
    """A read model could not take in an event, and is kept no longer."""

    def __init__(self, model: str, failure: Failure) -> None:
        super().__init__(
            f"{model} stopped before position {failure.position} ({failure.topic}): "
            f"{failure.message}; once that is mended, run "
            f"`holdfast projections rebuild {model}`"
        )


class Reading:
    """Lists what the keeper has read."""

    def __init__(self, recorder: LogRecorder, log: Log) -> None:
        self.tables = tables(recorder)
        self._recorder = recorder
        self._log = log
        self._reached = 0
        self.word: Reached | None = None
        self.heard = float("-inf")
        self._waiting: set[asyncio.Event] = set()
        self._remembered: dict[bytes, tuple[float, dict[str, Any]]] = {}

    async def begin(self) -> None:
        """Find out how far the read models are."""
        await self._log.read(self.tables.create_tables)
        self._reached = await self._log.read(self.tables.reached)

    @property
    def kept(self) -> bool:
        """Whether the keeper has ever told this replica anything."""
        return self.word is not None

    @property
    def stopped(self) -> list[Stopped]:
        """Why read models are kept no longer, as the keeper told it."""
        told = self.word.stopped if self.word else {}
        return [Stopped(model, failure) for model, failure in told.items()]

    def arrived(self, told: Reached) -> None:
        """Take in the keeper's word: how far the read models have come."""
        self.word, self.heard = told, time.monotonic()
        self._reached = max(self._reached, told.position)
        for moved in self._waiting:
            moved.set()

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
            page = await self._page(model, conditions, asked)
        except Stopped:
            raise
        except Unavailable as away:
            return self._from_memory(key, asked["min_position"], away)
        self._remembered.pop(key, None)
        self._remembered[key] = (time.monotonic(), page)
        if len(self._remembered) > MOST_REMEMBERED:
            del self._remembered[next(iter(self._remembered))]
        return dict(page)

    async def in_flight(self, backend: str, after: int) -> dict[str, Any]:
        """Return work that is asked of a backend, behind a position of the log.

        It is what there is at `position`, on the last page: what was asked up to it and
        is on no page is settled, what is asked later comes by the stream.
        """
        newest = await self._log.newest()
        try:
            rows, reached, *_ = await self._behind(
                IN_FLIGHT, newest, backend, after, MOST_IN_FLIGHT
            )
            positions = [row.created for row in rows]
            found = await self._log.read(written_at, self._recorder, positions)
        except Stopped:
            found, reached = await asked(self._log, self.tables, backend, after)
        page = history.fitting(found[:MOST_IN_FLIGHT], lambda event: len(event.state))
        items = [
            {
                "position": event.position,
                "topic": event.topic,
                "event": msgspec.Raw(event.state),
            }
            for event in page
        ]
        more = len(found) > len(page)
        return {"items": items, "more": more, "position": max(newest, reached)}

    async def exports(self, backend: str, after: int) -> dict[str, Any]:
        """Return which hosts are to reach which volumes of a backend, page by page.

        It is so at `position`, which is not before what the log had when asked. Pages
        of another `table` do not go on with one another: a row is where the volume was
        met first, which depends on what was read at once.
        """
        newest = await self._log.newest()
        rows, reached, _, table = await self._behind(
            EXPORTS, newest, backend, after, MOST_EXPORTS
        )
        page = history.fitting(rows[:MOST_EXPORTS], lambda row: len(row.body))
        items = [
            {
                "volume_id": row.key,
                "connectors": msgspec.Raw(row.body),
                "after": row.created,
            }
            for row in page
        ]
        more = len(rows) > len(page)
        return {"items": items, "more": more, "position": reached, "table": table}

    async def expected(self, backend: str, noun: str, after: int) -> dict[str, Any]:
        """Return what volumes or snapshots a backend is to have, page by page.

        It is so at `position` or later; what is deleted is not among them.
        """
        newest = await self._log.newest()
        model, seen = EXPECTED[noun]
        rows, *_ = await self._behind(model, newest, backend, after, MOST_EXPORTS)
        page = rows[:MOST_EXPORTS]
        items = [
            {"id": row.key, "wanted": seen(row.body), "after": row.created}
            for row in page
        ]
        return {"items": items, "more": len(rows) > len(page), "position": newest}

    async def _behind(
        self, model: ReadModel, newest: int, backend: str, after: int, most: int
    ) -> Page:
        """Return a backend's rows behind a position: so many, and one if there is more.

        Of the read model once it has come to `newest`.
        """
        return await self.found(
            model.name,
            newest,
            {"backend": backend},
            hidden=False,
            after=(after, "~"),
            limit=most + 1,
        )

    async def found(self, model: str, position: int, *asked: Any, **more: Any) -> Page:
        """Return rows of a read model that has come to a position, and to which.

        Raises `Unavailable` where it has not in time, or has stopped; at once where
        the log itself has not come so far.
        """
        moved = asyncio.Event()
        self._waiting.add(moved)
        try:
            async with asyncio.timeout(PATIENCE):
                while True:
                    moved.clear()
                    find = partial(self.tables.find, model, *asked, **more)
                    page: Page = await self._log.read(find)
                    if page.failure:
                        raise Stopped(model, page.failure)
                    if page.position >= position:
                        return page
                    await self._hurry(position)
                    await self._told(moved, position)
        except TimeoutError:
            raise Unavailable(
                f"position {position} is not read yet; ask again later"
            ) from None
        finally:
            self._waiting.discard(moved)

    async def _hurry(self, position: int) -> None:
        """Have the log looked at; raise `Unavailable` where it ends before.

        Nobody was ever told of such a position, so nobody may have a place to wait.
        """
        if (newest := await self._log.newest()) < position:
            raise Unavailable(f"the log ends at {newest}, before position {position}")
        await self._log.read(self._recorder.hurry)

    async def _told(self, moved: asyncio.Event, position: int) -> None:
        """Return when the position may be reached; what is told may get lost."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_AGAIN):
                await moved.wait()
                while self._reached < position:
                    moved.clear()
                    await moved.wait()

    async def _page(
        self, model: str, conditions: dict[str, str], asked: Mapping[str, Any]
    ) -> dict[str, Any]:
        found, reached, *_ = await self.found(
            model,
            asked["min_position"],
            conditions,
            hidden="status" in conditions,
            after=place_of(model, asked["cursor"]),
            limit=asked["limit"] + 1,
        )
        page = history.fitting(found[: asked["limit"]], lambda row: len(row.body))
        return {
            "items": [msgspec.Raw(row.body) for row in page],
            "next": place_behind(model, page[-1]) if len(found) > len(page) else None,
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


def volume_expected(body: bytes) -> Wanted:
    """Return what the log wants of a volume that is listed so."""
    seen = msgspec.json.decode(body, type=resources.VolumeSeen)
    made_at = datetime.fromisoformat(seen.created_at).isoformat()
    return as_seen(seen.status, seen.size_gib, made_at, None)


def snapshot_expected(body: bytes) -> Wanted:
    """Return what the log wants of a snapshot that is listed so."""
    seen = msgspec.json.decode(body, type=resources.SnapshotSeen)
    made_at = datetime.fromisoformat(seen.created_at).isoformat()
    return as_seen(seen.status, seen.size_gib, made_at, seen.volume_id)


EXPECTED: dict[str, tuple[ReadModel, Callable[[bytes], Wanted]]] = {
    VOLUME: (VOLUMES, volume_expected),
    SNAPSHOT: (SNAPSHOTS, snapshot_expected),
}


def place_of(model: str, cursor: str | None) -> tuple[int, str]:
    """Return what the cursor of a list of that model is for: a position and a key."""
    if cursor is None:
        return -1, ""
    of, position, key = [*history.uncovered(cursor).split(" ", 2), "", ""][:3]
    printable = position.isdecimal() and key.isprintable()
    if of != model or not printable or len(position) > 18:  # noqa: PLR2004 - a bigint
        raise ValidationError("Must be the `next` of an earlier answer.", "cursor")
    return int(position), key


def place_behind(model: str, row: Found) -> str:
    """Return the cursor that goes on behind a row."""
    return history.covered(f"{model} {row.created} {row.key}")
