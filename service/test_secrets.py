"""No secret is left anywhere, whatever was asked: in no table, file, line or page.

Two places are meant to have some: the settings that an operator writes, `nats.conf`
among them, and the environment of a program that was given one there. Whoever connects
a host is told that host's password.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import nats
import psycopg
import pytest
from psycopg import sql

from adapters.embedded.nats_server import NatsServer
from adapters.embedded.postgres import PostgresServer
from adapters.file.driver import FileDriver
from adapters.jetstream.stream import STREAM, SUBJECTS
from domain import chap
from service.canaries import Place, Secrets, files, seen, tables
from service.endpoint import PREFIX
from service.endpoints import ENDPOINTS, FOR_AGENTS
from service.everything import Everything, password_in
from service.permissions import configured, with_password
from service.telemetry.test_traces import collecting
from service.telemetry.testing import free_address, page
from service.testing import caller, has_room

HOLDFAST = Path(sys.executable).with_name("holdfast")
NODE = {"host": "node-1", "initiator": "iqn.2026-01.example:node-1"}


class Locked(FileDriver):
    """Files behind a target that asks for a password."""

    def connect(self, volume_id: UUID, connector: dict[str, Any]) -> dict[str, Any]:
        told = super().connect(volume_id, connector)
        user = chap.username(volume_id, str(connector["initiator"]))
        asks = {"auth_method": "CHAP", "auth_username": user}
        return told | {"data": told["data"] | asks}


class Installed:
    """A broker and a database with passwords, a replica, an agent: each told least."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self.secrets = Secrets()
        self.given: set[int] = set()  # programs that got a secret by environment
        for name in ("agent key", "nats password", "database password", "misplaced"):
            self.secrets.learn(name, f"canary{name.replace(' ', '')}{uuid4().hex}")
        self._collector, collecting_at = stack.enter_context(collecting())
        self._environment = os.environ | {
            "HOLDFAST_LOG_LEVEL": "DEBUG",
            "OTEL_EXPORTER_OTLP_ENDPOINT": collecting_at,
        }
        self._broker = NatsServer(
            folder / "nats", config=configured(self.secret("nats password"))
        )
        self.database = PostgresServer(folder / "pg")
        for server in (self._broker, self.database):
            server.start()
            stack.callback(server.stop)
        self._ours = with_password(self._broker.url, self.secret("nats password"))
        self._have_database_ask()
        self._addresses = [free_address(), free_address()]
        (folder / "lines").mkdir()
        key = self.secret("agent key")
        stack.enter_context(self._running("serve", 0, agent_key=key))
        stack.enter_context(self._running("agent", 1, HOLDFAST_AGENT_KEY=key))

    def secret(self, name: str) -> str:
        """Return one of the secrets."""
        return self.secrets.known[name].decode()

    async def live(self) -> Everything:
        """Ask for everything, as callers, as an agent, and by the command line."""
        async with caller(self._broker.url) as asker:
            await has_room(asker)
        callers, agents = (
            await nats.connect(self._broker.url),
            await nats.connect(self._ours),
        )
        async with callers, agents:
            key, misplaced = self.secret("agent key").encode(), self.secret("misplaced")
            everything = Everything(callers, agents, key, misplaced, "files", NODE)
            await everything.live()
        for number, answer in enumerate(everything.told):
            told, volume = password_in(answer), UUID(answer["volume_id"])
            assert told == chap.secret(key, volume, NODE["initiator"])
            self.secrets.learn(f"CHAP secret {number}", told)
        return everything

    def commands(self) -> None:
        """Ask by the command line: of whom is there, and of nobody."""
        nobody = with_password(f"nats://{free_address()}", self.secret("nats password"))
        for number, url in enumerate((self._ours, nobody)):
            with (self.folder / "lines" / f"command-{number}").open("w") as lines:
                asking = subprocess.Popen(
                    [HOLDFAST, "volume", "list"],
                    env=self._environment | {"HOLDFAST_NATS_URL": url},
                    stdout=lines,
                    stderr=lines,
                )
                self.given.add(asking.pid)
                assert bool(asking.wait(60)) == bool(number)

    async def stream(self) -> list[Place]:
        """Return every message of the stream, as others get it."""
        async with await nats.connect(self._broker.url) as client:
            stream = client.jetstream()
            last = (await stream.stream_info(STREAM)).state.messages
            told = await stream.subscribe(f"{SUBJECTS}.>", ordered_consumer=True)
            found = [await told.next_msg(30) for _ in range(last)]
        return [(m.subject, f"{m.headers}".encode() + m.data) for m in found]

    def pages(self) -> Iterator[Place]:
        """Yield what is told to whoever looks after it."""
        for address in self._addresses:
            for path in ("/metrics", "/live", "/ready"):
                status, text = page(address, path)
                assert status
                yield f"{address}{path}", text.encode()

    def traces(self) -> Iterator[Place]:
        """Yield the spans that were sent."""
        for sender, span in self._collector.spans:
            yield f"span {span.name} of {sender}", span.SerializeToString()

    def files(self) -> list[Place]:
        """Return what the servers and the agent keep, but for a broker's settings."""
        settings = self.folder / "nats" / "nats.conf"
        assert settings.stat().st_mode & 0o077 == 0
        settings.unlink()
        return [*files(*(self.folder / each for each in ("pg", "nats", "volumes")))]

    def _have_database_ask(self) -> None:
        """Have PostgreSQL ask the service for a password."""
        way = self.database.settings
        with psycopg.connect(
            host=way["POSTGRES_HOST"], user="postgres", autocommit=True
        ) as connection:
            password = self.secret("database password").encode()
            kept = connection.pgconn.encrypt_password(password, b"holdfast")
            role = "CREATE ROLE holdfast LOGIN PASSWORD {}"
            connection.execute(sql.SQL(role).format(sql.Literal(kept.decode())))
            connection.execute("CREATE DATABASE holdfast OWNER holdfast")
            rules = self.database.folder / "data" / "pg_hba.conf"
            asked = "local all holdfast scram-sha-256\n"
            rules.write_text(asked + rules.read_text())
            connection.execute("SELECT pg_reload_conf()")

    @contextmanager
    def _running(self, program: str, number: int, **told: str) -> Iterator[None]:
        """Run a program with settings of its own, told in capitals by environment."""
        environment = {name: value for name, value in told.items() if name.isupper()}
        plain = {name: value for name, value in told.items() if not name.isupper()}
        plain |= {"nats_url": self._ours, "metrics_listen": self._addresses[number]}
        database = {
            "host": self.database.settings["POSTGRES_HOST"],
            "password": self.secret("database password"),
        }
        backend = {
            "name": "files",
            "volume_driver": f"{__name__}.{Locked.__name__}",
            "folder": str(self.folder / "volumes"),
        }
        settings = self.folder / f"{program}.toml"
        settings.write_text(
            toml(plain)
            + (f"[database]\n{toml(database)}" if program == "serve" else "")
            + f"[[backend]]\n{toml(backend)}"
        )
        with (self.folder / "lines" / program).open("w") as lines:
            running = subprocess.Popen(
                [HOLDFAST, program, "--config", settings],
                env=self._environment | environment,
                stdout=lines,
                stderr=lines,
            )
        if environment:
            self.given.add(running.pid)
        try:
            yield
        finally:
            running.terminate()
            assert running.wait(60) == 0


