"""What is taken of a backend is what its volumes take, whatever happens to them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID, uuid4

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.postgres.recorder import LogRecorder
from domain.aggregate import NotDone
from domain.log import replayed
from domain.volume import Volume
from domain.volume_status import Status
from service.deciding.log import Log
from service.endpoints.volumes import create, delete, extend
from service.manager import VolumeManager
from service.testing.deciding import ask, live, report

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
    deadline=None,
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
