"""Aggregates and the events they are made of.

These classes satisfy the protocols of `eventsourcing.domain`, so its stores and
subscriptions take them as they are. They are our own because a frozen msgspec
struct is built, written and read five times faster than a dataclass, and
refuses a value of the wrong type when a log is read.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime
from typing import Any, ClassVar, Self
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from domain.provenance import MOMENT, Provenance, Ran


class OutOfOrder(Exception):
    """An event was applied to an aggregate that is not at the version before it."""


def given(said: Any, otherwise: Any) -> Any:
    """Return what was said, or what was before where nothing was."""
    return otherwise if said is UNSET else said


class NotInFlight(Exception):
    """The work that is reported on is not under way: it was settled or given up."""

    def __str__(self) -> str:
        aggregate_id, version = self.args
        return f"{aggregate_id} has no work in flight from its version {version}"


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened to one aggregate, and the status it led to.

    A released event keeps its topic and its fields. One that must change its
    shape raises the default of `event_version` and appends the function that
    lifts a state written by the version before to `UPCASTS`.
    """

    TOPIC: ClassVar[str]
    UPCASTS: ClassVar[tuple[Callable[[dict[str, Any]], None], ...]] = ()

    originator_id: UUID
    originator_version: int
    timestamp: datetime
    provenance: Provenance
    status: str
    event_version: int = 1

    @property
    def adds_part(self) -> UUID | None:
        """The id of the part that the aggregate has from this event on, if any."""
        return None

    def mutate(self, aggregate: Any) -> Any:
        """Bring the aggregate from the version before this event to this one.

        `First` is given `None`, and makes it.
        """
        if aggregate.version + 1 != self.originator_version:
            raise OutOfOrder(aggregate.id, aggregate.version, self.originator_version)
        aggregate.version = self.originator_version
        aggregate.updated_at = self.timestamp
        aggregate.status = self.status
        self.apply(aggregate)
        return aggregate

    def apply(self, aggregate: Any) -> None:
        """Assign what the event changes besides the status."""


class First(Event, frozen=True, kw_only=True):
    """What an aggregate begins with; one that is there may be begun anew."""

    MAKES: ClassVar[type[Aggregate]]

    def mutate(self, aggregate: Any) -> Any:
        return super().mutate(aggregate or self.MAKES(self.originator_id))


class Intent(Event, frozen=True, kw_only=True):
    """A command event: it asks a backend for work, and is in flight until settled."""

    backend: str

    @property
    def may_take_long(self) -> bool:
        """Whether it may take hours, as data is copied or cleared."""
        return False

    @property
    def in_turn_with(self) -> Collection[UUID]:
        """The ids of aggregates whose work is done one after another with this."""
        return [self.originator_id]

    def mutate(self, aggregate: Any) -> Any:
        aggregate = super().mutate(aggregate)
        aggregate.in_flight[self.originator_version] = self
        return aggregate


class Outcome(Event, frozen=True, kw_only=True):
    """What came of an intent, named by its version, and by what was run for it."""

    intent: int
    commands: tuple[Ran, ...] | UnsetType = UNSET

    def mutate(self, aggregate: Any) -> Any:
        aggregate = super().mutate(aggregate)
        aggregate.in_flight.pop(self.intent, None)
        return aggregate


class Failure(Outcome, frozen=True, kw_only=True):
    """An intent came to nothing: a word for programs, a sentence for operators."""

    code: str
    message: str

    @property
    def fault(self) -> Fault:
        """What the aggregate shows as its error."""
        return Fault(self.code, self.message, self.timestamp)

    def mutate(self, aggregate: Any) -> Any:
        aggregate = super().mutate(aggregate)
        aggregate.error = self.fault
        return aggregate


class Progress(Event, frozen=True, kw_only=True):
    """Work that an intent asks for goes on, and how far it is."""

    intent: int
    percent: int

    def mutate(self, aggregate: Any) -> Any:
        aggregate = super().mutate(aggregate)
        aggregate.progressed_at = self.timestamp
        return aggregate


