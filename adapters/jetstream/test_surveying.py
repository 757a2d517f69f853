"""What a survey tells the service, and what it leaves to the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any
from uuid import UUID

import msgspec
import pytest

from adapters.jetstream import surveying
from adapters.jetstream.surveying import Surveyor
from adapters.jetstream.turns import Turns
from domain.drift import SNAPSHOT, VOLUME, Storage, Subject, Wanted
from domain.ports import Export, Object, Survey

ID = UUID(int=7)
AT = "2026-01-02T03:04:05+00:00"
WANTED = Wanted(Storage.THERE, 1, AT)
NODE_1 = "iqn.2026-01.org.example:node-1"
NOTHING = Survey()
ALL = Survey((Object("volume-7", 2**30, VOLUME, ID, AT),))


class Log:
    """A service that wants one volume, goes on, and keeps what it is told."""

    def __init__(self, *standing: Subject) -> None:
        self.standing = standing
        self.wanted = {VOLUME: (ID, WANTED)}
        self.position = 8
        self.told: list[str] = []
        self.told_of: set[int] = set()

    async def tell(self, subject: str, body: Any, *, gives: Any = Any) -> Any:
        if subject == "agent.surveyed":
            facts = msgspec.to_builtins(body["facts"])
            self.told += [each["subject"]["name"] for each in facts]
            self.told_of.add(body["position"])
        self.position += 1
        items = []
        if found := self.wanted.get(body.get("noun")):
            wanted = msgspec.to_builtins(found[1])
            items = [{"id": str(found[0]), "wanted": wanted, "after": 1}]
        standing = msgspec.to_builtins(self.standing)
        about = {"position": self.position, "more": False}
        return msgspec.convert({"items": items, "standing": standing} | about, gives)


def surveyed(
    log: Log, turns: Turns, *seen: Survey, exports: Iterable[Export] = ()
) -> list[str]:
    """Survey a storage that is seen so, one time after another; return what is told."""
    looks = iter(seen)

    async def look() -> Survey:
        return next(looks)

    async def survey() -> None:
        surveyor = Surveyor(log, "files", turns)  # type: ignore[arg-type]
        await surveyor.survey(1, look, exports)

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


def test_what_differs_in_the_second_look_alone_is_not_told() -> None:
    stray = Survey((*ALL.objects, Object("stray", 1)))

    assert surveyed(Log(), Turns(), stray, NOTHING) == []


def test_what_is_told_is_compared_with_the_log_before_anything_was_read() -> None:
    log = Log()

    surveyed(log, Turns(), NOTHING, NOTHING)

    assert log.told_of == {9}


def test_a_way_that_a_host_is_to_have_and_has_not_is_told() -> None:
    lost = msgspec.structs.replace(ALL, exported=frozenset())
    wanted = [Export(ID, ({"initiator": NODE_1},))]

    assert surveyed(Log(), Turns(), lost) == []
    assert surveyed(Log(), Turns(), lost, lost, exports=wanted) == [str(ID)]


@pytest.mark.parametrize(
    ("initiators", "told"), [([NODE_1], []), ([], [ID]), ([NODE_1, "other"], [ID])]
)
def test_a_way_that_one_of_several_hosts_lacks_or_has_beside_them_is_told(
    initiators: list[str], told: list[UUID]
) -> None:
    survey = msgspec.structs.replace(
        ALL, exported=frozenset({ID}), initiators={ID: frozenset(initiators)}
    )
    wanted = [Export(ID, ({"initiator": NODE_1},))]

    found = surveyed(Log(), Turns(), survey, survey, exports=wanted)

    assert found == list(map(str, told))


def test_no_more_is_told_than_can_be_beside_what_stands(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(surveying, "MOST", 1)
    strays = Survey(tuple(Object(name, 1) for name in "abc"))

    told = surveyed(Log(Subject(VOLUME, str(ID))), Turns(), strays, strays)

    assert told == [str(ID), "a"]


def worked_on(aggregate_id: UUID) -> Turns:
    """Return the turns where something was done to an aggregate meanwhile."""
    turns = Turns()

    async def work() -> None:
        turns.watch()
        turns.take([aggregate_id], asyncio.create_task(asyncio.sleep(0)))

    asyncio.run(work())
    return turns


def test_what_is_worked_on_is_left_to_the_next_survey() -> None:
    assert surveyed(Log(), worked_on(ID), NOTHING) == []


@pytest.mark.parametrize(
    "found",
    [
        Object("snapshot-9", 1, SNAPSHOT, UUID(int=9), AT, of=ID),
        Object("copy of volume-7", 1, VOLUME, ID, AT),
    ],
    ids=["a snapshot of it", "a second one of it"],
)
def test_what_belongs_to_what_is_worked_on_is_left_too(found: Object) -> None:
    seen = Survey((*ALL.objects, found))

    assert surveyed(Log(), Turns(), seen, seen) != []
    assert surveyed(Log(), worked_on(ID), seen) == []


def test_a_snapshot_that_is_missing_is_left_while_its_volume_is_worked_on() -> None:
    log = Log()
    log.wanted[SNAPSHOT] = UUID(int=9), msgspec.structs.replace(WANTED, of=ID)

    assert surveyed(log, worked_on(ID), ALL) == []
    assert surveyed(log, Turns(), ALL, ALL) == [str(UUID(int=9))]
