"""A command: what it looks at and records, and what becomes of it.

A decision is a plain function of what it is given here. It may be taken more than
once, so it asks and records, and does nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NewType, TypeVar
from uuid import UUID

import msgspec

from domain.aggregate import Aggregate, Event
from domain.log import AGGREGATES
from domain.provenance import Moment, Provenance
from service.deciding.room import Room

A = TypeVar("A", bound=Aggregate)


@dataclass(eq=False)
class NotFound(Exception):
    """There is no such thing."""

    noun: str
    key: object

    def __str__(self) -> str:
        return f"there is no {self.noun} {self.key}"


class Taken(Exception):
    """The id belongs to something that exists."""

    def __str__(self) -> str:
        return f"the id {self.args[0]} is taken; choose another one, or leave it out"


class Unreadable(Exception):
    """The log has an event of it that this version cannot read."""


class Unavailable(Exception):
    """The log cannot be reached, or has too much to do already."""


class Contended(Exception):
    """Others kept changing what the command is about; ask again."""


class KeyReused(Exception):
    """The request id was used for a different request; choose another one."""


class NotLive(BaseException):  # control flow: no `except Exception` may swallow it
    """A decision needs what has to be read first: its arguments are the keys."""


# The id of a part of an aggregate, as a number: aggregates may have the same ids.
Part = NewType("Part", int)
Key = UUID | Part
# An aggregate, or the id of what a part is a part of; None: there is no such thing.
Live = dict[Key, "Aggregate | UUID | Unreadable | None"]


class Reply(msgspec.Struct):
    """What a caller is told: JSON, and a code unless all is well.

    `aggregate_id`, `version` and `part_id` say what it shows, `intent` which
    version of that asked a backend for work, `works` whether one is at work that the
    answer waits for, and `age` how many seconds ago this was known to be so where the
    log cannot be reached.
    """

    body: bytes
    code: int = 0
    aggregate_id: UUID | None = None
    version: int = 0
    part_id: UUID | None = None
    intent: int | None = None
    age: float | None = None
    works: bool = False

    @property
    def detail(self) -> str:
        """What a problem says, in a sentence."""
        told: str = msgspec.json.decode(self.body)["detail"]
        return told

    def at(self, position: int) -> Reply:
        """Return the reply with the position of the command's last event."""
        # The body was written when the command was decided, before later
        # commands of the batch changed the aggregate; the position came after.
        body = b'%s,"position":%d}' % (self.body[:-1], position)
        return msgspec.structs.replace(self, body=body)


class Answer:
    """What becomes of a command: its reply, or why there is none.

    A future that tells at once, and not in the event loop's next turn: a batch's
    answers come together, and go together.
    """

    __slots__ = ("_then", "outcome")

    def __init__(self) -> None:
        self.outcome: Reply | Exception | None = None
        self._then: list[Callable[[Reply | Exception], None]] = []

    def is_now(self, outcome: Reply | Exception) -> None:
        """Tell those who wait; what is known already stays."""
        if self.outcome is None:
            self.outcome = outcome
            told, self._then = self._then, []
            for tell in told:
                tell(outcome)

    def then(self, tell: Callable[[Reply | Exception], None]) -> None:
        """Have somebody told, now or later."""
        if self.outcome is None:
            self._then.append(tell)
        else:
            tell(self.outcome)

    def __await__(self) -> Generator[Any, None, Reply]:
        if self.outcome is None:
            told = asyncio.Event()
            self.then(lambda _: told.set())
            yield from told.wait().__await__()
        if isinstance(self.outcome, Reply):
            return self.outcome
        assert self.outcome
        raise self.outcome


# An aggregate that a decision is about, None if there is none; the version that it
# had, how many GiB it took, and of which backend. (A named tuple would take six times
# as long.)
Touched = tuple[Aggregate | None, int, int, str]


