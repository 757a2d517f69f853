"""How far behind the log the read models are, and how they do."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec

from adapters.jetstream.stream import PUBLISHED
from adapters.postgres.read_models import Failure, Kept, PostgresReadModels
from adapters.postgres.reading import written_at
from adapters.postgres.recorder import LogRecorder
from projections.attachment_status import ATTACHMENTS
from projections.in_flight import IN_FLIGHT
from service.keeping.watcher import HOLDS, WORK

AGING: dict[str, list[str]] = {
    IN_FLIGHT.name: list(WORK),
    ATTACHMENTS.name: list(HOLDS),
}
FOLLOWING, REBUILDING, STOPPED = "following", "rebuilding", "stopped"


class Standing(msgspec.Struct, frozen=True):
    """Where a read model stands; `progress` goes from 0 to 1 while it is rebuilt."""

    name: str
    generation: int
    position: int
    behind: int
    lag_seconds: float
    status: str
    progress: float | None
    error: Failure | None


class Figures(NamedTuple):
    """How things stood a moment ago, as `Reached` tells it."""

    lags: dict[str, float] = {}  # noqa: RUF012
    behind: dict[str, int] = {}  # noqa: RUF012
    oldest: dict[str, float] = {}  # noqa: RUF012
    stopped: dict[str, Failure] = {}  # noqa: RUF012


def measured(
    tables: PostgresReadModels, recorder: LogRecorder, published: int | None
) -> Figures:
    """Return how far read models and stream are behind, and what does not go on.

    Of a stream that nobody has looked at yet, nothing is known.
    """
    found = standings(tables, recorder)
    newest = recorder.max_notification_id() or 0
    lags = {seen.name: seen.lag_seconds for seen in found}
    behind = {seen.name: seen.behind for seen in found}
    if published is not None:
        lags[PUBLISHED] = seconds_behind(recorder, published)
        behind[PUBLISHED] = max(0, newest - published)
    return Figures(
        lags,
        behind,
        {
            value: age(since)
            for model, values in AGING.items()
            for value, since in tables.oldest(model, values).items()
        },
        {s.name: s.error for s in found if s.error and s.status != FOLLOWING},
    )


def age(since: str | None) -> float:
    """Return how many seconds ago that was, 0 where there is nothing."""
    if since is None:
        return 0.0
    return (datetime.now(UTC) - datetime.fromisoformat(since)).total_seconds()


def standings(tables: PostgresReadModels, recorder: LogRecorder) -> list[Standing]:
    """Return where every read model stands."""
    newest = recorder.max_notification_id() or 0
    found: dict[str, list[Kept]] = {}
    for table in tables.kept():
        found.setdefault(table.name, []).append(table)
    lags: dict[int, float] = {}
    for live, *_ in found.values():
        if live.position not in lags:
            lags[live.position] = seconds_behind(recorder, live.position)
    return [
        standing(versions, newest, lags[versions[0].position])
        for versions in found.values()
    ]


def standing(versions: Sequence[Kept], newest: int, lag: float) -> Standing:
    """Return where a read model stands whose tables these are."""
    live, newer = versions[0], versions[-1]
    building = newer if newer != live and not newer.failure else None
    status = STOPPED if live.failure else FOLLOWING
    return Standing(
        live.name,
        live.generation,
        live.position,
        max(0, newest - live.position),
        lag,
        REBUILDING if building else status,
        building.position / max(1, newest) if building else None,
        live.failure or newer.failure,
    )


def seconds_behind(recorder: LogRecorder, position: int) -> float:
    """Return how long what follows a position has been in the log, 0 for nothing.

    Of what does not tell its time: how long what is before it has.
    """
    found = written_at(recorder, [position, position + 1])
    if not found or found[-1].position == position:
        return 0.0
    for event in reversed(found):
        with suppress(msgspec.DecodeError, UnicodeDecodeError):
            since = datetime.now(UTC) - _timed(event.state).timestamp
            return max(0.0, since.total_seconds())
    return 0.0


class _Timed(msgspec.Struct):
    timestamp: datetime


_timed = msgspec.json.Decoder(_Timed).decode
