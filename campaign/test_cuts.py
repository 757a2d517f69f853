"""Power cuts of a machine with real LVM and real exports."""

from __future__ import annotations

import asyncio
import random

import pytest

from campaign.cuts import cuts

pytestmark = [pytest.mark.campaign, pytest.mark.lvm(outside=True)]

# Of `ON_LVM`, those that are found, and amid what.
SHOWN = {
    "volumes say nothing of their cause": "volume.delete",
    "what LVM is to revert stays as it is": "volume.revert",
    "hosts are not held up": "group.create_from_source",
}
MISTAKEN = "amiss"
ENOUGH = 4  # cuts after which a mistake is found
# A seed, how many cuts, and amid what: as where mistakes are found, and otherwise.
CUTS = [
    ("one", 2, ""),
    *((MISTAKEN, 1, amid) for amid in SHOWN.values()),
    (None, 1, ""),
]


async def found_in(
    seed: str, number: int, broken: str = "", amid: str = ""
) -> list[str]:
    """Return what was found after cuts; they are told."""
    found: list[str] = []
    async for happened in cuts(seed, number, broken, amid):
        print(happened)
        found += happened.findings
    return found


@pytest.mark.parametrize(("seed", "number", "amid"), CUTS)
def test_whenever_the_power_is_cut_all_accounts_agree(
    seed: str | None, number: int, amid: str
) -> None:
    chosen = seed or str(random.randrange(10**6))

    assert asyncio.run(found_in(chosen, number, amid=amid)) == []


@pytest.mark.parametrize(("broken", "amid"), SHOWN.items())
def test_a_mistake_is_found(broken: str, amid: str) -> None:
    assert asyncio.run(found_in(MISTAKEN, ENOUGH, broken, amid))
