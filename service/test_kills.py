"""The whole service is killed again and again, and nothing that it said gets lost."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from contextlib import AsyncExitStack
from pathlib import Path

from adapters.embedded.process import free_port
from adapters.file.failures import GIB
from adapters.file.testing import kept_in
from adapters.postgres.reading import rebuilt, verified
from domain import log as language
from domain.volume import Volume
from domain.volume_status import Status
from service.manager import VolumeManager
from service.testing.callers import Caller, caller, callers
from service.testing.loads import happened_once, lists_tell, load, nothing_is_in_flight
from service.testing.programs import UP, database_of, program
from service.up import as_service

KILLS = 10
CLIENTS = 16


def test_what_was_acknowledged_outlives_every_kill(tmp_path: Path) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    asyncio.run(campaign(tmp_path, random.Random(seed)))


async def campaign(data: Path, dice: random.Random) -> None:
    port = free_port()
    async with AsyncExitStack() as stack:

        async def start() -> subprocess.Popen[str]:
            return await asyncio.to_thread(stack.enter_context, program(UP, data, port))

        up = await start()
        url = f"nats://127.0.0.1:{port}"
        askers = await stack.enter_async_context(callers(url, CLIENTS))
        for number in range(KILLS):
            stopped = asyncio.Event()
            lives = [
                load(asker, random.Random(dice.random()), f"{number}-{n}", stopped)
                for n, asker in enumerate(askers)
            ]
            living = asyncio.gather(*lives)
            await asyncio.sleep(dice.uniform(0.3, 1.2))
            up.kill()
            stopped.set()
            if number % 4 == 1:
                await cut_short(data, port, dice.uniform(0.1, 1.5))
            up = await start()
            # What was cut off is asked for again, by its clients and by the service.
            async with asyncio.timeout(60):
                await living
                async with caller(as_service(data, url)) as agent:
                    await nothing_is_in_flight(agent)
                await compare(data, askers)


async def cut_short(data: Path, port: int, seconds: float) -> None:
    """Kill one that may not even have started yet."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", UP, str(data), str(port), stdout=subprocess.DEVNULL
    )
    await asyncio.sleep(seconds)
    process.kill()
    await process.wait()


async def compare(data: Path, askers: list[Caller]) -> None:
    """What was said, the log, the read models and the disk tell the same."""
    with VolumeManager(database_of(data)) as manager:
        log = [language.decode(r.topic, r.state) for r in verified(manager.recorder)]
        fold = rebuilt(manager.recorder)
        allocated = manager.recorder.allocated()
    volumes = {key: seen for key, seen in fold.items() if isinstance(seen, Volume)}
    happened_once(log, askers)
    assert allocated == {"files": sum(v.allocated_gib for v in volumes.values())}
    await lists_tell(askers[0], volumes.values())
    assert on_disk(data / "volumes") == {
        str(key): volume.size_gib * GIB
        for key, volume in volumes.items()
        if volume.status != Status.DELETED
    }


def on_disk(folder: Path) -> dict[str, int]:
    homes = [folder / name for name in kept_in(folder)]
    for home in homes:
        made_by, data = sorted(file.name for file in home.iterdir())
        assert (made_by.split(" ")[0], data) == ("made-by", "volume")
    return {home.name: (home / "volume").stat().st_size for home in homes}
