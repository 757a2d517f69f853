"""The database or the broker goes away, and comes back."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from signal import SIGCONT, SIGSTOP
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from nats.errors import Error
from nats.js.errors import NotFoundError

from adapters.embedded.nats_server import NatsServer
from adapters.embedded.postgres import PostgresServer
from adapters.embedded.table import children_of
from adapters.jetstream.stream import STREAM
from adapters.postgres.batch import Batch
from adapters.postgres.mapper import LogMapper
from adapters.postgres.reading import verified
from domain import log as language
from domain.aggregate import Event
from domain.volume import Volume
from service.manager import VolumeManager
from service.testing.callers import Answer, Caller, caller, callers, eventually
from service.testing.loads import has_room, nothing_is_in_flight, published
from service.testing.programs import AGENT, SERVE, configuration, program

NOTHING_CHANGED = "nothing was changed"
NAMED = Volume.Created, Volume.Updated
# A minute of it is for `just outages`.
LASTING = pytest.mark.parametrize(
    "seconds", [8, pytest.param(60, marks=pytest.mark.outage)]
)
WANTED: dict[str, Any] = {"size_gib": 1, "backend": "files"}


@contextmanager
def running(
    folder: Path, broker: NatsServer, database: dict[str, str]
) -> Iterator[str]:
    """Run a replica and an agent, and yield the broker's URL."""
    config = configuration(folder, broker.url, database, reserved=2.0)
    with program(SERVE, config), program(AGENT, config):
        yield broker.url


def log_of(database: dict[str, str]) -> list[Event]:
    """Return the whole log, verified."""
    with VolumeManager(database) as manager:
        rows = list(verified(manager.recorder))
    return [language.decode(row.topic, row.state) for row in rows]


def keys_in(log: list[Event]) -> list[str]:
    """Return the request ids of what was asked, once for each event."""
    own = (event.provenance for event in log)
    return [p.request_id for p in own if p.request_id and not p.recorded_by]


# The database is killed, again and again


async def create_for_ever(
    asker: Caller, name: str, stopped: asyncio.Event
) -> dict[str, Answer]:
    """Ask once for each volume, and return what was answered."""
    answers: dict[str, Answer] = {}
    while not stopped.is_set():
        key = f"{name}-{len(answers)}"
        answers[key] = await asker.ask("volume.create", key, seconds=20, **WANTED)
        if answers[key].code:
            await asyncio.sleep(0.02)
    return answers


