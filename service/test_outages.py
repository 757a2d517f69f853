"""The database or the broker goes away, and comes back."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from adapters.embedded.nats_server import NatsServer
from adapters.embedded.postgres import PostgresServer
from adapters.postgres.reading import verified
from domain import log as language
from domain.aggregate import Event
from service.manager import VolumeManager
from service.testing import (
    AGENT,
    SERVE,
    Answer,
    Caller,
    caller,
    callers,
    configuration,
    has_room,
    program,
    published,
)

NOTHING_CHANGED = "nothing was changed"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[NatsServer]:
    server = NatsServer(tmp_path / "nats")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[PostgresServer]:
    server = PostgresServer(tmp_path / "pg")
    server.start()
    yield server
    server.stop()


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
        answers[key] = await asker.ask(
            "volume.create", key, size_gib=1, backend="files", seconds=20
        )
        if answers[key].code:
            await asyncio.sleep(0.02)
    return answers


def commit_slowly(server: PostgresServer) -> None:
    """Let a transaction spend most of its time in COMMIT, so that a kill meets it."""
    where = {"host": server.settings["POSTGRES_HOST"], "user": "postgres"}
    with psycopg.connect(**where, autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET commit_delay = 50000")
        connection.execute("ALTER SYSTEM SET commit_siblings = 0")
        connection.execute("SELECT pg_reload_conf()")


def test_a_database_killed_while_committing_makes_no_liar_of_us(
    tmp_path: Path, broker: NatsServer, postgres: PostgresServer
) -> None:
    async def killed_and_killed(url: str) -> dict[str, Answer]:
        stopped = asyncio.Event()
        async with asyncio.timeout(90), callers(url, 24) as askers:
            await has_room(askers[0])
            asking = asyncio.gather(
                *(create_for_ever(a, str(n), stopped) for n, a in enumerate(askers))
            )
            for number in range(6):
                await asyncio.sleep(random.uniform(0.2, 0.6))
                postgres.kill()
                await asyncio.sleep(0.2)
                postgres.start()
                await askers[0].insist("volume.create", f"up {number}", size_gib=1)
            stopped.set()
            return {key: told for some in await asking for key, told in some.items()}

    async def asked_again(url: str, keys: set[str]) -> None:
        async with asyncio.timeout(30), caller(url) as asker:
            asks = (
                asker.insist("volume.create", key, size_gib=1, backend="files")
                for key in keys
            )
            await asyncio.gather(*asks)

    commit_slowly(postgres)
    with running(tmp_path, broker, postgres.settings) as url:
        answers = asyncio.run(killed_and_killed(url))
        log = log_of(postgres.settings)
        failed = {key: a for key, a in answers.items() if a.code}
        asyncio.run(asked_again(url, failed.keys() | set()))
        keys = keys_in(log_of(postgres.settings))

    assert {a.body["type"] for a in failed.values()} == {"unavailable"}
    done = answers.keys() - failed.keys()
    unchanged = {k for k, a in failed.items() if NOTHING_CHANGED in a.body["detail"]}
    assert done <= set(keys_in(log))
    assert not unchanged & set(keys_in(log))
    assert unchanged
    assert sorted(key for key in keys if "up" not in key) == sorted(answers)
    for key in done:
        at = log[answers[key].body["position"] - 1]
        assert at.provenance.request_id == key


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


@pytest.mark.parametrize("seconds", [8, pytest.param(30, marks=pytest.mark.slow)])
def test_while_the_database_is_away_the_service_says_so_and_then_goes_on(
    tmp_path: Path, broker: NatsServer, postgres: PostgresServer, seconds: float
) -> None:
    async def scenario(url: str) -> tuple[Outage, dict[str, Any]]:
        async with asyncio.timeout(seconds + 40), caller(url) as asker:
            await has_room(asker)
            about = {"size_gib": 1, "project": "known"}
            volume = await asker.insist("volume.create", **about)
            held = await asker.insist("volume.create", **about)
            for each in (volume, held):
                await asker.until("volume.show", is_available, id=each["id"])
            await asker.insist("volume.list", project="known")
            promised = await asker.insist(
                "attachment.create", volume_id=held["id"], host="nobody"
            )
            postgres.kill()
            outage = Outage(asker, volume["id"])
            await outage.last(seconds)
            postgres.start()
            return outage, await went_on(asker, held["id"], promised["id"])

    with running(tmp_path, broker, postgres.settings) as url:
        outage, after = asyncio.run(scenario(url))
        log = log_of(postgres.settings)

    assert {a.body["type"] for a in outage.commands.values()} == {"unavailable"}
    assert not outage.commands.keys() & set(keys_in(log))
    for known in (outage.shown[-10:], outage.listed[-10:]):
        assert all(
            seconds - 2 < float(a.headers["Holdfast-Age"]) < seconds + 2 for a in known
        )
    assert all("s ago" in a.body["detail"] for a in outage.others)
    waited = sorted(t for at, t in outage.waited if at > 3.5)
    assert waited[int(len(waited) * 0.99)] < 1
    assert after["released"]["status"] == "detached"
    assert after["positions"] == list(range(1, len(after["positions"]) + 1))


def is_available(volume: Any) -> bool:
    return bool(volume["status"] == "available")


async def went_on(asker: Caller, held_id: str, promised_id: str) -> dict[str, Any]:
    """Return once commands, agent, lists, watcher and stream do their work again."""
    made = await asker.insist("volume.create", "after", size_gib=1, project="known")
    await asker.until("volume.show", is_available, id=made["id"])
    await asker.until(
        "volume.list", lambda page: len(page["items"]) == 3, project="known"
    )
    released = await asker.until(
        "attachment.show", lambda a: a["status"] == "detached", id=promised_id
    )
    last = await asker.until("volume.show", is_available, id=held_id)
    return {
        "released": released,
        "positions": await published(asker.client, last["position"]),
    }
