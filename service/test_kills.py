"""The whole service is killed again and again, and nothing that it said gets lost."""

from __future__ import annotations

import asyncio
import random
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest

from adapters.embedded.process import free_port
from adapters.embedded.socket_folder import socket_folder
from adapters.file.failures import GIB
from adapters.postgres.reading import rebuilt, verified
from domain import log as language
from domain.aggregate import Event
from domain.attachment import AttachStatus
from domain.volume import Status, Volume
from projections import resources
from service.manager import VolumeManager
from service.testing import UP, Caller, caller, program

KILLS = 10
CLIENTS = 16


async def live_a_life(asker: Caller, dice: random.Random, name: str) -> None:
    """Create, extend, attach, detach and delete, as far as it comes."""
    steps = iter(range(1_000_000))

    async def ask(subject: str, **message: Any) -> Any:
        return await asker.insist(subject, f"{name}-{next(steps)}", **message)

    volume_id = (await ask("volume.create", size_gib=1, name=name))["id"]
    await settled(asker, volume_id)
    size = 1
    while dice.random() < 0.8:
        if dice.random() < 0.5:
            size += 1
            await ask("volume.extend", id=volume_id, size_gib=size)
            await settled(asker, volume_id)
        else:
            held = await ask("attachment.create", volume_id=volume_id, host=name)
            connector = {"host": name}
            await ask("attachment.update", id=held["id"], connector=connector)
            await ask("attachment.complete", id=held["id"])
            if dice.random() < 0.9:
                await ask("attachment.delete", id=held["id"])
            else:
                return
    if dice.random() < 0.7:
        await ask("volume.delete", id=volume_id)


async def settled(asker: Caller, volume_id: str) -> None:
    def so(volume: Any) -> bool:
        return volume["status"] not in ("creating", "extending", "deleting")

    await asker.until("volume.show", so, id=volume_id)


async def load(
    asker: Caller, dice: random.Random, name: str, stopped: asyncio.Event
) -> None:
    for life in range(1_000_000):
        if stopped.is_set():
            return
        await live_a_life(asker, dice, f"{name}-{life}")


async def nothing_is_in_flight(asker: Caller) -> None:
    def so(answer: Any) -> bool:
        return not answer["items"]

    await asker.until("agent.in_flight", so, name="files", after=0)


def test_what_was_acknowledged_outlives_every_kill(tmp_path: Path) -> None:
    seed = random.randrange(10**6)  # noqa: S311
    print(f"seed {seed}")  # noqa: T201
    asyncio.run(campaign(tmp_path, random.Random(seed)))  # noqa: S311


async def campaign(data: Path, dice: random.Random) -> None:
    port = free_port()
    acknowledged: dict[str, Any] = {}
    for number in range(KILLS):
        # What was cut off goes on, with its keys, against the next one.
        lives: list[asyncio.Task[None]] = []
        stopped = asyncio.Event()
        with program(UP, data, port) as process:
            url = f"nats://127.0.0.1:{port}"
            askers = await entered(url)
            for asker in askers:
                name = f"{number}-{len(lives)}"
                work = load(asker, random.Random(dice.random()), name, stopped)
                lives.append(asyncio.create_task(work))
            await asyncio.sleep(dice.uniform(0.2, 1.2))
            process.send_signal(signal.SIGKILL)
            stopped.set()
        with program(UP, data, port) as process:
            async with asyncio.timeout(60):
                await asyncio.gather(*lives)
                await nothing_is_in_flight(askers[0])
            for asker in askers:
                acknowledged |= asker.acknowledged
            await compare(data, askers[0], acknowledged)
            for asker in askers:
                await asker.client.close()
