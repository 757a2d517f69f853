"""A backend's agent: it does what command events ask, and reports what came of it.

What there is to do is what the log has in flight for the backend. The agent
asks for that when it starts, and whenever the broker was away; from that
position on, the stream brings what is asked next. So nothing depends on what a
consumer remembers: an event that came twice, or that was settled long ago, is
not in flight and is not done again.

Volumes are served side by side, the events of one volume in the order of the
log. A crash repeats the operation and the report: drivers answer twice the
same, and an intent is settled once.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from logging import getLogger
from typing import Any
from uuid import UUID

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.client import JetStreamContext

from adapters.jetstream.publisher import STREAM, SUBJECTS
from adapters.jetstream.signing import (
    SIGNATURE,
    is_published,
    is_signed,
    signature,
)
from adapters.tasks import together
from domain import log
from domain.aggregate import Intent
from domain.backend import Backend
from domain.ports import Capabilities, Cause, Driver, DriverFailed, VolumeIsBusy
from domain.volume import Volume

PREFIX = "holdfast.v1."
MEASURE_EVERY = 5.0  # seconds
LOOK_AGAIN = 30.0  # seconds until what is in flight is asked for anew
AGAIN = 0.2  # seconds until a broker or a service that is away is tried again
SET_UP_AGAIN = 5.0  # seconds until a storage that is not usable is tried again
AT_ONCE = 8  # operations side by side
FETCH = 256

logger = getLogger(__name__)

Told = dict[str, Any]


class Measurement(msgspec.Struct, frozen=True):
    """What an agent tells of its backend."""

    name: str
    working: bool
    reason: str | None
    capabilities: Capabilities | None
    reported_at: datetime


def create(driver: Driver, event: Volume.Created, cause: Cause) -> Told:
    """Make the storage."""
    return {"location": driver.create(event, cause)}


def extend(driver: Driver, event: Volume.ExtensionStarted, _: Cause) -> Told:
    """Grow the storage."""
    driver.extend(event.originator_id, event.size_gib)
    return {}


def delete(driver: Driver, event: Volume.DeletionStarted, _: Cause) -> Told:
    """Remove the storage, and before it every way to reach it."""
    driver.remove_export(event.originator_id)
    driver.delete(event.originator_id, event.made_at.isoformat())
    return {}


def connect(
    driver: Driver, event: Volume.ConnectionStarted | Volume.ExportStarted, _: Cause
) -> Told:
    """Let a host reach the volume; half a way is taken back, and no other host's."""
    try:
        return {"connection": driver.connect(event.originator_id, event.connector)}
    except DriverFailed:
        if not event.shared:
            with suppress(DriverFailed):
                driver.disconnect(event.originator_id, event.connector)
        raise


def disconnect(driver: Driver, event: Volume.DisconnectionStarted, _: Cause) -> Told:
    """Take the volume away from a host, unless another hold reaches it from there."""
    if not event.shared:
        driver.disconnect(event.originator_id, event.connector)
    return {}


def unexport(driver: Driver, event: Volume.ExportRemovalStarted, _: Cause) -> Told:
    """Take the volume away from a host, or from every host."""
    try:
        if event.connector is None:
            driver.remove_export(event.originator_id)
        elif not event.shared:
            driver.disconnect(event.originator_id, event.connector)
    except DriverFailed:
        if not event.force:
            raise
        logger.warning("forced: %s", event.originator_id, exc_info=True)
    return {}


def look_for_session(driver: Driver, event: Volume.SessionLookedFor, _: Cause) -> Told:
    """Look whether a host uses the volume, and take it away from one that does not."""
    found = driver.has_session(event.originator_id, event.connector)
    if event.connector and not found and not event.shared:
        driver.disconnect(event.originator_id, event.connector)
    return {"found": found}


def initialize(driver: Driver, _: Backend.InitializationStarted, __: Cause) -> Told:
    """Look at the storage anew."""
    driver.set_up()
    return {}


WORK: dict[str, Callable[[Driver, Any, Cause], Told]] = {
    Volume.Created.TOPIC: create,
    Volume.ExtensionStarted.TOPIC: extend,
    Volume.DeletionStarted.TOPIC: delete,
    Volume.ConnectionStarted.TOPIC: connect,
    Volume.DisconnectionStarted.TOPIC: disconnect,
    Volume.ExportStarted.TOPIC: connect,
    Volume.ExportRemovalStarted.TOPIC: unexport,
    Volume.SessionLookedFor.TOPIC: look_for_session,
    Backend.InitializationStarted.TOPIC: initialize,
}


