"""Of all replicas' keepers one works, and the next one when that is gone."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from asyncio.subprocess import Process
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP
from typing import Any

import msgspec
import pytest
import uvloop
from eventsourcing.persistence import OperationalError, ProgrammingError

from adapters.embedded.nats_server import nats_server
from adapters.embedded.process import free_port
from adapters.embedded.table import children_of
from adapters.tasks import ended
from domain.checkpoint import all_opened
from service.audit.checkpointing import make_key, signer_in
from service.audit.test_checkpointing import messages, right
from service.keeping import keeper
from service.keeping.keeper import Order, kept, started, stopped
from service.keeping.projecting import REACHED, Reached
from service.manager import VolumeManager
from service.replica import SILENT
from service.settings import Settings, database_of, load
from service.testing.callers import Caller, caller, eventually
from service.testing.loads import has_room, published, settled
from service.testing.programs import AGENT, ROOT, SERVE, configuration, program

LONGER_THAN_THE_POOL = 4.0  # seconds that it looks for a connection
TAKEN_OVER = 5.0  # seconds
LEADERS = b"""
    SELECT application_name AS leader FROM pg_locks JOIN pg_stat_activity USING (pid)
    WHERE locktype = 'advisory' AND classid = 7103 AND granted
"""

HANGING = """
import asyncio, sys, time
from service.keeping import keeper
async def hang(order):
    await asyncio.to_thread(time.sleep, 60)
