"""No secret is left anywhere, whatever was asked: in no table, file, line or page.

Two places are meant to have some: the settings that an operator writes, `nats.conf`
among them, and the environment of a program that was given one there. Whoever connects
a host is told that host's password.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from subprocess import Popen
from typing import Any
from uuid import UUID, uuid4

import nats
import psycopg
import pytest
from psycopg import sql

from adapters.archive.reading import pieces
from adapters.embedded.nats_server import NatsServer
from adapters.embedded.postgres import PostgresServer
from adapters.file.driver import FileDriver
from adapters.jetstream.stream import STREAM, SUBJECTS
from domain import chap
from service.audit.checkpointing import make_key, signer_in
from service.endpoints import ENDPOINTS, FOR_AGENTS
from service.endpoints.endpoint import PREFIX
from service.permissions import configured, with_password
from service.telemetry.test_traces import collecting
from service.telemetry.testing import free_address, page
from service.testing.callers import caller, eventually
from service.testing.canaries import Place, Secrets, files, seen, tables
from service.testing.everything import Everything, password_in
from service.testing.loads import has_room
from service.testing.programs import database_of
from service.up import described

pytestmark = pytest.mark.xdist_group("secrets")  # one worker asks for everything

HOLDFAST = Path(sys.executable).with_name("holdfast")
START_SECONDS = 240  # in a guest on a busy machine
EXPORT = "log.jsonl.zst"
NODE = {"host": "node-1", "initiator": "iqn.2026-01.example:node-1"}


class Locked(FileDriver):
    """Files behind a target that asks for a password."""

    def connect(self, volume_id: UUID, connector: dict[str, Any]) -> dict[str, Any]:
        told = super().connect(volume_id, connector)
        user = chap.username(volume_id, str(connector["initiator"]))
        asks = {"auth_method": "CHAP", "auth_username": user}
        return told | {"data": told["data"] | asks}


class Installed:
    """An installation whose secrets are known, and every place that it has."""

    server: Mapping[str, str]  # its PostgreSQL
    database = "postgres"
    backend = "files"
    whose: tuple[str, Path]  # tells `audit export` which log is meant

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder, self.stack = folder, stack
        self.secrets = Secrets()
        self.given: set[int] = set()  # programs that got a secret by environment
        self.connector = NODE
        self.settings: list[Path] = []  # have secrets, and are not for others
        self._addresses: list[str] = []
        self._collector, collecting_at = self.stack.enter_context(collecting())
        self._environment = os.environ | {
            "HOLDFAST_LOG_LEVEL": "DEBUG",
            "OTEL_EXPORTER_OTLP_ENDPOINT": collecting_at,
        }
        (folder / "lines").mkdir()
        self.canary("misplaced")

    @property
    def url(self) -> str:
        """Where callers find it."""
        raise NotImplementedError

    def canary(self, name: str) -> str:
        """Return a secret that is looked for from now on."""
        self.secrets.learn(name, f"canary{uuid4().hex}")
        return self.secret(name)

    def secret(self, name: str) -> str:
        """Return one of the secrets."""
        return self.secrets.known[name].decode()

    def signs(self, kept: Path) -> str:
        """Look for the key in a file that checkpoints are signed with."""
        self.secrets.learn("checkpoint key", signer_in(kept).secret)
        self.settings.append(kept)
        return str(kept)

    @property
    def ours(self) -> str:
        """Where its own programs find it."""
        return with_password(self.url, self.secret("nats password"))

    async def live(self) -> Everything:
        """Ask for everything, as callers, as an agent, and by the command line."""
        async with caller(self.url) as asker:
            await has_room(asker, self.backend)
        key, misplaced = self.secret("agent key").encode(), self.secret("misplaced")
        callers, agents = await nats.connect(self.url), await nats.connect(self.ours)
        async with callers, agents:
            everything = Everything(
                callers, agents, key, misplaced, self.backend, self.connector
            )
            await everything.live()
        for number, answer in enumerate(everything.told):
            told, volume = password_in(answer), UUID(answer["volume_id"])
            assert told == chap.secret(key, volume, self.connector["initiator"])
            self.secrets.learn(f"CHAP secret {number}", told)
        return everything

    def commands(self) -> None:
        """Ask by the command line: of whom is there, and of nobody."""
        nobody = with_password(f"nats://{free_address()}", self.secret("nats password"))
        for number, url in enumerate((self.ours, nobody)):
            asking = self.start(
                f"command {number}", "volume", "list", HOLDFAST_NATS_URL=url
            )
            assert bool(asking.wait(60)) == bool(number)
        exporting = self.start(
            "export", "audit", "export", self.folder / EXPORT, *self.whose
        )
        assert exporting.wait(60) == 0

    def exported(self) -> Iterator[Place]:
        """Yield what is in the file that an auditor gets."""
        with (self.folder / EXPORT).open("rb") as file:
            for number, piece in enumerate(pieces(file)):
                yield f"piece {number} of {EXPORT}", piece

    async def stream(self) -> list[Place]:
        """Return every message of the stream, as others get it."""
        async with await nats.connect(self.url) as client:
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

    def elsewhere(self) -> dict[str, list[Place]]:
        """Return what only this one has, while it runs."""
        return {}

    def traces(self) -> Iterator[Place]:
        """Yield the spans that were sent."""
        for sender, span in self._collector.spans:
            yield f"span {span.name} of {sender}", span.SerializeToString()

    def files(self) -> Iterator[Place]:
        """Yield all that is kept but the settings, which only we may read."""
        for path in self.settings:
            assert path.stat().st_mode & 0o077 == 0, path
            path.unlink()
        return files(self.folder)

    def start(self, name: str, *command: str | Path, **told: str) -> Popen[bytes]:
        """Start a program that is told something by its environment."""
        with (self.folder / "lines" / name).open("wb") as lines:
            started = Popen(
                [HOLDFAST, *command],
                env=self._environment | told,
                stdout=lines,
                stderr=lines,
            )
        if told:
            self.given.add(started.pid)
        return started

    def run(self, name: str, *command: str | Path, **told: str) -> Popen[bytes]:
        """Run a program as long as the installation is there."""
        running = self.start(name, name, *command, **told)

        def end() -> None:
            running.terminate()
            assert running.wait(60) == 0

        self.stack.callback(end)
        return running

    def configured(self, name: str, lines: str, **told: str) -> Path:
        """Write the settings of a program; each has a page of its own."""
        self._addresses.append(free_address())
        plain = told | {"metrics_listen": self._addresses[-1]}
        settings = self.folder / f"{name}.toml"
        settings.touch(mode=0o600)
        settings.write_text(toml(plain) + lines)
        self.settings.append(settings)
        return settings


class Apart(Installed):
    """A broker and a database with passwords, a replica, an agent: each told least."""

    database = "holdfast"

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        super().__init__(folder, stack)
        given = configured(self.canary("nats password"))
        self._broker = NatsServer(folder / "nats", config=given)
        database = PostgresServer(folder / "pg")
        for server in (self._broker, database):
            server.start()
            self.stack.callback(server.stop)
        self.settings.append(folder / "nats" / "nats.conf")
        self.server = database.settings
        self._have_database_ask(database.folder / "data" / "pg_hba.conf")
        way = {
            "host": self.server["POSTGRES_HOST"],
            "password": self.secret("database password"),
        }
        key, url = self.canary("agent key"), self.ours
        backend = backend_of(folder / "volumes")
        serve = f"[database]\n{toml(way)}{backend}"
        make_key(folder / "checkpoint.key", "holdfast/test")
        signs = self.signs(folder / "checkpoint.key")
        serving = self.configured(
            "serve", serve, agent_key=key, nats_url=url, checkpoint_key=signs
        )
        working = self.configured("agent", backend, nats_url=url)
        self.whose = "--config", serving
        self.run("serve", *self.whose)
        self.run("agent", "--config", working, HOLDFAST_AGENT_KEY=key)

    @property
    def url(self) -> str:
        return self._broker.url

    def _have_database_ask(self, rules: Path) -> None:
        """Have PostgreSQL ask the service for a password."""
        password, host = self.canary("database password"), self.server["POSTGRES_HOST"]
        with psycopg.connect(host=host, user="postgres", autocommit=True) as connection:
            kept = connection.pgconn.encrypt_password(password.encode(), b"holdfast")
            role = "CREATE ROLE holdfast LOGIN PASSWORD {}"
            connection.execute(sql.SQL(role).format(sql.Literal(kept.decode())))
            connection.execute("CREATE DATABASE holdfast OWNER holdfast")
            asked = "local all holdfast scram-sha-256\n"
            rules.write_text(asked + rules.read_text())
            connection.execute("SELECT pg_reload_conf()")


class Together(Installed):
    """`holdfast up`, which makes the secrets that it is not given."""

    def __init__(
        self, folder: Path, stack: ExitStack, backend: str, *, given: bool
    ) -> None:
        super().__init__(folder, stack)
        self._data = folder / "data"
        settings = self.configured("up", backend)
        told = {"HOLDFAST_AGENT_KEY": self.canary("agent key")} if given else {}
        self.whose = "--data", self._data
        more = "--config", settings, "--nats-port", "0"
        self._up = self.run("up", *self.whose, *more, **told)
        asyncio.run(eventually(self._runs, START_SECONDS))
        self.settings.append(self._data / "nats" / "nats.conf")
        self._learn("nats password", self._data / "nats.password")
        self.signs(self._data / "checkpoint.key")
        if not given:
            self._learn("agent key", self._data / "agent.key")
        self.server = database_of(self._data)

    @property
    def url(self) -> str:
        return str(described(self._data)["nats_url"])

    def _learn(self, name: str, kept: Path) -> None:
        self.secrets.learn(name, kept.read_text())
        self.settings.append(kept)

    async def _runs(self) -> bool:
        assert self._up.poll() is None, (self.folder / "lines" / "up").read_text()
        return "nats_url" in described(self._data)


def backend_of(folder: Path) -> str:
    """Return the settings of a backend of files that asks for passwords."""
    driver = f"{__name__}.{Locked.__name__}"
    told = {"name": "files", "volume_driver": driver, "folder": str(folder)}
    return f"[[backend]]\n{toml(told)}"


def toml(told: dict[str, str]) -> str:
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in told.items())


@dataclass(repr=False)
class Left:
    """What is secret, what was asked, and everything that is left of it."""

    secrets: Secrets
    asked: Everything
    places: dict[str, list[Place]]


def left_by(install: Callable[[ExitStack], Installed], every: float = 0.05) -> Left:
    """Live through everything, and return what is left, seen so many seconds apart."""
    with seen(every) as processes, ExitStack() as stack:
        installed = install(stack)
        asked = asyncio.run(installed.live())
        installed.commands()
        places = {
            "tables": [*tables(installed.server, installed.database)],
            "stream": asyncio.run(installed.stream()),
            "pages": [*installed.pages()],
            **installed.elsewhere(),
        }
    places |= {
        "files": [*installed.files()],
        "export": [*installed.exported()],
        "traces": [*installed.traces()],
        "command lines": [*processes.command_lines()],
        "environments": [*processes.environs(but=installed.given)],
    }
    return Left(installed.secrets, asked, places)


def of_files(folder: Path, stack: ExitStack) -> Installed:
    """Return an `up` that is given its key by its environment."""
    return Together(folder, stack, backend_of(folder / "volumes"), given=True)


@pytest.fixture(scope="module", params=[Apart, of_files])
def left(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Left:
    return left_by(partial(request.param, tmp_path_factory.mktemp("secrets")))


def test_everything_was_asked_that_can_be(left: Left) -> None:
    subjects = {each.subject for each in (*ENDPOINTS, *FOR_AGENTS)}

    asked = {f"{PREFIX}{each}" for each in left.asked.asked}
    assert subjects - asked == set(), "ask for these in service/testing/everything.py"
    assert asked == subjects


@pytest.mark.parametrize(
    "where",
    [
        "tables",
        "files",
        "export",
        "stream",
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
        ("tables", "files", "stream", "export"),
        True,
    )
