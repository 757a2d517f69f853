"""What was released stays, and the list of it is never behind the code."""

from __future__ import annotations

from typing import Any

import pytest

from domain import released
from domain.released import Shape, breaches

BEFORE = {"volume.grown": Shape(1, {"size_gib": "int", "why": 'str = ""'})}


def grown(version: int = 1, **lines: str) -> dict[str, Shape]:
    return {"volume.grown": Shape(version, BEFORE["volume.grown"].lines | lines)}


def test_nothing_that_was_released_has_changed() -> None:
    committed = released.parsed(released.LIST.read_text())

    assert [*breaches(committed, released.shapes())] == []


def test_the_committed_list_is_the_generated_one() -> None:
    told = released.text(released.shapes())

    assert released.LIST.read_text() == told, "run: just generate"


def test_the_list_says_all_that_there_is_to_say() -> None:
    told = released.shapes()

    assert released.parsed(released.text(told)) == told


@pytest.mark.parametrize(
    ("now", "why"),
    [
        ({}, "volume.grown is gone"),
        ({"volume.grown": Shape(1, {"why": 'str = ""'})}, "size_gib is gone"),
        ({"volume.grown": Shape(2, {"why": 'str = ""'})}, "size_gib is gone"),
        (grown(size_gib="str"), "size_gib is str, and was int"),
        (grown(why="str"), 'why is str, and was str = ""'),
        (grown(who="str"), "who is required"),
        (grown(version=0), "version 1 was released"),
    ],
)
def test_what_old_logs_would_not_bear_is_told(now: Any, why: str) -> None:
    [told] = breaches(BEFORE, now)

    assert why in told


@pytest.mark.parametrize(
    "now",
    [
        grown(who='str = ""'),
        grown(version=2, who="str"),
        grown(version=2, size_gib="float"),
        grown() | {"volume.shrunk": Shape(1, {"size_gib": "int"})},
    ],
)
def test_what_is_added_or_lifted_is_borne(now: Any) -> None:
    assert [*breaches(BEFORE, now)] == []


def test_a_value_that_is_in_old_logs_stays() -> None:
    before = {"Status": Shape(lines={"creating": "", "lost": ""})}
    now = {"Status": Shape(lines={"creating": "", "found": ""})}

    assert [*breaches(before, now)] == ["Status: lost is gone"]
