"""Admission: who may touch the storage now.

Whoever sets it up is alone: what is half-made counts as left behind. All others are
side by side, so many at once. What may take hours, and what was asked before the
agent began, comes in a few at a time, so that new work never waits behind it. What is
old lets new work pass besides: most storages do one thing after the other anyway.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext, suppress
from enum import Flag, auto

AT_ONCE = 8  # operations side by side
A_FEW = 2  # of them of each kind that has to let others pass
POLITE = 2.0  # seconds that what is old waits for what is new
MOMENT = 0.1  # seconds in which those ask again who were refused until now


class Kind(Flag):
    """What is to be let in, by how it has to queue."""

    NEW = 0
    OLD = auto()
    LONG = auto()


class Admission:
    """Lets work in once the storage is `usable`."""

    def __init__(self) -> None:
        self.usable = asyncio.Event()
        self._opened = float("-inf")
        self._few = {
            Kind.OLD: asyncio.Semaphore(A_FEW),
            Kind.LONG: asyncio.Semaphore(A_FEW),
        }
        # Who ends an operation finds as many more, without a turn of the event loop.
        self._places = asyncio.Semaphore(2 * AT_ONCE)
        self._busy = self._new = 0
        self._nothing_new = asyncio.Event()
        self._nothing_new.set()
        self._quiet = asyncio.Event()
        self._setting_up = asyncio.Lock()

    def open(self) -> None:
        """Let work in; what is old a moment later, for new work may come at once."""
        if not self.usable.is_set():
            self._opened = asyncio.get_running_loop().time()
            self.usable.set()

    @property
    def wants_quiet(self) -> bool:
        """Whether somebody is to be alone, or waits for it."""
        return self._setting_up.locked()

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Hold all other work up, which then waits until the storage is usable."""
        async with self._setting_up:
            self.usable.clear()
            while self._busy:
                self._quiet.clear()
                await self._quiet.wait()
            yield

    @asynccontextmanager
    async def beside_others(self, kind: Kind = Kind.NEW) -> AsyncIterator[None]:
        """Work once there is a place, and the storage is usable."""
        # What takes long is not to keep other old work from being settled.
        few = self._few.get(kind & Kind.LONG or kind, nullcontext())
        async with few, self._turn(kind), self._places:
            while not self.usable.is_set():
                await self.usable.wait()
            self._busy += 1
            try:
                yield
            finally:
                self._busy -= 1
                self._quiet.set()

    @asynccontextmanager
    async def _turn(self, kind: Kind) -> AsyncIterator[None]:
        """Let new work, once it waits, pass what is old, unless there is no end."""
        if Kind.OLD in kind:
            await self.usable.wait()  # new work may come meanwhile
            late = asyncio.get_running_loop().time() - self._opened
            await asyncio.sleep(MOMENT - late)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._nothing_new.wait(), POLITE)
        new = not kind
        self._new += new
        if new:
            self._nothing_new.clear()
        try:
            yield
        finally:
            self._new -= new
            if not self._new:
                self._nothing_new.set()