class Decision:
    """What one command looks at, and through it all that it may change."""

    __slots__ = ("_heard", "_live", "limits", "parts", "room", "taken", "touched")

    def __init__(self, live: Live, room: Room) -> None:
        self._live = live
        self.room = room
        self.touched: dict[UUID, Touched] = {}
        self.parts: dict[UUID, UUID] = {}
        self.limits: dict[str, int] = {}
        self.taken: dict[str, int] = {}  # GiB more of each backend
        self._heard: dict[UUID, int] = {}

    def get(self, kind: type[A], aggregate_id: UUID, key: object = None) -> A:
        """Return an aggregate, or raise `NotFound` naming it by its id or `key`."""
        aggregate: Any = self._known(aggregate_id)
        self.touched.setdefault(
            aggregate_id,
            (aggregate, aggregate.version, aggregate.allocated_gib, aggregate.backend)
            if aggregate
            else (None, 0, 0, ""),
        )
        if not isinstance(aggregate, kind):
            raise NotFound(noun_of(kind), key or aggregate_id)
        return aggregate

    def all(self, kind: type[A], ids: Iterable[UUID]) -> list[A]:
        """Return many aggregates, which are read at once where they have to be."""
        wanted = list(ids)
        self.need(wanted)
        return [self.get(kind, key) for key in wanted]

    def need(self, ids: Iterable[UUID]) -> None:
        """Have what is not in memory read at once, whatever it is."""
        if missing := [key for key in ids if key not in self._live]:
            raise NotLive(*missing)

    def find(self, kind: type[A], aggregate_id: UUID) -> A | None:
        """Return an aggregate, or None where there is none."""
        try:
            return self.get(kind, aggregate_id)
        except NotFound:
            return None

    def add(self, aggregate: A) -> A:
        """Take in a new aggregate, or raise `Taken`."""
        existing: Any = self._live.get(aggregate.id)
        if existing or self._live.get(Part(aggregate.id.int)):
            # What this decision has changed itself is known as it was before.
            version = existing.version if existing else 0
            self.touched.setdefault(aggregate.id, (None, version, 0, ""))
            raise Taken(aggregate.id)
        self._live[aggregate.id] = aggregate
        self.touched[aggregate.id] = aggregate, 0, 0, aggregate.backend
        return aggregate

    def whole(self, kind: type[A], part_id: UUID, noun: str) -> A:
        """Return the aggregate that has the part, or raise `NotFound`."""
        part = Part(part_id.int)
        whole_id: Any = self._known(part)
        if whole_id is None:
            # Another replica may add it at any time: look again next time.
            del self._live[part]
            raise NotFound(noun, part_id)
        return self.get(kind, whole_id)

    def add_part(self, part_id: UUID, whole: Aggregate) -> None:
        """Reserve an id for a part of an aggregate, or raise `Taken`."""
        part = Part(part_id.int)
        if self._live.get(part) or self._live.get(part_id):
            raise Taken(part_id)
        self.parts[part_id] = whole.id
        self._live[part] = whole.id

    def news(self) -> list[Event]:
        """Return what has been recorded, whoever's, since this was asked last."""
        news: list[Event] = []
        for key, (aggregate, version, _, _) in self.touched.items():
            if aggregate and aggregate.version != version:
                heard = self._heard.get(key, 0)
                fresh = aggregate.news(heard)
                self._heard[key] = heard + len(fresh)
                news += fresh
        return news

    @property
    def changed(self) -> list[UUID]:
        """The ids of what was recorded about, or added."""
        return [
            key
            for key, (aggregate, version, _, _) in self.touched.items()
            if aggregate and aggregate.version != version
        ]

    def collect(self, shown: UUID | None = None) -> list[Event]:
        """Return what has been recorded, and note what it takes.

        That of what is `shown` comes last, for its position is the answer's.
        """
        events: list[Event] = []
        if shown in self.touched:
            self.touched[shown] = self.touched.pop(shown)
        for aggregate, version, had, backend in self.touched.values():
            if aggregate and aggregate.version != version:
                events += aggregate.collect_events()
                if aggregate.backend != backend:
                    self._take(backend, -had)
                    had = 0  # noqa: PLW2901 - of the one where it is now
                self._take(aggregate.backend, aggregate.allocated_gib - had)
        for event in events:
            if part_id := event.adds_part:
                self.parts[part_id] = event.originator_id
                self._live[Part(part_id.int)] = event.originator_id
        return events

    def _take(self, backend: str, more_gib: int) -> None:
        if more_gib:
            self.taken[backend] = more_gib + self.taken.get(backend, 0)

    def _known(self, key: Key) -> Aggregate | UUID | None:
        try:
            known = self._live.pop(key)
        except KeyError:
            raise NotLive(key) from None
        self._live[key] = known  # now the one used last
        if isinstance(known, Unreadable):
            raise known
        return known


class Command(msgspec.Struct, eq=False):
    """A request to decide something, and what came of it.

    `decide` may be called more than once and does nothing but ask and record.
    `show` makes a reply of what it decided about, and of a version of that as
    it was, for a request that is repeated. A `query` records nothing.
    """

    decide: Callable[[Decision], Reply]
    show: Callable[[Aggregate, UUID | None], Reply]
    moment: Moment
    fingerprint: bytes
    query: bool = False
    attempts: int = 0
    # What it has looked at so far: what is not in memory is read together.
    wanted: set[Key] = msgspec.field(default_factory=set)
    answer: Answer = msgspec.field(default_factory=Answer)
    # What has been decided, last.
    decision: Decision = msgspec.UNSET  # type: ignore[assignment]
    reply: Reply = msgspec.UNSET  # type: ignore[assignment]
    raised: Exception | None = None
    events: Sequence[Event] = ()
    taken: dict[str, int] = {}
    seen: dict[str, int] = {}

    @property
    def request_id(self) -> str:
        return self.moment.provenance.request_id


def asking(decide: Callable[[Decision], Reply]) -> Command:
    """Return a command of the service's own that only looks."""
    return Command(
        decide,
        lambda *_: Reply(b"{}"),
        Moment(datetime.now(UTC), Provenance()),
        b"",
        query=True,
    )


def noun_of(kind: type[Aggregate]) -> str:
    """Return what the log calls aggregates of a kind."""
    return next((noun for noun, each in AGGREGATES.items() if each is kind), "resource")


def parts_of(ids: Iterable[UUID]) -> Iterator[Part]:
    """Return ids as those of parts."""
    return (Part(each.int) for each in ids)