def toml(told: dict[str, str]) -> str:
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in told.items())


class Left(NamedTuple):
    """What is secret, what was asked, and everything that is left of it."""

    secrets: Secrets
    asked: Everything
    places: dict[str, list[Place]]


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Left:
    folder = tmp_path_factory.mktemp("secrets")
    with seen(every=0.05) as processes, ExitStack() as stack:
        installed = Installed(folder, stack)
        asked = asyncio.run(installed.live())
        installed.commands()
        places = {
            "tables": [*tables(installed.database.settings, "holdfast")],
            "stream": asyncio.run(installed.stream()),
            "pages": [*installed.pages()],
        }
        stack.close()
    places |= {
        "files": installed.files(),
        "lines": [*files(folder / "lines")],
        "traces": [*installed.traces()],
        "command lines": [*processes.command_lines()],
        "environments": [*processes.environs(but=installed.given)],
    }
    return Left(installed.secrets, asked, places)


def test_everything_was_asked_that_can_be(left: Left) -> None:
    subjects = {each.subject for each in (*ENDPOINTS, *FOR_AGENTS)}

    asked = {f"{PREFIX}{each}" for each in left.asked.asked}
    assert subjects - asked == set(), "ask for these in service/everything.py"
    assert asked == subjects


@pytest.mark.parametrize(
    "where",
    [
        "tables",
        "files",
        "stream",
        "lines",
        "pages",
        "traces",
        "command lines",
        "environments",
    ],
)
def test_no_secret_is_in(where: str, left: Left) -> None:
    places = left.places[where]

    assert any(what for _, what in places)
    assert left.secrets.told_in(places) == []


def test_what_is_not_secret_is_found_where_it_is(left: Left) -> None:
    known = Secrets()
    known.learn("initiator", NODE["initiator"])
    seen = {where: bool(known.told_in(left.places[where])) for where in left.places}

    assert seen == dict.fromkeys(seen, False) | dict.fromkeys(
        ("tables", "files", "stream"),
        True,
    )
