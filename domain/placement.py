"""Where a new volume goes: pure decisions over what is known of the backends.

The arithmetic is Cinder's (scheduler, calculate_capacity_factors and the
capacity filter), for thin and for thick storage.
"""

from __future__ import annotations

from math import floor
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from domain.ports import Capabilities


class NoCapacity(Exception):
    """No backend that fits has room; `considered` says why each was passed over."""

    def __init__(self, size_gib: int, considered: dict[str, str]) -> None:
        super().__init__(size_gib, considered)
        self.size_gib = size_gib
        self.considered = considered

    def __str__(self) -> str:
        said = "; ".join(f"{name}: {why}" for name, why in self.considered.items())
        because = said or "none is known"
        return f"no backend has room for {self.size_gib} GiB more ({because})"


class Candidate(msgspec.Struct, frozen=True):
    """A backend as it stands: `allocated_gib` is what the log has promised on it."""

    name: str
    enabled: bool
    disabled_reason: str | None
    up: bool
    working: bool
    reason: str | None
    capabilities: Capabilities | None
    allocated_gib: int


def limit_gib(capabilities: Capabilities) -> int:
    """Return how many GiB may be promised at all."""
    total = capabilities.total_capacity_gb
    usable = total - floor(total * capabilities.reserved_percentage / 100)
    if capabilities.thin_provisioning_support:
        usable *= max(1.0, capabilities.max_over_subscription_ratio)
    return max(0, floor(usable))


def virtual_free_gib(capabilities: Capabilities, allocated_gib: int) -> float:
    """Return how many GiB can still be promised."""
    promised = max(allocated_gib, capabilities.provisioned_capacity_gb)
    free = limit_gib(capabilities) - promised
    ratio = (
        max(1.0, capabilities.max_over_subscription_ratio)
        if capabilities.thin_provisioning_support
        else 1.0
    )
    return max(0.0, min(free, capabilities.free_capacity_gb * ratio))


def passed_over(
    candidate: Candidate, size_gib: int, *, growing: bool = False
) -> str | None:
    """Return why the backend cannot take so much more, or None if it can.

    What is `growing` is there already, whatever else may go there.
    """
    known = candidate.capabilities
    if not candidate.enabled and not growing:
        return f"is disabled: {candidate.disabled_reason}"
    if not candidate.up:
        return "its agent does not report"
    if not candidate.working or known is None:
        return f"does not work: {candidate.reason}"
    free = virtual_free_gib(known, candidate.allocated_gib)
    if free < size_gib:
        return f"has room for {floor(free)} GiB"
    return None


def roomiest(candidates: Iterable[Candidate], size_gib: int) -> str:
    """Return the name of the backend with the most room, or raise `NoCapacity`."""
    considered: dict[str, str] = {}
    best: tuple[float, str] | None = None
    for candidate in candidates:
        why = passed_over(candidate, size_gib)
        if why or candidate.capabilities is None:
            considered[candidate.name] = str(why)
            continue
        free = virtual_free_gib(candidate.capabilities, candidate.allocated_gib)
        if best is None or (-free, candidate.name) < best:
            best = (-free, candidate.name)
    if best is None:
        raise NoCapacity(size_gib, considered)
    return best[1]
