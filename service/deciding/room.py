"""How much room each backend has: what its agent measured, and what is taken.

What is taken is a fold over the log, kept beside it in the same transaction.
Between two commits a replica adds what it has decided meanwhile; where another
replica took room at the same time, the commit tells, and it is decided again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from time import monotonic, time
from typing import Any

from msgspec import to_builtins
from msgspec.structs import replace

from domain.capabilities import Capabilities
from domain.drift import Surveyed
from domain.placement import Storage
from domain.volume_type import VolumeType
from projections.resources import BackendSeen, instant


@dataclass(frozen=True)
class Measured:
    """What an agent last told of its backend, and when that was."""

    capabilities: Capabilities | None
    working: bool
    reason: str | None
    reported_at: datetime
    lease: int = 0
    surveyed: Surveyed = Surveyed()  # noqa: RUF009 - it is frozen
    number: int = 0

    @property
    def order(self) -> tuple[int, int, datetime]:
        """What orders measurements: whose it is, then which of that agent's.

        An agent of an earlier version does not count them, and its clock tells.
        """
        return self.lease, self.number, self.reported_at

    @cached_property
    def storage(self) -> Storage | None:
        """What follows from it for those who look for room."""
        return Storage(self.capabilities) if self.capabilities else None

    @cached_property
    def told_at(self) -> float:
        """When that was, in seconds, as the agent's clock says."""
        return self.reported_at.timestamp()


class Room:
    """What one replica knows of the backends."""

    def __init__(
        self,
        down_after: float = 60.0,
        volume_types: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        self.volume_types: dict[str | None, VolumeType] = {None: VolumeType(None, {})}
        for kind, specs in (volume_types or {}).items():
            self.volume_types[kind] = VolumeType(kind, specs)
        self.measured: dict[str, Measured] = {}
        self.allocated: dict[str, int] = {}
        self._promised: dict[str, int] = {}
        self._heard: dict[str, float] = {}  # when, by our own clock
        self._down_after = down_after

    def taken(self, backend: str) -> int:
        """Return how many GiB are taken, what is being stored included."""
        return self.allocated.get(backend, 0) + self._promised.get(backend, 0)

    def take(self, gib: Mapping[str, int]) -> None:
        """Count what was decided and is not stored yet."""
        for backend, more in gib.items():
            self._promised[backend] = self._promised.get(backend, 0) + more

    def give_back(self, gib: Mapping[str, int]) -> None:
        """Stop counting it: it was stored, or came to nothing."""
        for backend, more in gib.items():
            self._promised[backend] = self._promised.get(backend, 0) - more

    def is_up(self, backend: str) -> bool:
        """Tell whether the backend's agent reports.

        What another replica has heard, before we were there, is as old as the agent
        says; its clock may differ from ours.
        """
        if heard := self._heard.get(backend):
            return monotonic() - heard < self._down_after
        known = self.measured.get(backend)
        return known is not None and abs(time() - known.told_at) < self._down_after

    def fresh(self, backend: str) -> bool:
        """Tell whether the backend has reported to this replica itself."""
        return backend in self._heard

    def know(self, backend: str, told: Measured) -> None:
        """Take in what a backend's agent has told just now."""
        self.measured[backend] = told
        self._heard[backend] = monotonic()

    def keeps_groups_consistent(self, backend: str) -> bool:
        """Tell whether the backend takes snapshots of a group at one moment."""
        known = self.measured.get(backend)
        told = known and known.capabilities
        return bool(told and told.consistent_group_snapshot_enabled)

    def protocol(self, backend: str) -> str | None:
        """Return how hosts reach a backend's volumes, None where that is not known."""
        known = self.measured.get(backend)
        told = known and known.capabilities
        return told.storage_protocol if told else None

    def why_not_working(self, backend: str) -> str | None:
        """Return why the backend cannot do its work, or None if it can."""
        known = self.measured.get(backend)
        if known is None or not self.is_up(backend):
            return "its agent does not report"
        return None if known.working else known.reason

    def waits_for(self, backend: str) -> str | None:
        """Return what keeps the backend from its work, or what it catches up on."""
        known = self.measured.get(backend)
        return self.why_not_working(backend) or (known.reason if known else None)

    def surveyed(self, backend: str) -> Surveyed:
        """Return when a backend was last compared with the log, and why not since."""
        known = self.measured.get(backend)
        told = known.surveyed if known else Surveyed()
        nothing_yet = None if told.at else "it has not been looked at as a whole yet"
        why = self.why_not_working(backend) or told.failure or nothing_yet
        return replace(told, failure=why)

    def with_measured(self, backend: BackendSeen) -> BackendSeen:
        """Return a backend with what its agent last told, and what is taken of it."""
        name = backend.name
        known = self.measured.get(name)
        return replace(
            backend,
            state="up" if self.is_up(name) else "down",
            working=self.why_not_working(name) is None,
            capabilities=known and self._described(name, known),
            reported_at=known and instant(known.reported_at),
        )

    def _described(self, name: str, known: Measured) -> dict[str, Any] | None:
        if known.storage is None:
            return None
        taken = self.allocated.get(name, 0)
        described: dict[str, Any] = to_builtins(known.capabilities)
        return described | {
            "allocated_capacity_gb": taken,
            "virtual_free_gb": round(known.storage.virtual_free_gib(taken), 2),
        }
