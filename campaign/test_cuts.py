"""Power cuts of a machine with real LVM and real exports."""

from __future__ import annotations

import asyncio
import random

import pytest

from campaign.cuts import cuts

pytestmark = [pytest.mark.campaign, pytest.mark.lvm(outside=True)]

# fmt: off
# Of `ON_LVM`, those that are found: amid what, and by which of `CHECKS`.
SHOWN = [
    ("durable is said too early",             "",             "acknowledged"),
    ("volumes say nothing of their cause",    "group_snapshot.create",    "kept"),
    ("what LVM is to revert stays as it is",  "volume.revert",            "written"),
    ("hosts are not held up",                 "group.create_from_source", "at_once"),
    # They are waited for, 100 s; and many volumes have to be written before one goes.
    pytest.param(
     "exports are not made again",            "snapshot.create",          "exported",
     marks=pytest.mark.slow),
    pytest.param(
     "blocks are not cleared",                "volume.delete",            "written",
     marks=pytest.mark.slow),
]
MISTAKEN = "amiss"  # the seed
ENOUGH = 4  # cuts after which a mistake is found
# Cuts where nothing is to be found: with which seed, how many, and amid what.
CUTS = [
    ("one",    1, ""),
    (MISTAKEN, 1, "volume.revert"),
    (MISTAKEN, 1, "group.create_from_source"),
    (None,     1, ""),
]
# fmt: on


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


@pytest.mark.parametrize(("broken", "amid", "by"), SHOWN)
def test_a_mistake_is_found(broken: str, amid: str, by: str) -> None:
    found = asyncio.run(found_in(MISTAKEN, ENOUGH, broken, amid))

    assert [finding for finding in found if finding.startswith(f"{by}: ")], found