class Fault(msgspec.Struct, frozen=True):
    """What went wrong last."""

    code: str
    message: str
    at: datetime


class Done(msgspec.Struct, frozen=True):
    """A backend did what an intent asked; what it has to tell depends on that."""

    location: str = ""
    connection: dict[str, Any] | None = None
    found: bool = False
    size_gib: int = 0
    reference: dict[str, str] | None = None
    cleared: str | None = None
    consistent: bool = False


class NotDone(msgspec.Struct, frozen=True):
    """A backend could not do what an intent asked; `busy`: not now."""

    code: str
    message: str
    busy: bool = False


class Aggregate:
    """A thing with an identity whose state is the sum of its events."""

    status: Any
    updated_at: datetime
    backend = ""  # where it is, for what takes room
    allocated_gib = 0  # what it takes of its backend's room
    progressed_at: datetime | None = None  # when work that is in flight last went on
    error: Fault | None = None

    def __init__(self, aggregate_id: UUID) -> None:
        self.id = aggregate_id
        self.version = 0
        self.in_flight: dict[int, Intent] = {}
        self._pending: list[Event] = []

    def __init_subclass__(cls) -> None:
        """Let the events that it may begin with know what they make."""
        for event in cls.events():
            if issubclass(event, First):
                event.MAKES = cls

    @classmethod
    def events(cls) -> list[type[Event]]:
        """Return what may happen to such an aggregate, in the order of the source."""
        named = (each for kind in cls.__mro__ for each in vars(kind).values())
        return [e for e in named if isinstance(e, type) and issubclass(e, Event)]

    @classmethod
    def begin(cls, event: type[Event], aggregate_id: UUID, **data: Any) -> Self:
        """Return a new aggregate that has recorded its first event."""
        aggregate = cls(aggregate_id)
        aggregate.record(event, **data)
        return aggregate

    def record(self, event: type[Event], **data: Any) -> None:
        """Note that something has happened, and let it take effect."""
        timestamp, provenance, _ = MOMENT.get()
        self._happened(
            event(
                originator_id=self.id,
                originator_version=self.version + 1,
                timestamp=timestamp,
                provenance=provenance,
                **data,
            )
        )

    def settle(
        self, event: type[Outcome | Progress], intent: Intent, **data: Any
    ) -> None:
        """Note what came of an intent, and by what was run for it."""
        if ran := MOMENT.get().ran:
            data["commands"] = ran
        self.follow_up(event, intent, intent=intent.originator_version, **data)

    def follow_up(self, event: type[Event], asked: Intent, /, **data: Any) -> None:
        """Note what follows from an intent, as asked for by whoever asked for that."""
        timestamp, reported, _ = MOMENT.get()
        self._happened(
            event(
                originator_id=self.id,
                originator_version=self.version + 1,
                timestamp=timestamp,
                provenance=asked.provenance.led_to(reported),
                **data,
            )
        )

    def fail(
        self, event: type[Failure], intent: Intent, why: NotDone, **data: Any
    ) -> None:
        """Note that an intent came to nothing, and why."""
        self.settle(event, intent, code=why.code, message=why.message, **data)

    def intended(self, version: int) -> Intent:
        """Return the intent recorded at that version, or raise `NotInFlight`."""
        try:
            return self.in_flight[version]
        except KeyError:
            raise NotInFlight(self.id, version) from None

    def progress(self, version: int, percent: int) -> None:
        """Take no note of how far work is, unless a kind of aggregate does."""

    @property
    def unsettled(self) -> bool:
        """Whether something is under way that will change its status."""
        return bool(self.in_flight)

    def waited_for(self, intent: Intent) -> datetime:
        """Return since when an intent has waited for a word from its backend."""
        return max(intent.timestamp, self.progressed_at or intent.timestamp)

    def news(self, since: int) -> list[Event]:
        """Return the events recorded since the last collection, but so many first."""
        return self._pending[since:]

    def collect_events(self) -> list[Event]:
        """Hand over the events recorded since the last call."""
        collected, self._pending = self._pending, []
        return collected

    def _happened(self, event: Event) -> None:
        event.mutate(self)
        self._pending.append(event)
