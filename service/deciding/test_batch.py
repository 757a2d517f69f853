"""Commands of one batch stand for themselves, though they are stored together."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from eventsourcing.persistence import IntegrityError

from adapters.postgres.batch import Conflict
from domain.volume import Volume
from projections import resources
from service.deciding.batch import concerned, concerning
from service.deciding.command import Command, Decision, Part, Reply, asking
from service.deciding.room import Room
from service.endpoints.attachments import create as reserve
from service.endpoints.endpoint import endpoint
from service.endpoints.volumes import One, create, delete, show, update
from service.manager import VolumeManager
from service.testing.callers import eventually
from service.testing.deciding import (
    EMPTY,
    Held,
    ask,
    asked_in_turn,
    available,
    known,
    last,
    live,
    reserve_twice,
    until,
)


def test_commands_on_one_volume_share_a_batch(manager: VolumeManager) -> None:
    async def scenario() -> list[Any]:
        async with live(manager.recorder) as log:
            volume_id = await available(log)
            asks = (ask(log, reserve, volume_id=volume_id, host=h) for h in "abc")
            return await asyncio.gather(*asks)

    first, *others = asyncio.run(scenario())

    assert first["status"] == "reserved"
    assert [other["unmet"] for other in others] == [["multiattach"]] * 2


def test_a_conflicting_batch_loses_no_other_command(manager: VolumeManager) -> None:
    async def scenario() -> list[Any]:
        async with live(manager.recorder) as one, live(manager.recorder) as two:
            volume_id = await available(one, multiattach=True)
            await ask(two, show, id=volume_id)
            await ask(one, reserve, volume_id=volume_id, host="node-1")
            return await asyncio.gather(
                *(ask(two, create, size_gib=1) for _ in range(50)),
                ask(two, reserve, volume_id=volume_id, host="node-2"),
                *(ask(two, create, size_gib=1) for _ in range(50)),
            )

    answers = asyncio.run(scenario())

    assert len({answer["position"] for answer in answers}) == 101
    assert last(manager) == 3 + 101


def test_what_has_changed_something_else_alone_tells_the_position_of_that(
    manager: VolumeManager,
) -> None:
    ids: list[str] = []

    @endpoint("test.elsewhere", takes=One(), gives=resources.volume)
    def elsewhere(log: Decision, volume_id: Any) -> Volume:
        log.get(Volume, UUID(ids[1])).reserve()
        return log.get(Volume, volume_id)

    async def first() -> Any:
        async with live(manager.recorder) as log:
            ids.extend([await available(log), await available(log)])
            return await ask(log, elsewhere, "key", id=ids[0]), last(manager)

    async def again() -> Any:
        async with live(manager.recorder) as log:
            return await ask(log, elsewhere, "key", id=ids[0])

    answer, position = asyncio.run(first())

    assert answer["position"] == EMPTY + position
    assert asyncio.run(again()) == answer


def test_what_had_nothing_to_do_in_its_batch_is_told_the_same_for_ever(
    manager: VolumeManager,
) -> None:
    async def scenario() -> list[Any]:
        async with live(manager.recorder) as log:
            volume_id = await available(log)
            _, _, second = await asyncio.gather(
                ask(log, delete, "one", id=volume_id),
                ask(log, create, size_gib=1),
                ask(log, delete, "two", id=volume_id),
            )
        async with live(manager.recorder) as log:
            return [second, await ask(log, delete, "two", id=volume_id)]

    first, again = asyncio.run(scenario())

    assert first["status"] == "deleting"
    assert again == first


def test_a_look_is_confirmed_whatever_else_its_batch_has_changed(
    manager: VolumeManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> list[Any]:
        async with live(manager.recorder) as one, live(manager.recorder) as two:
            volume_id = await available(one)
            await ask(two, show, id=volume_id)
            told = await ask(one, update, id=volume_id, name="told")
            append = Held(monkeypatch, manager.recorder, "append")
            going = await asked_in_turn(ask(two, create, size_gib=1))
            await until(append.reached)
            going += await asked_in_turn(
                ask(two, show, id=volume_id),
                ask(two, reserve_twice, id=volume_id),
                ask(two, update, id=volume_id, description="later"),
            )
            await eventually(partial(known, two, volume_id))
            append.let_go.set()
            _, shown, _, later = await asyncio.gather(*going)
            return [told, shown, later]

    told, shown, later = asyncio.run(scenario())

    assert shown["name"] == "told"
    assert told["version"] <= shown["version"] < later["version"]


MINE, PART, OTHER = UUID(int=1), UUID(int=2), UUID(int=3)


def decided() -> Command:
    """Return a command that looked at one thing and adds a part to it."""
    command = asking(lambda _: Reply(b"{}"))
    command.decision = Decision({}, Room())
    command.decision.touched = {MINE: (None, 0, 0, "")}
    command.decision.parts = {PART: MINE}
    command.taken, command.seen = {"fast": 1}, {"slow": 1}
    return command


@pytest.mark.parametrize(
    ("why", "more"),
    [
        (IntegrityError(), set()),
        (Conflict({OTHER}), {OTHER, Part(OTHER.int)}),  # whatever it is the id of
    ],
)
def test_what_is_decided_again_is_read_again_with_what_others_have_changed(
    why: IntegrityError, more: set[Any]
) -> None:
    assert concerning([decided()], why) == {MINE, Part(PART.int)} | more


@pytest.mark.parametrize(
    ("why", "so"),
    [
        (IntegrityError(), True),  # which does not say whom
        (Conflict({MINE}), True),
        (Conflict({PART}), True),
        (Conflict({OTHER}), False),
        (Conflict(set(), allocated={"fast": 7}), True),
        (Conflict(set(), allocated={"slow": 7}), True),
        (Conflict({OTHER}, allocated={"full": 7}), False),
    ],
)
def test_a_command_counts_what_others_did_to_what_it_is_about_alone(
    why: IntegrityError, *, so: bool
) -> None:
    assert concerned(decided(), why) is so
