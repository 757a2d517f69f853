"""A backend: storage on one host, served by one agent."""

from __future__ import annotations

from enum import StrEnum
from functools import lru_cache
from typing import Any
from uuid import UUID, uuid5

from domain import aggregate
from domain.aggregate import Aggregate, Done, NotDone
from domain.lifecycle import Lifecycle

# A backend is known by its name; the log wants an id, so one follows from it.
BACKENDS = UUID("8f6f7c2e-2a0b-5c55-9d0c-5b1f3a7f6d10")


class Administration(StrEnum):
    ENABLED = "enabled"
    DISABLED = "disabled"


E, D = Administration.ENABLED, Administration.DISABLED

# fmt: off
ADMINISTRATION = Lifecycle(Administration, [
    # command            from     to
    ["announce",         [E, D],  "="],
    ["enable",           D,       E  ],
    ["disable",          [E, D],  D  ],
    ["initialize",       [E, D],  "="],
    ["initialized",      [E, D],  "="],
])
# fmt: on


@lru_cache(maxsize=1024)
def id_of(name: str) -> UUID:
    """Return the id under which the log knows a backend."""
    return uuid5(BACKENDS, name)


class Backend(Aggregate):
    """Where volumes are; new ones go only to an enabled one."""

    # Events: each names the backend, for its readers know it by nothing else.

    class Announced(aggregate.Event, frozen=True, kw_only=True):
        """An agent serves the backend for the first time, or from elsewhere."""

        TOPIC = "backend.announced"
        backend: str
        host: str
        driver: str
        storage_protocol: str

        def mutate(self, backend: Backend | None) -> Backend:
            backend = backend or Backend(self.originator_id)
            super().mutate(backend)
            return backend

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

    # Commands

    @classmethod
    def announced(cls, name: str, host: str, driver: str, protocol: str) -> Backend:
        """Take in a backend that was never heard of."""
        return cls.begin(
            Backend.Announced,
            id_of(name),
            status=Administration.ENABLED,
            backend=name,
            host=host,
            driver=driver,
            storage_protocol=protocol,
        )

    def announce(self, host: str, driver: str, protocol: str) -> None:
        """Note where the backend is served from, if that has changed."""
        status = ADMINISTRATION.after("announce", self)
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

    def report(self, version: int, result: Done | NotDone) -> None:
        """Accept what came of an intent; `NotInFlight` for one that is settled."""
        intent = self.intended(version)
        told: dict[str, Any] = {"status": ADMINISTRATION.after("initialized", self)}
        if isinstance(result, Done):
            self.settle(Backend.Initialized, intent, backend=self.name, **told)
        else:
            told |= {"code": result.code, "message": result.message}
            self.settle(Backend.InitializationFailed, intent, backend=self.name, **told)

    # State

    def __init__(self, aggregate_id: UUID) -> None:
        super().__init__(aggregate_id)
        self.disabled_reason: str | None = None

    name: str
    host: str
    driver: str
    storage_protocol: str
