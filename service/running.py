"""Running until stopped or broken: what `up`, `serve` and `agent` have in common."""

from __future__ import annotations

import asyncio
import faulthandler
import signal
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any

import uvloop

from adapters.jetstream.stream import Ahead
from adapters.jetstream.wire import ClosedForGood
from service import logs
from service.settings import NotNow, Settings, Unusable
from service.telemetry.exporting import exporting
from service.telemetry.listening import listening
from service.telemetry.readiness import Readiness
from service.telemetry.systemd import Systemd

SHORTEST_KEY = 16
# Ctrl-C, an orderly stop, and a terminal that was closed.
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

Told = Callable[[str], None]


def begun(stack: AsyncExitStack, program: str, settings: Settings) -> Systemd:
    """Set up what goes on from before there is anything to tell until after."""
    faulthandler.enable()  # what a library crashes in is told
    logs.set_up(settings.log_format)
    stack.enter_context(exporting(program))
    return Systemd()


async def overseen(
    stack: AsyncExitStack,
    systemd: Systemd,
    settings: Settings,
    readiness: Readiness,
) -> None:
    """Let operators and systemd know how it is."""
    await stack.enter_async_context(systemd.watched(readiness.turns))
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
        # Mended where the broker or the database is, and then a start is enough.
        raise NotNow(str(over)) from over
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
