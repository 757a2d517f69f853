"""Several replicas on one log: processes that are killed, and an agent of its own."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from signal import SIGKILL
from typing import Any

import pytest
from nats.aio.client import Client
from nats.errors import Error

from adapters.embedded.nats_server import NatsServer
from adapters.postgres.reading import rebuilt, verified
from domain import log as language
from domain.volume import Volume
from service.manager import VolumeManager
from service.testing.callers import Caller, caller, callers, eventually
from service.testing.deciding import following
from service.testing.drivers import Small, Solid
from service.testing.loads import (
    happened_once,
    has_room,
    load,
    nothing_is_in_flight,
    published,
)
from service.testing.programs import AGENT, SERVE, configuration, program

CLIENTS = 8

RACERS = 50

DIE_BEFORE_REPLYING = """
import os, signal
from service.deciding.log import Log
answer = Log._answer
def die(log, batch, stored):
    if any(command.request_id for command in batch):
        os.kill(os.getpid(), signal.SIGKILL)
    answer(log, batch, stored)
Log._answer = die
"""


@pytest.mark.parametrize("others", [1, 3], ids=["of two", "of four"])
def test_a_killed_replica_takes_nothing_with_it(
    broker: NatsServer, config: Path, manager: VolumeManager, others: int
) -> None:
    async def scenario(kill: Callable[[], None]) -> list[int]:
        async with asyncio.timeout(50), callers(broker.url, CLIENTS) as askers:
            await while_working(askers, seen, kill, others + 1)
            rows = await asyncio.to_thread(lambda: list(verified(manager.recorder)))
            happened_once([language.decode(r.topic, r.state) for r in rows], askers)
            await reads_as_written(askers[0], manager)
            return await published(askers[0].client, len(rows))

    with ExitStack() as stack:
        seen = stack.enter_context(following(manager.recorder))
        one = stack.enter_context(program(SERVE, config))
        for code in [SERVE] * others + [AGENT]:
            stack.enter_context(program(code, config))
        positions = asyncio.run(scenario(one.kill))

    assert positions == seen == list(range(1, len(seen) + 1))


async def reads_as_written(asker: Caller, manager: VolumeManager) -> None:
    """What is listed, and what is counted, is what the log comes to."""
    made = await asyncio.to_thread(rebuilt, manager.recorder)
    volumes = [each for each in made.values() if isinstance(each, Volume)]
    last = manager.recorder.max_notification_id()
    listed = await asker.all("volume.list", min_position=last)
    there = {str(v.id): v.version for v in volumes if v.status != "deleted"}
    assert {item["id"]: item["version"] for item in listed} == there
    taken = sum(volume.allocated_gib for volume in volumes)
    assert manager.recorder.allocated() == {"files": taken}


async def while_working(
    askers: list[Caller], seen: list[int], kill: Callable[[], None], replicas: int
) -> None:
    """Kill a replica once all have answered, and work on for a while."""

    async def all_have_answered() -> bool:
        counts = await answered(askers[0].client)
        return len(counts) == replicas and min(counts) > 100

    async def went_on() -> bool:
        return len(seen) > written + 200

    stopped = asyncio.Event()
    lives = asyncio.gather(
        *(
            load(asker, random.Random(number), str(number), stopped)
            for number, asker in enumerate(askers)
        )
    )
    await eventually(all_have_answered)
    kill()
    written = len(seen)
    await eventually(went_on)
    stopped.set()
    await lives
    await nothing_is_in_flight(askers[0])


async def answered(client: Client) -> list[int]:
    """Return how many requests each replica has answered."""
    inbox = client.new_inbox()
    replies = await client.subscribe(inbox)
    await client.publish("$SRV.STATS.holdfast", reply=inbox)
    counts = []
    with suppress(TimeoutError):
        while True:
            told = json.loads((await replies.next_msg(timeout=0.2)).data)
            counts.append(sum(each["num_requests"] for each in told["endpoints"]))
    await replies.unsubscribe()
    return counts


@pytest.mark.parametrize(
    "number", [2, pytest.param(4, marks=pytest.mark.slow)], ids=["of two", "of four"]
)
def test_what_reaches_several_replicas_at_once_is_done_once(
    broker: NatsServer, config: Path, manager: VolumeManager, number: int
) -> None:
    async def scenario() -> list[list[Any]]:
        async with asyncio.timeout(50), callers(broker.url, CLIENTS) as askers:

            async def all_have_answered() -> bool:
                made.append(await at_once(askers, f"key-{len(made)}"))
                counts = await answered(askers[0].client)
                return len(made) > 20 and len(counts) == number and min(counts) > 20

            made: list[list[Any]] = []
            await eventually(all_have_answered)
            return made

    with ExitStack() as stack:
        for code in [SERVE] * number + [AGENT]:
            stack.enter_context(program(code, config))
        made = asyncio.run(scenario())

    log = [language.decode(r.topic, r.state) for r in verified(manager.recorder)]
    created = [e for e in log if isinstance(e, Volume.Created)]
    assert [first["id"] for first, *_ in made] == [
        str(e.originator_id) for e in created
    ]
    assert [again for first, *more in made for again in more if again != first] == []


async def at_once(askers: Sequence[Caller], key: str) -> list[Any]:
    """Let everybody ask for the same with one key, and return the answers."""
    # A replica that has just begun may not know a backend yet.
    asked: dict[str, Any] = {"key": key, "size_gib": 1}
    asks = (
        a.until("volume.create", lambda told: "id" in told, **asked) for a in askers
    )
    return await asyncio.gather(*asks)


def test_a_reply_that_was_lost_is_given_again(
    broker: NatsServer, config: Path, manager: VolumeManager
) -> None:
    asked: dict[str, Any] = {"key": "first", "size_gib": 1, "name": "db"}

    async def lost() -> None:
        async with caller(broker.url) as asker:
            await has_room(asker)
            with pytest.raises((Error, TimeoutError)):
                await asker.ask("volume.create", **asked)

    async def repeated() -> list[Any]:
        async with asyncio.timeout(20), caller(broker.url) as asker:
            return [await asker.insist("volume.create", **asked) for _ in range(2)]

    with program(AGENT, config):
        with program(DIE_BEFORE_REPLYING + SERVE, config) as served:
            asyncio.run(lost())
            assert served.wait(5) == -SIGKILL
        before = manager.recorder.max_notification_id()
        with program(SERVE, config):
            answer, again = asyncio.run(repeated())

    assert before == answer["position"]
    log = [language.decode(r.topic, r.state) for r in verified(manager.recorder)]
    [created] = [event for event in log if isinstance(event, Volume.Created)]
    assert answer == again
    assert answer["id"] == str(created.originator_id)
    assert answer["status"] == "creating"


@pytest.mark.parametrize(
    ("storage", "room"),
    [((Small, 1.0), 10), ((Small, 2.0), 20), ((Solid, 2.0), 10)],
    ids=["thin", "thin and promised twice", "thick"],
)
def test_what_many_race_for_is_never_promised_twice(
    tmp_path: Path,
    broker: NatsServer,
    settings: dict[str, str],
    manager: VolumeManager,
    *,
    storage: tuple[type[Small], float],
    room: int,
) -> None:
    driver, ratio = storage
    small = f"{driver.__module__}.{driver.__qualname__}"
    config = configuration(tmp_path, broker.url, settings, small, ratio)

    async def race(askers: list[Caller], name: str) -> list[str]:
        """Let everybody ask at once, and return whose volumes were made."""
        asks = [
            asker.insist("volume.create", f"{name}-{number}", size_gib=1)
            for number, asker in enumerate(askers)
        ]
        answers = await asyncio.gather(*asks)
        assert {a.get("type", "no-capacity") for a in answers} == {"no-capacity"}
        return [answer["id"] for answer in answers if "id" in answer]

    async def scenario() -> tuple[int, int]:
        async with asyncio.timeout(50), callers(broker.url, RACERS) as askers:
            await has_room(askers[0])
            made = await race(askers, "first")
            for volume_id in made[:5]:
                await askers[0].until(
                    "volume.delete", lambda v: v["status"] == "deleted", id=volume_id
                )
            return len(made), len(await race(askers, "second"))

    with program(SERVE, config), program(SERVE, config), program(AGENT, config):
        first, second = asyncio.run(scenario())

    assert (first, second) == (room, 5)
    assert manager.recorder.allocated() == {"files": room}


def test_replicas_are_replaced_one_by_one_without_a_failed_request(
    broker: NatsServer, config: Path
) -> None:
    async def ask_for_ever(asker: Caller, stopped: asyncio.Event) -> int:
        number = 0
        while not stopped.is_set():
            number += 1
            # Once each: nothing is asked again.
            made = await asker.ask("volume.create", seconds=5, size_gib=1)
            assert not made.code, made.body
            shown = await asker.ask("volume.show", seconds=5, id=made.body["id"])
            assert not shown.code, shown.body
        return number

    async def scenario(running: ExitStack) -> list[int]:
        def start() -> subprocess.Popen[str]:
            return running.enter_context(program(SERVE, config))

        serving = [await asyncio.to_thread(start) for _ in range(2)]
        async with asyncio.timeout(60), callers(broker.url, CLIENTS) as askers:
            await has_room(askers[0])
            stopped = asyncio.Event()
            asking = asyncio.gather(*(ask_for_ever(a, stopped) for a in askers))
            for old in serving:
                await asyncio.to_thread(start)
                old.terminate()
                assert await asyncio.to_thread(old.wait, 10) == 0
            stopped.set()
            return await asking

    with program(AGENT, config), ExitStack() as running:
        asked = asyncio.run(scenario(running))

    assert min(asked) > 0
