"""What a backend makes of what it was asked, for those whose answer waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from uuid import UUID

from domain.aggregate import Aggregate, Event, Outcome
from domain.lifecycle import Refused
from domain.log import decoded
from domain.volume import Volume
from domain.volume_status import Status
from service.deciding.command import Reply, Unavailable
from service.deciding.log import Log

LOOK_AGAIN = 1.0  # seconds that memory is believed without a word from anybody
# From these on, whatever else was under way is nobody's work any more.
MOOT = (Volume.DeletionStarted, Volume.CascadeStarted)


async def outcome_of(
    log: Log, asked: Reply, wait: float, look: Callable[[Aggregate, int], None]
) -> tuple[Event, int]:
    """Return the event that settles an intent, and its position in the log.

    Of what settles it here, the aggregate can be looked at as it was then.
    """
    assert asked.aggregate_id
    seen: list[tuple[Event, int]] = []

    def stored(aggregate: Aggregate, event: Event, position: int) -> None:
        if ends(event, asked.intent):
            seen.append((event, position))
            with suppress(Exception):  # asked for once more, it says what is wrong
                look(aggregate, position)

    with log.watching(asked.aggregate_id, stored) as happened:
        with suppress(TimeoutError):
            async with asyncio.timeout(wait):
                await ending(log, asked, happened, seen)
        # A word of another replica may have been lost.
        found = seen or await ended_by(log, asked)
    if not found:
        raise unanswered(wait)
    event, position = found[0]
    if isinstance(event, MOOT):
        raise Refused("finish", Status(event.status), [])
    return event, position


async def ending(
    log: Log, asked: Reply, happened: asyncio.Event, seen: list[tuple[Event, int]]
) -> None:
    """Return once it is seen, here or in the log, what has ended an intent."""
    await first_word(log, asked, happened)
    while not seen:
        happened.clear()
        seen += await ended_by(log, asked)
        if not seen:
            await happened.wait()


async def ended_by(log: Log, asked: Reply) -> list[tuple[Event, int]]:
    """Return what has ended an intent by now, oldest first, as the log has it."""
    assert asked.aggregate_id
    history = await log.read(log.recorder.history, asked.aggregate_id, asked.intent)
    return [each for each in decoded(history) if ends(each[0], asked.intent)]


def ends(event: Event, intent: int | None) -> bool:
    """Tell whether an intent is settled by an event, or moot from it on."""
    if isinstance(event, Outcome):
        return event.intent == intent
    return isinstance(event, MOOT)


async def first_word(log: Log, asked: Reply, happened: asyncio.Event) -> None:
    """Wait while memory knows that a backend is at work: the log would say no more.

    Words of other replicas may get lost, so the log is looked at soon all the same.
    """
    assert asked.aggregate_id
    if asked.intent and log.is_in_flight(asked.aggregate_id, asked.intent):
        loop = asyncio.get_running_loop()
        look = loop.call_later(LOOK_AGAIN, happened.set)
        try:
            await happened.wait()
        finally:
            look.cancel()


def unanswered(wait: float) -> Unavailable:
    """Return what there is to say where a backend has not answered in time."""
    return Unavailable(
        f"the backend's agent has not answered within {wait:g} s; "
        "it goes on with the work when it can"
    )


def busy(aggregate: Aggregate, part_id: UUID | None) -> bool:
    """Tell whether a backend works on an aggregate, or on a part of it."""
    if part_id is None:
        return aggregate.unsettled
    return any(
        getattr(intent, "attachment_id", None) == part_id
        for intent in aggregate.in_flight.values()
    )
