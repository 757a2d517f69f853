"""Which door a scenario goes through: its tags say so, and each is a test."""

from __future__ import annotations

from collections.abc import Callable

import pytest

DOORS = {
    "wire": pytest.mark.wire,
    "lvm": pytest.mark.lvm(lio=True, disks=("16G",), seconds=300),
}


@pytest.hookimpl(tryfirst=True)
def pytest_bdd_apply_tag(tag: str, function: Callable[..., object]) -> bool | None:
    """Leave doors to `pytest_generate_tests`, for a scenario may have several."""
    if tag not in DOORS:
        return None
    pytest.mark.door(tag)(function)
    return True


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Have a scenario run once for each of its doors."""
    tags = {mark.args[0] for mark in metafunc.definition.iter_markers("door")}
    doors = [pytest.param(door, marks=DOORS[door]) for door in DOORS if door in tags]
    if doors:
        metafunc.parametrize("door", doors)


@pytest.fixture(autouse=True)
def door() -> str:
    """Return which it is."""
    return "wire"
