"""Running coroutines side by side, and ending them for sure."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

AGAIN = 0.1  # seconds until a task that goes on is cancelled once more


async def together(*coroutines: Coroutine[Any, Any, Any]) -> None:
    """Run all until one fails, which is raised, or all are done; none is left."""
    tasks = [asyncio.ensure_future(each) for each in coroutines]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()
    finally:
        await ended(*tasks)


async def until(work: asyncio.Future[Any]) -> None:
    """Wait for work that somebody else ends."""
    await asyncio.shield(work)


async def ended(*tasks: asyncio.Future[Any]) -> None:
    """Cancel what runs, and return when it has ended.

    Asked once is not always enough: `asyncio.wait_for` of Python 3.11, which
    nats-py waits with, can lose a cancellation.
    """
    while pending := [task for task in tasks if not task.done()]:
        for task in pending:
            task.cancel()
        # Whoever cancels us meanwhile wants the same.
        with suppress(asyncio.CancelledError):
            await asyncio.wait(pending, timeout=AGAIN)
    for task in tasks:
        if not task.cancelled():
            task.exception()  # now somebody has looked at it


async def undisturbed(cleaning: Coroutine[Any, Any, Any]) -> None:
    """Clean up to the end, though whoever ends us asks more than once."""
    task = asyncio.ensure_future(cleaning)
    while not task.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait([task])
    task.result()
