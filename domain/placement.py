"""Where a new volume goes: pure decisions over what is known of the backends.

The arithmetic is Cinder's (scheduler, calculate_capacity_factors and the capacity
filter), for thin and for thick storage; where its releases differ, the stricter.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import floor

import msgspec
from msgspec.structs import replace

from domain.capabilities import Capabilities
from domain.pool import overfull
from domain.volume_type import VolumeType


@dataclass(eq=False)
class NoCapacity(Exception):
    """No backend fits, or none that does has room: `considered` says why of each.

    `size_gib` is 0 where room is not what is missing.
    """

    size_gib: int
    considered: dict[str, str]

    def __str__(self) -> str:
        said = "; ".join(f"{name}: {why}" for name, why in self.considered.items())
        because = said or "none is known"
        room = f"no backend has room for {self.size_gib} GiB more"
        return f"{room if self.size_gib else 'no backend fits'} ({because})"


class Storage:
    """A backend's storage as it was measured, and what follows until it is again."""

    def __init__(self, capabilities: Capabilities) -> None:
        self._capabilities = msgspec.to_builtins(capabilities)
        self._provisioned_gib = capabilities.provisioned_capacity_gb
        self._unmet: dict[VolumeType, str | None] = {}
        self._known = {
            thin: Basis(
                backend="",
                total_gib=capabilities.total_capacity_gb,
                free_gib=capabilities.free_capacity_gb,
                provisioned_gib=capabilities.provisioned_capacity_gb,
                reserved_percentage=capabilities.reserved_percentage,
                over_subscription=capabilities.max_over_subscription_ratio
                if thin and capabilities.thin_provisioning_support
                else None,
            )
            for thin in (True, False)
        }
        # Asked for each volume that is placed.
        self._bounds = {thin: known.bounds for thin, known in self._known.items()}
        self.overfull = next(overfull(capabilities), None)

    def limit_gib(self, *, thin: bool) -> int:
        """Return how many GiB may be promised at all."""
        return self._bounds[thin][0]

    def virtual_free_gib(self, allocated_gib: int, *, thin: bool = True) -> float:
        """Return how many GiB can still be promised."""
        return virtual_free(self._bounds[thin], allocated_gib, self._provisioned_gib)

    def basis(self, name: str, allocated_gib: int, *, thin: bool) -> Basis:
        """Return what a decision about it is based on."""
        return replace(self._known[thin], backend=name, allocated_gib=allocated_gib)

    def unmet(self, kind: VolumeType) -> str | None:
        """Return what volumes of a type ask and do not find, or None."""
        if kind not in self._unmet:
            self._unmet[kind] = kind.unmet(self._capabilities)
        return self._unmet[kind]


class Basis(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A backend's room as it was known when it was decided about, in GiB.

    Without an `over_subscription` the same room is promised once.
    """

    backend: str
    total_gib: float
    free_gib: float
    provisioned_gib: float = 0.0
    allocated_gib: int = 0
    reserved_percentage: int = 0
    over_subscription: float | None = None

    @property
    def bounds(self) -> tuple[int, float]:
        """How many GiB may be promised, in all and of what is free now."""
        reserved = floor(self.total_gib * self.reserved_percentage / 100)
        ratio = max(1.0, self.over_subscription or 1.0)
        limit = floor((self.total_gib - reserved) * ratio)
        return max(0, limit), (self.free_gib - reserved) * ratio

    @property
    def virtual_free_gib(self) -> float:
        """How many GiB can still be promised."""
        return virtual_free(self.bounds, self.allocated_gib, self.provisioned_gib)


def virtual_free(
    bounds: tuple[int, float], allocated_gib: int, provisioned_gib: float
) -> float:
    """Return how many GiB can still be promised within such bounds."""
    limit, free = bounds
    return max(0.0, min(limit - max(allocated_gib, provisioned_gib), free))


def rank(known: Basis) -> tuple[float, str]:
    """Return what puts the backend first that a volume goes to: the roomiest."""
    return -known.virtual_free_gib, known.backend


def chosen(considered: Iterable[Basis], more_gib: int) -> str | None:
    """Return the backend with the most room, or None where none has enough."""
    enough = [each for each in considered if each.virtual_free_gib >= more_gib]
    return min(enough, key=rank).backend if enough else None


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
) -> tuple[Candidate, list[Candidate]]:
    """Return the backend with the most room, and all that only room decides about.

    Among equals it is the first by name. Raises `NoCapacity` where none fits.
    `chosen` chooses among those that fit likewise.
    """
    fit: list[Candidate] = []
    passed_over: dict[str, str] = {}
    best: tuple[float, str, Candidate] | None = None
    for candidate in candidates:
        if why := unfit(candidate, kind):
            passed_over[candidate.name] = why
            continue
        fit.append(candidate)
        free = room_gib(candidate, kind)
        if free < size_gib:
            passed_over[candidate.name] = too_full(free)
        elif best is None or (-free, candidate.name) < best[:2]:
            best = -free, candidate.name, candidate
    if best is None:
        raise NoCapacity(size_gib if fit else 0, dict(sorted(passed_over.items())))
    return best[2], fit


def check_growth(candidate: Candidate, more_gib: int, kind: VolumeType) -> None:
    """Raise `NoCapacity` unless a volume that is there can grow.

    Whether others may go there, or could be made there, is not asked.
    """
    if why := unable(candidate):
        raise NoCapacity(0, {candidate.name: why})
    free = room_gib(candidate, kind)
    if free < more_gib:
        raise NoCapacity(more_gib, {candidate.name: too_full(free)})


def too_full(free_gib: float) -> str:
    return f"has room for {floor(free_gib)} GiB"
