"""Reporting what came of intents: what gathers behind one message makes the next.

A message costs the service a transaction, and the keeper a page, however many reports
are in it. So one does not follow another closely while more is to come.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from logging import getLogger
from typing import NamedTuple
from uuid import UUID

import msgspec
from nats.errors import Error

from adapters.jetstream.telling import AGAIN, Refusal, Service
from domain import chap
from domain.aggregate import Done, Intent, NotDone
from domain.provenance import Ran

HIDDEN = b"(secret)"
TELLING = 4  # characters of a secret's beginning that words do not end with by chance
LARGEST = 48 * 1024  # bytes of reports in one message; a message may have 64 KiB
APART = 0.05  # seconds between two messages, while something else will soon be done

logger = getLogger(__name__)


class Report(msgspec.Struct, frozen=True, omit_defaults=True):
    """What came of one intent, of which aggregate: it was done, or it was not."""

    noun: str
    id: UUID
    intent: int
    causation_id: str
    traceparent: str = ""
    done: Done | None = None
    not_done: NotDone | None = None
    ran: tuple[Ran, ...] = ()

    @property
    def result(self) -> Done | NotDone:
        """What there is to tell."""
        return self.not_done or self.done or Done()


def discreet(report: Report, key: bytes, intent: Intent) -> Report:
    """Return what is told without what a host proves itself with.

    Drivers know that, and may quote it: in a failure's words, or a command's.
    """
    connector = getattr(intent, "connector", None)
    if not connector:
        return report
    initiator = str(connector.get("initiator"))
    secret = chap.secret(key, intent.originator_id, initiator).encode()
    written = msgspec.json.encode(report)
    told = written.replace(secret, HIDDEN)
    # Words that are too long are cut before they come here, perhaps within it.
    for most in range(len(secret) - 1, TELLING - 1, -1):
        told = told.replace(secret[:most] + b'"', HIDDEN + b'"')
    return report if told == written else msgspec.json.decode(told, type=Report)


class Unanswered(NamedTuple):
    """A report, encoded, until the service has taken it; `told`: it may have."""

    lease: int
    body: bytes
    answered: asyncio.Future[None]
    told: bool = False


class Refused(msgspec.Struct):
    """Which of the reports of a message is refused, and why."""

    report: int
    code: int
    type: str = ""
    detail: str = ""


class Accepted(msgspec.Struct):
    """What came of a message: all of its reports are taken but these."""

    refused: list[Refused]


class Reporter:
    """Tells the service what came of intents, many in one message.

    `soon` tells whether more is being done that does not take long.
    """

    def __init__(
        self, service: Service, name: str, soon: Callable[[], bool] = lambda: False
    ) -> None:
        self._service = service
        self._name = name
        self._soon = soon
        self._waiting: deque[Unanswered] = deque()
        self._some, self._last = asyncio.Event(), asyncio.Event()

    async def report(self, lease: int, report: Report) -> None:
        """Return when the service has answered; a refusal is an answer."""
        answered = asyncio.get_running_loop().create_future()
        self._waiting.append(Unanswered(lease, msgspec.json.encode(report), answered))
        self._some.set()
        if not self._soon():
            self._last.set()
        await answered

    async def run(self) -> None:
        """Report for ever."""
        time, last = asyncio.get_running_loop().time, float("-inf")
        while True:
            await self._some.wait()
            if self._soon() and (left := last + APART - time()) > 0:
                self._last.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._last.wait(), left)
            last = time()
            batch = self._next()
            try:
                await self._send(batch)
            except (Error, TimeoutError):
                self._put_back([each._replace(told=True) for each in batch])
                await asyncio.sleep(AGAIN)

    def _next(self) -> list[Unanswered]:
        """Take what fits into one message, under one lease."""
        batch = [self._waiting.popleft()]
        size = len(batch[0].body)
        while self._waiting and self._waiting[0].lease == batch[0].lease:
            size += len(self._waiting[0].body)
            if size > LARGEST:
                break
            batch.append(self._waiting.popleft())
        if not self._waiting:
            self._some.clear()
        return batch

    async def _send(self, batch: list[Unanswered]) -> None:
        reports = [msgspec.Raw(each.body) for each in batch]
        told = {"name": self._name, "lease": batch[0].lease, "reports": reports}
        again: list[Unanswered] = []
        try:
            answer = await self._service.tell("agent.report", told, gives=Accepted)
        except Refusal as refusal:
            logger.warning("%d reports are refused: %s", len(batch), refusal)
        else:
            again = not_now(batch, answer.refused)
        for each in batch:
            if each not in again and not each.answered.done():
                each.answered.set_result(None)
        if again:
            self._put_back(again)
            await asyncio.sleep(AGAIN)

    def _put_back(self, batch: list[Unanswered]) -> None:
        self._waiting.extendleft(reversed(batch))
        self._some.set()


def not_now(
    batch: Sequence[Unanswered], refusals: Sequence[Refused]
) -> list[Unanswered]:
    """Return which reports are to be told again, and say what comes of the others."""
    again: list[Unanswered] = []
    settled = 0
    for refused in refusals:
        report = batch[refused.report]
        if refused.code >= 500:  # noqa: PLR2004 - trouble of its own
            again.append(report)
        elif report.told and refused.type == "refused":
            settled += 1  # by us, but the answer was lost
        else:
            logger.warning("a report is refused: %s", refused.detail)
    if settled:
        logger.info("%d reports were taken when they were told first", settled)
    return again
