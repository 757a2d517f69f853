"""The live log: aggregates in memory, commands decided on them, batches stored.

Commands are plain functions, decided one after another in the event loop, on
state that includes what is not stored yet. One writer stores what has been
decided while it was busy, in one transaction, with a thread where that is much.
A reply leaves after its commit, a refusal included: the transaction confirms that
nobody else has changed what the command looked at. Where somebody has, everything
that was not stored is forgotten and decided again on the newest state.

While the database is away, commands are refused at once; what is asked about
aggregates in memory is answered, with how long ago that was known to be so.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import (
    AsyncIterator,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime
from itertools import chain, islice
from logging import getLogger
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from uuid import UUID

import msgspec
from eventsourcing.persistence import (
    IntegrityError,
    InterfaceError,
    OperationalError,
    PersistenceError,
)

from adapters.postgres.appending import Appender
from adapters.postgres.mapper import LogMapper
from adapters.postgres.recorder import (
    NO_WORK,
    WORK,
    Batch,
    CommitUnknown,
    Conflict,
    Kept,
    LogRecorder,
    Stored,
    Written,
)
from adapters.postgres.writable import ReadOnly, Unwritable, is_read_only
from adapters.tasks import ended, together
from domain import log
from domain.aggregate import Aggregate, Event, Intent, Outcome, OutOfOrder
from domain.provenance import MOMENT
from service.deciding.command import (
    Answer,
    Command,
    Contended,
    Decision,
    Key,
    KeyReused,
    Live,
    NotLive,
    Part,
    Reply,
    Unavailable,
    Unreadable,
    parts_of,
)
from service.deciding.room import Room

if TYPE_CHECKING:
    from adapters.jetstream.direct import Direct

A = TypeVar("A", bound=Aggregate)
K = TypeVar("K")
Look = Callable[[Aggregate, Event, int], None]

AWAY_AFTER = 3.0  # seconds that a batch may take before no other waits for it
PROBE_EVERY = 0.2  # seconds
SOON = 1.0  # seconds that a command may have waited when others are still taken
NO_LIMIT = 2**62  # GiB: what is given back is under none
REFUSED = Reply(b"", 500)  # what stands for an exception until that is confirmed
TOO_MANY = "too many commands are waiting; ask again later"
STUCK_AFTER = 30.0  # seconds, ten times as many as a batch may take
REFUSES = "the database refuses what it is asked; the service's own log says why"
NOTHING_CHANGED = "the database cannot be reached; nothing was changed"

logger = getLogger(__name__)


class Asked(NamedTuple):
    """What is remembered of a command with a request id."""

    fingerprint: bytes
    answer: Answer


class Log:
    """One replica's view of the log. `running` starts its writer."""

    LARGEST_BATCH = 512
    MOST_ATTEMPTS = 8
    _newest = 0  # position, of what was stored here

    def __init__(
        self,
        recorder: LogRecorder,
        room: Room | None = None,
        direct: Direct | None = None,
        *,
        live: int = 100_000,
        waiting: int = 10_000,
    ) -> None:
        self.room = room or Room()
        self.recorder, self._direct = recorder, direct
        self._mapper = LogMapper()
        self._most_live, self._most_waiting = live, waiting
        self._live: Live = {}
        self._positions: dict[UUID, int] = {}
        self._waiting: list[Command] = []
        self._storing: list[Command] = []  # unless it may come to nothing
        self._set_aside: list[Command] = []
        self._keyed: dict[str, Asked] = {}
        self.unanswered = 0
        self._late, self._unwritable = False, ""
        # Told of each batch that was stored, and how many seconds that took.
        self.stored: list[Callable[[list[Command], float], None]] = []
        self._decided, self._wanted = asyncio.Event(), asyncio.Event()
        self._watchers: dict[UUID, dict[asyncio.Event, Look]] = {}
        self._away: str | None = None
        self._confirmed = time.monotonic()
        self._appender = Appender(recorder)
        self._writer = ThreadPoolExecutor(1, "log-writer")
        self._reader = ThreadPoolExecutor(4, "log-reader")
        # An agent whose lease is renewed late stops its work: no list may be before it.
        self._leaser = ThreadPoolExecutor(2, "log-leaser")
        # Commands wait for what is loaded: no long look at the log may be before it.
        self._loader = ThreadPoolExecutor(2, "log-loader")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Log]:
        """Decide and store until left."""
        self.room.allocated = await self.read(self.recorder.allocated)
        self.working = asyncio.ensure_future(
            together(self._write(), self._load(), self._probe())
        )
        try:
            yield self
        finally:
            # Unanswered requests stay unanswered, as after a crash: repeating
            # one with its request id tells the caller what became of it.
            await ended(self.working)
            with suppress(asyncio.CancelledError):
                await self.working  # raise what it failed with
            for thread in (self._writer, self._reader, self._leaser, self._loader):
                thread.shutdown()
            self._appender.release()

    @property
    def full(self) -> bool:
        """Whether as many commands wait as can be served soon."""
        # What was late may have been given up, and no batch come to notice.
        late = self._late and bool(self._waiting)
        return late or self.unanswered >= self._most_waiting

    @property
    def age(self) -> float:
        """How many seconds ago the log was last reached, 0 where it can be."""
        return time.monotonic() - self._confirmed if self._away else 0.0

    @property
    def live(self) -> int:
        """How many aggregates and parts are in memory."""
        return len(self._live)

    @property
    def turns(self) -> bool:
        """Whether what is decided gets stored, or is refused, in reasonable time."""
        return not self._waiting or age_of(self._waiting[0]) < STUCK_AFTER

    def submit(self, command: Command) -> Answer:
        """Decide the command and return the answer, which follows its commit.

        Raises `Unavailable` rather than keep more waiting than can be served
        soon, and `KeyReused`.
        """
        if self._away:
            return self._from_memory(command)
        # What is reported on work is taken: it leaves less to do.
        if self.full and not command.moment.provenance.recorded_by:
            raise Unavailable(TOO_MANY)
        if request_id := command.request_id:
            asked = Asked(command.fingerprint, command.answer)
            first = self._keyed.setdefault(request_id, asked)
            if first is not asked:
                if first.fingerprint != command.fingerprint:
                    raise KeyReused
                return first.answer
        self.unanswered += 1
        self._decide(command)
        return command.answer

    async def read(self, what: Callable[..., K], *args: Any) -> K:
        """Return what a function reads from the database in a thread of its own."""
        return await self._read(self._reader, what, *args)

    async def newest(self) -> int:
        """Return the position of the log's last event, 0 if there is none."""
        return await self.read(self.recorder.max_notification_id) or 0

    async def lease(self, what: Callable[..., K], *args: Any) -> K:
        """Return what becomes of a lease, behind no other reading."""
        return await self._read(self._leaser, what, *args)

    async def _read(
        self, threads: ThreadPoolExecutor, what: Callable[..., K], *args: Any
    ) -> K:
        loop = asyncio.get_running_loop()
        if self._away:
            raise self._unavailable()
        done = loop.run_in_executor(threads, what, *args)
        done.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            while not (await asyncio.wait([done], timeout=AWAY_AFTER))[0]:
                # It may be long, or the database away: a short look tells.
                await self._loaded(self.recorder.allocated)
            return await done
        except (OperationalError, InterfaceError) as failure:
            self._lose(str(failure))
            raise self._unavailable() from failure
        except PersistenceError as failure:
            if is_read_only(failure):
                raise Unavailable(str(ReadOnly())) from failure
            logger.exception("the database refuses what it is asked")
            raise Unavailable(REFUSES) from failure

    @contextmanager
    def watching(
        self, aggregate_id: UUID, look: Look = lambda *_: None
    ) -> Iterator[asyncio.Event]:
        """Yield what is set when something may have happened to the aggregate.

        Here or on another replica, once or twice. What was stored here can be looked
        at first: what became of the aggregate, by which event, at which position.
        """
        happened = asyncio.Event()
        watchers = self._watchers.setdefault(aggregate_id, {})
        watchers[happened] = look
        try:
            yield happened
        finally:
            watchers.pop(happened, None)
            if not watchers:
                self._watchers.pop(aggregate_id, None)

    def is_in_flight(self, aggregate_id: UUID, intent: int) -> bool:
        """Tell whether a backend is at work, as far as memory knows."""
        known = self._live.get(aggregate_id)
        return isinstance(known, Aggregate) and intent in known.in_flight

    def tell(self, changed: Iterable[UUID]) -> None:
        """Let those who watch know that something has happened."""
        for aggregate_id in changed:
            for happened in self._watchers.get(aggregate_id, ()):
                happened.set()

    def _decide(self, command: Command) -> None:
        command.decision = decision = Decision(self._live, self.room)
        MOMENT.set(command.moment)
        command.raised = None
        try:
            command.reply = command.decide(decision)
        except NotLive as missing:
            # What has to be taken back is wanted again, together with what is missing.
            command.wanted.update(missing.args, decision.touched)
            self._take_back(decision)
            self._set_aside.append(command)
            self._wanted.set()
            return
        except Exception as problem:  # noqa: BLE001 - nobody else's command may suffer
            command.reply, command.raised = REFUSED, problem
        self._note(command, decision)
        self._waiting.append(command)
        self._decided.set()

    def _note(self, command: Command, decision: Decision) -> None:
        """Note what has to be stored of a decision, or confirmed of a refusal."""
        command.events, command.taken, command.seen = (), {}, {}
        if not command.reply.code:
            events = decision.collect(command.reply.aggregate_id)
            command.events, command.taken = events, decision.taken
            self.room.take(command.taken)
            if events and isinstance(events[-1], Intent):
                command.reply.intent = events[-1].originator_version
            return
        self._take_back(decision)
        # What another replica has given back may be what was missing.
        if command.attempts < self.MOST_ATTEMPTS and not command.query:
            command.seen = dict(self.room.allocated)

    def _take_back(self, decision: Decision) -> None:
        """Forget what a broken-off decision had recorded or added."""
        if decision.collect() or decision.parts:
            self._forget_keys([*decision.changed, *parts_of(decision.parts)])

    def _drop(self, decision: Decision) -> None:
        self._forget_keys([*decision.touched, *parts_of(decision.parts)])

    def _forget_keys(self, keys: Iterable[Key]) -> None:
        for key in keys:
            self._live.pop(key, None)

    async def _write(self) -> None:
        """Store what has been decided, batch after batch."""
        while True:
            await self._decided.wait()
            batch, began = self._next_batch(), time.monotonic()
            self._storing = batch
            try:
                made = self._made_of(batch)
                stored = await self._store(batch, made)
            except IntegrityError as conflict:
                await self._decide_again(batch, conflict)
            except CommitUnknown as unknown:
                await self._find_out(batch, unknown)
            except PersistenceError as failure:
                self._undo(batch, self._why_not(failure))
            else:
                for told in self.stored:
                    told(batch, time.monotonic() - began)
                self._answer(batch, stored)
                self._publish(made, stored)

    def _next_batch(self) -> list[Command]:
        """Take what waits, and note whether more does than can be served soon."""
        batch = self._waiting[: self.LARGEST_BATCH]
        del self._waiting[: self.LARGEST_BATCH]
        self._late = bool(self._waiting) and age_of(batch[0]) > SOON
        if not self._waiting:
            self._decided.clear()
        return batch

    async def _store(self, batch: list[Command], made: Batch) -> Stored:
        """Store one batch, in the writer's thread if it is large or meets trouble."""
        if self._appender.takes(made):
            soon = asyncio.ensure_future(self._appender.append(made))
            try:
                return await self._patiently(batch, soon)
            except Conflict:
                raise
            except IntegrityError:
                pass  # it was not stored, and will be told why
        return await self._patiently(batch, self._written(self._append, made))

    def _append(self, made: Batch) -> Stored:
        """Store a batch, and be ready to store the next one without a thread."""
        stored = self.recorder.append(made)
        self._appender.keep()
        return stored

    def _written(self, what: Callable[..., K], *args: Any) -> asyncio.Future[K]:
        """Do something in the writer's thread."""
        loop = asyncio.get_running_loop()
        return loop.run_in_executor(self._writer, what, *args)

    async def _patiently(self, batch: list[Command], done: asyncio.Future[K]) -> K:
        """Wait for it; while that takes long, keep nobody waiting."""
        try:
            while not (await asyncio.wait([done], timeout=AWAY_AFTER))[0]:
                self._lose("the database does not answer")
                self._hide(batch)
        except asyncio.CancelledError:
            await ended(done)
            raise
        return done.result()

    async def _find_out(self, batch: list[Command], unknown: CommitUnknown) -> None:
        """Wait until the log can tell whether the batch was stored."""
        self._lose(str(unknown))
        self._hide(batch)
        while True:
            try:
                held = self._written(self.recorder.holds, unknown)
                stored = await self._patiently(batch, held)
            except PersistenceError:
                await asyncio.sleep(PROBE_EVERY)
            else:
                break
        if stored:
            self._answer(batch, stored)
        else:
            self._undo(batch)

    def _made_of(self, batch: list[Command]) -> Batch:
        """Return what has to be stored of commands."""
        events: list[Event] = []
        keys: list[tuple[Kept, int]] = []
        asked: list[str] = []
        parts: dict[UUID, UUID] = {}
        seen: dict[str, int] = {}
        for command in batch:
            events += command.events
            parts |= command.decision.parts
            for backend, gib in command.seen.items():
                seen[backend] = max(gib, seen.get(backend, 0))
            if command.request_id:
                asked.append(command.request_id)
                if not command.reply.code:
                    last = len(events) - 1
                    if not command.events:
                        last = last_of(command.reply.aggregate_id, events)
                    keys.append((self._kept(command), last))
        stored = list(map(self._mapper.to_stored_event, events))
        room = room_of(batch)
        word = self._word(batch, events)
        return Batch(stored, based_on(batch), keys, asked, parts, *room, seen, word)

    def _word(self, batch: list[Command], events: Sequence[Event]) -> str | None:
        """Return what those are told who follow the log.

        What is alone is published from here, unless somebody may wait for it elsewhere.
        """
        alone = len(batch) == 1 and events and not self._waiting
        if alone and self._direct and self._direct.follows(self._newest):
            outcomes = (e.originator_id for e in events if isinstance(e, Outcome))
            if all(its_id in self._watchers for its_id in outcomes):
                return self._direct.word()
        asks = any(isinstance(event, Intent) for event in events)
        return WORK if asks else NO_WORK

    def _publish(self, made: Batch, stored: Stored) -> None:
        """Publish what was stored, if its word was that we do."""
        if not stored.positions:
            return
        self._newest = stored.positions[-1]
        if self._direct and made.word not in (WORK, NO_WORK):
            events = zip(made.events, stored.positions, strict=True)
            self._direct.publish([Written(e.topic, e.state, at) for e, at in events])

    def _answer(self, batch: list[Command], stored: Stored) -> None:
        self._reached()
        self._storing = []
        if self._unwritable and stored.positions:
            logger.warning("the database takes writes again")
            self._unwritable = ""
        position = stored.positions.start - 1
        for command in batch:
            for event in command.events:
                position += 1
                self._positions[event.originator_id] = position
            shown = command.reply.aggregate_id
            if command.raised:
                self._fail(command, command.raised)
            elif command.reply.code or shown is None:
                self._reply(command, command.reply)
            else:
                last = position if command.events else self._positions.get(shown, 0)
                self._reply(command, command.reply.at(last))
            self.room.give_back(command.taken)
            if self._watchers:
                self._show(command)
                self.tell(event.originator_id for event in command.events)
        self.room.allocated |= stored.allocated
        self._forget_oldest()

    def _show(self, command: Command) -> None:
        """Let those who watch look, unless more was decided than is stored."""
        for event in command.events:
            aggregate, _, _ = command.decision.touched[event.originator_id]
            for look in self._watchers.get(event.originator_id, {}).values():
                # Another of its version may be what a decision made that conflicts.
                if (
                    aggregate
                    and aggregate is self._live.get(aggregate.id)
                    and aggregate.version == event.originator_version
                ):
                    look(aggregate, event, self._positions[aggregate.id])

    async def _decide_again(self, batch: list[Command], why: IntegrityError) -> None:
        """Decide anew all that is not stored, on what others have stored."""
        self._reached()
        undone = self._forget(batch)
        answered: dict[str, Kept] = {}
        if isinstance(why, Conflict):
            answered = why.answered
            self.room.allocated |= why.allocated
        wanted = concerning(undone, why)
        try:
            await self._bring(wanted)
        except PersistenceError as failure:
            self._give_up(undone, failure)
            return
        # Another replica may add a part at any time: nobody may believe later that
        # there is none.
        absent = {p for p in wanted if isinstance(p, int) and not self._live.get(p)}
        self._forget_keys(absent)
        for command in undone:
            command.attempts += concerned(command, why)
            if first := answered.get(command.request_id):
                await self._repeat(command, first)
            elif command.attempts > self.MOST_ATTEMPTS:
                self._fail(command, Contended())
            else:
                self._decide(command)

    async def _load(self) -> None:
        """Read what set-aside commands look for, then decide them."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            commands, self._set_aside = self._set_aside, []
            try:
                await self._bring({key for each in commands for key in each.wanted})
            except PersistenceError as failure:
                self._give_up(commands, failure)
            else:
                for command in commands:
                    self._decide(command)

    async def _bring(self, keys: Iterable[Key]) -> None:
        """Bring things into memory; one that does not exist is None there.

        What was taken back may hold what others have decided. It is brought with
        that, or not at all where that was stored meanwhile: it is wanted again.
        """
        wanted = [key for key in keys if key not in self._live]
        ids = [key for key in wanted if isinstance(key, UUID)]
        parts = [UUID(int=key) for key in wanted if isinstance(key, int)]
        known = [self._positions.get(aggregate_id) for aggregate_id in ids]
        found, wholes = await self._loaded(self._replay, ids, parts)
        decided = self._not_stored(ids)
        for aggregate_id, was in zip(ids, known, strict=True):
            if (
                aggregate_id not in self._live
                and self._positions.get(aggregate_id) == was
            ):
                aggregate, position = found.get(aggregate_id, (None, 0))
                with suppress(OutOfOrder):  # the batch is stored, or in conflict
                    now = brought_up(aggregate, decided[aggregate_id])
                    self._live[aggregate_id] = now
                    self._positions[aggregate_id] = position
        for part_id in parts:
            self._live.setdefault(Part(part_id.int), wholes.get(part_id))

    def _not_stored(self, ids: Iterable[UUID]) -> dict[UUID, list[Event]]:
        """Return what was decided about aggregates and is not stored yet."""
        decided: dict[UUID, list[Event]] = {aggregate_id: [] for aggregate_id in ids}
        for command in chain(self._storing, self._waiting):
            for event in command.events:
                if event.originator_id in decided:
                    decided[event.originator_id].append(event)
        return decided

    async def _loaded(self, what: Callable[..., K], *args: Any) -> K:
        """Return what commands wait for; `OperationalError` if that takes long."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(AWAY_AFTER):
                return await loop.run_in_executor(self._loader, what, *args)
        except TimeoutError as failure:
            raise OperationalError("the database does not answer") from failure

    def _replay(
        self, ids: list[UUID], parts: list[UUID]
    ) -> tuple[dict[UUID, tuple[Any, int]], dict[UUID, UUID]]:
        found: dict[UUID, tuple[Any, int]] = {}
        written = self.recorder.histories(ids) if ids else []
        try:
            found |= replayed(written)
        except Exception as wrong:  # noqa: BLE001 - nobody else's commands may suffer
            if ids[1:]:
                for each in ids:
                    found |= self._replay([each], [])[0]
            else:
                found[ids[0]] = Unreadable(*wrong.args), 0
        return found, self.recorder.wholes(parts) if parts else {}

    async def _probe(self) -> None:
        """While the database is away, look whether it is back."""
        while True:
            await asyncio.sleep(PROBE_EVERY)
            if self._away and self._waiting == []:
                with suppress(PersistenceError):
                    self.room.allocated = await self._loaded(self.recorder.allocated)
                    self._reached()

    def _unavailable(self) -> Unavailable:
        return Unavailable(
            f"the database cannot be reached; it last was {self.age:.0f} s ago"
        )

    def _why_not(self, failure: PersistenceError) -> str:
        """Return what callers are told; what takes no writes can still be read."""
        if isinstance(failure, Unwritable):
            why = f"{failure}; nothing was changed"
            if self._unwritable != why:
                logger.warning(why)
            self._unwritable = why
            return why
        self._lose(str(failure))
        return NOTHING_CHANGED

    def _lose(self, why: str) -> None:
        if not self._away:
            logger.warning("the log is out of reach: %s", why)
        self._away = why

    def _reached(self) -> None:
        if self._away:
            logger.warning("the log is back after %.1f s", self.age)
        self._away = None
        self._confirmed = time.monotonic()

    def _from_memory(self, command: Command) -> Answer:
        """Answer a query from what is known, while nothing can be confirmed."""
        if not command.query:
            raise self._unavailable()
        decision = Decision(self._live, self.room)
        try:
            reply = command.decide(decision)
        except NotLive:
            raise self._unavailable() from None
        if shown := reply.aggregate_id:
            reply = reply.at(self._positions.get(shown, 0))
        command.answer.is_now(msgspec.structs.replace(reply, age=self.age))
        return command.answer

    def _hide(self, batch: list[Command]) -> None:
        """Show nobody what may not have happened, and let nothing build on it."""
        self._undo([])
        for command in batch:
            if command.events:
                self._drop(command.decision)

    def _undo(self, batch: list[Command], why: str = NOTHING_CHANGED) -> None:
        """Give up what was not stored; nothing of it ever happened."""
        for command in self._forget(batch):
            self._fail(command, Unavailable(why))

    def _give_up(self, commands: list[Command], why: PersistenceError) -> None:
        """Answer that the database is away, before anything was changed."""
        self._lose(str(why))
        for command in commands:
            self._fail(command, Unavailable(NOTHING_CHANGED))

    def _forget(self, batch: list[Command]) -> list[Command]:
        """Drop every aggregate that holds what was not stored."""
        undone, self._waiting, self._storing = batch + self._waiting, [], []
        self._decided.clear()
        for command in undone:
            self.room.give_back(command.taken)
            if command.events or not self._away:
                self._drop(command.decision)
        return undone

    def _forget_oldest(self) -> None:
        """Keep memory bounded, without what waiting commands have looked at."""
        if max(len(self._live), len(self._positions)) > self._most_live:
            busy = {i for command in self._waiting for i in command.decision.touched}
            for key in excess(self._live, self._most_live):
                if key not in busy:
                    del self._live[key]
            for aggregate_id in excess(self._positions, self._most_live):
                if aggregate_id not in busy and aggregate_id not in self._live:
                    del self._positions[aggregate_id]
        for request_id in excess(self._keyed, self._most_live):
            if self._keyed[request_id].answer.outcome:
                del self._keyed[request_id]

    async def _repeat(self, command: Command, first: Kept) -> None:
        if first.fingerprint != command.fingerprint:
            self._fail(command, KeyReused())
            return
        try:
            reply = await self._loaded(self._again, command, first)
        except PersistenceError as failure:
            # Others of its batch have been decided anew, and go on.
            self._lose(str(failure))
            self._fail(command, Unavailable("the database cannot be reached"))
        except Exception as problem:  # noqa: BLE001 - nobody else's command may suffer
            self._fail(command, problem)
        else:
            self._reply(command, reply.at(first.position))

    def _again(self, command: Command, first: Kept) -> Reply:
        """Give the first answer again, from the log."""
        history = self.recorder.history(first.aggregate_id, last=first.version)
        [(aggregate, _)] = replayed(history).values()
        intent = first.version if first.version in aggregate.in_flight else None
        return msgspec.structs.replace(
            command.show(aggregate, first.part_id), intent=intent
        )

    def _kept(self, command: Command) -> Kept:
        """Return what is kept of a reply for a repeated request."""
        reply = command.reply
        assert reply.aggregate_id  # what succeeds shows something
        return Kept(
            command.request_id,
            command.fingerprint,
            reply.aggregate_id,
            reply.version,
            reply.part_id,
            self._positions.get(reply.aggregate_id, 0),
        )

    def _reply(self, command: Command, reply: Reply) -> None:
        self.unanswered -= 1
        if reply.code:  # a refusal is not remembered: its repeat is decided anew
            self._keyed.pop(command.request_id, None)
        command.answer.is_now(reply)

    def _fail(self, command: Command, why: Exception) -> None:
        self.unanswered -= 1
        self._keyed.pop(command.request_id, None)
        command.answer.is_now(why)


