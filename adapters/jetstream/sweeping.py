"""Sweeping: the exports that there are converge to those that the log wants.

The log is asked which hosts are to reach which volumes, and the driver which
volumes are reached; those that are not as they should be come first. What is worked
on from before the log was asked is passed over, for the answer may be older than what
was done; work that comes later waits for its turn. So a sweep undoes nothing that it
has not heard of. What it has passed over, and hosts are to reach, comes again soon.
One volume at a time converges, so that new work has all places but one; and it does
not wait behind what is old, for a host that has lost its way waits for it.

Before that, all that the storage has is compared with the log; but not by the first
sweep under a lease, for exports do not outlive the machine that has them.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Collection
from functools import partial
from logging import getLogger
from typing import Any
from uuid import UUID

import msgspec
from nats.errors import Error

from adapters.jetstream.access import Access
from adapters.jetstream.admission import Kind
from adapters.jetstream.lease import Lapsed
from adapters.jetstream.operation import Operation, code_of, in_words
from adapters.jetstream.surveying import Surveyor
from adapters.jetstream.telling import Refusal, Service
from adapters.jetstream.turns import Turns
from domain.drift import Surveyed
from domain.ports import Export

EVERY = 60.0  # seconds
AGAIN = 5.0  # seconds until a sweep that could not be made is tried again

logger = getLogger(__name__)

Noted = Callable[[Operation], None]


class Reached(msgspec.Struct):
    """Which hosts are to reach a volume, and where what follows begins."""

    volume_id: UUID
    connectors: tuple[Any, ...]
    after: int


class Page(msgspec.Struct):
    """Some of them, of a table; a service of an earlier version does not tell which."""

    items: list[Reached]
    more: bool
    position: int
    table: Any = None


class Sweeper:
    """Sweeps when it is due: under a new lease, after setting up, and now and then.

    `noted` is told of each volume that was reached otherwise than it should be.
    """

    surveyed = Surveyed()

    def __init__(
        self, service: Service, name: str, access: Access, turns: Turns, noted: Noted
    ) -> None:
        self._service = service
        self._name = name
        self._driver, self._access = access.driver, access
        # The lease may be renewed late: what a sweep has done so far is done.
        self._patiently = access.patiently
        self._turns = turns
        self._noted = noted
        self._surveyor = Surveyor(service, name, turns)
        self._known = 0
        self._swept_under = 0
        self._due = asyncio.Event()
        self._whole = True  # the next sweep is to look at all of them
        self._passed = set[UUID]()  # worked on when the last one came to them
        self._next: asyncio.TimerHandle | None = None

    def know(self, lease: int) -> None:
        """Take notice that all that is in flight was taken in under a lease."""
        if self._known != lease:
            self._known = lease
            self.be_due()

    def knows(self, lease: int) -> bool:
        """Tell whether that was so under the lease."""
        return self._known == lease

    def be_due(self) -> None:
        """Have all looked at soon."""
        self._whole = True
        self._due.set()

    def _be_due_in(self, seconds: float) -> None:
        """Have that done then, and not when it was to be done before."""
        if self._next:
            self._next.cancel()
        self._next = asyncio.get_running_loop().call_later(seconds, self.be_due)

    async def run(self) -> None:
        """Sweep for ever, while the storage is usable."""
        usable = self._access.admission.usable
        while True:
            await self._due.wait()
            await usable.wait()  # which makes one due besides: one will do
            self._due.clear()
            whole, self._whole = self._whole, False
            lease = await self._access.lease.held()
            if lease != self._known:
                continue
            try:
                await self._sweep_as_due(lease, whole=whole)
            except (Error, TimeoutError, Lapsed, Refusal):
                logger.debug("no sweep now", exc_info=True)
                self._be_due_in(AGAIN)
            except Exception as failure:  # noqa: BLE001 - told, and tried again
                self._not_surveyed("exports cannot be looked at", failure)
                self._be_due_in(AGAIN)

    async def _sweep_as_due(self, lease: int, *, whole: bool) -> None:
        """Look at what was passed over, then at all, and see soon what came of it."""
        changed = False
        if self._passed:
            changed = await self._sweep(lease, self._passed)
        if whole:
            changed |= await self._sweep(lease)
            changed |= self._swept_under != lease
            self._swept_under = lease
        if self._passed:
            asyncio.get_running_loop().call_later(AGAIN, self._due.set)
        if whole or changed:
            self._be_due_in(AGAIN if changed else EVERY)

    async def _sweep(self, lease: int, only: Collection[UUID] = ()) -> bool:
        """Let all converge, or only these; tells whether anything was otherwise."""
        self._turns.watch()
        wanted, position = await self._wanted(lease)
        exports = (
            [each for each in wanted if each.volume_id in only]
            if only
            else await self._compared(lease, wanted)
        )
        found, self._passed = Counter[str](), set[UUID]()
        for export in exports:
            if self._turns.met(export.volume_id):
                if export.connectors:
                    self._passed.add(export.volume_id)
                continue
            task = asyncio.create_task(self._converge(lease, export))
            self._turns.take([export.volume_id], task)
            began = time.perf_counter()
            if outcome := await task:
                took = time.perf_counter() - began
                about = "converge", export.volume_id, position, lease
                self._noted(Operation(self._name, *about, outcome, took))
                found[outcome] += 1
        self._tell(found)
        return found["done"] > 0

    async def _compared(self, lease: int, wanted: list[Export]) -> list[Export]:
        """Survey if it is time to; return all exports, first those that differ."""
        if self._swept_under == lease:
            await self._survey(lease, wanted)
        actual: set[UUID] = await self._patiently(lease, self._driver.exports)
        reached = {export.volume_id for export in wanted}
        exports = [*wanted, *map(Export, actual - reached)]
        differ = actual ^ reached
        return sorted(exports, key=lambda each: each.volume_id not in differ)

    def _tell(self, found: Counter[str]) -> None:
        """Tell what a sweep has changed."""
        if found:
            told = ", ".join(f"{number} {how}" for how, number in found.items())
            logger.warning("exports of %s were otherwise: %s", self._name, told)

    async def _survey(self, lease: int, wanted: list[Export]) -> None:
        """Tell what differs, or warn that it cannot be seen."""
        try:
            look = partial(self._patiently, lease, self._driver.survey, kind=Kind.OLD)
            self.surveyed = await self._surveyor.survey(lease, look, wanted)
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

    async def _converge(self, lease: int, export: Export) -> str:
        """Let exactly these hosts reach a volume; returns what there was to do."""
        try:
            otherwise = await self._patiently(lease, self._driver.converge, export)
        except Lapsed:
            raise
        except Exception as failure:  # noqa: BLE001 - others are not to suffer
            logger.warning("exports of %s: %s", export.volume_id, in_words(failure))
            return code_of(failure)
        return "done" if otherwise else ""

    async def _wanted(self, lease: int) -> tuple[list[Export], int]:
        """Return who is to reach what, and the position at which that is so.

        What changes between two pages is worked on meanwhile, and so left alone. Where
        the table changes that they are of, it begins anew: what is missing would be
        taken away from its hosts.
        """
        found: list[Export] = []
        after, position, table = 0, None, None
        while True:
            asked = {"name": self._name, "lease": lease, "after": after}
            answer = await self._service.tell("agent.exports", asked, gives=Page)
            told = answer.table or table
            if table not in (None, told):
                found, after, position, table = [], 0, None, None
                continue
            table = told
            for item in answer.items:
                found.append(Export(item.volume_id, item.connectors))
                after = item.after
            position = answer.position if position is None else position
            if not answer.more:
                return found, int(position)
