"""Power cuts of a machine with real LVM and real exports."""

from __future__ import annotations

import asyncio
import random

import pytest

from campaign.cuts import cuts

pytestmark = [pytest.mark.campaign, pytest.mark.lvm(outside=True)]

SEEDS = {"one": 2, None: 1}  # and how many cuts
SHOWN = ["volumes say nothing of their cause"]  # of `ON_LVM`, those seen to be found
ENOUGH = 4  # cuts after which a mistake is found


async def found_in(seed: str, number: int, broken: str = "") -> list[str]:
    """Return what was found after cuts; they are told."""
    found: list[str] = []
    async for happened in cuts(seed, number, broken):
        print(happened)
        found += happened.findings
    return found


@pytest.mark.parametrize("seed", SEEDS, ids=lambda seed: seed or "any")
def test_whenever_the_power_is_cut_all_accounts_agree(seed: str | None) -> None:
    chosen = seed or str(random.randrange(10**6))

    assert asyncio.run(found_in(chosen, SEEDS[seed])) == []


@pytest.mark.parametrize("broken", SHOWN)
def test_a_mistake_is_found(broken: str) -> None:
    assert asyncio.run(found_in("mistaken", ENOUGH, broken))
