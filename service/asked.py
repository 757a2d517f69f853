"""What is asked of a backend and not settled, though its read model has stopped.

Everything that was asked since is looked at, which is no way to live; but agents
go on with their work until the read model is mended.
"""

from __future__ import annotations

import asyncio
from functools import partial
from itertools import compress

import msgspec

from adapters.postgres.read_models import PostgresReadModels
from adapters.postgres.reading import written_as, written_at
from adapters.postgres.recorder import LogRecorder, Written
from domain import log as language
from domain.aggregate import Aggregate
from projections.in_flight import IN_FLIGHT
from service.deciding.command import Decision, NotFound, Reply, Unreadable, asking
from service.deciding.log import Log

AT_ONCE = 100
ALL = 2**31


async def asked(
    log: Log, tables: PostgresReadModels, backend: str, after: int
) -> tuple[list[Written], int]:
    """Return the intents behind a position, oldest first, and up to which they are."""
    recorder: LogRecorder = log.recorder
    named = {"backend": backend}
    find = partial(tables.find, IN_FLIGHT.name, named, hidden=False, limit=ALL)
    rows, stopped, *_ = await log.read(partial(find, after=(after, "~")))
    found = await log.read(written_at, recorder, [row.created for row in rows])
    since = max(after, stopped)
    found += await log.read(written_as, recorder, language.INTENTS, since)
    there: list[Written] = []
    for start in range(0, len(found), AT_ONCE):
        some = found[start : start + AT_ONCE]
        looks = (is_in_flight(log, event, backend) for event in some)
        there += compress(some, await asyncio.gather(*looks))
    return there, found[-1].position if found else 0


async def is_in_flight(log: Log, event: Written, backend: str) -> bool:
    """Tell whether a backend has yet to settle it; what nobody can read, it cannot."""
    try:
        intent = language.decode(event.topic, event.state)
    except (language.UnknownTopic, msgspec.DecodeError):
        return False

    def look(decision: Decision) -> Reply:
        aggregate = decision.get(Aggregate, intent.originator_id)
        asked = aggregate.in_flight.get(intent.originator_version)
        return Reply(b"yes" if asked and asked.backend == backend else b"")

    try:
        return bool((await log.submit(asking(look))).body)
    except (NotFound, Unreadable):
        return False
