"""Hands: everything asked of them is told, whatever happens at once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest

from adapters.hands import Hands


def with_hands(number: int, scenario: Callable[[Hands], Awaitable[Any]]) -> Any:
    async def lived() -> Any:
        hands = Hands(number, "hand")
        try:
            async with asyncio.timeout(20):
                return await scenario(hands)
        finally:
            hands.end()

    return asyncio.run(lived())


def test_each_of_many_results_comes_to_who_asked() -> None:
    async def scenario(hands: Hands) -> list[int]:
        return await asyncio.gather(
            *(hands.do(partial(pow, n, 2)) for n in range(5_000))
        )

    assert with_hands(8, scenario) == [n * n for n in range(5_000)]


def test_a_failure_is_raised_where_it_is_waited_for() -> None:
    async def scenario(hands: Hands) -> int:
        with pytest.raises(ZeroDivisionError):
            await hands.do(lambda: 1 // 0)
        return await hands.do(lambda: 1)

    assert with_hands(1, scenario) == 1


def test_one_that_takes_long_holds_up_only_one_hand() -> None:
    may_end = threading.Event()

    async def scenario(hands: Hands) -> list[int]:
        slow = asyncio.ensure_future(hands.do(may_end.wait))
        others = [await hands.do(partial(int, n)) for n in range(20)]
        may_end.set()
        await slow
        return others

    assert with_hands(2, scenario) == list(range(20))


def test_who_no_longer_waits_is_not_told() -> None:
    may_end = threading.Event()

    async def scenario(hands: Hands) -> int:
        given_up = asyncio.ensure_future(hands.do(may_end.wait))
        await asyncio.sleep(0)
        given_up.cancel()
        await asyncio.gather(given_up, return_exceptions=True)
        may_end.set()
        return await hands.do(lambda: 1)

    assert with_hands(1, scenario) == 1


def test_what_was_not_begun_when_they_end_is_never_done() -> None:
    begun, may_end, done = threading.Event(), threading.Event(), []

    def first() -> None:
        begun.set()
        may_end.wait(10)
        done.append("first")

    async def scenario(hands: Hands) -> None:
        asked = [
            asyncio.ensure_future(hands.do(first)),
            asyncio.ensure_future(hands.do(lambda: done.append("second"))),
        ]
        await asyncio.to_thread(begun.wait, 10)
        threading.Timer(0.1, may_end.set).start()
        await asyncio.to_thread(hands.end)
        for each in asked:
            each.cancel()

    with_hands(1, scenario)

    assert done == ["first"]
