"""An agent's lease of its backend: the right to touch the storage, for a while.

One agent at a time has it. Its number is in the log, and every report carries it:
what is told under an old one is refused. It is good for a term from when a renewal
was asked for, not from when it was answered, so whoever was away is late before
anybody else may take it.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import datetime
from logging import getLogger
from time import CLOCK_BOOTTIME, clock_gettime

import msgspec
from nats.errors import Error

from adapters.jetstream.telling import (
    AGAIN,
    Fault,
    Refusal,
    Service,
    Strange,
    Unsigned,
)
from adapters.tasks import ended

RENEW_EVERY = 2.0  # seconds
TRY_EVERY = 0.5  # seconds until a lease that another agent has is asked for again
FAULT_AGAIN = 5.0  # seconds, where the service failed at granting it
LEAVING = 1.0  # seconds that giving it back may take

logger = getLogger(__name__)


class Lapsed(Exception):
    """The lease under which something was to be done is not ours now, or we leave."""

    code = "interrupted"


class Granted(msgspec.Struct, frozen=True):
    """A lease for a term, and whom it was of before; earlier versions told less."""

    lease: int
    term: float
    unserved_since: datetime | None = None
    set_up_before: bool = False


class Lease:
    """The lease of one backend, good or not."""

    def __init__(self, service: Service, name: str, holder: str, host: str) -> None:
        self.number = 0
        self._service = service
        self._about = {"name": name, "holder": holder, "host": host}
        self._name = name
        self._until = self._term = 0.0
        self._granted = asyncio.Condition()
        self.waits_for = ""  # why it is not had, as far as anybody has said so
        # When the lease before was last heard of, if there was one.
        self.unserved_since: datetime | None = None
        self.set_up_before = False  # the backend's storage, by anybody

    def is_good(self, number: int) -> bool:
        """Tell whether the storage may be touched under that number, in any thread."""
        return number == self.number and now() < self._until

    async def held(self) -> int:
        """Return the lease's number once it is good."""
        if self.is_good(self.number):
            return self.number
        async with self._granted:
            await self._granted.wait_for(lambda: self.is_good(self.number))
            return self.number

    async def other(self, number: int, seconds: float) -> None:
        """Return when we hold it under another number, or the time is up."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds), self._granted:
                await self._granted.wait_for(lambda: self.number not in (0, number))

    async def keep(self) -> None:
        """Take it, renew it, and take it anew where it was lost, for ever.

        A renewal that is not answered for a while is asked for again beside it: a
        slow answer comes all the same, and one that was lost never does.
        """
        asked = set[asyncio.Task[float]]()
        try:
            while True:
                asking = asyncio.create_task(self._ask(self.number))
                asked.add(asking)
                asking.add_done_callback(asked.discard)
                patience = RENEW_EVERY if self.number else None
                await asyncio.wait([asking], timeout=patience)
                if asking.done():
                    await asyncio.sleep(asking.result())
        finally:
            await ended(*asked)

    async def _ask(self, number: int) -> float:
        """Renew it, or take it; returns the seconds until it is to be asked again."""
        try:
            await (self._renew(number) if number else self._take())
        except Unsigned as stranger:
            self._say(str(stranger))
            return TRY_EVERY
        except (Fault, Strange) as fault:
            if number:
                return AGAIN
            if isinstance(fault, Strange):
                self.waits_for = str(fault)  # which was said
            else:
                self._say(str(fault))
            return FAULT_AGAIN
        except (Error, TimeoutError):
            return AGAIN
        except Refusal as refusal:
            if number == self.number:
                self.number = 0
                self.drop()
                self._say(str(refusal))
            return TRY_EVERY
        return RENEW_EVERY

    def drop(self) -> None:
        """Touch the storage no more."""
        self._until = 0.0

    async def give_back(self) -> None:
        """Let the next agent have it at once."""
        if self.number:
            about = {"name": self._name, "lease": self.number}
            with suppress(Error, TimeoutError, Refusal):
                await self._service.tell("agent.release_lease", about, LEAVING)

    async def _take(self) -> None:
        asked = now()
        told = await self._service.tell("agent.take_lease", self._about, gives=Granted)
        if self.waits_for:
            logger.warning("this agent serves backend %s now", self._name)
            self.waits_for = ""
        self.set_up_before = told.set_up_before
        self.unserved_since = told.unserved_since
        await self._grant(asked, told)

    async def _renew(self, number: int) -> None:
        asked = now()
        about = {"name": self._name, "lease": number}
        told = await self._service.tell(
            "agent.renew_lease", about, self._term, gives=Granted
        )
        if number == self.number:  # and was not lost meanwhile
            await self._grant(asked, told)

    async def _grant(self, asked: float, told: Granted) -> None:
        async with self._granted:
            self.number, self._term = told.lease, told.term
            self._until = max(self._until, asked + self._term)
            self._granted.notify_all()

    def _say(self, why: str) -> None:
        if why != self.waits_for:
            logger.warning("waiting: %s", why)
            self.waits_for = why


def now() -> float:
    """Return seconds on a clock that goes on while the machine is suspended."""
    return clock_gettime(CLOCK_BOOTTIME)
