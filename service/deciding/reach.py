"""The way to the database: threads that ask it, and whether it answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from logging import getLogger
from typing import Any, TypeVar

from eventsourcing.persistence import (
    InterfaceError,
    OperationalError,
    PersistenceError,
)

from adapters.postgres.recorder import LogRecorder
from adapters.postgres.writable import ReadOnly, Unwritable, is_read_only
from service.deciding.command import Unavailable

K = TypeVar("K")

AWAY_AFTER = 3.0  # seconds that it may take before nobody waits for it any more
REFUSES = "the database refuses what it is asked; the service's own log says why"
NOTHING_CHANGED = "the database cannot be reached; nothing was changed"

logger = getLogger(__name__)


class Reach:
    """Asks the database, and knows how long ago it last answered."""

    def __init__(self, recorder: LogRecorder) -> None:
        self.recorder = recorder
        self.away = False
        self._confirmed = self._lost = time.monotonic()
        self._unwritable = ""
        self._reader = ThreadPoolExecutor(4, "log-reader")
        # An agent whose lease is renewed late stops its work: no list may be before it.
        self._leaser = ThreadPoolExecutor(2, "log-leaser")
        # Commands wait for what is loaded: no long look at the log may be before it.
        self._loader = ThreadPoolExecutor(2, "log-loader")

    def close(self) -> None:
        """Wait for what is being asked."""
        for threads in (self._reader, self._leaser, self._loader):
            threads.shutdown()

    @property
    def age(self) -> float:
        """How many seconds ago what is in memory was confirmed, 0 where it can be."""
        return time.monotonic() - self._confirmed if self.away else 0.0

    @property
    def _away_for(self) -> float:
        """How many seconds ago it was lost; nobody may have asked it long before."""
        return time.monotonic() - self._lost

    async def read(self, what: Callable[..., K], *args: Any) -> K:
        """Return what a function reads, in a thread of its own.

        Raises `Unavailable`.
        """
        return await self._read(self._reader, what, *args)

    async def lease(self, what: Callable[..., K], *args: Any) -> K:
        """Return what becomes of a lease, behind no other reading."""
        return await self._read(self._leaser, what, *args)

    async def loaded(self, what: Callable[..., K], *args: Any) -> K:
        """Return what commands wait for; `OperationalError` if that takes long."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(AWAY_AFTER):
                return await loop.run_in_executor(self._loader, what, *args)
        except TimeoutError as failure:
            raise OperationalError("the database does not answer") from failure

    async def _read(
        self, threads: ThreadPoolExecutor, what: Callable[..., K], *args: Any
    ) -> K:
        loop = asyncio.get_running_loop()
        if self.away:
            raise self.unavailable()
        done = loop.run_in_executor(threads, what, *args)
        done.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            while not (await asyncio.wait([done], timeout=AWAY_AFTER))[0]:
                # It may be long, or the database away: a short look tells.
                await self.loaded(self.recorder.allocated)
            return await done
        except (OperationalError, InterfaceError) as failure:
            self.lost(str(failure))
            raise self.unavailable() from failure
        except PersistenceError as failure:
            if is_read_only(failure):
                raise Unavailable(str(ReadOnly())) from failure
            logger.exception("the database refuses what it is asked")
            raise Unavailable(REFUSES) from failure

    def unavailable(self) -> Unavailable:
        """Return what callers are told while it is away."""
        return Unavailable(
            f"the database cannot be reached, for {self._away_for:.0f} s now"
        )

    def why_not(self, failure: PersistenceError) -> str:
        """Return what callers are told of what was not stored.

        What takes no writes can still be read.
        """
        if isinstance(failure, Unwritable):
            why = f"{failure}; nothing was changed"
            if self._unwritable != why:
                logger.warning(why)
            self._unwritable = why
            return why
        self.lost(str(failure))
        return NOTHING_CHANGED

    def lost(self, why: str) -> None:
        """Take it that the database is away."""
        if not self.away:
            logger.warning("the log is out of reach: %s", why)
            self._lost = time.monotonic()
        self.away = True

    def reached(self, *, wrote: bool = False) -> None:
        """Note that it has just answered, and whether it took a write."""
        if self.away:
            logger.warning("the log is back after %.1f s", self._away_for)
        self.away = False
        self._confirmed = time.monotonic()
        if wrote and self._unwritable:
            logger.warning("the database takes writes again")
            self._unwritable = ""
