"""Setting a storage up, and telling how it is: each replica hears of it now and then.

Who asks may have it measured at once. How hosts reach its volumes and which thresholds
its pool has passed are noted in the log besides.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from logging import getLogger

import msgspec
from nats.aio.client import Client
from nats.errors import Error

from adapters.jetstream.access import Access
from adapters.jetstream.lease import Lapsed
from adapters.jetstream.operation import in_words
from adapters.jetstream.sweeping import Sweeper
from adapters.jetstream.telling import AGAIN, PREFIX, Refusal, Service
from adapters.tasks import together
from domain.capabilities import Capabilities
from domain.drift import Surveyed
from domain.pool import passed, percents

MEASURE_EVERY = 5.0  # seconds
SET_UP_AGAIN = 5.0  # seconds until a storage that is not usable is tried again
BEING_SET_UP = "is being set up"
SOON = 1.0  # seconds that setting up may take without a word

logger = getLogger(__name__)


class Measurement(msgspec.Struct, frozen=True):
    """What an agent tells of its backend; `reason`: what that waits for.

    `number` counts what it has told, for its clock may be set back; 0 where an agent
    of an earlier version did not count.
    """

    name: str
    working: bool
    reason: str | None
    capabilities: Capabilities | None
    reported_at: datetime
    lease: int = 0
    surveyed: Surveyed = Surveyed()
    number: int = 0


class Announced(msgspec.Struct):
    """From where on the log knows what we serve."""

    position: int


class Noted(msgspec.Struct):
    """The thresholds that the parts of a pool have passed, by the log."""

    passed: dict[str, int]


class Measuring:
    """Sets a backend's storage up and measures it; `failure`: why it is not usable.

    `catching_up` says what a storage that works has yet to catch up on.
    """

    _protocol: str | None = None  # until the storage has told it
    _measurements = 0
    _pool: Mapping[str, int] = {}
    failure: str | None = BEING_SET_UP

    def __init__(
        self,
        service: Service,
        name: str,
        access: Access,
        sweeper: Sweeper,
        catching_up: Callable[[], str | None],
    ) -> None:
        self._service, self._driver, self._name = service, access.driver, name
        self._lease, self._access, self._sweeper = access.lease, access, sweeper
        self._catching_up = catching_up
        self._changed, self._looked = asyncio.Event(), asyncio.Event()

    async def run(self, client: Client) -> None:
        """Set up and tell for ever."""
        await together(self._set_up(), self._tell_now_and_then(), self._answer(client))

    def changed(self) -> None:
        """Note that there is something else to tell."""
        self._changed.set()

    def found(self, failure: str | None) -> None:
        """Take in whether the storage is usable; work waits until it is."""
        if failure and failure != self.failure:
            logger.warning("backend %s: %s", self._name, failure)
        self.failure = failure
        self._looked.set()
        self._changed.set()
        if failure is None:
            self._access.admission.open()
            self._sweeper.be_due()
        else:
            self._access.admission.usable.clear()

    async def announce(self, lease: int) -> int:
        """Tell what we serve; returns the position from which the log knows."""
        kind = type(self._driver)
        told = await self._service.tell(
            "agent.announce",
            {
                "name": self._name,
                "lease": lease,
                "host": socket.gethostname(),
                "driver": f"{kind.__module__}.{kind.__qualname__}",
                "storage_protocol": self._protocol,
            },
            gives=Announced,
        )
        return int(told.position)

    async def measurement(self) -> Measurement:
        """Measure now, or raise `Lapsed`."""
        capabilities, reason, lease = None, self.failure, self._lease.number
        self._access.check(lease)
        if reason is None:
            try:
                measure = self._driver.capabilities
                capabilities = await self._access.in_thread(lease, measure)
            except Lapsed:
                raise
            except Exception as failure:  # noqa: BLE001 - told, and set up again
                reason = in_words(failure)
                self.found(reason)
        now, works = datetime.now(UTC), reason is None
        told = self._catching_up() if works else reason
        self._measurements += 1
        by = lease, self._sweeper.surveyed, self._measurements
        return Measurement(self._name, works, told, capabilities, now, *by)

    async def tell(self, to: str = "") -> None:
        """Measure, and tell every replica that listens, or the one who asked."""
        subject = f"agents.{self._name}.measure{'' if to else 'd'}"
        with suppress(Error, TimeoutError, Lapsed, Refusal):
            measured = await self.measurement()
            await self._service.publish(subject, measured, to)
            await self._tell_protocol(measured)
            await self._tell_pool(measured)

    async def _set_up(self) -> None:
        """Look at the storage: under each lease, and again while it is not usable."""
        seen, admission = 0, self._access.admission
        while True:
            lease = await self._lease.held()
            if lease != seen or not admission.usable.is_set():
                admission.usable.clear()
                try:
                    async with admission.alone():
                        await self._access.in_thread(lease, self._recognized)
                except Lapsed:
                    continue
                except Exception as failure:  # noqa: BLE001 - told, and tried again
                    self.found(in_words(failure))
                else:
                    self.failure = None
                    # Or new work would be refused until what is old has been begun.
                    await self.tell()
                    self.found(self.failure)
                seen = lease
            await self._lease.other(lease, SET_UP_AGAIN)

    def _recognized(self) -> None:
        """Set the storage up, if it can be what was set up before."""
        if self._lease.set_up_before:
            self._driver.recognize()
        self._driver.set_up()

    async def _tell_now_and_then(self) -> None:
        """Tell every replica, also after what has changed something."""
        loop = asyncio.get_running_loop()
        while True:
            # The first to be told is what setting up has found, unless that takes long.
            with suppress(TimeoutError):
                await asyncio.wait_for(self._looked.wait(), SOON)
            await self._lease.held()
            self._changed.clear()
            began = loop.time()
            await self.tell()
            took = loop.time() - began
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), MEASURE_EVERY)
                # What changes often is told now and then, and at no great cost.
                await asyncio.sleep(min(MEASURE_EVERY, max(AGAIN, 50 * took)))

    async def _answer(self, client: Client) -> None:
        subject = f"{PREFIX}agents.{self._name}.measure"
        subscription = await client.subscribe(subject)
        async for message in subscription.messages:
            await self.tell(message.reply)

    async def _tell_protocol(self, measured: Measurement) -> None:
        """Have it noted how hosts reach volumes, once the storage has told that."""
        told = measured.capabilities
        if told and told.storage_protocol != self._protocol:
            self._protocol = told.storage_protocol
            await self.announce(measured.lease)

    async def _tell_pool(self, measured: Measurement) -> None:
        """Have it noted where the pool has passed a threshold, or left one."""
        told = percents(measured.capabilities)
        now = {part: passed(told[part], self._pool.get(part, 0)) for part in told}
        if now == self._pool or not told:
            return
        about = {"name": self._name, "lease": measured.lease, "percents": told}
        before = self._pool
        noted = await self._service.tell("agent.pool", about, gives=Noted)
        self._pool = noted.passed
        for part, threshold in self._pool.items():
            if threshold > before.get(part, 0):
                said = self._name, part, told[part]
                logger.warning("backend %s: the %s of its pool is %g %% full", *said)
