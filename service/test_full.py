"""A disk is full, of the database, the broker or the volumes, and then it is not."""

from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from nats.errors import Error

from adapters.embedded.nats_server import NatsServer
from adapters.embedded.postgres import PostgresServer
from adapters.embedded.process import free_port
from adapters.file.failures import FilesystemFull
from adapters.postgres.reading import verified
from adapters.postgres.writable import Full, ReadOnly
from domain import log as language
from domain.aggregate import Event
from service.manager import VolumeManager
from service.testing.callers import Answer, Caller, caller
from service.testing.disks import fill, tmpfs
from service.testing.loads import has_room, published
from service.testing.programs import (
    AGENT,
    SERVE,
    UP,
    configuration,
    database_of,
    program,
)
from service.testing.read_only import read_only
from service.up import as_service

# About as much as one message may carry, and nothing that a database could pack.
LARGE = {f"key {n}": random.Random(n).randbytes(127).hex() for n in range(150)}
AT_ONCE = 20

Answers = dict[str, Answer | None]


@contextmanager
def up(data: Path) -> Iterator[str]:
    port = free_port()
    with program(UP, data, port):
        yield f"nats://127.0.0.1:{port}"


async def ask_until(
    asker: Caller, so: Callable[[Answers], bool], **described: Any
) -> Answers:
    """Ask for volumes, once each, until it is so; None is what was not answered."""
    answers: Answers = {}

    async def once(key: str) -> Answer | None:
        with suppress(Error, TimeoutError):
            return await asker.ask(
                "volume.create", key, seconds=10, size_gib=1, **described
            )
        return None

    async with asyncio.timeout(60):
        while not so(answers):
            keys = [f"full {len(answers) + number}" for number in range(AT_ONCE)]
            found = await asyncio.gather(*(once(key) for key in keys))
            answers |= dict(zip(keys, found, strict=True))
    return answers


async def made(asker: Caller, key: str) -> Any:
    """Return a volume that the backend has made."""
    volume = await asker.insist("volume.create", key, size_gib=1)
    return await asker.until(
        "volume.show", lambda shown: shown["status"] != "creating", id=volume["id"]
    )


def refused(answers: Answers) -> dict[str, str]:
    """Return what was said of what was refused."""
    heard = {key: answer for key, answer in answers.items() if answer and answer.code}
    assert {answer.body["type"] for answer in heard.values()} <= {"unavailable"}
    return {key: answer.body["detail"] for key, answer in heard.items()}


def log_of(data: Path) -> list[Event]:
    with VolumeManager(database_of(data)) as manager:
        return [language.decode(r.topic, r.state) for r in verified(manager.recorder)]


def done_or_refused(answers: Answers, log: list[Event]) -> bool:
    """What was done is in the log, and what was refused is not."""
    own = [e.provenance for e in log if not e.provenance.recorded_by]
    keys = [provenance.request_id for provenance in own if provenance.request_id]
    done = {key for key, answer in answers.items() if answer and not answer.code}
    return len(keys) == len(set(keys)) and (
        done <= set(keys) and not refused(answers).keys() & set(keys)
    )


def test_a_database_without_room_is_read_and_goes_on(tmp_path: Path) -> None:
    def refused_often(answers: Answers) -> bool:
        return len(refused(answers)) > 20

    async def scenario(url: str, folder: Path) -> tuple[Answers, Answer, Any]:
        async with caller(url) as asker:
            await made(asker, "before")
            filler = await asyncio.to_thread(fill, folder)
            answers = await ask_until(asker, refused_often, metadata=LARGE)
            listed = await asker.ask("volume.list", seconds=10)
            filler.unlink()
            return answers, listed, await made(asker, "after")

    folder = tmp_path / "postgres"
    folder.mkdir()
    with tmpfs(folder, "size=160m"), up(tmp_path) as url:
        answers, listed, after = asyncio.run(scenario(url, folder))
        log = log_of(tmp_path)

    assert set(refused(answers).values()) == {f"{Full()}; nothing was changed"}
    assert (listed.code, after["status"]) == ("", "available")
    assert done_or_refused(answers, log)


