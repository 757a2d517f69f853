"""Snapshots of several logical volumes, at one moment."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from uuid import UUID, uuid4

import pytest

from adapters.contracts.drivers import (
    CAUSE,
    GIB,
    NODE_1,
    device,
    read,
    write,
)
from adapters.contracts.snapshots import copy_of, wanted
from adapters.contracts.snapshots import together as together_of
from adapters.lvm import thin, together
from adapters.lvm.copies import (
    held,
    names,
)
from adapters.lvm.driver import LvmDriver
from adapters.lvm.failures import (
    NoSpace,
    PoolIsFull,
)
from adapters.lvm.test_driver import fresh
from adapters.lvm.testing import DISKS, EXTENT, SECONDS, lvcreate
from domain.ports import (
    DriverFailed,
    Export,
    TimedOut,
)

pytestmark = pytest.mark.lvm(disks=DISKS)


def test_all_of_a_group_are_taken(driver: LvmDriver, volumes: list[UUID]) -> None:
    event = together_of(*volumes)

    assert driver.take_group_snapshot(event, CAUSE)

    write(device(driver, volumes[0]), 4096, b"behind")
    before = names()
    assert driver.take_group_snapshot(event, CAUSE)
    assert names() == before
    copy = copy_of(event.members[0].snapshot_id)
    driver.create(copy, CAUSE)
    assert held(driver, copy.originator_id) == {b"before"}
    for member in event.members:
        driver.delete_snapshot(member.snapshot_id, CAUSE.at)


def test_a_group_that_is_asked_for_no_moment_has_none(
    driver: LvmDriver, volumes: list[UUID]
) -> None:
    event = together_of(*volumes, consistent=False)

    assert not driver.take_group_snapshot(event, CAUSE)

    assert {f"_snapshot-{each.snapshot_id}" for each in event.members} <= names()


def test_what_a_crash_has_left_of_a_group_is_taken_anew(
    driver: LvmDriver, volumes: list[UUID], kind: str
) -> None:
    event = together_of(*volumes)
    for each in event.members:
        one = wanted(each.volume_id, each.snapshot_id)
        driver.take_snapshot(one, CAUSE)
    write(device(driver, volumes[0]), 4096, b"behind")

    assert fresh(kind).take_group_snapshot(event, CAUSE)

    copy = copy_of(event.members[0].snapshot_id)
    driver = fresh(kind)
    driver.create(copy, CAUSE)
    assert read(device(driver, copy.originator_id), 4096, 6) == b"behind"


@pytest.mark.parametrize("consistent", [True, False])
def test_where_one_cannot_be_taken_none_is_kept(
    driver: LvmDriver, volumes: list[UUID], kind: str, *, consistent: bool
) -> None:
    front = device(driver, volumes[0])
    event = together_of(*volumes, consistent=consistent)
    lvcreate(kind, f"_snapshot-{event.members[1].snapshot_id}", EXTENT)
    before = names()

    with pytest.raises(DriverFailed):
        driver.take_group_snapshot(event, CAUSE)

    assert names() == before
    write(front, 4096, b"behind")


@pytest.mark.parametrize("consistent", [True, False])
def test_where_one_is_gone_none_is_kept(
    driver: LvmDriver, volumes: list[UUID], *, consistent: bool
) -> None:
    event = together_of(*volumes, uuid4(), consistent=consistent)
    before = names()

    with pytest.raises(DriverFailed, match="is gone"):
        driver.take_group_snapshot(event, CAUSE)

    assert names() == before


def test_a_group_without_room_is_not_begun(
    driver: LvmDriver, volumes: list[UUID], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thin, "FULL", 0.0)
    if kind != "thin":
        lvcreate(kind, "all", 10 * GIB)
    before, driver = names(), fresh(kind)

    with pytest.raises((NoSpace, PoolIsFull)):
        driver.take_group_snapshot(together_of(*volumes), CAUSE)

    assert names() == before


def test_hosts_go_on_where_it_takes_too_long(
    driver: LvmDriver, volumes: list[UUID], monkeypatch: pytest.MonkeyPatch
) -> None:
    front, before = device(driver, volumes[0]), names()
    monkeypatch.setattr(together, "STALL", 0.01)

    with pytest.raises(TimedOut):
        driver.take_group_snapshot(together_of(*volumes), CAUSE)

    write(front, 4096, b"behind")
    assert names() == before


@pytest.mark.parametrize(
    "other",
    [
        lambda driver, volume: driver.connect(volume, NODE_1),
        lambda driver, volume: driver.extend(volume, 2),
        lambda driver, volume: driver.converge(Export(volume, (NODE_1,))),
        lambda driver, volume: driver.converge(Export(volume)),
        lambda driver, _: driver.set_up(),
    ],
    ids=["connect", "extend", "converge", "take away", "set up"],
)
def test_nothing_else_lets_hosts_go_on_while_a_group_is_taken(
    driver: LvmDriver, volume: UUID, other: Callable[[LvmDriver, UUID], object]
) -> None:
    device(driver, volume)
    with ThreadPoolExecutor() as threads:
        with driver._fronts.held_up([volume]):
            asked_for = threads.submit(other, driver, volume)
            wait([asked_for], timeout=1.0)
            front = driver._fronts.device(volume)

            assert not asked_for.done()
            assert front
            assert front.is_suspended
        asked_for.result(SECONDS)


def test_hosts_go_on_after_an_agent_was_killed_that_held_them_up(
    driver: LvmDriver, volume: UUID, kind: str
) -> None:
    front = device(driver, volume)
    child = os.fork()
    if not child:
        with fresh(kind)._fronts.held_up([volume]):
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    held_up = driver._fronts.device(volume)
    assert held_up
    assert held_up.is_suspended

    fresh(kind)

    assert read(front, 4096, 6) == b"before"
