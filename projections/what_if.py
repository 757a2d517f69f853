"""What would have been decided about room under another policy, by the log alone.

Each decision of the log says what it knew of the backends that were fit (`considered`),
so it can be taken again with another over-subscription or reserve. What it then would
have taken, or left, counts for those after it. What agents measured stays as it was,
and requests that were refused are not in the log: a policy that is stricter is judged
whole, one that is more generous only in where volumes would have gone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple
from uuid import UUID

from msgspec.structs import replace

from domain.aggregate import Aggregate, Event
from domain.placement import Basis, chosen
from domain.volume import Volume

# As the settings of a backend call them, and as a basis does; 1.0 promises room once.
POLICIES = {
    "max_over_subscription_ratio": ("over_subscription", float),
    "reserved_percentage": ("reserved_percentage", int),
}
BOUNDS = {"max_over_subscription_ratio": (1.0, 1e9), "reserved_percentage": (0, 100)}
WHOLE = 2**62  # GiB, more than anything has


class Unclear(Exception):
    """That is no policy, in words."""


class Differs(NamedTuple):
    """A decision that would have been another; `would` is empty for a refusal."""

    position: int
    event: str
    volume_id: UUID
    size_gib: int
    backend: str
    would: str


class Otherwise(NamedTuple):
    """How a volume would have fared: on which backend, and with how much at most."""

    backend: str | None
    most_gib: int


def policy(said: list[str]) -> dict[str, Any]:
    """Return what `KEY=VALUE`s change of a basis, or raise `Unclear`."""
    found = {}
    for each in said:
        key, _, value = each.partition("=")
        try:
            name, kind = POLICIES[key]
            wanted = kind(value)
        except (LookupError, ValueError):
            known = " or ".join(f"{key}=NUMBER" for key in POLICIES)
            raise Unclear(f"{each} is none; say {known}") from None
        least, most = BOUNDS[key]
        if not least <= wanted <= most:
            raise Unclear(f"{each} is none; {key} is from {least:g} to {most:g}")
        if name in found:
            raise Unclear(f"{key} is said twice")
        found[name] = wanted
    return found


class WhatIf:
    """Takes each decision of a log again, as it comes."""

    def __init__(self, changes: Mapping[str, Any]) -> None:
        self._changes = changes
        self._taken: dict[UUID, int] = {}  # by each volume, in truth
        self._otherwise: dict[UUID, Otherwise] = {}
        self._shift: Counter[str] = Counter()  # of what is taken of each backend
        self.judged = 0
        self.untold = 0  # decisions that do not say what they knew
        self.differing: list[Differs] = []

    def happened(self, event: Event, made: Aggregate, position: int) -> None:
        """Take in an event, and the aggregate as it is after it."""
        if not isinstance(made, Volume):
            return
        before, after = self._taken.pop(made.id, 0), made.allocated_gib
        if isinstance(event, Volume.Created | Volume.ExtensionStarted) and not (
            isinstance(event, Volume.ManagingStarted) or made.id in self._otherwise
        ):
            self._judge(event, made, after - before, position)
        self._follow(made, before, after)
        if after:
            self._taken[made.id] = after

    def _judge(self, event: Any, volume: Volume, more: int, position: int) -> None:
        """Take a decision again, if it says what it knew."""
        if not event.considered:
            self.untold += 1
            return
        self.judged += 1
        would = chosen(map(self._changed, event.considered), more)
        if would == volume.backend:
            return
        self._otherwise[volume.id] = (
            Otherwise(would, WHOLE)
            if isinstance(event, Volume.Created)
            else Otherwise(volume.backend, volume.allocated_gib - more)
        )
        told = event.TOPIC, volume.id, event.size_gib, volume.backend
        self.differing.append(Differs(position, *told, would or ""))

    def _changed(self, known: Basis) -> Basis:
        """Return what was known of a backend as it would have been."""
        shift = self._shift[known.backend]
        changes = dict(self._changes)
        if known.over_subscription is None:
            changes.pop("over_subscription", None)
        return replace(
            known,
            allocated_gib=known.allocated_gib + shift,
            provisioned_gib=known.provisioned_gib + shift,
            **changes,
        )

    def _follow(self, volume: Volume, before: int, after: int) -> None:
        """Keep count of what would be taken otherwise than it is."""
        other = self._otherwise.get(volume.id)
        if other is None:
            return
        self._shift[volume.backend] -= after - before
        if other.backend:
            now, then = min(after, other.most_gib), min(before, other.most_gib)
            self._shift[other.backend] += now - then
