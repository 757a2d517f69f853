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
    Awaitable,
    Callable,
    Iterable,
)
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from logging import getLogger
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from uuid import UUID

import msgspec
from eventsourcing.persistence import (
    IntegrityError,
    PersistenceError,
)

from adapters.postgres.appending import Appender
from adapters.postgres.batch import (
    NO_WORK,
    WORK,
    Batch,
    CommitUnknown,
    Conflict,
    Kept,
    Stored,
)
from adapters.postgres.mapper import LogMapper
from adapters.postgres.recorder import LogRecorder, Written
from adapters.tasks import ended, together
from domain.aggregate import Aggregate, Event, Intent, Outcome
from domain.log import replayed
from domain.provenance import MOMENT
from service.deciding.batch import concerned, concerning, made_of
from service.deciding.command import (
    Answer,
    Command,
    Contended,
    Decision,
    KeyReused,
    NotLive,
    Reply,
    Unavailable,
    parts_of,
)
from service.deciding.memory import Memory, excess
from service.deciding.reach import AWAY_AFTER, NOTHING_CHANGED, Reach
from service.deciding.room import Room
from service.deciding.watching import Watchers

if TYPE_CHECKING:
    from adapters.jetstream.direct import Direct

K = TypeVar("K")

PROBE_EVERY = 0.2  # seconds
BRIEFLY = 0.05  # seconds in which is taken what came while we were held up ourselves
SOON = 1.0  # seconds that a command may have waited when others are still taken
REFUSED = Reply(b"", 500)  # what stands for an exception until that is confirmed
TOO_MANY = "too many commands are waiting; ask again later"
STUCK_AFTER = 30.0  # seconds, ten times as many as a batch may take

logger = getLogger(__name__)


