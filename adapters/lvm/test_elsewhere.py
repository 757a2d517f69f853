"""What one group has left of a volume that another group of the machine has made."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

import pytest

from adapters.contracts.drivers import CAUSE, asked, held_open
from adapters.contracts.targets import KEY
from adapters.lvm.driver import LvmDriver
from adapters.lvm.fronts import is_of
from adapters.lvm.settings import write_system_dir
from adapters.lvm.testing import DEVICES, FRONTS, SYSTEM_DIR, lvm
from domain.ports import Export
from service.agents import driver_of
from service.settings import LVM_DRIVER, BackendSettings

GROUPS = ("first", "first-but-one")
on_lvm = pytest.mark.lvm(disks=("3G", "3G"))


@pytest.fixture
def both() -> Iterator[list[LvmDriver]]:
    """The drivers of two groups."""
    write_system_dir(SYSTEM_DIR, DEVICES)
    drivers = []
    for group, disk in zip(GROUPS, DEVICES, strict=True):
        lvm("vgcreate", "-y", group, disk)
        options = {"volume_group": group, "target_helper": "local"}
        options["lvm_type"] = "default"
        driver = driver_of(BackendSettings(group, LVM_DRIVER, options=options), KEY)
        assert isinstance(driver, LvmDriver)
        driver.set_up()
        drivers.append(driver)
    yield drivers
    for each in drivers:
        for volume_id in each.exports():
            each.remove_export(volume_id)
    for group in GROUPS:
        lvm("vgremove", "-ff", "-y", group)


@pytest.fixture
def volume(both: list[LvmDriver]) -> UUID:
    """A volume that both have, and a host reaches that of the second."""
    event = asked()
    for each in both:
        each.create(event, CAUSE)
    both[1].connect(event.originator_id, {"host": "node-1"})
    return event.originator_id


@on_lvm
def test_what_hosts_reach_of_another_group_is_not_ours(
    both: list[LvmDriver], volume: UUID
) -> None:
    first, second = both

    assert (first.exports(), second.exports()) == (set(), {volume})


@on_lvm
def test_a_sweep_leaves_the_ways_of_another_group(
    both: list[LvmDriver], volume: UUID
) -> None:
    assert not both[0].converge(Export(volume))
    assert FRONTS.device(volume)


@on_lvm
def test_what_is_left_is_removed_while_hosts_use_the_other(
    both: list[LvmDriver], volume: UUID
) -> None:
    first, second = both
    with held_open(FRONTS.path(volume)):
        assert second.survey().used == {volume}
        assert first.survey().used == set()

        first.remove_export(volume)
        first.delete(volume, CAUSE.at)

        assert second.has_session(volume, None)
    assert first.capabilities().total_volumes == 0
    assert FRONTS.device(volume)


@pytest.mark.parametrize(
    ("device", "ours"),
    [("a-lv", True), ("a-lv--1", True), ("a--b-lv", False), ("b-lv", False)],
)
def test_whose_a_device_is_its_name_says(device: str, *, ours: bool) -> None:
    assert is_of("a", device) is ours
