"""Mistakes made on purpose, each of which a campaign has to find."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from adapters.postgres.read_models import REACH
from campaign.patching import Change
from campaign.points import (
    AGENT,
    DRIVER,
    KEEPER,
    LOG,
    PUBLISHER,
    RECORDER,
    SERVE,
    TABLES,
)

SOON = 0.2  # seconds between what is done too early and what should be before it


class Break(NamedTuple):
    """A mistake, the program that makes it, and the functions that it changes."""

    program: str
    patches: dict[str, Change]


def answering_early(store: Callable[..., Any]) -> Callable[..., Any]:
    """Answer a batch as if it were stored, then store it."""

    def answer(command: Any, reply: Any) -> None:
        if not command.answered.done():
            command.answered.set_result(reply)

    def early(log: Any, batch: Sequence[Any]) -> Any:
        position = log.recorder.max_notification_id() or 0
        for command in batch:
            position += len(command.events)
            if command.events:
                loop = command.answered.get_loop()
                reply = command.reply.at(position)
                loop.call_soon_threadsafe(answer, command, reply)
        time.sleep(SOON)
        return store(log, batch)

    return early


def forgetting_keys(append: Callable[..., Any]) -> Callable[..., Any]:
    """Keep no request id, so that none is known to another replica or later."""
    return lambda log, batch: append(log, replace(batch, kept=()))


def giving_nothing_back(taken: Callable[..., Any]) -> Callable[..., Any]:
    """Let a volume that is deleted keep its room."""

    def more(decision: Any) -> dict[str, int]:
        return {backend: gib for backend, gib in taken(decision).items() if gib > 0}

    return more


def skipping(handle: Callable[..., Any]) -> Callable[..., Any]:
    """Leave out an event now and then, and publish the one before it in its place."""

    def some(publisher: Any, page: Sequence[Any]) -> Any:
        chosen = [n for n, event in enumerate(page) if "finished" in event.topic and n]
        sent = list(page)
        for n in chosen[:1]:
            sent[n] = replace(page[n - 1], id=page[n].id)
        return handle(publisher, sent)

    return some


def reaching_first(store: Callable[..., Any]) -> Callable[..., Any]:
    """Note how far the read models have come, and then store their rows."""

    def early(tables: Any, touched: Sequence[Any], position: int) -> None:
        with tables._datastore.transaction(commit=True) as cursor:
            cursor.execute(REACH.format(**tables._names), (position - 1,))
        time.sleep(SOON)
        store(tables, touched, position)

    return early


def doing_nothing(work: Callable[..., Any]) -> Callable[..., Any]:
    """Say that it is done, and do not do it."""
    return lambda *_: None


BREAKS = {
    "answers before the commit": Break(SERVE, {f"{LOG}._store": answering_early}),
    "request ids are not kept": Break(SERVE, {f"{RECORDER}.append": forgetting_keys}),
    "room is not given back": Break(
        SERVE, {"service.log:Decision.taken": giving_nothing_back}
    ),
    "an event is not published": Break(KEEPER, {f"{PUBLISHER}._handle": skipping}),
    "the position is stored before the rows": Break(
        KEEPER, {f"{TABLES}:PostgresReadModels.store": reaching_first}
    ),
    "an extension is reported and not made": Break(
        AGENT, {f"{DRIVER}.extend": doing_nothing}
    ),
    "a deletion is reported and not made": Break(
        AGENT, {f"{DRIVER}.delete": doing_nothing}
    ),
}
