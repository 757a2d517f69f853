"""Sweeping: the exports that there are converge to those that the log wants.

The log is asked which hosts are to reach which volumes, and the driver which
volumes are reached. What is worked on from before the log was asked is left to the
next sweep, for the answer may be older than what was done; work that comes later
waits for its turn. So a sweep undoes nothing that it has not heard of.

Before that, all that the storage has is compared with the log; but not by the first
sweep under a lease, for exports do not outlive the machine that has them.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from logging import getLogger
from typing import Any
from uuid import UUID

import msgspec
from nats.errors import Error

from adapters.jetstream.lease import Lapsed, Lease
from adapters.jetstream.operation import Operation, code_of, in_words
from adapters.jetstream.surveying import Surveyor
from adapters.jetstream.telling import Refusal, Service
from adapters.jetstream.turns import Turns
from domain.drift import Surveyed
from domain.ports import Driver, Export

EVERY = 60.0  # seconds
AGAIN = 5.0  # seconds until a sweep that could not be made is tried again

logger = getLogger(__name__)


# Has the driver do something under a lease, beside other work.
Touch = Callable[..., Awaitable[Any]]


class Sweeper:
    """Sweeps when it is due: under a new lease, after setting up, and now and then.

    `noted` is told of each volume that was reached otherwise than it should be.
    """

    surveyed = Surveyed()

    def __init__(
        self, service: Service, name: str, lease: Lease, turns: Turns, touch: Touch
    ) -> None:
        self._service = service
        self._name = name
        self._lease = lease
        self._turns = turns
        self._touch = touch
        self._surveyor = Surveyor(service, name, turns)
        self._known = 0
        self._swept_under = 0
        self._due = asyncio.Event()

    def know(self, lease: int) -> None:
        """Take notice that all that is in flight was taken in under a lease."""
        if self._known != lease:
            self._known = lease
            self.be_due()

    def knows(self, lease: int) -> bool:
        """Tell whether that was so under the lease."""
        return self._known == lease

    def be_due(self) -> None:
        """Have it done soon."""
        self._due.set()

    async def run(self, driver: Driver, noted: Callable[[Operation], None]) -> None:
        """Sweep for ever."""
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._due.wait(), EVERY)
            self._due.clear()
            lease = await self._lease.held()
            if lease != self._known:
                continue
            try:
                await self._sweep(driver, lease, noted)
            except (Error, TimeoutError, Lapsed, Refusal):
                logger.debug("no sweep now", exc_info=True)
                await self._soon()
            except Exception as failure:  # noqa: BLE001 - told, and tried again
                self._not_surveyed("exports cannot be looked at", failure)
                await self._soon()

    async def _soon(self) -> None:
        await asyncio.sleep(AGAIN)
        self._due.set()

    async def _sweep(
        self, driver: Driver, lease: int, noted: Callable[[Operation], None]
    ) -> None:
        self._turns.watch()
        wanted, position = await self._wanted(lease)
        if self._swept_under == lease:
            await self._survey(driver, lease, wanted)
        actual: set[UUID] = await self._touch(lease, driver.exports)
        extra = actual - {export.volume_id for export in wanted}
        found = Counter[str]()
        for export in [*wanted, *map(Export, extra)]:
            if self._turns.met(export.volume_id):
                continue
            task = asyncio.create_task(self._converge(driver, lease, export))
            self._turns.take(export.volume_id, task)
            began = time.perf_counter()
            if outcome := await task:
                took = time.perf_counter() - began
                about = "converge", export.volume_id, position, lease
                noted(Operation(self._name, *about, outcome, took))
                found[outcome] += 1
        self._swept(lease, found)

    def _swept(self, lease: int, found: Counter[str]) -> None:
        """Tell what a sweep has changed, and see soon what came of it."""
        if found:
            told = ", ".join(f"{number} {how}" for how, number in found.items())
            logger.warning("exports of %s were otherwise: %s", self._name, told)
        if self._swept_under != lease or found["done"]:
            self._swept_under = lease
            asyncio.get_running_loop().call_later(AGAIN, self.be_due)

    async def _survey(self, driver: Driver, lease: int, wanted: list[Export]) -> None:
        """Tell what differs, or warn that it cannot be seen."""
        reached = {export.volume_id for export in wanted}
        try:
            look = partial(self._touch, lease, driver.survey)
            self.surveyed = await self._surveyor.survey(lease, look, reached)
        except Lapsed:
            raise
        except (Error, TimeoutError, Refusal):
            logger.debug("the log cannot be compared now", exc_info=True)
        except Exception as failure:  # noqa: BLE001 - told, and tried again
            self._not_surveyed("the storage cannot be surveyed", failure)

    def _not_surveyed(self, what: str, why: Exception) -> None:
        logger.warning("%s: %s", what, in_words(why))
        failure = f"{what}: {in_words(why)}"
        self.surveyed = msgspec.structs.replace(self.surveyed, failure=failure)

    async def _converge(self, driver: Driver, lease: int, export: Export) -> str:
        """Let exactly these hosts reach a volume; returns what there was to do."""
        try:
            otherwise = await self._touch(lease, driver.converge, export)
        except Lapsed:
            raise
        except Exception as failure:  # noqa: BLE001 - others are not to suffer
            logger.warning("exports of %s: %s", export.volume_id, in_words(failure))
            return code_of(failure)
        return "done" if otherwise else ""

    async def _wanted(self, lease: int) -> tuple[list[Export], int]:
        """Return who is to reach what, and the position at which that is so.

        What changes between two pages is worked on meanwhile, and so left alone.
        """
        found: list[Export] = []
        after, position = 0, None
        while True:
            asked = {"name": self._name, "lease": lease, "after": after}
            answer = await self._service.tell("agent.exports", asked)
            for item in answer["items"]:
                connectors = tuple(item["connectors"])
                found.append(Export(UUID(item["volume_id"]), connectors))
                after = item["after"]
            position = answer["position"] if position is None else position
            if not answer["more"]:
                return found, int(position)
