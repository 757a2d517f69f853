"""How much room each backend has: what its agent measured, and what is taken.

What is taken is a fold over the log, kept beside it in the same transaction.
Between two commits a replica adds what it has decided meanwhile; where another
replica took room at the same time, the commit tells, and it is decided again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from msgspec import to_builtins
from msgspec.structs import replace

from domain.placement import limit_gib, virtual_free_gib
from domain.ports import Capabilities
from projections.resources import BackendSeen, instant


@dataclass(frozen=True)
class Measured:
    """What an agent last told of its backend, and when that was."""

    capabilities: Capabilities | None
    working: bool
    reason: str | None
    reported_at: datetime


class Room:
    """What one replica knows of the backends."""

    def __init__(
        self,
        down_after: float = 60.0,
        volume_types: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        self.volume_types = volume_types or {}
        self.measured: dict[str, Measured] = {}
        self.allocated: dict[str, int] = {}
        self._promised: dict[str, int] = {}
        self._heard: set[str] = set()
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

    def limit(self, backend: str) -> int:
        """Return how many GiB may be taken at all."""
        known = self.measured.get(backend)
        return limit_gib(known.capabilities) if known and known.capabilities else 0

    def state(self, backend: str) -> str:
        """Return "up" while the backend's agent reports, else "down"."""
        known = self.measured.get(backend)
        if known is None:
            return "down"
        silent = (datetime.now(UTC) - known.reported_at).total_seconds()
        return "up" if silent < self._down_after else "down"

    def fresh(self, backend: str) -> bool:
        """Tell whether the backend has reported to this replica itself."""
        return backend in self._heard

    def know(self, backend: str, told: Measured) -> None:
        """Take in what a backend's agent has told just now."""
        self.measured[backend] = told
        self._heard.add(backend)

    def why_not_working(self, backend: str) -> str | None:
        """Return why the backend cannot do its work, or None if it can."""
        known = self.measured.get(backend)
        if known is None or self.state(backend) == "down":
            return "its agent does not report"
        return None if known.working else known.reason

    def with_measured(self, backend: BackendSeen) -> BackendSeen:
        """Return a backend with what its agent last told, and what is taken of it."""
        name = backend.name
        known = self.measured.get(name)
        told = known.capabilities if known else None
        return replace(
            backend,
            state=self.state(name),
            working=self.why_not_working(name) is None,
            capabilities=told and self._described(name, told),
            reported_at=known and instant(known.reported_at),
        )

    def _described(self, name: str, told: Capabilities) -> dict[str, Any]:
        taken = self.allocated.get(name, 0)
        described: dict[str, Any] = to_builtins(told)
        return described | {
            "allocated_capacity_gb": taken,
            "virtual_free_gb": round(virtual_free_gib(told, taken), 2),
        }
