"""A backend: storage on one host, served by one agent."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any, NamedTuple, TypedDict
from uuid import UUID, uuid5

from domain import aggregate
from domain.aggregate import Aggregate, Done, Intent, NotDone
from domain.drift import OBJECT, Drift, Explanation, Remedy, Subject
from domain.lifecycle import Lifecycle
from domain.pool import passed
from domain.ports import Object

# A backend is known by its name; the log wants an id, so one follows from it.
BACKENDS = UUID("8f6f7c2e-2a0b-5c55-9d0c-5b1f3a7f6d10")


class Administration(StrEnum):
    ENABLED = "enabled"
    DISABLED = "disabled"


E, D = Administration.ENABLED, Administration.DISABLED

# fmt: off
ADMINISTRATION = Lifecycle(Administration, [
    # command            from     to
    ["take_lease",       [E, D],  "="],
    ["announce",         [E, D],  "="],
    ["enable",           D,       E  ],
    ["disable",          [E, D],  D  ],
    ["initialize",       [E, D],  "="],
    ["initialized",      [E, D],  "="],
    ["measure_pool",     [E, D],  "="],
    ["compare",          [E, D],  "="],
    ["repair",           [E, D],  "="],
    ["repaired",         [E, D],  "="],
])
# fmt: on

# How many findings may stand; what is found beyond is recorded as those are cleared.
MOST_DRIFT = 1000


class Key(NamedTuple):
    """What tells one finding from another, however it is worded."""

    noun: str
    subject: str
    drift: Drift


class Told(TypedDict):
    """What is told of a finding, beside whose it is."""

    drift: Drift
    expected: str
    found: str
    remedy: Remedy
    seen: Object | None
    explained_by: Explanation | None
    cause: int | None


@dataclass(eq=False)
class LeaseLost(Exception):
    """The agent that tells it does not serve the backend, or no longer."""

    backend: str
    told: int
    lease: int

    def __str__(self) -> str:
        return f"lease {self.told} of backend {self.backend} is not {self.lease}"


@lru_cache(maxsize=1024)
def id_of(name: str) -> UUID:
    """Return the id under which the log knows a backend."""
    return uuid5(BACKENDS, name)


class Backend(Aggregate):
    """Where volumes are; new ones go only to an enabled one."""

    # Events: each names the backend, for its readers know it by nothing else.

    class LeaseTaken(aggregate.First, frozen=True, kw_only=True):
        """An agent takes the backend over: what others tell of it counts no more."""

        TOPIC = "backend.lease_taken"
        backend: str
        number: int
        holder: str
        host: str

        def apply(self, backend: Backend) -> None:
            backend.name = self.backend
            backend.lease = self.number

    class Announced(aggregate.First, frozen=True, kw_only=True):
        """An agent serves the backend for the first time, or from elsewhere."""

        TOPIC = "backend.announced"
        backend: str
        host: str
        driver: str
        storage_protocol: str

        def apply(self, backend: Backend) -> None:
            backend.name = self.backend
            backend.host = self.host
            backend.driver = self.driver
            backend.storage_protocol = self.storage_protocol

    class Enabled(aggregate.Event, frozen=True, kw_only=True):
        """New volumes may go there again."""

        TOPIC = "backend.enabled"
        backend: str

        def apply(self, backend: Backend) -> None:
            backend.disabled_reason = None

    class Disabled(aggregate.Event, frozen=True, kw_only=True):
        """No new volume goes there; those it has are served as ever."""

        TOPIC = "backend.disabled"
        backend: str
        reason: str

        def apply(self, backend: Backend) -> None:
            backend.disabled_reason = self.reason

    class InitializationStarted(aggregate.Intent, frozen=True, kw_only=True):
        """The agent is to look at its storage anew and settle what is in flight."""

        TOPIC = "backend.initialization_started"

    class Initialized(aggregate.Outcome, frozen=True, kw_only=True):
        """The storage is usable."""

        TOPIC = "backend.initialized"
        backend: str

        def apply(self, backend: Backend) -> None:
            backend.error = None

    class InitializationFailed(aggregate.Failure, frozen=True, kw_only=True):
        """The storage is not usable."""

        TOPIC = "backend.initialization_failed"
        backend: str

    class PoolFilled(aggregate.Event, frozen=True, kw_only=True):
        """A part of its pool is as full as the threshold: its `data` or `metadata`."""

        TOPIC = "backend.pool_filled"
        backend: str
        part: str
        percent: float
        threshold: int

        def apply(self, backend: Backend) -> None:
            backend.pool = backend.pool | {self.part: self.threshold}

    class PoolRelieved(PoolFilled, frozen=True, kw_only=True):
        """A part of its pool is less full: the threshold still passed, 0 for none."""

        TOPIC = "backend.pool_relieved"

    class DriftFound(aggregate.Event, frozen=True, kw_only=True):
        """The storage is otherwise than the log says, in one way of one subject.

        `seen` is what there is of it; `cause` is the position of the event that asked
        for it.
        """

        TOPIC = "backend.drift_found"
        backend: str
        noun: str
        subject: str
        drift: Drift
        expected: str
        found: str
        remedy: Remedy
        seen: Object | None = None
        explained_by: Explanation | None = None
        cause: int | None = None

        @property
        def key(self) -> Key:
            """What tells it from others."""
            return Key(self.noun, self.subject, self.drift)

        def is_as(self, told: Told) -> bool:
            """Tell whether what is told now is what was found.

            What is neither a volume nor a snapshot may grow all the time: no news.
            """
            said = told["expected"], told["found"], told["remedy"]
            same = (self.expected, self.found, self.remedy) == said
            return same or self.noun == OBJECT

        def apply(self, backend: Backend) -> None:
            backend.drift = backend.drift | {self.key: self}

    class DriftCleared(aggregate.Event, frozen=True, kw_only=True):
        """The storage is as the log says again, in that way."""

        TOPIC = "backend.drift_cleared"
        backend: str
        noun: str
        subject: str
        drift: Drift

        def apply(self, backend: Backend) -> None:
            gone = Key(self.noun, self.subject, self.drift)
            backend.drift = {k: v for k, v in backend.drift.items() if k != gone}

    class RepairStarted(aggregate.Intent, frozen=True, kw_only=True):
        """What differs is to be made as the log says, in the way that is safe.

        What that takes is told with it: who is to reach a volume, how large it is to
        be, when and for which event it was made, and what a snapshot is of.
        """

        TOPIC = "backend.repair_started"
        noun: str
        subject: str
        drift: Drift
        remedy: Remedy
        turn: UUID
        made_at: str = ""
        cause: int = 0
        of: UUID | None = None
        size_gib: int = 0
        connectors: list[dict[str, Any]] = []  # noqa: RUF012 - msgspec copies it

        @property
        def may_take_long(self) -> bool:
            return self.remedy is Remedy.REMOVE

        @property
        def in_turn_with(self) -> Collection[UUID]:
            return [self.turn]

        @property
        def key(self) -> Key:
            """Which finding it is about."""
            return Key(self.noun, self.subject, self.drift)

    class RepairProgressed(aggregate.Progress, frozen=True, kw_only=True):
        """What is to go is being cleared, which may take hours."""

        TOPIC = "backend.repair_progressed"
        backend: str
        noun: str
        subject: str
        drift: Drift

        def apply(self, backend: Backend) -> None:
            # Of each by itself: one that goes on leaves the others as late as they are.
            backend.repairs_went_on = backend.repairs_went_on | {
                self.intent: self.timestamp
            }

    class Repaired(aggregate.Outcome, frozen=True, kw_only=True):
        """It was done, or there was nothing to do; what differs no more is cleared."""

        TOPIC = "backend.repaired"
        backend: str
        noun: str
        subject: str
        drift: Drift

        def apply(self, backend: Backend) -> None:
            backend.error = None
            backend.repairs_went_on = without(backend.repairs_went_on, self.intent)

    class RepairFailed(aggregate.Failure, frozen=True, kw_only=True):
        """It could not be done; it may be asked for again."""

        TOPIC = "backend.repair_failed"
        backend: str
        noun: str
        subject: str
        drift: Drift

        def apply(self, backend: Backend) -> None:
            backend.repairs_went_on = without(backend.repairs_went_on, self.intent)

    # Commands

    @classmethod
    def taken_over(cls, name: str, number: int, holder: str, host: str) -> Backend:
        """Take in a backend that was never heard of, from its first agent."""
        return cls.begin(
            Backend.LeaseTaken,
            id_of(name),
            status=Administration.ENABLED,
            backend=name,
            number=number,
            holder=holder,
            host=host,
        )

    def take_lease(self, number: int, holder: str, host: str) -> None:
        """Let one agent serve the backend from now on, and no other.

        Raises `LeaseLost` for a number that is not higher than all before.
        """
        if number <= self.lease:
            raise LeaseLost(self.name, number, self.lease)
        self.record(
            Backend.LeaseTaken,
            status=ADMINISTRATION.after("take_lease", self),
            backend=self.name,
            number=number,
            holder=holder,
            host=host,
        )

    def check_lease(self, number: int) -> None:
        """Raise `LeaseLost` unless it is the number of the agent that serves it."""
        if number != self.lease:
            raise LeaseLost(self.name, number, self.lease)

    def announce(self, host: str, driver: str, protocol: str | None) -> None:
        """Note where the backend is served from, if that has changed.

        `protocol`: how hosts reach its volumes, None where that is not known yet.
        """
        status = ADMINISTRATION.after("announce", self)
        protocol = protocol or self.storage_protocol
        if (host, driver, protocol) != (self.host, self.driver, self.storage_protocol):
            self.record(
                Backend.Announced,
                status=status,
                backend=self.name,
                host=host,
                driver=driver,
                storage_protocol=protocol,
            )

    def enable(self) -> None:
        """Let new volumes go there; where they may already, nothing is done."""
        if self.status != Administration.ENABLED:
            status = ADMINISTRATION.after("enable", self)
            self.record(Backend.Enabled, status=status, backend=self.name)

    def disable(self, reason: str) -> None:
        """Let no new volume go there."""
        status = ADMINISTRATION.after("disable", self)
        if (status, reason) != (self.status, self.disabled_reason):
            self.record(
                Backend.Disabled, status=status, backend=self.name, reason=reason
            )

    def initialize(self) -> None:
        """Ask the agent to look at its storage anew."""
        status = ADMINISTRATION.after("initialize", self)
        self.record(Backend.InitializationStarted, status=status, backend=self.name)

    def measure_pool(self, percents: dict[str, float]) -> None:
        """Note which thresholds each part of the pool has passed, or left."""
        status = ADMINISTRATION.after("measure_pool", self)
        for part, percent in percents.items():
            before = self.pool.get(part, 0)
            threshold = passed(percent, before)
            if threshold != before:
                filled = threshold > before
                self.record(
                    Backend.PoolFilled if filled else Backend.PoolRelieved,
                    status=status,
                    backend=self.name,
                    part=part,
                    percent=percent,
                    threshold=threshold,
                )

    def compare(
        self, subject: Subject, findings: Sequence[Told], among: Collection[Drift]
    ) -> None:
        """Note what is otherwise with a subject, and what is no more, among these.

        What is otherwise in another way than it was is cleared, and found anew.
        """
        status = ADMINISTRATION.after("compare", self)
        named = {"backend": self.name, "noun": subject.noun, "subject": subject.name}
        found = {told["drift"]: told for told in findings}
        for drift in dict.fromkeys([*among, *found]):
            known = self.drift.get(Key(subject.noun, subject.name, drift))
            stays = known and known.is_as(found[drift]) if drift in found else False
            if known and not stays:
                self.record(Backend.DriftCleared, status=status, drift=drift, **named)
        for told in findings:
            stands = Key(subject.noun, subject.name, told["drift"]) in self.drift
            if not stands and len(self.drift) < MOST_DRIFT:
                self.record(Backend.DriftFound, status=status, **named, **told)

    def repair(self, found: Backend.DriftFound, **needed: Any) -> None:
        """Ask for a finding to be repaired, unless that is under way."""
        status = ADMINISTRATION.after("repair", self)
        if found.key not in self.repairs:
            self.record(
                Backend.RepairStarted,
                status=status,
                backend=self.name,
                noun=found.noun,
                subject=found.subject,
                drift=found.drift,
                remedy=found.remedy,
                **needed,
            )

    @property
    def repairs(self) -> dict[Key, Backend.RepairStarted]:
        """The repairs that are under way."""
        asked = self.in_flight.values()
        return {i.key: i for i in asked if isinstance(i, Backend.RepairStarted)}

    def report(self, version: int, result: Done | NotDone) -> None:
        """Accept what came of an intent; `NotInFlight` for one that is settled."""
        intent = self.intended(version)
        done: type[aggregate.Outcome]
        failed: type[aggregate.Failure]
        done, failed = Backend.Initialized, Backend.InitializationFailed
        command, told = "initialized", dict[str, Any](backend=self.name)
        if isinstance(intent, Backend.RepairStarted):
            done, failed, command = Backend.Repaired, Backend.RepairFailed, "repaired"
            told |= intent.key._asdict()
        told["status"] = ADMINISTRATION.after(command, self)
        if isinstance(result, Done):
            self.settle(done, intent, **told)
        else:
            self.fail(failed, intent, result, **told)

    def progress(self, version: int, percent: int) -> None:
        """Note how far a repair is; what is always short has its deadline alone."""
        intent = self.intended(version)
        if isinstance(intent, Backend.RepairStarted):
            told: dict[str, Any] = {"status": self.status, "backend": self.name}
            told |= intent.key._asdict()
            self.settle(Backend.RepairProgressed, intent, percent=percent, **told)

    def waited_for(self, intent: Intent) -> datetime:
        """Return since when an intent has waited, whatever has gone on beside it."""
        return self.repairs_went_on.get(intent.originator_version, intent.timestamp)

    # State

    def __init__(self, aggregate_id: UUID) -> None:
        super().__init__(aggregate_id)
        self.repairs_went_on: dict[int, datetime] = {}  # when, by what asked for them
        self.disabled_reason: str | None = None
        self.lease = 0
        self.pool: dict[str, int] = {}  # the thresholds that its parts have passed
        self.drift: dict[Key, Backend.DriftFound] = {}  # what stands, the latest last
        # Known once it is announced.
        self.host = self.driver = self.storage_protocol = ""

    name: str


def without(went_on: dict[int, datetime], settled: int) -> dict[int, datetime]:
    """Return when repairs went on, but for one that is settled."""
    return {intent: at for intent, at in went_on.items() if intent != settled}
