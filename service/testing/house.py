"""A whole service within a test: a replica, its keeper, an agent with any driver."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adapters.jetstream.agent import Agent
from adapters.tasks import ended
from domain.volume_status import UNDER_WAY
from service.connecting import connect
from service.serve import replica
from service.settings import Settings, load
from service.testing.callers import Caller, caller
from service.testing.loads import has_room
from service.testing.programs import BACKEND, configuration


@dataclass
class House:
    """Everything that runs, on one NATS server."""

    settings: Settings
    driver: Any
    asker: Caller
    stack: AsyncExitStack
    agent: Agent = field(init=False)
    working: asyncio.Future[Any] = field(default_factory=asyncio.Future)

    async def start_agent(self) -> None:
        """Start the backend's agent, or another one when the last has ended."""
        await ended(self.working)
        self.agent, self.working = await self._serve(self.driver, BACKEND)

    async def serve_also(self, driver: Any, backend: str) -> None:
        """Start the agent of another backend, and return when there is room on it."""
        await self._serve(driver, backend)
        await has_room(self.asker, backend)

    async def _serve(
        self, driver: Any, backend: str
    ) -> tuple[Agent, asyncio.Future[Any]]:
        client = await connect(self.settings.nats_url, "agent")
        self.stack.push_async_callback(client.close)
        agent = Agent(client, driver, backend, self.settings.key, "the only holder")
        working = asyncio.create_task(agent.run())
        self.stack.push_async_callback(ended, working)
        return agent, working

    async def create(self, **more: Any) -> str:
        """Ask for a volume and return its id."""
        made = await self.asker.insist("volume.create", **{"size_gib": 1} | more)
        volume_id: str = made["id"]
        return volume_id

    async def settled(self, volume_id: str) -> Any:
        """Return a volume once no backend works on it."""

        def so(volume: Any) -> bool:
            return volume["status"] not in UNDER_WAY

        return await self.asker.until("volume.show", so, id=volume_id)

    async def available(self, **more: Any) -> str:
        """Return the id of a volume that was made."""
        volume_id = await self.create(**more)
        await self.settled(volume_id)
        return volume_id


@asynccontextmanager
async def house(
    folder: Path, url: str, database: dict[str, str], driver: Any, **deadlines: Any
) -> AsyncIterator[House]:
    """Run everything, and an agent that works."""
    configured = load(configuration(folder, url, database, **deadlines), {})
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        client = await connect(url, "serve")
        stack.push_async_callback(client.close)
        await enter(replica(client, configured, database))
        asker = await enter(caller(url))
        built = House(configured, driver, asker, stack)
        await built.start_agent()
        await has_room(asker)
        yield built


Scenario = Callable[[House], Coroutine[Any, Any, Any]]
Run = Callable[[Any, Scenario], Any]


def lived(folder: Path, url: str, database: dict[str, str], **deadlines: Any) -> Run:
    """Return what runs a scenario in a house with a driver."""

    async def live(driver: Any, scenario: Scenario) -> Any:
        async with (
            asyncio.timeout(180),
            house(folder, url, database, driver, **deadlines) as built,
        ):
            return await scenario(built)

    return lambda driver, scenario: asyncio.run(live(driver, scenario))