def based_on(batch: Iterable[Command]) -> dict[UUID, int]:
    """Return the version of every aggregate that a batch began with.

    The database confirms that one, or what is written right after it. So `Conflict`
    is raised where an aggregate was read anew in between, and is not as it was left.
    """
    first: dict[UUID, int] = {}
    latest: dict[UUID, int] = {}
    moved_on: set[UUID] = set()
    for command in batch:
        for aggregate_id, (_, version, _) in command.decision.touched.items():
            first.setdefault(aggregate_id, version)
            if latest.setdefault(aggregate_id, version) != version:
                moved_on.add(aggregate_id)
        for event in command.events:
            latest[event.originator_id] = event.originator_version
    if moved_on:
        raise Conflict(moved_on)
    return first


def age_of(command: Command) -> float:
    """Return how many seconds ago a command was asked for."""
    return (datetime.now(UTC) - command.moment.timestamp).total_seconds()


def last_of(aggregate_id: UUID | None, events: Sequence[Event]) -> int:
    """Return the index of an aggregate's last event, -1 if there is none.

    What adds nothing shows what another command of its batch has added.
    """
    indexes = reversed(range(len(events)))
    of = (i for i in indexes if events[i].originator_id == aggregate_id)
    return next(of, -1)


def concerning(undone: Sequence[Command], why: IntegrityError) -> set[Key]:
    """Return what commands have looked at, and what others have changed of it."""
    keys: set[Key] = {i for c in undone for i in c.decision.touched}
    keys |= {p for c in undone for p in parts_of(c.decision.parts)}
    if isinstance(why, Conflict):
        keys |= why.moved_on | set(parts_of(why.moved_on))
    return keys


