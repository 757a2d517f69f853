"""Where a new volume goes: pure decisions over what is known of the backends.

The arithmetic is Cinder's (scheduler, calculate_capacity_factors and the capacity
filter), for thin and for thick storage; where its releases differ, the stricter.
"""

from __future__ import annotations

from math import floor
from typing import TYPE_CHECKING

import msgspec

from domain.pool import overfull

if TYPE_CHECKING:
    from collections.abc import Iterable

    from domain.ports import Capabilities
    from domain.volume_type import VolumeType


class NoCapacity(Exception):
    """No backend that fits has room; `considered` says why each was passed over."""

    def __init__(self, size_gib: int, considered: dict[str, str]) -> None:
        super().__init__(size_gib, considered)
        self.size_gib = size_gib
        self.considered = considered

    def __str__(self) -> str:
        said = "; ".join(f"{name}: {why}" for name, why in self.considered.items())
        because = said or "none is known"
        for_it = f"has room for {self.size_gib} GiB more" if self.size_gib else "fits"
        return f"no backend {for_it} ({because})"


class Storage:
    """A backend's storage as it was measured, and what follows until it is again."""

    def __init__(self, capabilities: Capabilities) -> None:
        self._capabilities = msgspec.to_builtins(capabilities)
        self._provisioned_gib = capabilities.provisioned_capacity_gb
        self._bounds = {thin: bounds(capabilities, thin=thin) for thin in (True, False)}
        self._unmet: dict[VolumeType, str | None] = {}
        self.overfull = next(overfull(capabilities), None)

    def limit_gib(self, *, thin: bool) -> int:
        """Return how many GiB may be promised at all."""
        return self._bounds[thin][0]

    def virtual_free_gib(self, allocated_gib: int, *, thin: bool = True) -> float:
        """Return how many GiB can still be promised."""
        limit, free = self._bounds[thin]
        promised = max(allocated_gib, self._provisioned_gib)
        return max(0.0, min(limit - promised, free))

    def unmet(self, kind: VolumeType) -> str | None:
        """Return what volumes of a type ask and do not find, or None."""
        if kind not in self._unmet:
            self._unmet[kind] = kind.unmet(self._capabilities)
        return self._unmet[kind]


def bounds(known: Capabilities, *, thin: bool) -> tuple[int, float]:
    """Return how many GiB may be promised, in all and of what is free now.

    Only `thin` volumes on thin storage may be promised the same room twice.
    """
    reserved = floor(known.total_capacity_gb * known.reserved_percentage / 100)
    twice = thin and known.thin_provisioning_support
    ratio = max(1.0, known.max_over_subscription_ratio) if twice else 1.0
    limit = floor((known.total_capacity_gb - reserved) * ratio)
    return max(0, limit), (known.free_capacity_gb - reserved) * ratio


class Candidate(msgspec.Struct, frozen=True):
    """A backend as it stands: `allocated_gib` is what the log has promised on it."""

    name: str
    enabled: bool
    disabled_reason: str | None
    up: bool
    working: bool
    reason: str | None
    storage: Storage | None
    allocated_gib: int


def unable(candidate: Candidate) -> str | None:
    """Return why the backend can do nothing for a volume, or None if it can."""
    if not candidate.up:
        return "its agent does not report"
    if not candidate.working or candidate.storage is None:
        return f"does not work: {candidate.reason}"
    return None


def unfit(candidate: Candidate, kind: VolumeType) -> str | None:
    """Return why no volume of the type may go to the backend, or None if one may."""
    if not candidate.enabled:
        return f"is disabled: {candidate.disabled_reason}"
    if why := unable(candidate):
        return why
    if full := candidate.storage and candidate.storage.overfull:
        return full
    if unmet := candidate.storage and candidate.storage.unmet(kind):
        return f"lacks {unmet}"
    return None


def room_gib(candidate: Candidate, kind: VolumeType) -> float:
    """Return how many GiB of volumes of the type can still be promised."""
    if candidate.storage is None:
        return 0.0
    return candidate.storage.virtual_free_gib(candidate.allocated_gib, thin=kind.thin)


def roomiest(
    candidates: Iterable[Candidate], size_gib: int, kind: VolumeType
) -> Candidate:
    """Return the backend with the most room, the first by name among equals.

    Raises `NoCapacity` where none fits.
    """
    passed_over: dict[str, str] = {}
    best: tuple[float, str, Candidate] | None = None
    for candidate in candidates:
        why = unfit(candidate, kind)
        free = 0.0 if why else room_gib(candidate, kind)
        if why or free < size_gib:
            passed_over[candidate.name] = why or too_full(free)
        elif best is None or (-free, candidate.name) < best[:2]:
            best = -free, candidate.name, candidate
    if best is None:
        raise NoCapacity(size_gib, dict(sorted(passed_over.items())))
    return best[2]


def check_growth(candidate: Candidate, more_gib: int, kind: VolumeType) -> None:
    """Raise `NoCapacity` unless a volume that is there can grow.

    Whether others may go there, or could be made there, is not asked.
    """
    free = room_gib(candidate, kind)
    why = unable(candidate) or (too_full(free) if free < more_gib else None)
    if why:
        raise NoCapacity(more_gib, {candidate.name: why})


def too_full(free_gib: float) -> str:
    return f"has room for {floor(free_gib)} GiB"