@dataclass(eq=False)
class Unwritten(Exception):
    """Something that was decided cannot be written down; nothing of it was sent."""

    why: Exception


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
        self._reach = reach = Reach(recorder)
        self._watchers = watchers = Watchers()
        # Whoever asks the database beside it does so on the same ways.
        self.read, self.lease = reach.read, reach.lease
        self.watching, self.tell = watchers.watching, watchers.tell
        self.memory = Memory(reach, self._not_stored)
        self._mapper = LogMapper()
        self._most_live, self._most_waiting = live, waiting
        self._waiting: list[Command] = []
        self._storing: list[Command] = []  # unless it may come to nothing
        self._set_aside: list[Command] = []
        self._keyed: dict[str, Asked] = {}
        self.unanswered = 0
        self._late = False
        # Told of each batch that was stored, and how many seconds that took.
        self.stored: list[Callable[[list[Command], float], None]] = []
        self._decided, self._wanted = asyncio.Event(), asyncio.Event()
        self._appender = Appender(recorder)
        self._writer = ThreadPoolExecutor(1, "log-writer")

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
            self._writer.shutdown()
            self._reach.close()
            self._appender.release()

    @property
    def full(self) -> bool:
        """Whether as many commands wait as can be served soon."""
        # What was late may have been given up, and no batch come to notice.
        late = self._late and bool(self._waiting)
        return late or self.unanswered >= self._most_waiting

    @property
    def age(self) -> float:
        """How many seconds ago what is in memory was confirmed, 0 where it can be."""
        return self._reach.age

    @property
    def live(self) -> int:
        """How many aggregates and parts are in memory."""
        return len(self.memory.live)

    @property
    def turns(self) -> bool:
        """Whether what is decided gets stored, or is refused, in reasonable time."""
        return not self._waiting or age_of(self._waiting[0]) < STUCK_AFTER

    def submit(self, command: Command) -> Answer:
        """Decide the command and return the answer, which follows its commit.

        Raises `Unavailable` rather than keep more waiting than can be served
        soon, and `KeyReused`.
        """
        if self._reach.away:
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

    async def newest(self) -> int:
        """Return the position of the log's last event, 0 if there is none."""
        return await self.read(self.recorder.max_notification_id) or 0

    def is_in_flight(self, aggregate_id: UUID, intent: int) -> bool:
        """Tell whether a backend is at work, as far as memory knows."""
        known = self.memory.live.get(aggregate_id)
        return isinstance(known, Aggregate) and intent in known.in_flight

    def _decide(self, command: Command) -> None:
        command.decision = decision = Decision(self.memory.live, self.room)
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
            self.memory.forget([*decision.changed, *parts_of(decision.parts)])

    def _drop(self, decision: Decision) -> None:
        self.memory.forget([*decision.touched, *parts_of(decision.parts)])

    async def _write(self) -> None:
        """Store what has been decided, batch after batch."""
        while True:
            await self._decided.wait()
            batch, began = self._next_batch(), time.monotonic()
            self._storing = batch
            try:
                made = self._made_of(batch)
                stored = await self._store(batch, made)
            except Unwritten as fault:
                self._undo(batch, fault.why)
            except IntegrityError as conflict:
                await self._decide_again(batch, conflict)
            except CommitUnknown as unknown:
                await self._find_out(batch, unknown)
            except PersistenceError as failure:
                self._undo(batch, Unavailable(self._reach.why_not(failure)))
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
            try:
                return await self._patiently(batch, self._appender.append(made))
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

    async def _patiently(self, batch: list[Command], doing: Awaitable[K]) -> K:
        """Wait for it; while that takes long, keep nobody waiting."""
        self._wait_on(batch)
        try:
            return await doing
        finally:
            self._patience.cancel()

    def _wait_on(self, batch: list[Command]) -> None:
        """Have patience, again and again."""
        loop = asyncio.get_running_loop()
        self._patience = loop.call_later(AWAY_AFTER, self._wait_briefly, batch)

    def _wait_briefly(self, batch: list[Command]) -> None:
        """Look first at what has come: it may be we who were away."""
        loop = asyncio.get_running_loop()
        self._patience = loop.call_later(BRIEFLY, self._lose_patience, batch)

    def _lose_patience(self, batch: list[Command]) -> None:
        self._reach.lost("the database does not answer")
        self._hide(batch)
        self._wait_on(batch)

    async def _find_out(self, batch: list[Command], unknown: CommitUnknown) -> None:
        """Wait until the log can tell whether the batch was stored."""
        self._reach.lost(str(unknown))
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
        """Return what has to be stored of commands; raise `Unwritten`."""
        stored, positions = self._mapper.to_stored_event, self.memory.positions
        try:
            return made_of(batch, stored, positions, self._word(batch))
        except IntegrityError:
            raise
        except Exception as why:
            raise Unwritten(why) from why

    def _word(self, batch: list[Command]) -> str | None:
        """Return what those are told who follow the log.

        What is alone is published from here, unless somebody may wait for it elsewhere.
        """
        events = [event for command in batch for event in command.events]
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
        self._reach.reached(wrote=bool(stored.positions))
        self._storing = []
        position, positions = stored.positions.start - 1, self.memory.positions
        for command in batch:
            for event in command.events:
                position += 1
                positions[event.originator_id] = position
            shown = command.reply.aggregate_id
            if command.raised:
                self._fail(command, command.raised)
            elif command.reply.code or shown is None:
                self._reply(command, command.reply)
            else:
                last = position if command.events else positions.get(shown, 0)
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
            aggregate, *_ = command.decision.touched[event.originator_id]
            # Another of its version may be what a decision made that conflicts.
            if (
                aggregate
                and aggregate is self.memory.live.get(aggregate.id)
                and aggregate.version == event.originator_version
            ):
                position = self.memory.positions[aggregate.id]
                self._watchers.show(aggregate, event, position)

    async def _decide_again(self, batch: list[Command], why: IntegrityError) -> None:
        """Decide anew all that is not stored, on what others have stored."""
        self._reach.reached()
        undone = self._forget(batch)
        answered: dict[str, Kept] = {}
        if isinstance(why, Conflict):
            answered = why.answered
            self.room.allocated |= why.allocated
        wanted = concerning(undone, why)
        try:
            await self.memory.bring(wanted)
        except PersistenceError as failure:
            self._give_up(undone, failure)
            return
        # Another replica may add a part at any time: nobody may believe later that
        # there is none.
        live = self.memory.live
        absent = {p for p in wanted if isinstance(p, int) and not live.get(p)}
        self.memory.forget(absent)
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
                await self.memory.bring({k for each in commands for k in each.wanted})
            except PersistenceError as failure:
                self._give_up(commands, failure)
            else:
                for command in commands:
                    self._decide(command)

    def _not_stored(self, ids: Iterable[UUID]) -> dict[UUID, list[Event]]:
        """Return what was decided about aggregates and is not stored yet."""
        decided: dict[UUID, list[Event]] = {aggregate_id: [] for aggregate_id in ids}
        for command in chain(self._storing, self._waiting):
            for event in command.events:
                if event.originator_id in decided:
                    decided[event.originator_id].append(event)
        return decided

    async def _probe(self) -> None:
        """While the database is away, look whether it is back."""
        while True:
            await asyncio.sleep(PROBE_EVERY)
            if self._reach.away and self._waiting == []:
                with suppress(PersistenceError):
                    known = await self._reach.loaded(self.recorder.allocated)
                    self.room.allocated = known
                    self._reach.reached()

    def _from_memory(self, command: Command) -> Answer:
        """Answer a query from what is known, while nothing can be confirmed."""
        if not command.query:
            raise self._reach.unavailable()
        decision = Decision(self.memory.live, self.room)
        try:
            reply = command.decide(decision)
        except NotLive:
            raise self._reach.unavailable() from None
        if shown := reply.aggregate_id:
            reply = reply.at(self.memory.positions.get(shown, 0))
        command.answer.is_now(msgspec.structs.replace(reply, age=self._reach.age))
        return command.answer

    def _hide(self, batch: list[Command]) -> None:
        """Show nobody what may not have happened, and let nothing build on it."""
        self._undo([])
        for command in batch:
            if command.events:
                self._drop(command.decision)

    def _undo(self, batch: list[Command], why: Exception | None = None) -> None:
        """Give up what was not stored; nothing of it ever happened."""
        for command in self._forget(batch):
            self._fail(command, why or Unavailable(NOTHING_CHANGED))

    def _give_up(self, commands: list[Command], why: PersistenceError) -> None:
        """Answer that the database is away, before anything was changed."""
        self._reach.lost(str(why))
        for command in commands:
            self._fail(command, Unavailable(NOTHING_CHANGED))

    def _forget(self, batch: list[Command]) -> list[Command]:
        """Drop every aggregate that holds what was not stored."""
        undone, self._waiting, self._storing = batch + self._waiting, [], []
        self._decided.clear()
        for command in undone:
            self.room.give_back(command.taken)
            if command.events or not self._reach.away:
                self._drop(command.decision)
        return undone

    def _forget_oldest(self) -> None:
        """Keep memory bounded, without what waiting commands have looked at."""

        def looked_at() -> set[UUID]:
            return {i for c in self._waiting for i in c.decision.touched}

        self.memory.forget_oldest(self._most_live, looked_at)
        for request_id in excess(self._keyed, self._most_live):
            if self._keyed[request_id].answer.outcome:
                del self._keyed[request_id]

    async def _repeat(self, command: Command, first: Kept) -> None:
        if first.fingerprint != command.fingerprint:
            self._fail(command, KeyReused())
            return
        try:
            reply = await self._reach.loaded(self._again, command, first)
        except PersistenceError as failure:
            # Others of its batch have been decided anew, and go on.
            self._reach.lost(str(failure))
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

    def _reply(self, command: Command, reply: Reply) -> None:
        self.unanswered -= 1
        if reply.code:  # a refusal is not remembered: its repeat is decided anew
            self._keyed.pop(command.request_id, None)
        command.answer.is_now(reply)

    def _fail(self, command: Command, why: Exception) -> None:
        self.unanswered -= 1
        self._keyed.pop(command.request_id, None)
        command.answer.is_now(why)


def age_of(command: Command) -> float:
    """Return how many seconds ago a command was asked for."""
    return (datetime.now(UTC) - command.moment.timestamp).total_seconds()
