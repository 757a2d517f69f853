"""A backend's agent: it does what command events ask, and reports what came of it.

What there is to do is what the log has in flight for the backend. The agent
asks for that when it starts, and whenever the broker was away; from that
position on, the stream brings what is asked next. So nothing depends on what a
consumer remembers: an event that came twice, or that was settled long ago, is
not in flight and is not done again.

Volumes are served side by side, the events of one volume in the order of the
log. A crash repeats the operation and the report: drivers answer twice the
same, and an intent is settled once.

Which hosts reach which volumes is what the log says: a sweep now and then lets the
storage converge to it, volume by volume, each when nothing else is done to it.

Nothing touches the storage without the backend's lease. Work that was taken in
under a lease which is over is left: who has the next finds it in flight.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, suppress
from contextvars import copy_context
from datetime import UTC, datetime
from functools import partial
from logging import getLogger
from typing import Any, TypeVar
from uuid import UUID

import msgspec
from nats.aio.client import Client
from nats.errors import Error
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from adapters import noting
from adapters.hands import Hands
from adapters.jetstream.admission import AT_ONCE, Admission, Kind
from adapters.jetstream.lease import Lapsed, Lease
from adapters.jetstream.offering import Offering
from adapters.jetstream.operation import CalledOff, Operation, code_of, in_words
from adapters.jetstream.piece import Key, Piece
from adapters.jetstream.progress import News
from adapters.jetstream.pulling import pulling, sequence_of
from adapters.jetstream.reporting import Report, Reporter, discreet
from adapters.jetstream.signing import is_published
from adapters.jetstream.stream import STREAM, SUBJECTS
from adapters.jetstream.sweeping import Sweeper
from adapters.jetstream.taking import Request
from adapters.jetstream.telling import AGAIN, PREFIX, Refusal, Service
from adapters.jetstream.turns import Turns
from adapters.jetstream.wire import until_closed
from adapters.jetstream.work import WORK
from adapters.tasks import together, undisturbed
from adapters.tracing import following
from domain import log
from domain.aggregate import Done, Intent, NotDone
from domain.backend import Backend
from domain.capabilities import Capabilities
from domain.drift import Surveyed
from domain.pool import passed, percents
from domain.ports import Cause, Driver, Progress, VolumeIsBusy

MEASURE_EVERY = 5.0  # seconds
LOOK_AGAIN = 30.0  # seconds until what is in flight is asked for anew
SET_UP_AGAIN = 5.0  # seconds until a storage that is not usable is tried again
GRACE = 2.0  # seconds that operations have to end when we stop
BEING_SET_UP = "is being set up"
SOON = 1.0  # seconds that setting up may take without a word

logger = getLogger(__name__)

T = TypeVar("T")


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


class Agent:
    """Runs one driver for one backend; `noted` is told of each operation."""

    _leaving = False
    _protocol: str | None = None  # until the storage has told it
    _were_old = 0
    _measurements = 0
    _pool: Mapping[str, int] = {}
    _failure: str | None = BEING_SET_UP

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
        self._reporter = Reporter(self._service, name, lambda: bool(self._quick))
        self._changed, self._looked = asyncio.Event(), asyncio.Event()
        self._turns = Turns()
        self._offering = Offering(
            self._service, name, self._lease, self._touch, lambda: self._failure
        )
        touch = self._touch_while_ours
        self._sweeper = Sweeper(self._service, name, self._lease, self._turns, touch)
        self._taken: set[Key] = set()
        self._finished: set[Key] = set()
        # What is to be removed, and the position at which that was asked.
        self._going: dict[UUID, int] = {}
        self._old: set[Key] = set()  # what was in flight before we began
        self._quick: set[Key] = set()  # what is not done yet, and does not take long
        self._admission = Admission()
        self._hands = Hands(AT_ONCE, f"agent-{name}")

    async def run(self) -> None:
        """Work for ever, beginning again where the broker was away."""
        self._loop = asyncio.get_running_loop()
        try:
            await together(
                self._lease.keep(),
                self._set_up(),
                self._measure_again_and_again(),
                self._answer_measure(),
                self._offering.run(self._client, self._driver),
                self._work_again_and_again(),
                self._sweeper.run(self._driver, self._noted, self._admission.usable),
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

    @property
    def waits_for(self) -> str:
        """Why it does not have the lease, "" where nobody has said so."""
        return self._lease.waits_for

    async def finish(self, seconds: float) -> None:
        """Begin with nothing more, and report what is under way if it ends in time."""
        self._leaving = True
        under_way = self._turns.all()
        if under_way and self._admission.usable.is_set():
            _, late = await asyncio.wait(under_way, timeout=seconds)
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
            except Exception as failure:  # noqa: BLE001 - told, and set up again
                reason = in_words(failure)
                self._found(reason)
        now, works = datetime.now(UTC), reason is None
        told = self._settling() if works else reason
        self._measurements += 1
        by = lease, self._sweeper.surveyed, self._measurements
        return Measurement(self._name, works, told, capabilities, now, *by)

    def _settling(self) -> str | None:
        """Return what a storage that works has yet to catch up on."""
        left = len(self._old)
        return f"settling {left} of {self._were_old} in flight" if left else None

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
        since = await self._announce(lease)
        position = await self._take_what_is_in_flight(lease, since)
        if self._old:
            await self._tell_measurement()  # before new work, which comes by stream
        take = partial(self._take_message, lease, position)
        async with pulling(self._client, STREAM, behind(position), take) as pull:
            self._sweeper.know(lease)
            self.at_work.set()
            looked = asyncio.get_running_loop().time()
            while self._lease.number == lease and (
                asyncio.get_running_loop().time() - looked < LOOK_AGAIN
            ):
                await pull.more()

    async def _announce(self, lease: int) -> int:
        """Tell what we serve; returns the position from which the log knows."""
        kind = type(self._driver)
        told = await self._service.tell(
            "agent.announce",
            {
                "name": self._name,
                "lease": lease,
                "host": self._host,
                "driver": f"{kind.__module__}.{kind.__qualname__}",
                "storage_protocol": self._protocol,
            },
        )
        return int(told["position"])

    async def _take_what_is_in_flight(self, lease: int, since: int) -> int:
        """Take it in the order of the log, and return the position it reaches.

        What was asked since the agent before us was last heard of is new, though it is
        in flight: nobody has begun it.
        """
        # What is finished from now on may be in flight in an answer that is older.
        self._finished.clear()
        after = 0
        begins = not self._sweeper.knows(lease)
        if begins:
            self._were_old = len(self._old)
        while True:
            asked = {"name": self._name, "lease": lease, "after": after}
            answer = await self._service.tell("agent.in_flight", asked)
            for item in answer["items"]:
                topic, event = item["topic"], msgspec.json.encode(item["event"])
                after = item["position"]
                asked_at = datetime.fromisoformat(item["event"]["timestamp"])
                old = begins and after < since and not self._is_unserved(asked_at)
                kind = Kind.OLD if old else Kind.NEW
                self._take(topic, event, after, lease, kind)
            if not answer["more"]:
                return int(answer["position"])

    def _is_unserved(self, asked_at: datetime) -> bool:
        """Tell whether nobody has begun what was asked then, as far as clocks agree."""
        since = self._lease.unserved_since
        return since is not None and asked_at > since

    def _take_message(self, lease: int, known: int, message: Request) -> None:
        """Take in a message of the stream, behind the position that is known.

        A stream that is published anew is shorter than that for a while, and NATS
        before 2.11 has who is to begin behind its end begin there (nats-server 6253).
        So it sends what was done long ago.
        """
        position = sequence_of(message)
        if position <= known:
            return
        signed = message.subject, message.data, message.headers, position
        if not is_published(self._key, *signed):
            logger.warning("message %d of the stream is not the log's", position)
            return
        topic = (message.headers or {})["ce-type"].removeprefix("holdfast.")
        self._take(topic, message.data, position, lease)

    def _take(
        self,
        topic: str,
        state: bytes,
        position: int,
        lease: int,
        kind: Kind = Kind.NEW,
    ) -> None:
        """Take in an intent, if it is ours and new."""
        try:
            intent = log.decode(topic, state)
        except (log.UnknownTopic, msgspec.DecodeError):
            # What others were asked goes on; its own deadline will tell.
            logger.exception("what is asked at %d cannot be read", position)
            return
        assert isinstance(intent, Intent)
        long = Kind.LONG if intent.may_take_long else Kind.NEW
        asked = Piece(topic, intent, position, lease, kind | long)
        key = asked.key
        known = key in self._taken or key in self._finished
        if intent.backend == self._name and not known:
            if kind is Kind.OLD:
                self._old.add(key)
                self._were_old += 1
            self._begin(asked)

    def _begin(self, asked: Piece) -> None:
        """Begin it when what is asked of the same before is done."""
        key, turns = asked.key, asked.intent.in_turn_with
        self._taken.add(key)
        if Kind.LONG not in asked.kind:
            self._quick.add(key)
        if asked.removes:
            self._going[key.aggregate_id] = asked.position
        task = asyncio.create_task(self._work(asked, self._turns.last(turns)))
        self._turns.take(turns, task)

        def finished(_: asyncio.Task[None]) -> None:
            if self._going.get(key.aggregate_id) == asked.position:
                del self._going[key.aggregate_id]
            self._taken.discard(key)
            self._old.discard(key)
            self._finished.add(key)
            if asked.topic == Backend.RepairStarted.TOPIC:
                self._sweeper.be_due()  # to see what came of it

        task.add_done_callback(finished)

    # Doing it

    async def _work(self, asked: Piece, earlier: set[asyncio.Task[Any]]) -> None:
        if earlier:
            await asyncio.wait(earlier)
        ran = noting.begin()
        with self._following(asked) as traceparent:
            result = await self._attempt(asked)
        self._quick.discard(asked.key)
        if result is None:
            return
        if asked.sets_up:
            self._found(getattr(result, "message", None))
            await self._tell_measurement()  # or the next request is decided without
        self._changed.set()
        with following("report", traceparent) as traceparent:
            report = Report(
                noun=asked.topic.partition(".")[0],
                id=asked.intent.originator_id,
                intent=asked.intent.originator_version,
                causation_id=str(asked.position),
                traceparent=traceparent,
                done=result if isinstance(result, Done) else None,
                not_done=result if isinstance(result, NotDone) else None,
                ran=tuple(ran),
            )
            report = discreet(report, self._key, asked.intent)
            await self._reporter.report(asked.lease, report)

    async def _attempt(self, asked: Piece) -> Done | NotDone | None:
        """Let the driver do it; None where the lease is over: it is not ours then."""
        admission, alone = self._admission, asked.sets_up

        async def once() -> Done:
            async with (
                admission.alone() if alone else admission.beside_others(asked.kind)
            ):
                done: Done = await self._in_thread(asked.lease, self._do, asked)
                return done

        try:
            return await self._while_ours(asked.lease, once)
        except Lapsed:
            return None
        except Exception as failure:  # noqa: BLE001 - every intent is settled
            busy = isinstance(failure, VolumeIsBusy)
            return NotDone(code_of(failure), in_words(failure), busy)

    def _do(self, asked: Piece) -> Done:
        """Let the driver do it, in a thread, and note what came of it."""
        if self._leaving:
            raise Lapsed
        cause = Cause(asked.position, asked.intent.timestamp.isoformat())
        outcome, began = "done", time.perf_counter()
        try:
            work = WORK[asked.topic]
            return work(self._driver, asked.intent, cause, self._progress(asked))
        except Exception as failure:
            outcome = code_of(failure)
            raise
        finally:
            took = time.perf_counter() - began
            about = asked.name, asked.intent.originator_id, asked.position, asked.lease
            self._noted(Operation(self._name, *about, outcome, took))

    def _progress(self, asked: Piece) -> Progress:
        """Return what a driver tells how far it is, from its thread.

        It ends the operation there where others must not wait for it: it is taken
        up again, by us or by the next agent.
        """
        loop = self._loop

        def tell(percent: int) -> None:
            telling = self._tell_progress(asked, percent)
            asyncio.run_coroutine_threadsafe(telling, loop)

        told = News(tell)

        def heard(percent: float) -> None:
            self._check(asked.lease)
            if self._leaving or self._admission.wants_quiet:
                raise Lapsed
            if self._going.get(asked.intent.originator_id, 0) > asked.position:
                raise CalledOff
            told(percent)

        return heard

    async def _tell_progress(self, asked: Piece, percent: int) -> None:
        about = {
            "name": self._name,
            "lease": asked.lease,
            "noun": asked.topic.partition(".")[0],
            "id": asked.intent.originator_id,
            "intent": asked.intent.originator_version,
            "causation_id": str(asked.position),
            "percent": percent,
        }
        with suppress(Error, TimeoutError, Refusal):
            await self._service.tell("agent.progress", about)

    def _following(self, asked: Piece) -> AbstractContextManager[str]:
        """Return what traces the work below the request that asked for it."""
        return following(
            asked.name,
            asked.intent.provenance.traceparent,
            **{
                "holdfast.backend": self._name,
                "holdfast.id": str(asked.intent.originator_id),
                "holdfast.position": asked.position,
            },
        )

    # The storage itself

    async def _set_up(self) -> None:
        """Look at the storage: under each lease, and again while it is not usable."""
        seen = 0
        while True:
            lease = await self._lease.held()
            if lease != seen or not self._admission.usable.is_set():
                self._admission.usable.clear()
                try:
                    async with self._admission.alone():
                        await self._in_thread(lease, self._recognized)
                except Lapsed:
                    continue
                except Exception as failure:  # noqa: BLE001 - told, and tried again
                    self._found(in_words(failure))
                else:
                    self._failure = None
                    # Or new work would be refused until what is old has been begun.
                    await self._tell_measurement()
                    self._found(self._failure)
                seen = lease
            await self._lease.other(lease, SET_UP_AGAIN)

    def _recognized(self) -> None:
        """Set the storage up, if it can be what was set up before."""
        if self._lease.set_up_before:
            self._driver.recognize()
        self._driver.set_up()

    def _found(self, failure: str | None) -> None:
        """Take in whether the storage is usable; work waits until it is."""
        if failure and failure != self._failure:
            logger.warning("backend %s: %s", self._name, failure)
        self._failure = failure
        self._looked.set()
        self._changed.set()
        if failure is None:
            self._admission.open()
            self._sweeper.be_due()
        else:
            self._admission.usable.clear()

    async def _measure_again_and_again(self) -> None:
        """Tell every replica now and then, and after what has changed something."""
        while True:
            # The first to be told is what setting up has found, unless that takes long.
            with suppress(TimeoutError):
                await asyncio.wait_for(self._looked.wait(), SOON)
            await self._lease.held()
            self._changed.clear()
            began = asyncio.get_running_loop().time()
            await self._tell_measurement()
            took = asyncio.get_running_loop().time() - began
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), MEASURE_EVERY)
                # What changes often is told now and then, and at no great cost.
                await asyncio.sleep(min(MEASURE_EVERY, max(AGAIN, 50 * took)))

    async def _tell_measurement(self, to: str = "") -> None:
        """Measure, and tell every replica that listens, or the one who asked."""
        subject = f"agents.{self._name}.measure{'' if to else 'd'}"
        with suppress(Error, TimeoutError, Lapsed, Refusal):
            measured = await self.measurement()
            await self._service.publish(subject, measured, to)
            await self._tell_protocol(measured)
            await self._tell_pool(measured)

    async def _tell_protocol(self, measured: Measurement) -> None:
        """Have it noted how hosts reach volumes, once the storage has told that."""
        told = measured.capabilities
        if told and told.storage_protocol != self._protocol:
            self._protocol = told.storage_protocol
            await self._announce(measured.lease)

    async def _tell_pool(self, measured: Measurement) -> None:
        """Have it noted where the pool has passed a threshold, or left one."""
        told = percents(measured.capabilities)
        now = {part: passed(told[part], self._pool.get(part, 0)) for part in told}
        if now == self._pool or not told:
            return
        about = {"name": self._name, "lease": measured.lease, "percents": told}
        before = self._pool
        self._pool = (await self._service.tell("agent.pool", about))["passed"]
        for part, threshold in self._pool.items():
            if threshold > before.get(part, 0):
                said = self._name, part, told[part]
                logger.warning("backend %s: the %s of its pool is %g %% full", *said)

    async def _answer_measure(self) -> None:
        subject = f"{PREFIX}agents.{self._name}.measure"
        subscription = await self._client.subscribe(subject)
        async for message in subscription.messages:
            await self._tell_measurement(message.reply)

    async def _touch(
        self,
        lease: int,
        what: Callable[..., Any],
        *args: Any,
        kind: Kind = Kind.NEW,
    ) -> Any:
        """Let the driver do something beside other work, or raise `Lapsed`."""
        if self._leaving:
            raise Lapsed
        async with self._admission.beside_others(kind):
            return await self._in_thread(lease, what, *args)

    async def _touch_while_ours(
        self, lease: int, *what: Any, kind: Kind = Kind.NEW
    ) -> Any:
        """Let the driver do something under a lease that may be renewed late."""
        return await self._while_ours(
            lease, partial(self._touch, lease, *what, kind=kind)
        )

    async def _while_ours(self, lease: int, once: Callable[[], Awaitable[T]]) -> T:
        """Do it, again where the lease lapses; raise `Lapsed` where it is over.

        One that was not renewed in time may still be ours when it is.
        """
        while await self._lease.held() == lease and not self._leaving:
            with suppress(Lapsed):
                return await once()
        raise Lapsed

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


def behind(position: int) -> ConsumerConfig:
    """Return a consumer of what the stream has behind a position that is work."""
    return ConsumerConfig(
        filter_subjects=[f"{SUBJECTS}.{topic.replace('.', '.*.')}" for topic in WORK],
        deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
        opt_start_seq=position + 1,
        ack_policy=AckPolicy.NONE,
        inactive_threshold=60,
    )
