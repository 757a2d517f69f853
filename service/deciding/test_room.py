"""What is taken of a backend is what its volumes take, whatever happens to them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from itertools import cycle
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.postgres.recorder import LogRecorder
from domain.aggregate import NotDone
from domain.log import replayed
from domain.volume import Volume
from domain.volume_status import Status
from service.deciding.log import Log
from service.deciding.room import Measured, Room
from service.endpoints.agents import from_agent, take_over
from service.endpoints.volumes import create, delete, extend, show
from service.manager import VolumeManager
from service.testing.deciding import (
    LEASE,
    NUMBERS,
    WORKING,
    ask,
    available,
    capabilities,
    live,
    lives,
    report,
)

ROOM = 12  # GiB
S = Status
# How often a volume takes its size, where nothing makes that unclear.
OWED = {S.CREATING: 1, S.AVAILABLE: 1, S.ERROR_EXTENDING: 1, S.ERROR: 0, S.DELETED: 0}


def reported(**result: Any) -> Callable[..., Awaitable[Any]]:
    """Return what reports on the newest work of a volume."""

    def told(log: Log, asked: Volume, _: int) -> Awaitable[Any]:
        about = str(asked.id), newest(asked)
        return report(log, *about, backend=asked.backend, **result)

    return told


def newest(asked: Volume) -> int:
    """Return what the backend was asked last; what is settled is reported twice."""
    return max(asked.in_flight, default=1)


DEEDS: dict[str, Callable[[Log, Volume, int], Awaitable[Any]]] = {
    "extend": lambda log, v, size: ask(log, extend, id=str(v.id), size_gib=size),
    "delete": lambda log, v, _: ask(log, delete, id=str(v.id)),
    "force": lambda log, v, _: ask(log, delete, id=str(v.id), force=True),
    "done": reported(location="/there"),
    "failed": reported(not_done=NotDone("broken", "it broke")),
    "overdue": reported(not_done=NotDone("deadline", "it took too long")),
    "busy": reported(not_done=NotDone("busy", "in use", busy=True)),
}
DEED = st.tuples(
    st.sampled_from(["create", "create", *DEEDS]),
    st.integers(0, 3),  # which volume
    st.integers(1, 6),  # GiB
    st.sampled_from([0, 1]),  # which replica
)
ROUNDS = st.lists(st.lists(DEED, min_size=1, max_size=4), max_size=20)


# Each example has a backend of its own.
@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(ROUNDS)
def test_what_is_taken_is_a_fold_over_the_log(
    manager: VolumeManager, rounds: list[list[Any]]
) -> None:
    recorder, backend = manager.recorder, str(uuid4())

    async def scenario() -> None:
        one, two = (live(recorder, ROOM, backend) for _ in range(2))
        async with one as here, two as elsewhere:
            ids: list[UUID] = []
            for deeds in rounds:
                there = volumes(recorder, ids)
                answers = await asyncio.gather(
                    *(do((here, elsewhere)[to], backend, there, *d) for *d, to in deeds)
                )
                made = [a for a in answers if a and a["status"] == "creating"]
                ids += [UUID(answer["id"]) for answer in made]
                agreed(recorder, backend, ids, here, elsewhere)
            await emptied(here, recorder, ids)
            agreed(recorder, backend, ids, here, elsewhere)

    asyncio.run(scenario())

    assert recorder.allocated().get(backend, 0) == 0


def do(
    log: Log, backend: str, there: list[Volume], deed: str, which: int, size: int
) -> Awaitable[Any]:
    if deed == "create" or not there:
        return ask(log, create, size_gib=size, backend=backend)
    return DEEDS[deed](log, there[which % len(there)], size)


def volumes(recorder: LogRecorder, ids: list[UUID]) -> list[Volume]:
    """Return the volumes as the log makes them, those that are deleted as well."""
    found: Any = [volume for volume, _ in replayed(recorder.histories(ids)).values()]
    return sorted(found, key=lambda volume: ids.index(volume.id))


def agreed(recorder: LogRecorder, backend: str, ids: list[UUID], *logs: Log) -> None:
    """What is counted is what the volumes take, and no promise is left over."""
    taken, there = recorder.allocated().get(backend, 0), volumes(recorder, ids)
    assert taken == sum(volume.allocated_gib for volume in there)
    for volume in there:
        if volume.status in OWED:
            assert volume.allocated_gib == OWED[volume.status] * volume.size_gib
    assert 0 <= taken <= ROOM
    for log in logs:
        assert log.room.taken(backend) == log.room.allocated.get(backend, 0)


async def emptied(log: Log, recorder: LogRecorder, ids: list[UUID]) -> None:
    """Delete every volume, by force."""
    for volume in volumes(recorder, ids):
        asked = await DEEDS["force"](log, volume, 0)
        if asked["status"] == "deleting":
            volume_id, intent = asked["id"], asked["version"]
            await report(log, volume_id, intent, backend=volume.backend)
    for volume in volumes(recorder, ids):  # one that was being deleted before
        await DEEDS["done"](log, volume, 0)


@NUMBERS
def test_the_last_room_is_given_once(manager: VolumeManager, number: int) -> None:
    async def scenario() -> list[Any]:
        async with lives(manager.recorder, number, total_gib=20) as logs:
            asks = (ask(log, create, size_gib=1) for _ in range(25) for log in logs)
            return await asyncio.gather(*asks)

    answers = asyncio.run(scenario())

    made = Counter(a["status"] for a in answers)
    assert made == {"creating": 20, 409: 25 * number - 20}
    assert {a["type"] for a in answers if a["status"] == 409} == {"no-capacity"}
    assert manager.recorder.allocated() == {"files": 20}


def test_growing_takes_room_like_making(manager: VolumeManager) -> None:
    async def scenario() -> list[Any]:
        async with (
            live(manager.recorder, total_gib=20) as one,
            live(manager.recorder, total_gib=20) as two,
        ):
            ids = [await available(one) for _ in range(10)]
            asks = (
                ask(log, extend, id=volume_id, size_gib=3)
                for volume_id, log in zip(ids, (one, two) * 5, strict=True)
            )
            return await asyncio.gather(*asks)

    answers = asyncio.run(scenario())

    assert Counter(a["status"] for a in answers) == {"extending": 5, 409: 5}
    assert manager.recorder.allocated() == {"files": 20}


THIN = msgspec.structs.replace(
    capabilities(10), thin_provisioning_support=True, max_over_subscription_ratio=2.0
)


SOLID = {"solid": {"provisioning:type": "thick"}}


def thin(log: Log) -> Log:
    log.room.know("files", Measured(THIN, *WORKING, datetime.now(UTC)))
    return log


@pytest.mark.parametrize(
    ("used", "kinds", "made"),
    [
        (10, ["solid", None], [False, True]),
        (9, ["solid", None], [True, True]),
        (9, [None, "solid"], [True, False]),
    ],
)
def test_a_thick_volume_on_thin_storage_is_within_its_own_limit(
    manager: VolumeManager, used: int, kinds: list[str | None], made: list[bool]
) -> None:
    async def scenario() -> list[Any]:
        one, two = (live(manager.recorder, room=Room(volume_types=SOLID)) for _ in "ab")
        async with one as one_log, two as other:
            await ask(thin(one_log), create, size_gib=used)
            # The other has not heard of it.
            asks = (
                ask(thin(other), create, size_gib=1, volume_type=kind) for kind in kinds
            )
            return await asyncio.gather(*asks)

    answers = asyncio.run(scenario())

    assert ["id" in answer for answer in answers] == made
    assert manager.recorder.allocated() == {"files": used + sum(made)}


def test_what_is_given_back_beside_it_lets_nothing_past_its_limit(
    manager: VolumeManager,
) -> None:
    async def scenario() -> Any:
        one, two = (live(manager.recorder, room=Room(volume_types=SOLID)) for _ in "ab")
        async with one as one_log, two as other:
            asked = await ask(thin(other), create, size_gib=3)
            await ask(thin(one_log), create, size_gib=15)
            # The other has not heard of it.
            _, answer = await asyncio.gather(
                fail(other, asked["id"], 1),
                ask(other, create, size_gib=3, volume_type="solid"),
            )
            return answer

    refused = asyncio.run(scenario())

    assert refused["type"] == "no-capacity"
    assert manager.recorder.allocated() == {"files": 15}


async def with_another(log: Log, total_gib: float) -> Log:
    """Let a log know a second backend, of less room."""
    told = Measured(capabilities(total_gib), *WORKING, datetime.now(UTC))
    log.room.know("other", told)
    lease = "other", LEASE, "shelf 2 of node-1", "node-1"
    await log.submit(from_agent("other", lambda seen: take_over(seen, *lease)))
    return log


def test_what_one_backend_cannot_make_takes_room_of_another(
    manager: VolumeManager,
) -> None:
    async def scenario() -> list[Any]:
        async with live(manager.recorder, total_gib=20) as log:
            await with_another(log, 10)
            asked = await ask(log, create, size_gib=3)
            await fail(log, asked["id"], 1)
            rescheduled = await ask(log, show, id=asked["id"])
            assert manager.recorder.allocated() == {"files": 0, "other": 3}
            await report(log, asked["id"], 3, NotDone("broken", "it broke"), "other")
            return [asked, rescheduled, await ask(log, show, id=asked["id"])]

    seen = asyncio.run(scenario())

    assert [(each["backend"], each["status"]) for each in seen] == [
        ("files", "creating"),
        ("other", "creating"),
        ("other", "error"),
    ]
    assert manager.recorder.allocated() == {"files": 0, "other": 0}


@NUMBERS
def test_the_last_room_of_another_is_given_once(
    manager: VolumeManager, number: int
) -> None:
    async def scenario() -> list[Any]:
        async with lives(manager.recorder, number, total_gib=20) as logs:
            for log in logs:
                await with_another(log, 10)
            asks = [ask(logs[0], create, size_gib=3) for _ in range(3)]
            asked = await asyncio.gather(*asks)
            assert {each["backend"] for each in asked} == {"files"}
            await ask(logs[0], create, size_gib=4, backend="other")
            # The others have not heard of it.
            each = zip(asked, cycle(reversed(logs)), strict=False)
            await asyncio.gather(*(fail(log, it["id"], 1) for it, log in each))
            return [await ask(logs[0], show, id=it["id"]) for it in asked]

    seen = asyncio.run(scenario())

    found = Counter((each["backend"], each["status"]) for each in seen)
    assert found == {("other", "creating"): 2, ("files", "error"): 1}
    assert manager.recorder.allocated() == {"files": 0, "other": 10}


async def made(log: Log) -> str:
    return await available(log, size_gib=3)


async def grown_in_vain(log: Log) -> str:
    volume_id = await made(log)
    await ask(log, extend, id=volume_id, size_gib=9)
    await fail(log, volume_id, 3)
    return volume_id


async def fail(log: Log, volume_id: str, intent: int) -> None:
    await report(log, volume_id, intent, NotDone("broken", "it broke"))


async def deleted(log: Log) -> str:
    volume_id = await grown_in_vain(log)
    asked = await ask(log, delete, id=volume_id)
    await report(log, volume_id, asked["version"])
    return volume_id


async def failed(log: Log) -> str:
    volume_id: str = (await ask(log, create, size_gib=7))["id"]
    await fail(log, volume_id, 1)
    return volume_id


async def failed_and_deleted(log: Log) -> str:
    volume_id = await failed(log)
    asked = await ask(log, delete, id=volume_id)
    await report(log, volume_id, asked["version"])
    return volume_id


@pytest.mark.parametrize(
    ("lived", "taken"),
    [(made, 3), (grown_in_vain, 3), (deleted, 0), (failed, 0), (failed_and_deleted, 0)],
)
def test_what_is_not_used_is_given_back_exactly(
    manager: VolumeManager, lived: Callable[[Any], Any], taken: int
) -> None:
    async def scenario() -> Any:
        async with live(manager.recorder, total_gib=10) as log:
            await lived(log)
            return log.room.taken("files")

    assert asyncio.run(scenario()) == taken
    assert manager.recorder.allocated().get("files", 0) == taken


def test_room_that_another_replica_gave_back_is_there(manager: VolumeManager) -> None:
    async def scenario() -> list[Any]:
        async with (
            live(manager.recorder, total_gib=1) as one,
            live(manager.recorder, total_gib=1) as two,
        ):
            answers = []
            for log, other in ((one, two), (two, one)) * 2:
                volume_id = await available(log)
                answers += [await ask(other, create, size_gib=1) for _ in range(2)]
                asked = await ask(log, delete, id=volume_id)
                await report(log, volume_id, asked["version"])
            return answers

    assert [a["type"] for a in asyncio.run(scenario())] == ["no-capacity"] * 8
    assert manager.recorder.allocated() == {"files": 0}
