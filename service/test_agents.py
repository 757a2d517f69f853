"""Agents that die, and agents whose driver does: each intent is settled once."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from adapters.embedded.nats_server import nats_server
from adapters.file.driver import FileDriver
from domain.ports import Cause, Progress, unheard
from domain.volume import Volume
from service.connecting import connect
from service.serve import replica
from service.settings import FILE_DRIVER, database_of, load
from service.testing.callers import Caller, caller
from service.testing.programs import AGENT, configuration, program

# A driver that kills its own process before or after it has made a volume, once.
MORTAL = """
import os, signal
from pathlib import Path
from adapters.file import driver
make = driver.FileDriver.create
def mortal(*asked):
    once = Path({marker!r})
    if once.exists():
        return make(*asked)
    once.touch()
    {before}
    make(*asked)
    os.kill(os.getpid(), signal.SIGKILL)
driver.FileDriver.create = mortal
"""
DIE = "os.kill(os.getpid(), signal.SIGKILL)"
HERE = "service.test_agents"


class Broken(FileDriver):
    """A driver with a mistake of its own: it cannot make volumes of 2 GiB."""

    def create(
        self, asked: Volume.Created, cause: Cause, progress: Progress = unheard
    ) -> str:
        with Path(self._folder, "..", "asked").open("a") as told:
            told.write(f"create {asked.originator_id}\n")
        if asked.size_gib == 2:
            raise ZeroDivisionError
        return super().create(asked, cause, progress)

    def delete(self, volume_id: UUID, *args: Any) -> None:
        with Path(self._folder, "..", "asked").open("a") as told:
            told.write(f"delete {volume_id}\n")
        super().delete(volume_id, *args)


@asynccontextmanager
async def served(path: Path) -> AsyncIterator[Caller]:
    """Serve without any agent, and connect a caller."""
    settings = load(path, {})
    database = database_of(settings)
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(await connect(settings.nats_url, "x"))
        await stack.enter_async_context(replica(client, settings, database))
        yield await stack.enter_async_context(caller(settings.nats_url))


@pytest.fixture
def path(tmp_path: Path, settings: dict[str, str]) -> Iterator[Path]:
    """The settings of a service with a broker, and so a stream, of its own."""
    with nats_server(tmp_path / "nats") as url:
        yield configuration(tmp_path, url, settings)


def agent_with(code: str, path: Path) -> AbstractContextManager[Any]:
    return program(code + AGENT, path)


async def settled(asker: Caller, volume_id: str) -> Any:
    def so(volume: Any) -> bool:
        return volume["status"] not in ("creating", "extending", "deleting")

    async with asyncio.timeout(30):
        return await asker.until("volume.show", so, id=volume_id)


async def created(asker: Caller, size_gib: int = 1) -> str:
    """Ask for a volume, once there is a backend to put it on."""
    async with asyncio.timeout(30):
        made = await asker.until(
            "volume.create", lambda answer: "id" in answer, size_gib=size_gib
        )
    volume_id: str = made["id"]
    return volume_id


async def events(asker: Caller, volume_id: str) -> list[str]:
    history = await asker.insist("volume.history", id=volume_id)
    return [item["event"] for item in history["items"]]


@pytest.mark.parametrize("before", [DIE, "pass"], ids=["before", "after"])
def test_an_agent_killed_at_work_does_it_once_when_it_is_back(
    path: Path, before: str
) -> None:
    mortal = MORTAL.format(marker=str(path.with_name("died")), before=before)

    async def scenario() -> tuple[str, list[str]]:
        async with served(path) as asker:
            with agent_with(mortal, path) as agent:
                volume_id = await created(asker)
                await asyncio.to_thread(agent.wait, 30)
                assert agent.returncode == -signal.SIGKILL
            with agent_with(mortal, path):
                seen = await settled(asker, volume_id)
                return seen["status"], await events(asker, volume_id)

    status, happened = asyncio.run(scenario())

    assert status == "available"
    assert happened == ["volume.created", "volume.creation_finished"]


def test_a_driver_with_a_mistake_says_so_and_nothing_overtakes_it(path: Path) -> None:
    path.write_text(path.read_text().replace(FILE_DRIVER, f"{HERE}.Broken"))

    async def scenario() -> tuple[str, Any]:
        async with served(path) as asker:
            with agent_with("", path):
                volume_id = await created(asker, size_gib=2)
                await asker.insist("volume.delete", id=volume_id, force=True)
                other = await created(asker, size_gib=2)
                seen = await settled(asker, other)
                assert (await settled(asker, volume_id))["status"] == "deleted"
                return volume_id, seen

    volume_id, other = asyncio.run(scenario())

    asked = path.with_name("asked").read_text().splitlines()
    own = [line.split()[0] for line in asked if volume_id in line]
    assert own in (["create", "delete"], ["delete"])
    assert (other["status"], other["error"]["code"]) == ("error", "driver_broke_down")


def test_what_was_settled_is_not_done_again(path: Path) -> None:
    path.write_text(path.read_text().replace(FILE_DRIVER, f"{HERE}.Broken"))

    async def scenario() -> None:
        async with served(path) as asker:
            with agent_with("", path):
                first = await created(asker)
                await settled(asker, first)
                await asker.insist("volume.delete", id=first)
                await settled(asker, first)
            with agent_with("", path):
                await settled(asker, await created(asker))

    asyncio.run(scenario())

    asked = path.with_name("asked").read_text().splitlines()
    assert [line.split()[0] for line in asked] == ["create", "delete", "create"]


def test_a_volume_is_made_by_the_agent_that_comes_later(path: Path) -> None:
    async def scenario() -> tuple[str, str]:
        async with served(path) as asker:
            with agent_with("", path):
                await settled(asker, await created(asker))
            waiting = await created(asker)
            before = (await asker.insist("volume.show", id=waiting))["status"]
            with agent_with("", path):
                return before, (await settled(asker, waiting))["status"]

    assert asyncio.run(scenario()) == ("creating", "available")


def test_an_agent_beside_a_disk_that_is_not_mounted_takes_nothing_else_for_it(
    path: Path,
) -> None:
    folder = path.parent / "volumes"

    async def scenario() -> str:
        async with served(path) as asker:
            with agent_with("", path):
                await settled(asker, await created(asker))
            away = folder.rename(folder.with_name("away"))
            folder.mkdir()
            with agent_with("", path):
                told = await asker.until("backend.is_working", fails, name="files")
                folder.rmdir()
                away.rename(folder)
                await settled(asker, await created(asker))
            reason: str = told["reason"]
            return reason

    def fails(told: Any) -> bool:
        return "nothing of backend files" in (told["reason"] or "")

    assert "see that its disk is mounted" in asyncio.run(scenario())
    assert len([*folder.glob("*/volume")]) == 2


def test_a_backend_is_begun_anew_in_an_empty_folder_where_somebody_says_so(
    path: Path,
) -> None:
    folder = path.parent / "volumes"

    async def scenario() -> str:
        async with served(path) as asker:
            with agent_with("", path):
                await settled(asker, await created(asker))
            folder.rename(folder.with_name("away"))
            with agent_with("", path):
                await asker.insist("backend.initialize", name="files")
                made = await settled(asker, await created(asker))
                status: str = made["status"]
                return status

    assert asyncio.run(scenario()) == "available"
    assert len([*folder.glob("*/volume")]) == 1