keeper.keep_with_broker, keeper.GRACE = hang, 0.1
sys.exit(asyncio.run(keeper.run()))
"""

CONNECTED = b"SELECT pid FROM pg_stat_activity WHERE application_name = %s"

Replicas = list[subprocess.Popen[str]]


@pytest.fixture
def url(tmp_path: Path, settings: dict[str, str]) -> Iterator[str]:
    with nats_server(tmp_path / "nats") as url:
        configuration(tmp_path, url, settings, reserved=2)
        yield url


@contextmanager
def replicas(folder: Path, number: int) -> Iterator[Replicas]:
    """Run replicas and an agent."""
    config = folder / "holdfast.toml"
    with ExitStack() as running:
        enter = running.enter_context
        serving = [enter(program(SERVE, config)) for _ in range(number)]
        enter(program(AGENT, config))
        yield serving


def leaders(manager: VolumeManager, among: Replicas) -> list[int]:
    """Return which keepers of these replicas lead."""
    keepers = {pid for replica in among for pid in children_of(replica.pid)}
    with manager.recorder.datastore.cursor() as cursor:
        cursor.execute(LEADERS)
        found = {int(row["leader"].split()[-1]) for row in cursor.fetchall()}
    return sorted(keepers & found)


async def one_leads(manager: VolumeManager, among: Replicas) -> int:
    async def is_so() -> bool:
        return len(leaders(manager, among)) == 1

    await eventually(is_so)
    return leaders(manager, among)[0]


@pytest.fixture
def frozen() -> Iterator[list[int]]:
    """Take who was frozen, and thaw them in the end, or they stay for ever."""
    pids: list[int] = []
    yield pids
    for pid in pids:
        thaw(pid)


def thaw(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, SIGCONT)


def lose(leader: int, how: str, among: Replicas, frozen: list[int]) -> None:
    """Take the leading keeper away."""
    if how == "frozen":
        frozen.append(leader)
        os.kill(leader, SIGSTOP)
    elif how == "killed":
        os.kill(leader, SIGKILL)
    else:
        next(r for r in among if leader in children_of(r.pid)).kill()


async def waits(manager: VolumeManager, keeper: int) -> None:
    """Return once a keeper that was thawed waits for another one to go."""

    async def is_so() -> bool:
        with manager.recorder.datastore.cursor() as cursor:
            cursor.execute(CONNECTED, (f"holdfast keeper {keeper}",))
            return bool(cursor.fetchone())

    await eventually(is_so)


FOUR = pytest.param(4, marks=pytest.mark.slow)
NUMBERS = pytest.mark.parametrize("number", [2, FOUR], ids=["of two", "of four"])


@NUMBERS
@pytest.mark.parametrize("how", ["killed", "killed with its replica", "frozen"])
def test_the_next_keeper_takes_over(
    tmp_path: Path,
    url: str,
    manager: VolumeManager,
    frozen: list[int],
    how: str,
    number: int,
) -> None:
    async def scenario(running: Replicas) -> tuple[float, list[int]]:
        async with asyncio.timeout(60), caller(url) as asker:
            await has_room(asker)
            await asker.insist("volume.create", size_gib=1)
            leader = await one_leads(manager, running)
            lose(leader, how, running, frozen)
            began = time.monotonic()
            made = await asker.insist("volume.create", "second", size_gib=1)
            await asker.insist("volume.list", min_position=made["position"])
            await published(asker.client, made["position"])
            took = time.monotonic() - began
            assert await one_leads(manager, running) != leader
            for pid in frozen:
                thaw(pid)
                await waits(manager, pid)
            last = await asker.insist("volume.create", "third", size_gib=1)
            return took, await published(asker.client, last["position"])

    with replicas(tmp_path, number) as running:
        took, positions = asyncio.run(scenario(running))

    assert took < TAKEN_OVER
    assert positions == list(range(1, len(positions) + 1))


@pytest.mark.parametrize("how", ["killed", "frozen"])
def test_checkpoints_go_on_and_never_contradict_each_other(
    tmp_path: Path, url: str, manager: VolumeManager, frozen: list[int], how: str
) -> None:
    config = tmp_path / "holdfast.toml"
    make_key(tmp_path / "key", "holdfast/test")
    more = f'checkpoint_key = "{tmp_path / "key"}"\ncheckpoint_events = 1\n'
    config.write_text(more + config.read_text())

    async def signed(asker: Caller) -> None:
        made = await asker.insist("volume.create", size_gib=1)
        last = made["position"]
        await asker.until("audit.checkpoint", lambda told: told["size"] >= last)

    async def scenario(running: Replicas) -> list[str]:
        async with asyncio.timeout(60), caller(url) as asker:
            await has_room(asker)
            await signed(asker)
            lose(await one_leads(manager, running), how, running, frozen)
            await signed(asker)
            for pid in frozen:
                thaw(pid)
                await waits(manager, pid)
            await signed(asker)
            return await messages(asker.client)

    with replicas(tmp_path, 2) as running:
        notes = asyncio.run(scenario(running))

    found = all_opened("\n".join(notes), signer_in(tmp_path / "key").verifier)
    assert [each.size for each in found] == sorted({each.size for each in found})
    assert all(right(manager.recorder, each) for each in found)


@NUMBERS
@pytest.mark.parametrize("how", ["not at all", "killed", "frozen"])
def test_what_is_overdue_is_seen_to_once_though_the_leader_is_lost(
    tmp_path: Path,
    url: str,
    manager: VolumeManager,
    frozen: list[int],
    how: str,
    number: int,
) -> None:
    async def scenario(running: Replicas) -> list[list[str]]:
        async with asyncio.timeout(60), caller(url) as asker:
            await has_room(asker)
            leader = await one_leads(manager, running)
            ids = [await reserved(asker) for _ in range(5)]
            if how != "not at all":
                lose(leader, how, running, frozen)
            for volume_id in ids:
                await asker.until(
                    "volume.show", lambda v: v["status"] == "available", id=volume_id
                )
            for pid in frozen:
                thaw(pid)
                await waits(manager, pid)
            histories = [await asker.insist("volume.history", id=i) for i in ids]
            return [[e["event"] for e in each["items"]] for each in histories]

    with replicas(tmp_path, number) as running:
        histories = asyncio.run(scenario(running))

    assert [each.count("volume.released") for each in histories] == [1] * 5


async def reserved(asker: Caller) -> str:
    """Return the id of a volume that somebody has reserved."""
    made = await asker.insist("volume.create", size_gib=1)
    await settled(asker, made["id"])
    await asker.insist("attachment.create", volume_id=made["id"], host="node-1")
    volume_id: str = made["id"]
    return volume_id


def test_a_keeper_that_hangs_is_replaced_though_there_is_no_other(
    tmp_path: Path, url: str, manager: VolumeManager, frozen: list[int]
) -> None:
    async def scenario(running: Replicas) -> None:
        async with asyncio.timeout(90), caller(url) as asker:
            await has_room(asker)
            lose(await one_leads(manager, running), "frozen", running, frozen)
            made = await asker.insist("volume.create", size_gib=1)
            await asker.insist("volume.list", min_position=made["position"])

    with replicas(tmp_path, 1) as running:
        asyncio.run(scenario(running))


def test_who_is_alone_waits_for_no_keeper(
    tmp_path: Path, url: str, manager: VolumeManager, frozen: list[int]
) -> None:
    async def told(asker: Caller, position: int) -> None:
        """Return once the replica knows that the stream has all up to a position."""
        words = await asker.client.subscribe(REACHED)
        async for word in words.messages:
            if msgspec.json.decode(word.data, type=Reached).published >= position:
                break
        await words.unsubscribe()

    async def scenario(running: Replicas) -> tuple[list[int], Any]:
        async with asyncio.timeout(60), caller(url) as asker:
            await has_room(asker)
            first = await asker.insist("volume.create", size_gib=1)
            await settled(asker, first["id"])
            leader = await one_leads(manager, running)
            await told(asker, (manager.recorder.max_notification_id() or 0))
            lose(leader, "frozen", running, frozen)
            made = await asker.insist("volume.create", size_gib=1)
            async with asyncio.timeout(SILENT):  # before another keeper is started
                await settled(asker, made["id"])
            thaw(leader)
            shown = await asker.insist("volume.show", id=made["id"])
            last = shown["position"]
            listed = await asker.insist("volume.list", min_position=last)
            return await published(asker.client, last), [shown, listed["items"][-1]]

    with replicas(tmp_path, 1) as running:
        positions, (shown, listed) = asyncio.run(scenario(running))

    assert positions == list(range(1, len(positions) + 1))
    assert shown["status"] == "available"
    assert listed == {name: shown[name] for name in listed}


def test_a_keeper_ends_with_its_replica_though_no_broker_answers(
    tmp_path: Path, settings: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "GRACE", 30.0)
    nowhere = f"nats://127.0.0.1:{free_port()}"
    configured = load(configuration(tmp_path, nowhere, settings), {})

    async def scenario() -> int | None:
        process = await ordered(configured)
        await stopped(process)
        return process.returncode

    assert asyncio.run(scenario()) == 0


def test_a_keeper_ends_with_its_replica_though_a_thread_of_it_hangs() -> None:
    order = msgspec.json.encode(Order(load(None, {}), {})) + b"\n"
    keeping = [sys.executable, "-c", HANGING]

    ended = subprocess.run(keeping, input=order, cwd=ROOT, timeout=30, check=False)

    assert ended.returncode == 1


def test_a_keeper_that_finds_no_database_waits_for_it(
    tmp_path: Path, url: str, settings: dict[str, str]
) -> None:
    nowhere = settings | {"POSTGRES_HOST": str(tmp_path)}
    configured = load(configuration(tmp_path, url, nowhere), {})

    async def scenario() -> int | None:
        process = await ordered(configured)
        with suppress(TimeoutError):
            async with asyncio.timeout(LONGER_THAN_THE_POOL):
                await process.wait()
        await stopped(process)
        return process.returncode

    assert asyncio.run(scenario()) == 0


async def ordered(configured: Settings) -> Process:
    """Start a keeper and tell it what to keep."""
    process = await started()
    assert process.stdin
    order = msgspec.json.encode(Order(configured, database_of(configured)))
    process.stdin.write(order + b"\n")
    return process


@pytest.mark.parametrize("how", ["it has ended", "none can be started"])
def test_a_replica_goes_on_without_a_keeper_and_gets_another(
    how: str, tmp_path: Path, settings: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "AGAIN", 0.1)
    nowhere = f"nats://127.0.0.1:{free_port()}"
    configured = load(configuration(tmp_path, nowhere, settings), {})
    fell: list[str] = []

    async def scenario() -> None:
        first, refusals = None, [BlockingIOError(11, "no process is left")]
        if how == "it has ended":
            first, refusals = await started(), []
            first.kill()
            await first.wait()
            await asyncio.sleep(0.1)  # until its input is known to be closed
        another = asyncio.Event()

        async def start() -> Process:
            if refusals:
                raise refusals.pop()
            process = await started()
            another.set()
            return process

        monkeypatch.setattr(keeper, "started", start)
        keeping = asyncio.ensure_future(
            kept(configured, settings, first, lambda: False, lambda: fell.append(how))
        )
        met = asyncio.ensure_future(another.wait())
        await asyncio.wait([keeping, met], return_when=asyncio.FIRST_COMPLETED)
        await ended(keeping, met)
        assert keeping.cancelled(), keeping.exception()

    uvloop.run(scenario())

    assert fell == [how]


def test_what_the_database_refuses_a_keeper_is_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for why in ("must be owner of table read_models", "the connection is lost"):
        refusal = OperationalError if "lost" in why else ProgrammingError
        for _ in range(3):
            with keeper.borne():
                raise refusal(why)

    assert [record.message.rpartition(": ")[2] for record in caplog.records] == [
        "must be owner of table read_models"
    ]
