"""How full a pool is: told when it matters, and not again and again."""

from __future__ import annotations

import pytest

from domain.backend import Backend
from domain.pool import passed


def told(*percents: float) -> list[tuple[str, int]]:
    """Return what a backend records of its pool's data, measured so."""
    backend = Backend.taken_over("lvm", 1, "a holder", "node-1")
    backend.collect_events()
    for percent in percents:
        backend.measure_pool({"data": percent, "metadata": 1.0})
    events = backend.collect_events()
    assert all(isinstance(event, Backend.PoolFilled) for event in events)
    return [(e.TOPIC, e.threshold) for e in events]  # type: ignore[attr-defined]


FILLED, RELIEVED = "backend.pool_filled", "backend.pool_relieved"


@pytest.mark.parametrize(
    ("percents", "recorded"),
    [
        ([0, 79.9], []),
        ([80], [(FILLED, 80)]),
        ([80, 85, 89.9], [(FILLED, 80)]),
        ([96], [(FILLED, 95)]),
        ([81, 91, 97], [(FILLED, 80), (FILLED, 90), (FILLED, 95)]),
        ([80, 79, 80, 78.5, 81], [(FILLED, 80)]),  # it does not flap
        ([80, 77.9], [(FILLED, 80), (RELIEVED, 0)]),
        ([97, 93.5], [(FILLED, 95)]),
        ([97, 92.9], [(FILLED, 95), (RELIEVED, 90)]),
        ([97, 10], [(FILLED, 95), (RELIEVED, 0)]),
    ],
)
def test_thresholds_are_recorded_as_they_are_passed(
    percents: list[float], recorded: list[tuple[str, int]]
) -> None:
    assert told(*percents) == recorded


def test_data_and_metadata_are_told_apart() -> None:
    backend = Backend.taken_over("lvm", 1, "a holder", "node-1")

    backend.measure_pool({"data": 50.0, "metadata": 92.0})

    assert backend.pool == {"metadata": 90}


def test_a_threshold_above_the_one_before_has_no_margin() -> None:
    assert passed(89.0, 80) == 80