def concerned(command: Command, why: IntegrityError) -> bool:
    """Tell whether it was this command that others got in the way of."""
    if not isinstance(why, Conflict):
        return True
    changed = why.moved_on & (command.decision.touched.keys() | command.decision.parts)
    return bool(changed or why.allocated.keys() & (command.taken | command.seen))


def room_of(batch: Iterable[Command]) -> tuple[dict[str, int], dict[str, int]]:
    """Return how many GiB of each backend commands take, and what must not be passed.

    Each command was decided within a limit of its own, for what is taken up to it.
    """
    taken: dict[str, int] = {}
    left: dict[str, int] = {}
    for command in batch:
        for backend, gib in command.taken.items():
            taken[backend] = so_far = taken.get(backend, 0) + gib
            own = command.decision.limits.get(backend, NO_LIMIT) - so_far
            left[backend] = min(own, left.get(backend, own))
    return taken, {backend: left[backend] + gib for backend, gib in taken.items()}


def replayed(history: Iterable[Written]) -> dict[UUID, tuple[Aggregate, int]]:
    """Return the aggregates that events make, with the position of the last."""
    found: dict[UUID, tuple[Aggregate, int]] = {}
    for topic, state, position in history:
        event = log.decode(topic, state)
        before, _ = found.get(event.originator_id, (None, 0))
        found[event.originator_id] = event.mutate(before), position
    return found


def brought_up(known: Any, events: Iterable[Event]) -> Any:
    """Return an aggregate with what follows, or raise `OutOfOrder` if that does not."""
    for event in events:
        version = known.version if isinstance(known, Aggregate) else 0
        if isinstance(known, Unreadable) or event.originator_version != version + 1:
            raise OutOfOrder(event.originator_id, version, event.originator_version)
        known = event.mutate(known)
    return known


def decoded(history: Iterable[Written]) -> list[tuple[Event, int]]:
    """Return events with their positions."""
    return [(log.decode(topic, state), position) for topic, state, position in history]


def excess(bounded: Mapping[K, Any], most: int) -> list[K]:
    """Return the oldest keys of what is too large."""
    return list(islice(bounded, max(0, len(bounded) - most)))
