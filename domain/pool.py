"""A thin pool: it promises more than it has, so whoever runs it has to know in time."""

from __future__ import annotations

from collections.abc import Iterator

from domain.capabilities import Capabilities

THRESHOLDS = (80, 90, 95)  # percent
FULL = THRESHOLDS[-1]
MARGIN = 2.0  # percent below a threshold until it counts as left, so that none flaps


def passed(percent: float, before: int = 0) -> int:
    """Return the highest threshold that is passed, 0 for none.

    `before` is the one that was; it and those below it are left with a margin.
    """
    reached = (
        threshold
        for threshold in THRESHOLDS
        if percent >= threshold - (MARGIN if threshold <= before else 0)
    )
    return max(reached, default=0)


def percents(known: Capabilities | None) -> dict[str, float]:
    """Return how full each part of a backend's pool is; nothing where there is none."""
    if known is None:
        return {}
    told = {"data": known.data_percent, "metadata": known.metadata_percent}
    return {part: percent for part, percent in told.items() if percent is not None}


def overfull(known: Capabilities) -> Iterator[str]:
    """Yield what is so full that nothing new may go there."""
    for part, percent in percents(known).items():
        if percent >= FULL:
            yield f"has a pool whose {part} is {percent:g} % full"
