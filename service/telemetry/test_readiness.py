"""Readiness follows what is really there, and comes back with it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP
from uuid import uuid4

import pytest
from eventsourcing.persistence import StoredEvent
from nats.aio.client import Client
from nats.js.api import DiscardPolicy, StreamConfig

from adapters.embedded.nats_server import NatsServer
from adapters.embedded.postgres import PostgresServer, postgres
from adapters.embedded.table import children_of
from adapters.jetstream.stream import STREAM, SUBJECTS
from adapters.postgres.mapper import LogMapper
from domain.volume import Volume
from service.manager import VolumeManager
from service.permissions import with_password
from service.replica import FALLS
from service.settings import Unusable, load
from service.telemetry.listening import listening
from service.telemetry.readiness import Readiness, Unready
from service.telemetry.testing import free_address, page, says, told, until_wrong
from service.testing.callers import caller, eventually
from service.testing.disks import fill, tmpfs
from service.testing.loads import published
from service.testing.programs import AGENT, ROOT, SERVE, configuration, program
from service.testing.read_only import read_only


@pytest.mark.slow
def test_a_replica_is_ready_while_what_it_needs_is_there(
    tmp_path: Path, broker: NatsServer, postgres: PostgresServer
) -> None:
    address = free_address()
    config = configuration(tmp_path, broker.url, postgres.settings)
    listens = told(config, "serve", metrics_listen=address)

    async def scenario(keeper: int) -> None:
        await until_wrong(address)
        postgres.kill()
        await until_wrong(address, "database")
        postgres.start()
        await until_wrong(address)

        broker.kill()
        await until_wrong(address, "broker", "subscriptions", "read_models")
        broker.start()
        await until_wrong(address)

        os.kill(keeper, SIGSTOP)
        await until_wrong(address, "read_models")
        os.kill(keeper, SIGCONT)
        await until_wrong(address)

    with program(SERVE, listens) as serving:
        [keeper] = children_of(serving.pid)
        asyncio.run(scenario(keeper))


@pytest.mark.slow
def test_a_database_that_takes_no_writes_is_not_ready(
    tmp_path: Path, broker: NatsServer
) -> None:
    address = free_address()
    folder = tmp_path / "pg"
    folder.mkdir()

    async def scenario(database: dict[str, str]) -> None:
        await until_wrong(address)
        read_only(database, "on")
        await until_wrong(address, "database")
        await says(address, "database", "the database is read-only")
        read_only(database, "off")
        await until_wrong(address)

        filler = await asyncio.to_thread(fill, folder)
        await until_wrong(address, "database")
        await says(address, "database", "No space left on device")
        filler.unlink()
        await until_wrong(address)

    with tmpfs(folder, "size=160m"), postgres(folder) as database:
        config = configuration(tmp_path, broker.url, database)
        with program(SERVE, told(config, "serve", metrics_listen=address)):
            asyncio.run(scenario(database))


def test_a_read_model_that_has_stopped_is_told_of(
    manager: VolumeManager, config: Path
) -> None:
    address = free_address()

    async def scenario() -> None:
        await until_wrong(address)
        unknown = StoredEvent(uuid4(), 1, "group.unheard_of", b"{}")
        [position] = manager.recorder.insert_events([unknown])
        await until_wrong(address, "read_models")
        stopped = f"groups stopped before position {position} (group.unheard_of)"
        await says(address, "read_models", stopped)

    with program(SERVE, told(config, "serve", metrics_listen=address)):
        asyncio.run(scenario())


def test_keepers_that_end_again_and_again_are_told_of(config: Path) -> None:
    address = free_address()

    killed: set[int] = set()

    async def enough() -> bool:
        for keeper in set(children_of(serving.pid)) - killed:
            os.kill(keeper, SIGKILL)
            killed.add(keeper)
        return len(killed) == FALLS

    async def scenario() -> None:
        await until_wrong(address)
        await eventually(enough)
        await says(address, "read_models", "its keeper ends again and again")

    with program(SERVE, told(config, "serve", metrics_listen=address)) as serving:
        asyncio.run(scenario())


def test_a_stream_that_takes_no_messages_is_told_of(
    broker: NatsServer, config: Path, manager: VolumeManager
) -> None:
    address = free_address()

    async def take(client: Client, most: int) -> None:
        limited = StreamConfig(
            STREAM,
            subjects=[f"{SUBJECTS}.>"],
            max_msgs=most,
            discard=DiscardPolicy.NEW,
        )
        await client.jetstream().update_stream(limited)

    async def scenario() -> None:
        async with caller(broker.url) as asker:
            await until_wrong(address)
            written(manager)
            await published(asker.client, 1)
            await take(asker.client, 1)
            written(manager)
            await until_wrong(address, "stream")
            await says(address, "stream", "behind the log: maximum messages exceeded")
            await take(asker.client, -1)
            await until_wrong(address)

    with program(SERVE, told(config, "serve", metrics_listen=address)):
        asyncio.run(scenario())


def written(manager: VolumeManager) -> None:
    """Have an event in the log."""
    volume = Volume.create(uuid4(), size_gib=1, backend="files")
    stored = [LogMapper().to_stored_event(e) for e in volume.collect_events()]
    manager.recorder.insert_events(stored)


def test_an_agent_is_ready_while_its_storage_and_the_broker_are_there(
    broker: NatsServer, config: Path
) -> None:
    address = free_address()
    listens = told(config, "agent", metrics_listen=address)
    folder, away = config.parent / "volumes", config.parent / "away"

    async def scenario() -> None:
        await until_wrong(address)
        folder.rename(away)
        await until_wrong(address, "storage")
        away.rename(folder)
        await until_wrong(address)

        broker.kill()
        await until_wrong(address, "broker")
        broker.start()
        await until_wrong(address)

    with program(SERVE, config), program(AGENT, listens):
        asyncio.run(scenario())


def test_a_broker_that_stood_still_while_it_was_asked_is_heard_again(
    broker: NatsServer, config: Path
) -> None:
    addresses = free_address(), free_address()
    serves, works = (told(config, each, metrics_listen=each) for each in addresses)

    async def scenario() -> None:
        for address in addresses:
            await until_wrong(address)
        assert broker.pid
        os.kill(broker.pid, SIGSTOP)
        for address in addresses:
            await says(address, "broker", "does not answer within")
        os.kill(broker.pid, SIGCONT)
        for address in addresses:
            await until_wrong(address)
        async with caller(broker.url) as asker:
            made = await asker.insist("volume.create", size_gib=1)
            await asker.until(
                "volume.show", lambda v: v["status"] == "available", id=made["id"]
            )

    with program(SERVE, serves), program(AGENT, works):
        asyncio.run(scenario())


QUICKLY = "import service.connecting as it; it.SAY_EVERY = 0.2\n"


@pytest.mark.parametrize(
    ("code", "then"), [(SERVE, ()), (AGENT, ("lease", "work"))], ids=["serve", "agent"]
)
def test_what_waits_for_its_broker_says_so(
    tmp_path: Path, settings: dict[str, str], code: str, then: tuple[str, ...]
) -> None:
    address = free_address()
    server = NatsServer(tmp_path / "nats")
    hidden = with_password(server.url, "hush")
    config = configuration(tmp_path, hidden, settings)
    listens = told(config, "waits", metrics_listen=address)
    said = tmp_path / "said"
    line = f'event="waiting for NATS at {server.url}: '

    async def often() -> bool:
        return said.read_text().count(line) > 3

    async def scenario() -> None:
        await says(address, "broker", f"waits for NATS at {server.url}")
        await eventually(often)
        server.start()
        await until_wrong(address, *then)

    with said.open("w") as lines:
        command = [sys.executable, "-c", QUICKLY + code, str(listens)]
        process = subprocess.Popen(command, stderr=lines, cwd=ROOT)
        try:
            asyncio.run(scenario())
        finally:
            process.kill()
            process.wait()
            server.stop()

    assert said.read_text().count(f"NATS at {server.url} is there") == 1
    assert "hush" not in said.read_text()


@pytest.mark.parametrize("address", ["nowhere", "127.0.0.1:", "127.0.0.1:99999"])
def test_an_address_where_nobody_can_listen_is_refused(address: str) -> None:
    async def scenario() -> None:
        settings = load(None, {"HOLDFAST_METRICS_LISTEN": address})
        async with listening(settings.metrics_listen, Readiness({})):
            pass

    with pytest.raises(Unusable, match="metrics_listen"):
        asyncio.run(scenario())


def test_a_blocked_event_loop_is_not_live() -> None:
    address = free_address()

    async def absent() -> None:
        raise Unready("is away")

    async def scenario() -> list[tuple[int, str]]:
        async with listening(address, Readiness({"it": absent})):
            seen = [await asyncio.to_thread(page, address, "/live")]
            asked = asyncio.ensure_future(asyncio.to_thread(page, address, "/live"))
            await asyncio.sleep(0)
            time.sleep(3)  # noqa: ASYNC251 - nothing turns now
            seen.append(await asked)
            return [*seen, await asyncio.to_thread(page, address, "/ready")]

    seen = asyncio.run(scenario())

    assert seen == [
        (200, '{"live":true}\n'),
        (503, '{"live":false}\n'),
        (503, '{"ready":false,"checks":{"it":"is away"}}\n'),
    ]