def commit_slowly(server: PostgresServer) -> None:
    """Let a transaction spend most of its time in COMMIT, so that a kill meets it."""
    where: dict[str, Any] = {
        "host": server.settings["POSTGRES_HOST"],
        "user": "postgres",
    }
    with psycopg.connect(**where, autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET commit_delay = 50000")
        connection.execute("ALTER SYSTEM SET commit_siblings = 0")
        connection.execute("SELECT pg_reload_conf()")


async def killed_and_killed(url: str, server: PostgresServer) -> dict[str, Answer]:
    """Return what was answered while the database was killed six times."""
    stopped = asyncio.Event()
    async with asyncio.timeout(90), callers(url, 24) as askers:
        await has_room(askers[0])
        asking = asyncio.gather(
            *(create_for_ever(a, str(n), stopped) for n, a in enumerate(askers))
        )
        for number in range(6):
            await asyncio.sleep(random.uniform(0.2, 0.6))
            server.kill()
            await asyncio.sleep(0.2)
            server.start()
            await askers[0].insist("volume.create", f"up {number}", size_gib=1)
        stopped.set()
        return {key: told for some in await asking for key, told in some.items()}


async def asked_again(url: str, keys: set[str]) -> None:
    """Repeat requests until they are answered."""
    async with asyncio.timeout(30), caller(url) as asker:
        asks = (asker.insist("volume.create", key, **WANTED) for key in keys)
        await asyncio.gather(*asks)


def test_a_database_killed_while_committing_makes_no_liar_of_us(
    tmp_path: Path, broker: NatsServer, postgres: PostgresServer
) -> None:
    commit_slowly(postgres)
    with running(tmp_path, broker, postgres.settings) as url:
        answers = asyncio.run(killed_and_killed(url, postgres))
        log = log_of(postgres.settings)
        asyncio.run(asked_again(url, set(refused(answers))))
        keys = keys_in(log_of(postgres.settings))

    told = {key: answer.body["detail"] for key, answer in refused(answers).items()}
    assert any(NOTHING_CHANGED in detail for detail in told.values())
    assert not told.keys() & set(keys_in(log))
    assert sorted(key for key in keys if "up" not in key) == sorted(answers)
    for key in done(answers):
        at = log[answers[key].body["position"] - 1]
        assert at.provenance.request_id == key


def done(answers: dict[str, Answer]) -> set[str]:
    return {key for key, answer in answers.items() if not answer.code}


def refused(answers: dict[str, Answer]) -> dict[str, Answer]:
    return {key: answer for key, answer in answers.items() if answer.code}


# The database is away for a while


class Outage:
    """What callers see while the database is away, and how long each has waited."""

    def __init__(self, asker: Caller, volume_id: str) -> None:
        self.asker = asker
        self.volume_id = volume_id
        self.waited: list[tuple[float, float]] = []
        self.commands: dict[str, Answer] = {}
        self.shown: list[Answer] = []
        self.listed: list[Answer] = []
        self.others: list[Answer] = []

    async def last(self, seconds: float) -> None:
        began = time.monotonic()

        async def ask_for_ever(
            keep: Callable[[str, Answer], Any], subject: str, **message: Any
        ) -> None:
            number = 0
            while time.monotonic() < began + seconds:
                number += 1
                key, asked_at = f"out {subject} {number}", time.monotonic()
                answer = await self.asker.ask(
                    subject, key * (subject == "volume.create"), seconds=10, **message
                )
                self.waited.append((asked_at - began, time.monotonic() - asked_at))
                keep(key, answer)
                await asyncio.sleep(0.01)

        def keep_in(kept: list[Answer]) -> Callable[[str, Answer], Any]:
            return lambda _, answer: kept.append(answer)

        await asyncio.gather(
            ask_for_ever(self.commands.__setitem__, "volume.create", size_gib=1),
            ask_for_ever(keep_in(self.shown), "volume.show", id=self.volume_id),
            ask_for_ever(keep_in(self.listed), "volume.list", project="known"),
            ask_for_ever(keep_in(self.others), "volume.list", project="never asked"),
        )


@LASTING
def test_while_the_database_is_away_the_service_says_so_and_then_goes_on(
    tmp_path: Path, broker: NatsServer, postgres: PostgresServer, seconds: float
) -> None:
    async def scenario(url: str) -> tuple[Outage, list[int]]:
        async with asyncio.timeout(seconds + 40), caller(url) as asker:
            volume_id, promised = await made(asker), await reserved(asker)
            await asker.insist("volume.list", project="known")
            postgres.kill()
            outage = Outage(asker, volume_id)
            await outage.last(seconds)
            postgres.start()
            async with asyncio.timeout(5):
                return outage, await went_on(asker, promised)

    with running(tmp_path, broker, postgres.settings) as url:
        outage, positions = asyncio.run(scenario(url))
        log = log_of(postgres.settings)

    assert {a.body["type"] for a in outage.commands.values()} == {"unavailable"}
    assert not outage.commands.keys() & set(keys_in(log))
    for known in (*outage.shown[-10:], *outage.listed[-10:]):
        assert seconds - 2 < float(known.headers["Holdfast-Age"]) < seconds + 2
    for other in outage.others:
        assert "cannot be reached, for" in other.body["detail"]
    waited = sorted(waited for at, waited in outage.waited if at > 3.5)
    assert waited[int(len(waited) * 0.99)] < 1
    assert positions == list(range(1, len(positions) + 1))


async def made(asker: Caller) -> str:
    """Return the id of a volume that can be used."""
    await has_room(asker)
    volume = await asker.insist("volume.create", size_gib=1, project="known")
    await asker.until("volume.show", is_available, id=volume["id"])
    volume_id: str = volume["id"]
    return volume_id


async def reserved(asker: Caller) -> str:
    """Return the id of a promise that nobody will use in time."""
    volume_id = await made(asker)
    held = await asker.insist("attachment.create", volume_id=volume_id, host="nobody")
    attachment_id: str = held["id"]
    return attachment_id


async def went_on(asker: Caller, promised: str) -> list[int]:
    """Wait until everything works again, and return what is on the stream.

    That is commands, the agent, lists, the watcher and the publisher.
    """
    await made(asker)
    await asker.until(
        "volume.list", lambda page: len(page["items"]) == 3, project="known"
    )
    released = await asker.until(
        "attachment.show", lambda held: held["status"] == "detached", id=promised
    )
    return await published(asker.client, released["position"])


def is_available(volume: Any) -> bool:
    return bool(volume["status"] == "available")


# The broker is away for a while, alone or with the database


async def ask_in_vain(asker: Caller, seconds: float) -> set[str]:
    """Ask for volumes, and return the request ids of what was not answered."""
    keys: set[str] = set()
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        key = f"unheard {len(keys)}"
        with pytest.raises((Error, TimeoutError)):
            await asker.ask("volume.create", key, **WANTED)
        keys.add(key)
        await asyncio.sleep(0.1)
    return keys


async def old_news(asker: Caller, volume_id: str) -> Answer:
    """Return what is shown of a volume once it is shown as it was."""
    while True:
        with suppress(Error, TimeoutError):
            shown = await asker.ask("volume.show", id=volume_id)
            if "Holdfast-Age" in shown.headers:
                return shown
        await asyncio.sleep(0.05)


@LASTING
@pytest.mark.parametrize("both", [False, True], ids=["broker", "both"])
def test_what_nobody_could_hear_is_done_once_when_it_is_asked_again(
    tmp_path: Path,
    broker: NatsServer,
    postgres: PostgresServer,
    seconds: float,
    *,
    both: bool,
) -> None:
    async def scenario(url: str) -> tuple[set[str], float, list[int]]:
        async with asyncio.timeout(seconds + 60), caller(url) as asker:
            volume_id, promised = await made(asker), await reserved(asker)
            broker.kill()
            if both:
                postgres.kill()
            keys, age = await ask_in_vain(asker, seconds), 0.0
            broker.start()
            if both:
                shown = await old_news(asker, volume_id)
                age = float(shown.headers["Holdfast-Age"])
                postgres.start()
            # An agent that was not heard of for a minute is waited for.
            await has_room(asker)
            asks = (asker.insist("volume.create", key, **WANTED) for key in keys)
            await asyncio.gather(*asks)
            return keys, age, await went_on(asker, promised)

    with running(tmp_path, broker, postgres.settings) as url:
        keys, age, positions = asyncio.run(scenario(url))
        log = log_of(postgres.settings)

    assert Counter(keys_in(log)) == Counter(keys)
    assert age >= seconds * both
    assert positions == list(range(1, len(positions) + 1))


async def rename_for_ever(asker: Caller, volume_id: str) -> dict[str, Answer]:
    """Ask whether or not the last one was answered."""
    asks: dict[str, asyncio.Task[Answer]] = {}
    for number in range(180):
        key = f"name {number}"
        ask = asker.ask("volume.update", key, seconds=20, id=volume_id, name=key)
        asks[key] = asyncio.create_task(ask)
        await asyncio.sleep(0.05)
    return {key: await task for key, task in asks.items()}


async def look_for_ever(asker: Caller, volume_id: str) -> list[Any]:
    """Look whenever the last look was answered, and return what was seen."""
    seen = []
    ends = time.monotonic() + 9
    while time.monotonic() < ends:
        answer = await asker.ask("volume.show", seconds=20, id=volume_id)
        seen += [answer.body] * (not answer.code)
        await asyncio.sleep(0.005)
    return seen


def test_of_a_frozen_database_nothing_is_shown_that_was_not_committed(
    tmp_path: Path, broker: NatsServer, postgres: PostgresServer
) -> None:
    async def scenario(url: str) -> tuple[dict[str, Answer], list[Any]]:
        async with asyncio.timeout(60), caller(url) as asker:
            volume_id = await made(asker)
            renaming = asyncio.create_task(rename_for_ever(asker, volume_id))
            looking = asyncio.create_task(look_for_ever(asker, volume_id))
            await asyncio.sleep(1)
            with frozen(postgres):
                await asyncio.sleep(6)
            renamed = await renaming
            await asker.insist("volume.update", "last", id=volume_id, name="last")
            return renamed, await looking

    with running(tmp_path, broker, postgres.settings) as url:
        answers, seen = asyncio.run(scenario(url))
        log = log_of(postgres.settings)

    keys = keys_in(log)
    assert len(keys) == len(set(keys))
    assert done(answers) | {"last"} == set(keys)
    assert {a.body["type"] for a in refused(answers).values()} == {"unavailable"}
    names = {e.originator_version: e.name for e in log if isinstance(e, NAMED)}
    assert all(shown["name"] == names.get(shown["version"], "") for shown in seen)


@contextmanager
def frozen(server: PostgresServer) -> Iterator[None]:
    """Let every process of the server stand still."""
    assert server.pid
    os.kill(server.pid, SIGSTOP)
    everyone = [server.pid, *children_of(server.pid)]
    for pid in everyone:
        os.kill(pid, SIGSTOP)
    try:
        yield
    finally:
        for pid in everyone:
            os.kill(pid, SIGCONT)


# The broker is killed while the log is being published


def fill(manager: VolumeManager, events: int) -> None:
    """Write a log that has not been published, of a backend that nobody serves."""
    for _ in range(events // 1000):
        volumes = [
            Volume.create(uuid4(), size_gib=1, backend="elsewhere") for _ in range(1000)
        ]
        written = [event for volume in volumes for event in volume.collect_events()]
        stored = list(map(LogMapper().to_stored_event, written))
        manager.recorder.append(Batch(stored, {volume.id: 0 for volume in volumes}))


@pytest.mark.parametrize("wiped", [False, True], ids=["kept", "wiped"])
def test_a_broker_killed_in_mid_page_gets_every_position_in_order(
    tmp_path: Path,
    broker: NatsServer,
    settings: dict[str, str],
    manager: VolumeManager,
    *,
    wiped: bool,
) -> None:
    async def scenario(url: str) -> list[int]:
        async with asyncio.timeout(60), caller(url) as asker:

            async def is_under_way() -> bool:
                with suppress(NotFoundError):  # the keeper may not have begun yet
                    info = await asker.client.jetstream().stream_info(STREAM)
                    return info.state.last_seq > 2_000
                return False

            await has_room(asker)
            before = await asker.insist("volume.create", "before", size_gib=1)
            await eventually(is_under_way)
            broker.kill()
            if wiped:
                shutil.rmtree(broker.folder)
            broker.start()
            after = await asker.insist("volume.create", "after", size_gib=1)
            for volume in (before, after):
                await asker.until("volume.show", is_available, id=volume["id"])
            await nothing_is_in_flight(asker)
            last = manager.recorder.max_notification_id() or 0
            positions = await published(asker.client, last)
            if wiped:  # and once more, while there is nothing new to publish
                broker.kill()
                shutil.rmtree(broker.folder)
                broker.start()
                assert await published(asker.client, last) == positions
            return positions

    fill(manager, 20_000)
    with running(tmp_path, broker, settings) as url:
        positions = asyncio.run(scenario(url))

    assert len(positions) > 20_000
    assert positions == list(range(1, len(positions) + 1))
