"""The three ways to run: `up`, `serve` and `agent`, until a signal or a failure."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import uvloop
from nats.aio.client import Client

from adapters.jetstream.publisher import Ahead
from adapters.tasks import ended
from service.agents import agent
from service.connecting import connect
from service.holding import held, lock_of
from service.serve import quicken, replica
from service.settings import BackendSettings, Settings, Unusable, database_of
from service.up import up

SHORTEST_KEY = 16
# Ctrl-C, an orderly stop, and a terminal that was closed.
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

Told = Callable[[str], None]


def run_up(data: Path, settings: Settings, nats_port: int | None, told: Told) -> None:
    """Run the whole service in this folder; `told` the broker's URL when it answers."""

    async def main(stack: AsyncExitStack) -> Awaitable[Any]:
        running = await stack.enter_async_context(up(data, settings, nats_port))
        told(running.url)
        return running.work

    until_stopped(main)


def run_serve(settings: Settings, told: Told) -> None:
    """Run one replica; `told` the broker's URL when it answers."""
    check_key(settings)

    async def main(stack: AsyncExitStack) -> Awaitable[Any]:
        client = await stack.enter_async_context(
            await connect(settings.nats_url, "serve")
        )
        database = database_of(settings)
        _, work = await stack.enter_async_context(replica(client, settings, database))
        told(settings.nats_url)
        return work

    until_stopped(main)


def run_agent(settings: Settings, name: str | None, told: Told) -> None:
    """Run the agent of one backend, which may be left unnamed if it is the only one."""
    named = [b for b in settings.backends if name in (None, b.name)]
    if len(named) != 1:
        known = ", ".join(backend.name for backend in settings.backends)
        raise Unusable(f"name one of the backends in the settings: {known or 'none'}")
    check_key(settings)

    async def main(stack: AsyncExitStack) -> Awaitable[Any]:
        client = await stack.enter_async_context(
            await connect(settings.nats_url, "agent")
        )
        told(settings.nats_url)
        working = asyncio.ensure_future(served(client, settings, named[0]))
        stack.push_async_callback(ended, working)
        return working

    until_stopped(main)


async def served(client: Client, settings: Settings, backend: BackendSettings) -> None:
    """Serve a backend, once no other agent on this host does."""
    quicken()
    async with held(lock_of(settings, backend.name)) as holder:
        await agent(client, settings, backend, holder).run()


def check_key(settings: Settings) -> None:
    """Raise `Unusable` for a key that anybody could guess."""
    if len(settings.agent_key) < SHORTEST_KEY:
        raise Unusable(
            f"agent_key must be set, for `serve` and `agent` alike, to a secret of "
            f"{SHORTEST_KEY} characters or more"
        )


def until_stopped(
    main: Callable[[AsyncExitStack], Coroutine[Any, Any, Awaitable[Any]]],
) -> None:
    """Run until SIGINT or SIGTERM, or until the work fails, which is raised."""

    async def running() -> None:
        stopped = asyncio.Event()
        hear(stopped.set)
        async with AsyncExitStack() as stack:
            starting = asyncio.ensure_future(main(stack))
            asked = asyncio.ensure_future(stopped.wait())
            await asyncio.wait([starting, asked], return_when=asyncio.FIRST_COMPLETED)
            if not starting.done():
                starting.cancel()
                await asyncio.gather(starting, return_exceptions=True)
                return
            work = asyncio.ensure_future(await starting)
            await asyncio.wait([work, asked], return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                await work

    try:
        uvloop.run(running())
    except Ahead as ahead:
        raise Unusable(str(ahead)) from ahead
    finally:
        leave_in_peace()


def hear(stop: Callable[[], None]) -> None:
    """Have each signal that means so stop us."""
    for number in STOPS:
        asyncio.get_running_loop().add_signal_handler(number, stop)


def leave_in_peace() -> None:
    """Hear of no more signals: whoever asks again while we leave, has asked."""
    for number in STOPS:
        signal.signal(number, signal.SIG_IGN)