def test_a_database_that_takes_no_writes_is_read_and_goes_on(
    tmp_path: Path, broker: NatsServer, postgres: PostgresServer
) -> None:
    config = configuration(tmp_path, broker.url, postgres.settings)

    async def scenario() -> tuple[Answer, Answer]:
        async with asyncio.timeout(60), caller(broker.url) as asker:
            await has_room(asker)
            volume = await made(asker, "before")
            read_only(postgres.settings, "on")
            while not (refused := await asker.ask("volume.create", size_gib=1)).code:
                pass  # a server takes a moment to hear of it
            shown = await asker.ask("volume.show", id=volume["id"])
            read_only(postgres.settings, "off")
            assert (await made(asker, "after"))["status"] == "available"
            return refused, shown

    with program(SERVE, config), program(AGENT, config):
        refused, shown = asyncio.run(scenario())

    assert refused.body["detail"] == f"{ReadOnly()}; nothing was changed"
    assert "Holdfast-Age" not in shown.headers


@pytest.mark.slow
def test_a_database_that_cannot_write_ahead_comes_back_by_itself(
    tmp_path: Path,
) -> None:
    def is_dead(answers: Answers) -> bool:
        # Whose fate it took with it gets no answer; whoever asks after that is refused.
        died = said.exists() and "startup process" in said.read_text()
        return died and bool(refused(answers))

    async def scenario(url: str, folder: Path) -> tuple[Answers, Any]:
        async with caller(url) as asker:
            await made(asker, "before")
            filler = await asyncio.to_thread(fill, folder)
            answers = await ask_until(asker, is_dead, metadata=LARGE)
            filler.unlink()
            return answers, await made(asker, "after")

    said = tmp_path / "postgres" / "postgres.log"
    with ahead_elsewhere(tmp_path / "postgres") as folder, up(tmp_path) as url:
        answers, after = asyncio.run(scenario(url, folder))
        log = log_of(tmp_path)

    assert refused(answers)
    assert after["status"] == "available"
    assert done_or_refused(answers, log)


@contextmanager
def ahead_elsewhere(folder: Path) -> Iterator[Path]:
    """Make a database whose write-ahead log has a small filesystem of its own."""
    server = PostgresServer(folder)
    server.start()
    server.stop()
    written, kept = folder / "data" / "pg_wal", folder / "kept"
    owner = written.stat()
    shutil.copytree(written, kept)
    with tmpfs(written, f"size=40m,mode=700,uid={owner.st_uid},gid={owner.st_gid}"):
        shutil.copytree(kept, written, dirs_exist_ok=True)
        for path in (written, *written.rglob("*")):
            shutil.chown(path, owner.st_uid, owner.st_gid)
        yield written


@pytest.mark.slow
def test_a_broker_without_room_misses_nothing_in_the_end(tmp_path: Path) -> None:
    def asked_often(answers: Answers) -> bool:
        return len(answers) > 100

    async def scenario(url: str, folder: Path) -> tuple[Answers, Any, list[int]]:
        async with caller(url) as asker, caller(as_service(tmp_path, url)) as service:
            await made(asker, "before")
            filler = await asyncio.to_thread(fill, folder)
            answers = await ask_until(asker, asked_often)
            filler.unlink()
            after = await made(asker, "after")
            return answers, after, await published(service.client, after["position"])

    folder = tmp_path / "nats"
    folder.mkdir()
    with tmpfs(folder, "size=16m"), up(tmp_path) as url:
        answers, after, positions = asyncio.run(scenario(url, folder))
        log = log_of(tmp_path)

    assert not refused(answers)
    assert after["status"] == "available"
    assert positions == list(range(1, len(positions) + 1))
    assert len(positions) > len(answers)
    assert done_or_refused(answers, log)


def test_a_backend_without_room_says_so_and_takes_volumes_again(
    tmp_path: Path,
) -> None:
    async def until_full(asker: Caller) -> tuple[Any, Any]:
        """Return the last volume that could be made, and the one that could not."""
        before: Any = None
        for number in range(10):
            volume = await made(asker, str(number))
            if volume["status"] == "error":
                return before, volume
            before = volume
        raise AssertionError

    async def scenario(url: str) -> tuple[Any, Any, Any]:
        async with asyncio.timeout(60), caller(url) as asker:
            large = await asker.insist("volume.create", "large", size_gib=60_000)
            last, failed = await until_full(asker)
            await asker.until(
                "volume.delete", lambda v: v["status"] == "deleted", id=last["id"]
            )
            return large, failed, await made(asker, "after")

    folder = tmp_path / "volumes"
    folder.mkdir()
    with tmpfs(folder, "size=1g,nr_inodes=12"), up(tmp_path) as url:
        large, failed, after = asyncio.run(scenario(url))

    assert large["type"] == "no-capacity"
    assert failed["error"]["code"] == FilesystemFull.code
    assert "free blocks or inodes" in failed["error"]["message"]
    assert after["status"] == "available"
