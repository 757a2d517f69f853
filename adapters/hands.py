"""Threads that take turns at what is asked; what they end meanwhile is told together.

An executor of the standard library wakes the event loop for each result, through
three locks and two futures. That takes as long as making a volume should.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")


class Asked(NamedTuple):
    """What is to be done, and where its result is waited for."""

    what: Callable[[], Any]
    done: asyncio.Future[Any]


class Hands:
    """A number of threads, in the service of one event loop."""

    def __init__(self, number: int, name: str) -> None:
        self._asked: SimpleQueue[Asked | None] = SimpleQueue()
        self._ended: deque[tuple[asyncio.Future[Any], Any, Exception | None]] = deque()
        self._telling = False
        self._threads = [
            Thread(target=self._work, name=f"{name}-{n}", daemon=True)
            for n in range(number)
        ]
        self._loop: asyncio.AbstractEventLoop | None = None

    async def do(self, what: Callable[[], T]) -> T:
        """Return what a thread gets from it, or raise what it does."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            for thread in self._threads:
                thread.start()
        done = self._loop.create_future()
        self._asked.put(Asked(what, done))
        result: T = await done
        return result

    def end(self) -> None:
        """Begin nothing more, and return when what is under way has ended."""
        with suppress(Empty):
            while True:
                self._asked.get_nowait()
        for _ in self._threads:
            self._asked.put(None)
        for thread in self._threads:
            if self._loop:
                thread.join()

    def _work(self) -> None:
        while asked := self._asked.get():
            result, failure = None, None
            try:
                result = asked.what()
            except Exception as raised:  # noqa: BLE001 - raised where it is waited for
                failure = raised
            self._ended.append((asked.done, result, failure))
            # Asked after the append: who is telling now may have looked before.
            if not self._telling:
                self._telling = True
                self._tell_soon()

    def _tell_soon(self) -> None:
        assert self._loop
        with suppress(RuntimeError):  # the loop has ended, and nobody waits
            self._loop.call_soon_threadsafe(self._tell)

    def _tell(self) -> None:
        self._telling = False
        while self._ended:
            done, result, failure = self._ended.popleft()
            if done.done():  # nobody waits any more
                continue
            if failure:
                done.set_exception(failure)
            else:
                done.set_result(result)
