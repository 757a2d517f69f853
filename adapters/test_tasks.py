"""Tasks that do not want to end."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from adapters.tasks import ended, together, undisturbed


async def deaf(times: int) -> None:
    """Lose some cancellations, as `wait_for` may."""
    for _ in range(times):
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
    await asyncio.sleep(60)


async def broken() -> None:
    raise ZeroDivisionError


def test_what_loses_a_cancellation_is_ended() -> None:
    async def scenario() -> bool:
        task = asyncio.ensure_future(deaf(2))
        await asyncio.sleep(0)
        await ended(task)
        return task.cancelled()

    assert asyncio.run(scenario())


def test_one_that_fails_ends_the_others() -> None:
    async def scenario() -> int:
        with pytest.raises(ZeroDivisionError):
            await together(deaf(1), broken())
        return len(asyncio.all_tasks())

    assert asyncio.run(scenario()) == 1


def test_all_end_with_whoever_runs_them() -> None:
    async def scenario() -> int:
        task = asyncio.ensure_future(together(deaf(1), deaf(0)))
        await asyncio.sleep(0.01)
        await ended(task)
        return len(asyncio.all_tasks())

    assert asyncio.run(scenario()) == 1


def test_cleaning_up_is_not_cut_short() -> None:
    cleaned = []

    async def clean() -> None:
        await asyncio.sleep(0.15)
        cleaned.append(True)

    async def working() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await undisturbed(clean())

    async def scenario() -> None:
        task = asyncio.ensure_future(working())
        await asyncio.sleep(0.01)
        await ended(task)

    asyncio.run(scenario())

    assert cleaned == [True]
