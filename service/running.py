"""The three ways to run: `up`, `serve` and `agent`, until a signal or a failure."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import uvloop

from adapters.jetstream.publisher import Ahead
from adapters.jetstream.wire import ClosedForGood
from adapters.tasks import ended
from service import logs
from service.agents import abandon, agent, finished, served
from service.connecting import connect
from service.holding import held, lock_of
from service.interpreter import quicken
from service.serve import replica
from service.settings import Settings, Unusable, database_of
from service.telemetry import metrics
from service.telemetry.exporting import exporting
from service.telemetry.listening import listening
from service.telemetry.readiness import Readiness, of_agent, of_replica
from service.telemetry.systemd import Systemd
from service.up import up

SHORTEST_KEY = 16
# Ctrl-C, an orderly stop, and a terminal that was closed.
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

Told = Callable[[str], None]


def run_up(data: Path, settings: Settings, nats_port: int | None, told: Told) -> None:
    """Run the whole service in this folder; `told` the broker's URL when it answers."""

    async def main(stack: AsyncExitStack) -> Awaitable[Any]:
        stack.callback(abandon)
        systemd = begun(stack, "holdfast", settings)
        running = await stack.enter_async_context(up(data, settings, nats_port))
        log, readiness = running.replica.log, of_replica(running.replica)
        await overseen(stack, systemd, settings, readiness, lambda: log.turns)
        told(running.url)
        return running.work

    until_stopped(main)


def run_serve(settings: Settings, told: Told) -> None:
    """Run one replica; `told` the broker's URL when it answers."""
    check_key(settings)

    async def main(stack: AsyncExitStack) -> Awaitable[Any]:
        systemd = begun(stack, "holdfast-serve", settings)
        client = await stack.enter_async_context(
            await connect(settings.nats_url, "serve")
        )
        running, work = await stack.enter_async_context(
            replica(client, settings, database_of(settings))
        )
        log, readiness = running.log, of_replica(running)
        await overseen(stack, systemd, settings, readiness, lambda: log.turns)
        told(settings.nats_url)
        return work

    until_stopped(main)


def run_agent(
    settings: Settings, name: str | None, told: Told, driver: str | None = None
) -> None:
    """Run the agent of one backend, which may be left unnamed if it is the only one."""
    backend = served(settings, name, driver)
    check_key(settings)

    async def main(stack: AsyncExitStack) -> Awaitable[Any]:
        quicken()
        systemd = begun(stack, "holdfast-agent", settings)
        client = await stack.enter_async_context(
            await connect(settings.nats_url, "agent")
        )
        told(settings.nats_url)
        systemd.tell("STATUS=waiting for another agent on this host to end")
        holder = await stack.enter_async_context(held(lock_of(settings, backend.name)))
        stack.callback(abandon)  # before the lock is let go
        serving = agent(client, settings, backend, holder)
        work = asyncio.ensure_future(serving.run())
        stack.push_async_callback(ended, work)
        stack.push_async_callback(finished, serving)
        stack.enter_context(metrics.collected(lambda: metrics.of_agent(serving)))
        await overseen(stack, systemd, settings, of_agent(client, serving))
        return work

    until_stopped(main)


def begun(stack: AsyncExitStack, program: str, settings: Settings) -> Systemd:
    """Set up what goes on from before there is anything to tell until after."""
    logs.set_up(settings.log_format)
    stack.enter_context(exporting(program))
    systemd = Systemd()
    systemd.tell("STATUS=looking for the broker and the database")
    return systemd


async def overseen(
    stack: AsyncExitStack,
    systemd: Systemd,
    settings: Settings,
    readiness: Readiness,
    turns: Callable[[], bool] = lambda: True,
) -> None:
    """Let operators and systemd know how it is."""
    await stack.enter_async_context(systemd.watched(turns))
    listens = listening(settings.metrics_listen, readiness)
    await stack.enter_async_context(listens)
    await stack.enter_async_context(systemd.told(readiness))


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
    except (Ahead, ClosedForGood) as over:
        raise Unusable(str(over)) from over
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