class Agent:
    """Runs one driver for one backend."""

    def __init__(
        self, client: Client, driver: Driver, name: str, key: bytes, host: str = ""
    ) -> None:
        self.at_work = asyncio.Event()  # it has heard of all there is to do
        self._client = client
        self._driver = driver
        self._name = name
        self._key = key
        self._host = host or socket.gethostname()
        self._failure: str | None = "is being set up"
        self._usable = asyncio.Event()
        self._changed = asyncio.Event()
        self._looked = asyncio.Event()
        self._last: dict[UUID, asyncio.Task[None]] = {}
        self._taken: set[tuple[UUID, int]] = set()
        self._finished: set[tuple[UUID, int]] = set()
        self._protocol = "local"
        self._busy = 0
        self._quiet = asyncio.Event()
        self._setting_up = asyncio.Lock()
        self._threads = ThreadPoolExecutor(AT_ONCE, f"agent-{name}")

    async def run(self) -> None:
        """Work for ever, beginning again where the broker was away."""
        await together(
            self._set_up(),
            self._measure_again_and_again(),
            self._answer_measure(),
            self._work_again_and_again(),
        )

    async def measurement(self) -> Measurement:
        """Measure now."""
        capabilities, reason = None, self._failure
        if reason is None:
            try:
                capabilities = await self._in_thread(self._driver.capabilities)
            except Exception as failure:  # noqa: BLE001 - told, and tried again
                reason = in_words(failure)
        return Measurement(
            self._name, reason is None, reason, capabilities, datetime.now(UTC)
        )

    # What there is to do

    async def _work_again_and_again(self) -> None:
        while True:
            with suppress(Error, TimeoutError):
                await self._work_until_away()
            await asyncio.sleep(AGAIN)

    async def _work_until_away(self) -> None:
        await self._announce()
        position = await self._take_what_is_in_flight()
        subscription = await self._subscribe(position)
        self.at_work.set()
        looked = asyncio.get_running_loop().time()
        try:
            while asyncio.get_running_loop().time() - looked < LOOK_AGAIN:
                try:
                    for message in await subscription.fetch(FETCH, timeout=5):
                        self._take_message(message)
                except TimeoutError:
                    # It may have gone, with the broker's memory of it.
                    await subscription.consumer_info()
        finally:
            with suppress(Error, TimeoutError):
                await subscription.unsubscribe()

    async def _announce(self) -> None:
        measured = (await self.measurement()).capabilities
        if measured:
            self._protocol = measured.storage_protocol
        kind = type(self._driver)
        await self._tell(
            "agent.announce",
            {
                "name": self._name,
                "host": self._host,
                "driver": f"{kind.__module__}.{kind.__qualname__}",
                "storage_protocol": self._protocol,
            },
        )

    async def _take_what_is_in_flight(self) -> int:
        """Take it in the order of the log, and return the position it reaches."""
        # What is finished from now on may be in flight in an answer that is older.
        self._finished.clear()
        after, position = 0, None
        while True:
            asked = {"name": self._name, "after": after}
            answer = await self._tell("agent.in_flight", asked)
            for item in answer["items"]:
                topic, event = item["topic"], msgspec.json.encode(item["event"])
                self._take(topic, event, item["position"])
                after = item["position"]
            position = answer["position"] if position is None else position
            if not answer["more"]:
                return int(position)

    async def _subscribe(self, position: int) -> JetStreamContext.PullSubscription:
        stream = self._client.jetstream()
        subjects = [f"{SUBJECTS}.{topic.replace('.', '.*.')}" for topic in WORK]
        config = ConsumerConfig(
            filter_subjects=subjects,
            deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=position + 1,
            ack_policy=AckPolicy.NONE,
            inactive_threshold=60,
        )
        made = await stream.add_consumer(STREAM, config)
        return await stream.pull_subscribe_bind(made.name, STREAM)

    def _take_message(self, message: Msg) -> None:
        position = message.metadata.sequence.stream
        signed = message.subject, message.data, message.headers, position
        if not is_published(self._key, *signed):
            logger.warning("message %d of the stream is not the log's", position)
            return
        topic = (message.headers or {})["ce-type"].removeprefix("holdfast.")
        self._take(topic, message.data, position)

    def _take(self, topic: str, state: bytes, position: int) -> None:
        """Begin the work of an intent of ours when its aggregate's earlier is done."""
        intent = log.decode(topic, state)
        assert isinstance(intent, Intent)
        key = intent.originator_id, intent.originator_version
        known = key in self._taken or key in self._finished
        if intent.backend != self._name or known:
            return
        self._taken.add(key)
        earlier = self._last.get(intent.originator_id)
        task = asyncio.create_task(self._work(topic, intent, position, earlier))
        self._last[intent.originator_id] = task

        def forget(done: asyncio.Task[None]) -> None:
            self._taken.discard(key)
            self._finished.add(key)
            if self._last.get(intent.originator_id) is done:
                del self._last[intent.originator_id]

        task.add_done_callback(forget)

    # Doing it

    async def _work(
        self,
        topic: str,
        intent: Intent,
        position: int,
        earlier: asyncio.Task[None] | None,
    ) -> None:
        if earlier:
            await asyncio.wait([earlier])
        cause = Cause(position, intent.timestamp.isoformat())
        told = {
            "noun": topic.partition(".")[0],
            "id": str(intent.originator_id),
            "intent": intent.originator_version,
        }
        subject, result = await self._attempt(topic, intent, cause)
        if topic == Backend.InitializationStarted.TOPIC:
            self._found(result.get("message"))
            await self._tell_measurement()  # or the next request is decided without
        self._changed.set()
        await self._report(subject, told | result, intent, position)

    async def _attempt(
        self, topic: str, intent: Intent, cause: Cause
    ) -> tuple[str, Told]:
        """Let the driver do it, and return what there is to tell on which subject."""
        setting_up = topic == Backend.InitializationStarted.TOPIC
        try:
            async with self._alone() if setting_up else self._beside_others():
                result = await self._in_thread(WORK[topic], self._driver, intent, cause)
        except Exception as failure:  # noqa: BLE001 - every intent is settled
            busy = isinstance(failure, VolumeIsBusy)
            code = getattr(failure, "code", "driver_broke_down")
            told = {"code": code, "message": in_words(failure), "busy": busy}
            return "agent.not_done", told
        return "agent.done", result

    async def _report(
        self, subject: str, told: Told, intent: Intent, position: int
    ) -> None:
        """Tell the service until it has answered; a refusal is an answer."""
        headers = {
            "Holdfast-Causation-Id": str(position),
            "Holdfast-Actor": f"agent {self._name}",
            "Holdfast-Recorded-By": f"agent {self._name}",
        }
        if intent.provenance.traceparent:
            headers["traceparent"] = intent.provenance.traceparent
        while True:
            try:
                await self._tell(subject, told, headers)
            except (Error, TimeoutError):
                await asyncio.sleep(AGAIN)
            else:
                return

    async def _tell(
        self, subject: str, body: Told, headers: dict[str, str] | None = None
    ) -> Any:
        """Ask the service; `TimeoutError` where it cannot answer now."""
        encoded = msgspec.json.encode(body)
        signed = {SIGNATURE: signature(self._key, PREFIX + subject, encoded)}
        answer = await self._client.request(
            PREFIX + subject, encoded, timeout=5, headers=signed | (headers or {})
        )
        code = (answer.headers or {}).get("Nats-Service-Error-Code", "")
        if not is_signed(self._key, PREFIX + subject, answer.data, answer.headers):
            raise TimeoutError(f"{subject} was answered by somebody else")
        if code.startswith("5"):
            raise TimeoutError(subject)
        if code:
            logger.warning("%s: %s", subject, answer.data.decode())
        return msgspec.json.decode(answer.data)

    # The storage itself

    async def _set_up(self) -> None:
        """Look at the storage, again and again while it is not usable."""
        while True:
            if not self._usable.is_set():
                try:
                    async with self._alone():
                        await self._in_thread(self._driver.set_up)
                except Exception as failure:  # noqa: BLE001 - told, and tried again
                    self._found(in_words(failure))
                    logger.warning("backend %s: %s", self._name, self._failure)
                else:
                    self._found(None)
            await asyncio.sleep(SET_UP_AGAIN)

    def _found(self, failure: str | None) -> None:
        self._failure = failure
        self._looked.set()
        self._changed.set()
        if failure is None:
            self._usable.set()
        else:
            self._usable.clear()

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        """Hold all other work up: setting up takes what is half-made for a leftover."""
        async with self._setting_up:
            self._usable.clear()
            while self._busy:
                self._quiet.clear()
                await self._quiet.wait()
            yield

    @asynccontextmanager
    async def _beside_others(self) -> AsyncIterator[None]:
        """Work once the storage is usable."""
        while not self._usable.is_set():
            await self._usable.wait()
        self._busy += 1
        try:
            yield
        finally:
            self._busy -= 1
            self._quiet.set()

    async def _measure_again_and_again(self) -> None:
        """Tell every replica now and then, and after what has changed something."""
        while True:
            # The first to be told is what setting up has found.
            await self._looked.wait()
            self._changed.clear()
            began = asyncio.get_running_loop().time()
            await self._tell_measurement()
            took = asyncio.get_running_loop().time() - began
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), MEASURE_EVERY)
                # What changes often is told now and then, and at no great cost.
                await asyncio.sleep(min(MEASURE_EVERY, max(AGAIN, 20 * took)))

    async def _tell_measurement(self) -> None:
        """Measure, and tell every replica that listens."""
        subject = f"{PREFIX}agents.{self._name}.measured"
        body = msgspec.json.encode(await self.measurement())
        signed = {SIGNATURE: signature(self._key, subject, body)}
        with suppress(Error, TimeoutError):
            await self._client.publish(subject, body, headers=signed)

    async def _answer_measure(self) -> None:
        subject = f"{PREFIX}agents.{self._name}.measure"
        subscription = await self._client.subscribe(subject)
        async for message in subscription.messages:
            body = msgspec.json.encode(await self.measurement())
            signed = {SIGNATURE: signature(self._key, subject, body)}
            with suppress(Error):
                await self._client.publish(message.reply, body, headers=signed)

    async def _in_thread(self, what: Callable[..., Any], *args: Any) -> Any:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, what, *args)


def in_words(failure: Exception) -> str:
    """Return what went wrong with a driver, in words that an operator can act on."""
    if isinstance(failure, DriverFailed):
        return str(failure)
    logger.error("the driver broke down", exc_info=failure)
    return f"the driver broke down ({type(failure).__name__}); see its log"
