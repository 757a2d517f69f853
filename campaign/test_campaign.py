"""Rounds on one service, and mistakes that have to be found."""

from __future__ import annotations

import asyncio
import random

import pytest

from campaign.breaks import BREAKS, ON_LVM
from campaign.patching import patch
from campaign.points import EVERY
from campaign.rounds import rounds

ROUNDS = 10
EVENTFUL = "166"  # its first rounds meet keepers, and then a replica
SEEDS = ["one", "two", "three", "four", None]


async def found_in(seed: str, number: int, broken: str = "") -> list[str]:
    """Return what rounds have found; they are told."""
    found: list[str] = []
    async for happened in rounds(seed, number, broken):
        print(happened)
        found += happened.findings
    return found


@pytest.mark.campaign
@pytest.mark.parametrize("seed", SEEDS, ids=lambda seed: seed or "any")
def test_whatever_is_killed_all_accounts_agree(seed: str | None) -> None:
    chosen = seed or str(random.randrange(10**6))

    assert asyncio.run(found_in(chosen, ROUNDS)) == []


@pytest.mark.campaign
@pytest.mark.parametrize("broken", BREAKS)
def test_a_mistake_is_found(broken: str) -> None:
    assert asyncio.run(found_in(EVENTFUL, ROUNDS, broken))


@pytest.mark.parametrize(
    "where",
    sorted(
        {p.where for p in EVERY}
        | {w for b in [*BREAKS.values(), *ON_LVM.values()] for w in b.patches}
    ),
)
def test_what_is_patched_is_there(where: str) -> None:
    patch(where, lambda call: call)


def test_no_two_points_share_a_name() -> None:
    names = [point.name for point in EVERY]

    assert len(names) == len(set(names))
