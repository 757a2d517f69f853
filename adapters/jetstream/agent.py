"""A backend's agent: it does what command events ask, and reports what came of it.

What there is to do is what the log has in flight for the backend. The agent
asks for that when it starts, and whenever the broker was away; from that
position on, the stream brings what is asked next. So nothing depends on what a
consumer remembers: an event that came twice, or that was settled long ago, is
not in flight and is not done again.

Volumes are served side by side, the events of one volume in the order of the
log. A crash repeats the operation and the report: drivers answer twice the
same, and an intent is settled once.

Nothing touches the storage without the backend's lease. Work that was taken in
under a lease which is over is left: who has the next finds it in flight.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, suppress
from contextvars import copy_context
from datetime import UTC, datetime
from functools import partial
from logging import getLogger
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.client import JetStreamContext

from adapters.hands import Hands
from adapters.jetstream.lease import Lapsed, Lease
from adapters.jetstream.publisher import STREAM, SUBJECTS
from adapters.jetstream.reporting import Report, Reporter
from adapters.jetstream.signing import is_published
from adapters.jetstream.telling import AGAIN, PREFIX, Refusal, Service
from adapters.jetstream.wire import until_closed
from adapters.jetstream.work import WORK
from adapters.tasks import together, undisturbed
from adapters.tracing import following
from domain import log
from domain.aggregate import Done, Intent, NotDone
from domain.backend import Backend
from domain.ports import (
    Capabilities,
    Cause,
    Driver,
    DriverFailed,
    Manageable,
    VolumeIsBusy,
)
from domain.reference import name_in

MEASURE_EVERY = 5.0  # seconds
LOOK_AGAIN = 30.0  # seconds until what is in flight is asked for anew
SET_UP_AGAIN = 5.0  # seconds until a storage that is not usable is tried again
GRACE = 2.0  # seconds that operations have to end when we stop
AT_ONCE = 8  # operations side by side
FETCH = 256
MOST_WORDS = 2000  # characters of a failure; a report has to fit into a message

logger = getLogger(__name__)


class Key(NamedTuple):
    """What tells one piece of work from another."""

    lease: int
    aggregate_id: UUID
    version: int


class Measurement(msgspec.Struct, frozen=True):
    """What an agent tells of its backend."""

    name: str
    working: bool
    reason: str | None
    capabilities: Capabilities | None
    reported_at: datetime
    lease: int = 0


class Asked(msgspec.Struct, frozen=True):
    """Which page of what could be managed: so many, behind a name."""

    after: str
    limit: int


class Told(msgspec.Struct, frozen=True):
    """Such a page, and whether there is more; or why there is none."""

    items: Sequence[Manageable] = ()
    more: bool = False
    failure: str | None = None


class Operation(NamedTuple):
    """What a driver did for one intent: "done", or the code of its failure."""

    backend: str
    name: str
    id: UUID
    position: int
    lease: int
    outcome: str
    seconds: float


class Agent:
    """Runs one driver for one backend; `noted` is told of each operation."""

    _leaving = False

    def __init__(
        self,
        client: Client,
        driver: Driver,
        name: str,
        key: bytes,
        holder: str,
        noted: Callable[[Operation], None] = lambda _: None,
    ) -> None:
        self.at_work = asyncio.Event()  # it has heard of all there is to do
        self._client = client
        self._driver = driver
        self._name = name
        self._key = key
        self._noted = noted
        self._host = socket.gethostname()
        self._service = Service(client, key)
        self._lease = Lease(self._service, name, holder, self._host)
        self._reporter = Reporter(self._service, name)
        self._failure: str | None = "is being set up"
        self._usable = asyncio.Event()
        self._changed = asyncio.Event()
        self._looked = asyncio.Event()
        self._last: dict[UUID, asyncio.Task[None]] = {}
        self._taken: set[Key] = set()
        self._finished: set[Key] = set()
        self._protocol = "local"
        self._busy = 0
        self._quiet = asyncio.Event()
        self._setting_up = asyncio.Lock()
        self._hands = Hands(AT_ONCE, f"agent-{name}")

    async def run(self) -> None:
        """Work for ever, beginning again where the broker was away."""
        try:
            await together(
                self._lease.keep(),
                self._set_up(),
                self._measure_again_and_again(),
                self._answer_measure(),
                self._answer_manageable(),
                self._work_again_and_again(),
                self._reporter.run(),
                until_closed(self._client),
            )
        finally:
            await undisturbed(self._leave())

    @property
    def name(self) -> str:
        """The backend that it serves."""
        return self._name

    @property
    def failure(self) -> str | None:
        """Why the storage is not usable, or None."""
        return self._failure

    @property
    def serves(self) -> bool:
        """Whether it has the backend's lease."""
        return self._lease.is_good(self._lease.number)

    async def finish(self, seconds: float) -> None:
        """Begin with nothing more, and report what is under way if it ends in time."""
        self._leaving = True
        if self._last and self._usable.is_set():
            _, late = await asyncio.wait(self._last.values(), timeout=seconds)
            if late:
                logger.warning("%d volumes are left to the next agent", len(late))

    async def measurement(self) -> Measurement:
        """Measure now, or raise `Lapsed`."""
        capabilities, reason, lease = None, self._failure, self._lease.number
        self._check(lease)
        if reason is None:
            try:
                capabilities = await self._in_thread(lease, self._driver.capabilities)
            except Lapsed:
                raise
            except Exception as failure:  # noqa: BLE001 - told, and tried again
                reason = in_words(failure)
        now = datetime.now(UTC)
        return Measurement(self._name, reason is None, reason, capabilities, now, lease)

    async def _leave(self) -> None:
        """Let the next agent take over at once, unless something still goes on."""
        self._lease.drop()
        with suppress(TimeoutError):
            async with asyncio.timeout(GRACE):
                await asyncio.to_thread(self._hands.end)
                await self._lease.give_back()

    # What there is to do

    async def _work_again_and_again(self) -> None:
        while True:
            lease = await self._lease.held()
            with suppress(Error, TimeoutError, Lapsed, Refusal):
                await self._work_until_away(lease)
            await asyncio.sleep(AGAIN)

    async def _work_until_away(self, lease: int) -> None:
        await self._announce(lease)
        position = await self._take_what_is_in_flight(lease)
        subscription = await self._subscribe(position)
        self.at_work.set()
        looked = asyncio.get_running_loop().time()
        try:
            while self._lease.number == lease and (
                asyncio.get_running_loop().time() - looked < LOOK_AGAIN
            ):
                try:
                    for message in await subscription.fetch(FETCH, timeout=5):
                        self._take_message(message, lease)
                except TimeoutError:
                    # It may have gone, with the broker's memory of it.
                    await subscription.consumer_info()
        finally:
            with suppress(Error, TimeoutError):
                await subscription.unsubscribe()

    async def _announce(self, lease: int) -> None:
        measured = (await self.measurement()).capabilities
        if measured:
            self._protocol = measured.storage_protocol
        kind = type(self._driver)
        await self._service.tell(
            "agent.announce",
            {
                "name": self._name,
                "lease": lease,
                "host": self._host,
                "driver": f"{kind.__module__}.{kind.__qualname__}",
                "storage_protocol": self._protocol,
            },
        )

    async def _take_what_is_in_flight(self, lease: int) -> int:
        """Take it in the order of the log, and return the position it reaches."""
        # What is finished from now on may be in flight in an answer that is older.
        self._finished.clear()
        after, position = 0, None
        while True:
            asked = {"name": self._name, "lease": lease, "after": after}
            answer = await self._service.tell("agent.in_flight", asked)
            for item in answer["items"]:
                topic, event = item["topic"], msgspec.json.encode(item["event"])
                self._take(topic, event, item["position"], lease)
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

    def _take_message(self, message: Msg, lease: int) -> None:
        position = sequence_of(message)
        signed = message.subject, message.data, message.headers, position
        if not is_published(self._key, *signed):
            logger.warning("message %d of the stream is not the log's", position)
            return
        topic = (message.headers or {})["ce-type"].removeprefix("holdfast.")
        self._take(topic, message.data, position, lease)

    def _take(self, topic: str, state: bytes, position: int, lease: int) -> None:
        """Begin the work of an intent of ours when its aggregate's earlier is done."""
        try:
            intent = log.decode(topic, state)
        except (log.UnknownTopic, msgspec.DecodeError):
            # What others were asked goes on; its own deadline will tell.
            logger.exception("what is asked at %d cannot be read", position)
            return
        assert isinstance(intent, Intent)
        key = Key(lease, intent.originator_id, intent.originator_version)
        known = key in self._taken or key in self._finished
        if intent.backend != self._name or known:
            return
        self._taken.add(key)
        earlier = self._last.get(intent.originator_id)
        work = self._work(topic, intent, position, lease, earlier)
        task = asyncio.create_task(work)
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
        lease: int,
        earlier: asyncio.Task[None] | None,
    ) -> None:
        if earlier:
            await asyncio.wait([earlier])
        cause = Cause(position, intent.timestamp.isoformat())
        with self._following(topic, intent, position) as traceparent:
            result = await self._attempt(topic, intent, cause, lease)
        if result is None:
            return
        if topic == Backend.InitializationStarted.TOPIC:
            self._found(getattr(result, "message", None))
            await self._tell_measurement()  # or the next request is decided without
        self._changed.set()
        with following("report", traceparent) as traceparent:
            report = Report(
                noun=topic.partition(".")[0],
                id=intent.originator_id,
                intent=intent.originator_version,
                causation_id=str(position),
                traceparent=traceparent,
                done=result if isinstance(result, Done) else None,
                not_done=result if isinstance(result, NotDone) else None,
            )
            await self._reporter.report(lease, report)

    async def _attempt(
        self, topic: str, intent: Intent, cause: Cause, lease: int
    ) -> Done | NotDone | None:
        """Let the driver do it; None where the lease is over, and so the work not ours.

        A lease that was not renewed in time may still be ours when it is.
        """
        setting_up = topic == Backend.InitializationStarted.TOPIC
        while await self._lease.held() == lease and not self._leaving:
            try:
                async with self._alone() if setting_up else self._beside_others():
                    asked = topic, intent, cause, lease
                    done: Done = await self._in_thread(lease, self._do, *asked)
            except Lapsed:
                continue
            except Exception as failure:  # noqa: BLE001 - every intent is settled
                busy = isinstance(failure, VolumeIsBusy)
                return NotDone(code_of(failure), in_words(failure), busy)
            return done
        return None

    def _do(self, topic: str, intent: Intent, cause: Cause, lease: int) -> Done:
        """Let the driver do it, in a thread, and note what came of it."""
        if self._leaving:
            raise Lapsed
        work, outcome, began = WORK[topic], "done", time.perf_counter()
        try:
            return work(self._driver, intent, cause)
        except Exception as failure:
            outcome = code_of(failure)
            raise
        finally:
            took = time.perf_counter() - began
            about = work.__name__, intent.originator_id, cause.position, lease
            self._noted(Operation(self._name, *about, outcome, took))

    def _following(
        self, topic: str, intent: Intent, position: int
    ) -> AbstractContextManager[str]:
        """Return what traces the work below the request that asked for it."""
        return following(
            WORK[topic].__name__,
            intent.provenance.traceparent,
            **{
                "holdfast.backend": self._name,
                "holdfast.id": str(intent.originator_id),
                "holdfast.position": position,
            },
        )

    # The storage itself

    async def _set_up(self) -> None:
        """Look at the storage: under each lease, and again while it is not usable."""
        seen = 0
        while True:
            lease = await self._lease.held()
            if lease != seen or not self._usable.is_set():
                self._usable.clear()
                try:
                    async with self._alone():
                        await self._in_thread(lease, self._driver.set_up)
                except Lapsed:
                    continue
                except Exception as failure:  # noqa: BLE001 - told, and tried again
                    self._found(in_words(failure))
                    logger.warning("backend %s: %s", self._name, self._failure)
                else:
                    self._found(None)
                seen = lease
            await self._lease.other(lease, SET_UP_AGAIN)

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
            await self._lease.held()
            self._changed.clear()
            began = asyncio.get_running_loop().time()
            await self._tell_measurement()
            took = asyncio.get_running_loop().time() - began
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), MEASURE_EVERY)
                # What changes often is told now and then, and at no great cost.
                await asyncio.sleep(min(MEASURE_EVERY, max(AGAIN, 20 * took)))

    async def _tell_measurement(self, to: str = "") -> None:
        """Measure, and tell every replica that listens, or the one who asked."""
        subject = f"agents.{self._name}.measure{'' if to else 'd'}"
        with suppress(Error, TimeoutError, Lapsed):
            await self._service.publish(subject, await self.measurement(), to)

    async def _answer_measure(self) -> None:
        subject = f"{PREFIX}agents.{self._name}.measure"
        subscription = await self._client.subscribe(subject)
        async for message in subscription.messages:
            await self._tell_measurement(message.reply)

    async def _answer_manageable(self) -> None:
        subject = f"agents.{self._name}.manageable"
        subscription = await self._client.subscribe(PREFIX + subject)
        async for message in subscription.messages:
            if self._service.has_asked(subject, message):
                asked = msgspec.json.decode(message.data, type=Asked)
                with suppress(Error, Lapsed):
                    told = await self._manageable(asked)
                    await self._service.answer(subject, message, told)

    async def _manageable(self, asked: Asked) -> Told:
        """Return a page of what is or could be a volume; raise `Lapsed`."""
        lease = self._lease.number
        self._check(lease)  # whoever has it answers
        if self._failure:
            return Told(failure=self._failure)
        try:
            async with self._beside_others():
                found = await self._in_thread(lease, self._driver.manageable)
        except Lapsed:
            raise
        except Exception as failure:  # noqa: BLE001 - told, and asked again
            return Told(failure=in_words(failure))
        later = [each for each in found if name_in(each.reference) > asked.after]
        return Told(later[: asked.limit], more=len(later) > asked.limit)

    async def _in_thread(self, lease: int, what: Callable[..., Any], *args: Any) -> Any:
        """Let the driver do something under a lease, or raise `Lapsed`."""

        def under_lease() -> Any:
            # Asked again, as late as can be: it may have waited for a thread.
            self._check(lease)
            return what(*args)

        self._check(lease)
        run = copy_context().run  # what is traced goes on in the thread
        return await self._hands.do(partial(run, under_lease))

    def _check(self, lease: int) -> None:
        if not self._lease.is_good(lease):
            raise Lapsed


def sequence_of(message: Msg) -> int:
    """Return a message's place in the stream, without the rest of its metadata."""
    match message.reply.split("."):
        case ["$JS", "ACK", _, _, _, sequence, _, _, _]:
            return int(sequence)
    return message.metadata.sequence.stream


def code_of(failure: Exception) -> str:
    """Return what went wrong with a driver, in one word for programs."""
    code: str = getattr(failure, "code", "driver_broke_down")
    return code


def in_words(failure: Exception) -> str:
    """Return what went wrong with a driver, in words that an operator can act on."""
    if isinstance(failure, DriverFailed):
        return str(failure)[:MOST_WORDS]
    logger.error("the driver broke down", exc_info=failure)
    return f"the driver broke down ({type(failure).__name__}); see its log"
