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
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from datetime import datetime
from functools import partial
from logging import getLogger
from typing import Any
from uuid import UUID

import msgspec
from nats.aio.client import Client
from nats.errors import Error
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from adapters import noting
from adapters.jetstream.access import Access
from adapters.jetstream.admission import Kind
from adapters.jetstream.lease import Lapsed, Lease
from adapters.jetstream.measuring import Measurement, Measuring
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
from adapters.jetstream.telling import AGAIN, Refusal, Service
from adapters.jetstream.turns import Turns
from adapters.jetstream.wire import until_closed
from adapters.jetstream.work import WORK
from adapters.tasks import together, undisturbed
from adapters.tracing import following
from domain import log
from domain.aggregate import Done, Intent, NotDone
from domain.backend import Backend
from domain.ports import Cause, Driver, Progress, VolumeIsBusy

LOOK_AGAIN = 30.0  # seconds until what is in flight is asked for anew
GRACE = 2.0  # seconds that operations have to end when we stop

logger = getLogger(__name__)


class Item(msgspec.Struct):
    """An intent that is in flight, as the log has it."""

    position: int
    topic: str
    event: msgspec.Raw


class InFlight(msgspec.Struct):
    """Some of them; the last are all that there is at the position."""

    items: list[Item]
    more: bool
    position: int


class Agent:
    """Runs one driver for one backend; `noted` is told of each operation."""

    _were_old = 0

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
        self._service = service = Service(client, key)
        self._lease = lease = Lease(service, name, holder, socket.gethostname())
        self._access = access = Access(driver, lease, name)
        self._reporter = Reporter(service, name, lambda: bool(self._quick))
        self._turns = Turns()
        self._sweeper = Sweeper(service, name, access, self._turns, noted)
        self._measuring = measuring = Measuring(
            service, name, access, self._sweeper, self._settling
        )
        self._offering = Offering(service, name, access, lambda: measuring.failure)
        self._taken: set[Key] = set()
        self._finished: set[Key] = set()
        self._unread: set[int] = set()
        # What is to be removed, and the position at which that was asked.
        self._going: dict[UUID, int] = {}
        self._old: set[Key] = set()  # what was in flight before we began
        self._quick: set[Key] = set()  # what is not done yet, and does not take long

    async def run(self) -> None:
        """Work for ever, beginning again where the broker was away."""
        self._loop = asyncio.get_running_loop()
        try:
            await together(
                self._lease.keep(),
                self._measuring.run(self._client),
                self._offering.run(self._client),
                self._work_again_and_again(),
                self._sweeper.run(),
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
        return self._measuring.failure

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
        self._access.leaving = True
        under_way = self._turns.all()
        if under_way and self._access.admission.usable.is_set():
            _, late = await asyncio.wait(under_way, timeout=seconds)
            if late:
                logger.warning("%d volumes are left to the next agent", len(late))

    async def measurement(self) -> Measurement:
        """Measure now, or raise `Lapsed`."""
        return await self._measuring.measurement()

    def _settling(self) -> str | None:
        """Return what a storage that works has yet to catch up on."""
        left = len(self._old)
        return f"settling {left} of {self._were_old} in flight" if left else None

    async def _leave(self) -> None:
        """Let the next agent take over at once, unless something still goes on."""
        self._lease.drop()
        with suppress(TimeoutError):
            async with asyncio.timeout(GRACE):
                await self._access.end()
                await self._lease.give_back()

    # What there is to do

    async def _work_again_and_again(self) -> None:
        while True:
            lease = await self._lease.held()
            with suppress(Error, TimeoutError, Lapsed, Refusal):
                await self._work_until_away(lease)
            await asyncio.sleep(AGAIN)

    async def _work_until_away(self, lease: int) -> None:
        since = await self._measuring.announce(lease)
        position = await self._take_what_is_in_flight(lease, since)
        if self._old:
            await self._measuring.tell()  # before new work, which comes by stream
        take = partial(self._take_message, lease, position)
        async with pulling(self._client, STREAM, behind(position), take) as pull:
            self._sweeper.know(lease)
            self.at_work.set()
            looked = asyncio.get_running_loop().time()
            while self._lease.number == lease and (
                asyncio.get_running_loop().time() - looked < LOOK_AGAIN
            ):
                await pull.more()

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
            answer = await self._service.tell("agent.in_flight", asked, gives=InFlight)
            for item in answer.items:
                after = item.position
                before = begins and after < since
                event = bytes(item.event)
                self._take(item.topic, event, after, lease, before_us=before)
            if not answer.more:
                return int(answer.position)

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
        topic = (message.headers or {}).get("ce-type", "").removeprefix("holdfast.")
        self._take(topic, message.data, position, lease)

    def _take(
        self,
        topic: str,
        state: bytes,
        position: int,
        lease: int,
        *,
        before_us: bool = False,
    ) -> None:
        """Take in an intent, if it is ours and new; it may be one from before us."""
        try:
            intent = read(topic, state)
        except (log.UnknownTopic, msgspec.DecodeError):
            # What others were asked goes on; its own deadline will tell.
            if position not in self._unread:
                self._unread.add(position)
                logger.exception("what is asked at %d cannot be read", position)
            return
        old = before_us and not self._is_unserved(intent.timestamp)
        kind = Kind.OLD if old else Kind.NEW
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
            self._measuring.found(getattr(result, "message", None))
            await self._measuring.tell()  # or the next request is decided without
        self._measuring.changed()
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
        admission, alone = self._access.admission, asked.sets_up

        async def once() -> Done:
            async with (
                admission.alone() if alone else admission.beside_others(asked.kind)
            ):
                done: Done = await self._access.in_thread(asked.lease, self._do, asked)
                return done

        try:
            return await self._access.while_ours(asked.lease, once)
        except Lapsed:
            return None
        except Exception as failure:  # noqa: BLE001 - every intent is settled
            busy = isinstance(failure, VolumeIsBusy)
            return NotDone(code_of(failure), in_words(failure), busy)

    def _do(self, asked: Piece) -> Done:
        """Let the driver do it, in a thread, and note what came of it."""
        if self._access.leaving:
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
            self._access.check(asked.lease)
            if self._access.leaving or self._access.admission.wants_quiet:
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


def read(topic: str, state: bytes) -> Intent:
    """Return an intent, or raise `UnknownTopic` or `msgspec.DecodeError`."""
    if topic not in WORK:  # a newer version may ask for what was only told before
        raise log.UnknownTopic(topic)
    intent = log.decode(topic, state)
    assert isinstance(intent, Intent)
    return intent


def behind(position: int) -> ConsumerConfig:
    """Return a consumer of what the stream has behind a position that is work."""
    return ConsumerConfig(
        filter_subjects=[f"{SUBJECTS}.{topic.replace('.', '.*.')}" for topic in WORK],
        deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
        opt_start_seq=position + 1,
        ack_policy=AckPolicy.NONE,
        inactive_threshold=60,
    )
