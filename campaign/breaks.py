"""Mistakes made on purpose, each of which a campaign has to find."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import replace
from typing import Any, NamedTuple

from adapters.embedded.postgres import OPTIONS
from campaign.patching import Change
from campaign.points import (
    AGENT,
    CLEARING,
    DIRECT,
    DRIVER,
    FRONTS,
    KEEPER,
    LOG,
    LVM,
    PUBLISHER,
    ROWS,
    SERVE,
    SWEEPER,
)
from service.deciding.command import Unavailable

POSTGRES, TAGS = "adapters.embedded.postgres", "adapters.lvm.volumes"
SOON = 0.2  # seconds between what is done too early and what should be before it


class Break(NamedTuple):
    """A mistake, the program that makes it, and the functions that it changes."""

    program: str
    patches: dict[str, Change]


def answering_early(store: Callable[..., Any]) -> Callable[..., Any]:
    """Answer a batch as if it were stored, then store it."""

    async def early(log: Any, batch: Sequence[Any], made: Any) -> Any:
        with suppress(Unavailable):
            position = await log.read(log.recorder.max_notification_id) or 0
            for command in batch:
                position += len(command.events)
                if command.events:
                    command.answer.is_now(command.reply.at(position))
            await asyncio.sleep(SOON)
        return await store(log, batch, made)

    return early


def forgetting_keys(made_of: Callable[..., Any]) -> Callable[..., Any]:
    """Keep no request id, so that none is known to another replica or later."""
    return lambda *about: replace(made_of(*about), kept=())


def giving_nothing_back(note: Callable[..., Any]) -> Callable[..., Any]:
    """Let a volume that is deleted keep its room."""

    def more(log: Any, command: Any, *decided: Any) -> None:
        note(log, command, *decided)
        command.taken = {name: gib for name, gib in command.taken.items() if gib > 0}

    return more


def skipping(publish: Callable[..., Any]) -> Callable[..., Any]:
    """Leave out an event now and then, and publish the one before it in its place."""

    def some(publisher: Any, page: Sequence[Any], *to: Any) -> Any:
        chosen = [n for n, event in enumerate(page) if "finished" in event.topic and n]
        sent = list(page)
        for n in chosen[:1]:
            sent[n] = page[n - 1]._replace(position=page[n].position)
        return publish(publisher, sent, *to)

    return some


def repeating(publish: Callable[..., Any]) -> Callable[..., Any]:
    """Publish what was published last in the place of an outcome that is alone."""
    last: list[Any] = []

    def instead(direct: Any, events: Sequence[Any]) -> Any:
        before, last[:] = last[:], events[-1:]
        if before and "finished" in events[-1].topic:
            place = events[-1].position
            events = [*events[:-1], before[0]._replace(position=place)]
        return publish(direct, events)

    return instead


def reaching_first(store: Callable[..., Any]) -> Callable[..., Any]:
    """Note how far the read models have come, and then store their rows."""

    def early(to: Any, tables: Sequence[Any], touched: Any, position: int) -> Any:
        moved = store(to, tables, [], position)
        time.sleep(SOON)
        there = [table._replace(position=position) for table in tables]
        return moved and store(to, there, touched, position)

    return early


def doing_nothing(work: Callable[..., Any]) -> Callable[..., Any]:
    """Say that it is done, and do not do it."""
    return lambda *_: None


def not_waiting(launch: Callable[..., Any]) -> Callable[..., Any]:
    """Let PostgreSQL tell that it is durable while it is not."""

    def soon(*about: Any) -> Any:
        OPTIONS["fsync"] = "off"
        return launch(*about)

    return soon


def saying_nothing(tags: Callable[..., Any]) -> Callable[..., Any]:
    """Let what is made not say what it was made for."""
    return lambda *_: frozenset()


def leaving_it(sweep: Callable[..., Any]) -> Callable[..., Any]:
    """Do not look who reaches what."""

    async def nothing(*_: Any) -> bool:
        return False

    return nothing


def holding_nothing_up(held_up: Callable[..., Any]) -> Callable[..., Any]:
    """Let hosts write while snapshots are taken that are to be of one moment."""
    return lambda *_: nullcontext()


BREAKS = {
    "answers before the commit": Break(SERVE, {f"{LOG}._store": answering_early}),
    "request ids are not kept": Break(SERVE, {f"{LOG}._made_of": forgetting_keys}),
    "room is not given back": Break(SERVE, {f"{LOG}._note": giving_nothing_back}),
    "an event is not published": Break(KEEPER, {f"{PUBLISHER}._publish": skipping}),
    "an event is published as another": Break(SERVE, {f"{DIRECT}.publish": repeating}),
    "the position is stored before the rows": Break(
        KEEPER, {f"{ROWS}.store": reaching_first}
    ),
    "an extension is reported and not made": Break(
        AGENT, {f"{DRIVER}.extend": doing_nothing}
    ),
    "a deletion is reported and not made": Break(
        AGENT, {f"{DRIVER}.delete": doing_nothing}
    ),
    "a reversion is reported and not made": Break(
        AGENT, {f"{DRIVER}.revert": doing_nothing}
    ),
}
# Those that it takes a power cut, or real LVM, to find.
ON_LVM = {
    "durable is said too early": Break(SERVE, {f"{POSTGRES}:launch": not_waiting}),
    "volumes say nothing of their cause": Break(
        AGENT, {f"{TAGS}:tags": saying_nothing}
    ),
    "exports are not made again": Break(AGENT, {f"{SWEEPER}._sweep": leaving_it}),
    "blocks are not cleared": Break(AGENT, {f"{CLEARING}:clear": doing_nothing}),
    "what LVM is to revert stays as it is": Break(
        AGENT, {f"{LVM}.revert": doing_nothing}
    ),
    "hosts are not held up": Break(AGENT, {f"{FRONTS}.held_up": holding_nothing_up}),
}
