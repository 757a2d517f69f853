"""The LVM driver passes the drivers' contract, thin and thick; and what is special."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from adapters import noting
from adapters.contracts.adoption import AdoptionContract
from adapters.contracts.drivers import (
    CAUSE,
    GIB,
    DriverContract,
    asked,
    device,
    read,
    size,
    write,
)
from adapters.contracts.snapshots import AnySizeContract, SnapshotContract, wanted
from adapters.contracts.targets import KEY, MIB
from adapters.lvm import thin
from adapters.lvm.driver import LvmDriver
from adapters.lvm.failures import HalfRemoved, InUse, NoSpace, PoolIsFull
from adapters.lvm.mapper import mapped
from adapters.lvm.testing import DISKS, FRONTS, GROUP, MAPPER, POOL, lvcreate, lvm, run
from adapters.lvm.volumes import CLEARED
from domain import reference
from domain.ports import Driver, DriverFailed, Manageable, VolumeIsBusy
from service.agents import driver_of
from service.settings import LVM_DRIVER, BackendSettings

pytestmark = pytest.mark.lvm(disks=DISKS)


@pytest.fixture(scope="class")
def agent(request: pytest.FixtureRequest, whole_group: str) -> LvmDriver:
    return fresh(request.cls.kind)


class LvmContract(DriverContract, AdoptionContract, SnapshotContract):
    kind: str

    @pytest.fixture
    def driver(self, group: str, agent: LvmDriver) -> LvmDriver:
        agent.set_up()
        return agent

    def restarted(self, driver: Driver) -> Driver:
        return fresh(self.kind)

    def bring(self, driver: Driver, name: str, size_bytes: int) -> Path:
        return lvcreate(self.kind, name, size_bytes)

    def listed(self, driver: Driver) -> list[Manageable]:
        pool = reference.to(POOL)
        return [each for each in driver.manageable() if each.reference != pool]


class TestThin(LvmContract, AnySizeContract):  # a thick one is as large as its origin
    kind = "thin"

    def bring_snapshot(
        self, driver: Driver, volume_id: UUID, name: str, size_bytes: int
    ) -> None:
        lvm("lvcreate", "-y", "-s", "-n", name, f"{GROUP}/volume-{volume_id}")
        lvm("lvresize", "-f", "-y", "-L", f"{size_bytes}b", f"{GROUP}/{name}")

    def test_a_full_pool_takes_no_new_volume(
        self, driver: LvmDriver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(thin, "FULL", 0.0)

        with pytest.raises(PoolIsFull, match="extend it"):
            driver.create(asked(), CAUSE)

        assert driver.capabilities().total_volumes == 0

    def test_a_pool_that_shows_what_was_in_its_blocks_does_so_no_more(
        self, driver: LvmDriver
    ) -> None:
        lvm("lvchange", "-Zn", "-y", f"{GROUP}/{POOL}")

        driver.set_up()

        assert lvm("lvs", "-o", "zero", f"{GROUP}/{POOL}") == [{"zero": "zero"}]

    def test_a_group_with_a_pool_is_thin_by_itself(self, driver: LvmDriver) -> None:
        again = fresh("auto")

        assert again.capabilities().thin_provisioning_support

    def test_what_others_have_put_in_the_way_is_left_alone(
        self, driver: LvmDriver
    ) -> None:
        event = asked()
        lvcreate("thin", f"volume-{event.originator_id}", GIB)

        with pytest.raises(DriverFailed, match="in the way"):
            driver.create(event, CAUSE)

    def test_what_an_agent_made_that_was_thought_dead_is_known(
        self, driver: LvmDriver
    ) -> None:
        event, earlier = asked(), fresh("thin")
        location = earlier.create(event, CAUSE)

        assert driver.create(event, CAUSE) == location

    def test_a_pool_that_was_extended_has_more_room_at_once(
        self, driver: LvmDriver
    ) -> None:
        before = driver.capabilities().total_capacity_gb

        run("lvextend", "-qq", "-L", "+128m", f"{GROUP}/{POOL}")

        assert driver.capabilities().total_capacity_gb > before


class TestThick(LvmContract):
    kind = "default"

    def test_a_deleted_volume_is_cleared_first(self, driver: LvmDriver) -> None:
        event, told = asked(), list[float]()
        driver.create(event, CAUSE)

        cleared = driver.delete(event.originator_id, CAUSE.at, told.append)

        assert cleared == "zero"
        assert told == sorted(told)
        assert told[-1] == 100

    def test_a_new_volume_shows_nothing_of_the_one_before(
        self, driver: LvmDriver
    ) -> None:
        before, event = asked(), asked()
        place = driver.create(before, CAUSE)
        with Path(place).open("r+b") as file:
            for offset in range(0, GIB, MIB):
                file.seek(offset)
                file.write(b"secret")
        driver.delete(before.originator_id, CAUSE.at)

        place = driver.create(event, CAUSE)

        with Path(place).open("rb") as file:
            assert all(file.read(MIB) == bytes(MIB) for _ in range(GIB // MIB))

    def test_what_was_run_is_noted_with_how_it_exited(self, driver: LvmDriver) -> None:
        noted = noting.begin()

        driver.create(asked(), CAUSE)
        with pytest.raises(NoSpace):
            driver.create(asked(100), CAUSE)

        made = [ran for ran in noted if ran.command.startswith("lvcreate ")]
        assert [ran.exit_status for ran in made] == [0, 5]
        assert all(ran.milliseconds > 0 for ran in noted)

    def test_what_cannot_heal_is_not_tried_again(
        self, driver: LvmDriver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("tried again"))

        with pytest.raises(NoSpace):
            driver.create(asked(100), CAUSE)

    def test_where_the_kernel_has_no_device_nothing_is_exported(
        self, driver: LvmDriver
    ) -> None:
        assert driver.exports() == set()

    def test_a_clearing_that_was_killed_goes_on_where_it_was(
        self, driver: LvmDriver, volume: UUID
    ) -> None:
        lv = driver._there(volume)
        driver._lvs.keep(lv.name, CLEARED, GIB // 2)
        told: list[float] = []

        fresh("default").delete(volume, CAUSE.at, told.append)

        assert told[0] > 50

    @pytest.mark.parametrize(("percent", "flags"), [(50, os.O_EXCL), (100, 0)])
    def test_one_that_is_opened_while_it_is_cleared_is_not_told_to_be_as_it_was(
        self, driver: LvmDriver, volume: UUID, percent: float, flags: int
    ) -> None:
        opened, place = list[int](), driver._lvs.path(f"volume-{volume}")

        def open_it(done: float) -> None:
            if done >= percent and not opened:
                opened.append(os.open(place, os.O_RDONLY | flags))

        try:
            for _ in range(2):
                with pytest.raises(HalfRemoved, match=f"{place} is cleared in part"):
                    driver.delete(volume, CAUSE.at, open_it)
                driver._lvs.keep(f"volume-{volume}", CLEARED, GIB // 2)
        finally:
            os.close(opened[0])

        assert driver.delete(volume, CAUSE.at) == "zero"

    def test_one_that_was_opened_after_a_kill_amid_its_clearing_is_not_as_it_was(
        self, driver: LvmDriver, volume: UUID
    ) -> None:
        def die(_: float) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            driver.delete(volume, CAUSE.at, die)

        path = Path("/dev", GROUP, f"volume-{volume}")
        with path.open("rb"), pytest.raises(HalfRemoved):
            fresh("default").delete(volume, CAUSE.at)

    def test_one_that_was_opened_before_anything_is_cleared_is_as_it_was(
        self, driver: LvmDriver, volume: UUID, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path, opened = Path("/dev", GROUP, f"volume-{volume}"), list[int]()
        write(path, 4096, b"before")
        clear = driver._lvs._clearing.clear

        def open_and_clear(*args: Any) -> None:
            opened.append(os.open(path, os.O_RDONLY | os.O_EXCL))
            clear(*args)

        monkeypatch.setattr(driver._lvs._clearing, "clear", open_and_clear)
        with pytest.raises(InUse):
            driver.delete(volume, CAUSE.at)

        with pytest.raises(VolumeIsBusy) as refused:
            fresh("default").delete(volume, CAUSE.at)
        assert not isinstance(refused.value, HalfRemoved)
        os.close(opened[0])
        assert read(path, 4096, 6) == b"before"

    def test_an_origin_of_snapshots_grows_while_it_is_used(
        self, driver: LvmDriver, volume: UUID
    ) -> None:
        front = device(driver, volume)
        write(front, 4096, b"before")
        origin = f"{GROUP}/volume-{volume}"
        run("lvcreate", "-qq", "-y", "-s", "-L", "64m", "-n", "snap", origin)

        with front.open("rb"):
            driver.extend(volume, 2)

        write(front, 4096, b"behind")
        write(front, 2 * GIB - 4096, b"new")
        assert size(front) == 2 * GIB
        assert read(Path("/dev", GROUP, "snap"), 4096, 6) == b"before"
        with pytest.raises(VolumeIsBusy, match="snapshots"):
            driver.delete(volume, CAUSE.at)

    def test_an_extension_that_was_killed_before_the_kernel_knew_is_finished(
        self, driver: LvmDriver, volume: UUID
    ) -> None:
        front = device(driver, volume)
        lv = f"{GROUP}/volume-{volume}"
        run("lvextend", "-qq", "--driverloaded", "n", "-L", "2g", lv)

        fresh("default").extend(volume, 2)

        assert size(front) == 2 * GIB

    def test_what_an_lvm_that_was_killed_has_suspended_goes_on(
        self, driver: LvmDriver, volume: UUID
    ) -> None:
        front = device(driver, volume)
        run("dmsetup", "suspend", f"/dev/{GROUP}/volume-{volume}")

        device(driver, volume)

        assert read(front, 0, 6) == bytes(6)

    def test_a_device_that_an_lvm_was_killed_before_it_gave_a_table_gets_one(
        self, driver: LvmDriver, volume: UUID
    ) -> None:
        lv = f"volume-{volume}"
        told = run("lvs", "--noheadings", "-o", "vg_uuid,lv_uuid", f"{GROUP}/{lv}")
        run("lvchange", "-qq", "-an", f"{GROUP}/{lv}")
        uuid = "".join(told.split()).replace("-", "")
        MAPPER.create(mapped(GROUP, lv), f"LVM-{uuid}")

        front = device(driver, volume)

        assert read(front, 0, 6) == bytes(6)

    def test_no_more_room_is_told_of_than_there_is(
        self, driver: LvmDriver, volume: UUID
    ) -> None:
        before = driver.capabilities()

        driver.take_snapshot(wanted(volume), CAUSE)

        after = driver.capabilities()
        size = int(lvm("vgs", "-o", "vg_size", GROUP)[0]["vg_size"])
        assert before.total_capacity_gb <= size / GIB
        assert after.total_capacity_gb < before.total_capacity_gb
        assert after.provisioned_capacity_gb == before.provisioned_capacity_gb + 1

    def test_what_leads_to_another_device_is_mended_before_it_is_opened(
        self, driver: LvmDriver, volume: UUID
    ) -> None:
        """Without udev, an LVM that is killed leaves nodes of what is gone."""
        other = asked()
        place = Path(driver.create(other, CAUSE))
        write(place, 4096, b"other")
        node = Path("/dev", GROUP, f"volume-{volume}")
        node.unlink()
        node.symlink_to(place)

        driver.delete(volume, CAUSE.at)

        assert read(place, 4096, 5) == b"other"

    def test_a_front_device_that_an_agent_was_killed_before_it_gave_a_table_is_cut(
        self, volume: UUID
    ) -> None:
        MAPPER.create(FRONTS.path(volume).name, f"HOLDFAST-{volume}")

        FRONTS.cut(volume)

        assert FRONTS.remove(volume)

    def test_a_volume_that_was_switched_off_is_switched_on(
        self, driver: LvmDriver, volume: UUID
    ) -> None:
        run("lvchange", "-qq", "-an", f"{GROUP}/volume-{volume}")

        assert read(device(driver, volume), 0, 6) == bytes(6)


def fresh(kind: str, **options: Any) -> LvmDriver:
    """Return a driver as an agent has it, of hosts that have the devices already."""
    options = {"volume_group": GROUP, "target_helper": "local"} | options
    options["lvm_type"] = kind
    driver = driver_of(BackendSettings("tests", LVM_DRIVER, options=options), KEY)
    assert isinstance(driver, LvmDriver)
    driver.set_up()
    return driver
