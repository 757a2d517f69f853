"""An agent that is told to leave finishes what is under way, within bounds."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.embedded.nats_server import nats_server
from adapters.file.driver import FileDriver
from domain.ports import Cause, Progress, unheard
from domain.volume import Volume
from service.agents import GRACE
from service.testing.callers import caller, eventually
from service.testing.loads import has_room
from service.testing.programs import AGENT, SERVE, configuration, program


class Slow(FileDriver):
    """A file driver that makes nothing before a file beside it says so."""

    def create(
        self, asked: Volume.Created, cause: Cause, progress: Progress = unheard
    ) -> str:
        (self._folder.parent / f"began {asked.originator_id}").touch()
        while not (self._folder.parent / "go on").exists():
            time.sleep(0.01)
        return super().create(asked, cause, progress)


@pytest.fixture
def url(tmp_path: Path, settings: dict[str, str]) -> Iterator[str]:
    with nats_server(tmp_path / "nats") as url:
        slow = f"{Slow.__module__}.{Slow.__qualname__}"
        configuration(tmp_path, url, settings, slow)
        yield url


def test_an_agent_that_leaves_finishes_and_reports_what_is_under_way(
    tmp_path: Path, url: str
) -> None:
    async def scenario(agent: subprocess.Popen[str]) -> tuple[str, int]:
        async with asyncio.timeout(60), caller(url) as asker:
            volume_id = await begun(tmp_path, url)
            agent.terminate()
            await asyncio.sleep(1)
            (tmp_path / "go on").touch()
            code = await asyncio.to_thread(agent.wait, 30)
            made = await asker.insist("volume.show", id=volume_id)
            return made["status"], code

    config = tmp_path / "holdfast.toml"
    with program(SERVE, config), program(AGENT, config) as agent:
        assert asyncio.run(scenario(agent)) == ("available", 0)


@pytest.mark.slow
def test_what_takes_too_long_is_left_to_the_next_agent(
    tmp_path: Path, url: str
) -> None:
    config = tmp_path / "holdfast.toml"
    with program(SERVE, config):
        with program(AGENT, config) as agent:
            volume_id = asyncio.run(begun(tmp_path, url))
            agent.terminate()
            began = time.monotonic()
            assert agent.wait(GRACE + 30) == 0
            took = time.monotonic() - began
        (tmp_path / "go on").touch()
        with program(AGENT, config):
            asyncio.run(available(url, volume_id))

    assert GRACE - 1 < took < GRACE + 20


async def begun(folder: Path, url: str) -> str:
    """Let a volume be made, and return its id once its driver has begun."""
    async with asyncio.timeout(60), caller(url) as asker:
        await has_room(asker)
        made = await asker.insist("volume.create", "first", size_gib=1)

        async def has_begun() -> bool:
            return (folder / f"began {made['id']}").exists()

        await eventually(has_begun)
        return str(made["id"])


async def available(url: str, volume_id: str) -> None:
    async with asyncio.timeout(60), caller(url) as asker:
        await asker.until(
            "volume.show", lambda v: v["status"] == "available", id=volume_id
        )
