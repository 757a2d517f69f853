"""What a survey tells the service, and what it leaves to the next one."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import msgspec
import pytest

from adapters.jetstream import surveying
from adapters.jetstream.surveying import Surveyor
from adapters.jetstream.turns import Turns
from domain.drift import VOLUME, Storage, Subject, Wanted
from domain.ports import Object, Survey

ID, OTHER = UUID(int=7), UUID(int=8)
AT = "2026-01-02T03:04:05+00:00"
WANTED = Wanted(Storage.THERE, 1, AT)
NOTHING = Survey()
ALL = Survey((Object("volume-7", 2**30, VOLUME, ID, AT),))


class Log:
    """A service that wants one volume, and keeps what it is told."""

    def __init__(self, *standing: Subject) -> None:
        self.standing = standing
        self.told: list[str] = []

    async def tell(self, subject: str, body: Any) -> Any:
        if subject == "agent.surveyed":
            facts = msgspec.to_builtins(body["facts"])
            self.told += [each["subject"]["name"] for each in facts]
        volume = body.get("noun") == VOLUME
        item = {"id": str(ID), "wanted": msgspec.to_builtins(WANTED), "after": 1}
        standing = msgspec.to_builtins(self.standing)
        items = [item] if volume else []
        return {"items": items, "standing": standing, "position": 9, "more": False}


def surveyed(log: Log, turns: Turns, *seen: Survey) -> list[str]:
    """Survey a storage that is seen so, one time after another; return what is told."""
    looks = iter(seen)

    async def look() -> Survey:
        return next(looks)

    async def survey() -> None:
        surveyor = Surveyor(log, "files", turns)  # type: ignore[arg-type]
        await surveyor.survey(1, look, ())

    asyncio.run(survey())
    return log.told


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surveying, "AGAIN", 0.0)


def test_what_is_as_it_should_be_is_not_told() -> None:
    assert surveyed(Log(), Turns(), ALL) == []


def test_what_differs_twice_is_told() -> None:
    assert surveyed(Log(), Turns(), NOTHING, NOTHING) == [str(ID)]


def test_what_differs_for_a_moment_is_not_told() -> None:
    assert surveyed(Log(), Turns(), NOTHING, ALL) == []


def test_what_differed_before_is_told_as_it_is_and_needs_no_second_look() -> None:
    log = Log(Subject(VOLUME, str(ID)))

    assert surveyed(log, Turns(), NOTHING) == [str(ID)]


def test_what_differs_no_more_is_told_until_it_is_cleared() -> None:
    log = Log(Subject(VOLUME, str(ID)))

    assert surveyed(log, Turns(), ALL) == [str(ID)]


def test_what_is_worked_on_is_left_to_the_next_survey() -> None:
    turns = Turns()

    async def work() -> None:
        turns.watch()
        turns.take([ID], asyncio.create_task(asyncio.sleep(0)))

    asyncio.run(work())

    assert surveyed(Log(), turns, NOTHING) == []
