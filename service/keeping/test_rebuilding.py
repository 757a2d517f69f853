"""A rebuild while the service is at work: nobody notices, and it comes to the same."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

from adapters.embedded.nats_server import NatsServer
from adapters.postgres.reading import rebuilt
from domain.volume import Volume
from service.keeping.projecting import MODELS
from service.manager import VolumeManager
from service.testing.callers import Caller, callers
from service.testing.loads import (
    has_room,
    listed,
    lists_tell,
    load,
    nothing_is_in_flight,
)
from service.testing.programs import AGENT, SERVE, configuration, program

CLIENTS = 6


def test_every_list_is_whole_while_read_models_are_rebuilt(
    tmp_path: Path, broker: NatsServer, settings: dict[str, str], manager: VolumeManager
) -> None:
    async def scenario() -> int:
        async with asyncio.timeout(120), callers(broker.url, CLIENTS + 2) as everybody:
            operator, reader, *askers = everybody
            await has_room(operator)
            stopped = asyncio.Event()
            lives = [
                load(asker, random.Random(number), str(number), stopped)
                for number, asker in enumerate(askers)
            ]
            living = asyncio.gather(*lives, read(reader, askers, stopped))
            for model in 2 * MODELS:
                await rebuild(operator, model.name)
            stopped.set()
            whole = (await living)[-1] or 0
            await nothing_is_in_flight(operator)
            fold = await asyncio.to_thread(rebuilt, manager.recorder)
            volumes = [v for v in fold.values() if isinstance(v, Volume)]
            await lists_tell(operator, volumes)
            return whole

    config = configuration(tmp_path, broker.url, settings)
    with program(SERVE, config), program(AGENT, config):
        whole = asyncio.run(scenario())

    assert whole > len(MODELS)


async def rebuild(operator: Caller, name: str) -> None:
    """Ask for it, and return when it is done."""
    begun = await operator.insist("projection.rebuild", name=name)

    def done(told: Any) -> bool:
        [found] = [item for item in told["items"] if item["name"] == name]
        assert not found["error"]
        return bool(found["generation"] >= begun["generation"])

    await operator.until("projection.list", done)


async def read(reader: Caller, askers: list[Caller], stopped: asyncio.Event) -> int:
    """List until stopped, whatever was acknowledged before; return how often."""
    whole = 0
    while not stopped.is_set():
        told = [a for asker in askers for a in asker.acknowledged.values()]
        made = {answer["id"] for answer in told if "size_gib" in answer}
        position = max((answer["position"] for answer in told), default=0)
        found = await listed(reader, "volume", min_position=position)
        assert made <= found.keys()
        whole += 1
    return whole


def test_what_is_no_read_model_is_not_found(
    tmp_path: Path, broker: NatsServer, settings: dict[str, str]
) -> None:
    async def scenario() -> Any:
        async with callers(broker.url, 1) as [operator]:
            return await operator.ask("projection.rebuild", name="unknown", seconds=30)

    with program(SERVE, configuration(tmp_path, broker.url, settings)):
        code, problem, _ = asyncio.run(scenario())

    assert (code, problem["type"]) == ("404", "not-found")
    assert (
        "there are attachments, backends, exports, group_snapshots, groups, in_flight, "
        "snapshots, volumes" in problem["detail"]
    )
