"""Reports: many in a message, each until it is answered."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest

from adapters.jetstream import reporting as module
from adapters.jetstream.operation import MOST_WORDS, in_words
from adapters.jetstream.reporting import Report, Reporter, discreet
from adapters.jetstream.telling import Refusal
from adapters.tasks import ended
from domain import chap
from domain.aggregate import Done, NotDone
from domain.ports import DriverFailed


class Listener:
    """A service that keeps what it is told, once it may answer."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.told: list[tuple[int, list[int]]] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def tell(self, _: str, body: Any, *, gives: Any) -> Any:
        told = msgspec.json.decode(msgspec.json.encode(body))
        intents = [report["intent"] for report in told["reports"]]
        self.told.append((told["lease"], intents))
        await self.may_answer.wait()
        answer = self.answers.pop(0) if self.answers else {"refused": []}
        if isinstance(answer, Exception):
            raise answer
        return msgspec.convert(answer, gives)


def told(listener: Listener, scenario: Callable[[Reporter], Awaitable[None]]) -> Any:
    """Return the leases and intents of each message."""

    async def lived() -> Any:
        service: Any = listener
        reporter = Reporter(service, "files")
        running = asyncio.ensure_future(reporter.run())
        async with asyncio.timeout(20):
            await scenario(reporter)
        await ended(running)
        return listener.told

    return asyncio.run(lived())


def report(intent: int, message: str = "") -> Report:
    why = NotDone("broken", message) if message else None
    about = "volume", uuid4(), intent, "7"
    return Report(*about, done=None if why else Done(), not_done=why)


async def all_of(reporter: Reporter, *reports: tuple[int, Report]) -> None:
    await asyncio.gather(*(reporter.report(*each) for each in reports))


def test_what_gathers_while_one_message_is_under_way_is_the_next() -> None:
    listener = Listener()

    async def scenario(reporter: Reporter) -> None:
        listener.may_answer.clear()
        first = asyncio.ensure_future(reporter.report(1, report(0)))
        while not listener.told:  # noqa: ASYNC110 - the listener has no event for us
            await asyncio.sleep(0)
        others = [
            asyncio.ensure_future(reporter.report(1, report(n))) for n in (1, 2, 3)
        ]
        await asyncio.sleep(0)
        listener.may_answer.set()
        await asyncio.gather(first, *others)

    assert told(listener, scenario) == [(1, [0]), (1, [1, 2, 3])]


def test_a_message_waits_for_what_will_soon_be_done_and_no_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "APART", 600.0)
    to_come = [3]

    async def done(reporter: Reporter, number: int) -> None:
        to_come[0] -= 1
        await reporter.report(1, report(number))

    async def scenario(reporter: Reporter) -> None:
        await reporter.report(1, report(0))  # nothing was told before it
        reporter._soon = lambda: to_come[0] > 0
        for number in (1, 2, 3):
            doing = asyncio.ensure_future(done(reporter, number))
            await asyncio.wait([doing], timeout=0.01)
        await doing

    assert told(Listener(), scenario) == [(1, [0]), (1, [1, 2, 3])]


def test_a_message_waits_for_nothing_where_nothing_will_soon_be_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "APART", 600.0)

    async def scenario(reporter: Reporter) -> None:
        for number in (0, 1):
            await reporter.report(1, report(number))

    assert told(Listener(), scenario) == [(1, [0]), (1, [1])]


def test_a_message_is_of_one_lease() -> None:
    async def scenario(reporter: Reporter) -> None:
        await all_of(reporter, (1, report(1)), (1, report(2)), (2, report(3)))

    assert told(Listener(), scenario) == [(1, [1, 2]), (2, [3])]


def test_a_message_is_no_larger_than_one_may_be() -> None:
    async def scenario(reporter: Reporter) -> None:
        said = "x" * (module.LARGEST // 2 - 200)
        await all_of(reporter, *((1, report(n, said)) for n in range(5)))

    assert told(Listener(), scenario) == [(1, [0, 1]), (1, [2, 3]), (1, [4])]


def test_what_is_not_answered_is_told_again_in_its_order() -> None:
    async def scenario(reporter: Reporter) -> None:
        await all_of(reporter, (1, report(1)), (1, report(2)))

    found = told(Listener(TimeoutError()), scenario)

    assert found == [(1, [1, 2]), (1, [1, 2])]


def test_only_what_cannot_be_accepted_now_is_told_again() -> None:
    refused = [
        {"report": 0, "code": 409, "detail": "it is not in flight"},
        {"report": 2, "code": 503, "detail": "the database is away"},
    ]

    async def scenario(reporter: Reporter) -> None:
        await all_of(reporter, *((1, report(n)) for n in range(4)))

    found = told(Listener({"refused": refused}), scenario)

    assert found == [(1, [0, 1, 2, 3]), (1, [2])]


def test_only_a_refusal_of_what_was_never_told_before_is_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def settled(number: int, kind: str) -> dict[str, Any]:
        why = f"the report {number} is {kind}"
        return {"report": number, "code": 409, "type": kind, "detail": why}

    answers = [
        TimeoutError(),
        {"refused": [settled(0, "refused"), settled(1, "refused")]},
        {"refused": [settled(0, "refused")]},
        TimeoutError(),
        {"refused": [settled(0, "conflict")]},
    ]
    caplog.set_level(logging.INFO)

    async def scenario(reporter: Reporter) -> None:
        await all_of(reporter, (1, report(1)), (1, report(2)))
        await all_of(reporter, (1, report(3)))
        await all_of(reporter, (1, report(4)))

    told(Listener(*answers), scenario)

    assert [(each.levelname, each.message) for each in caplog.records] == [
        ("INFO", "2 reports were taken when they were told first"),
        ("WARNING", "a report is refused: the report 0 is refused"),
        ("WARNING", "a report is refused: the report 0 is conflict"),
    ]


def test_a_refusal_of_all_is_an_answer() -> None:
    async def scenario(reporter: Reporter) -> None:
        await all_of(reporter, (1, report(1)), (1, report(2)))

    assert told(Listener(Refusal("no")), scenario) == [(1, [1, 2])]


def test_a_report_is_read_as_it_was_written() -> None:
    for written, result in (
        (report(1), Done()),
        (report(2, "broken"), NotDone("broken", "broken")),
    ):
        read = msgspec.json.decode(msgspec.json.encode(written), type=Report)
        assert (read, read.result) == (written, result)
    assert isinstance(report(1).id, UUID)


@pytest.mark.parametrize("left", [4, 10, 15])
def test_a_failure_whose_words_end_within_a_secret_tells_no_part_of_it(
    left: int,
) -> None:
    volume_id, initiator = uuid4(), "iqn.2026-01.example:node-1"
    intent: Any = SimpleNamespace(
        originator_id=volume_id, connector={"initiator": initiator}
    )
    said = "x" * (MOST_WORDS - left)
    failure = DriverFailed(said + chap.secret(b"key", volume_id, initiator))
    why = NotDone("driver_failed", in_words(failure))
    quoted = Report("volume", volume_id, 1, "7", not_done=why)

    told = discreet(quoted, b"key", intent).not_done

    assert told
    assert told.message == said + "(secret)"
