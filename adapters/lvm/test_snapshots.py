"""Snapshots of logical volumes, and copies of them, thin and thick."""

from __future__ import annotations

import os
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from adapters.contracts.drivers import (
    CAUSE,
    GIB,
    device,
    read,
    write,
)
from adapters.contracts.snapshots import copy_of, reversion, wanted
from adapters.lvm import limits
from adapters.lvm.copies import (
    ENDS,
    MIB,
    Stopped,
    held,
    names,
    stop,
    stop_in_the_middle,
)
from adapters.lvm.driver import LvmDriver
from adapters.lvm.failures import (
    CutShort,
    HalfRemoved,
    HasSnapshots,
)
from adapters.lvm.mapper import mapped
from adapters.lvm.test_driver import fresh
from adapters.lvm.testing import DISKS, GROUP, MAPPER, lvcreate, lvm
from domain.ports import (
    VolumeIsBusy,
)

pytestmark = pytest.mark.lvm(disks=DISKS)


def test_a_removed_snapshot_leaves_nothing(
    driver: LvmDriver, volume: UUID, kind: str
) -> None:
    before, event = names(), wanted(volume)
    driver.take_snapshot(event, CAUSE)

    cleared = driver.delete_snapshot(event.originator_id, CAUSE.at)

    assert cleared == (None if kind == "thin" else "zero")
    assert driver.delete_snapshot(event.originator_id, CAUSE.at) is None
    assert names() == before


def test_a_snapshot_in_use_is_not_removed(
    driver: LvmDriver, volume: UUID, snapshot: UUID, kind: str
) -> None:
    path = Path("/dev", GROUP, f"_snapshot-{snapshot}")
    if kind == "thin":
        lvm("lvchange", "-ay", "-K", f"{GROUP}/_snapshot-{snapshot}")

    with path.open("rb"), pytest.raises(VolumeIsBusy):
        driver.delete_snapshot(snapshot, CAUSE.at)

    assert read(path, 4096, 6) == b"before"
    driver.delete_snapshot(snapshot, CAUSE.at)


@pytest.mark.parametrize("kind", ["thin"])  # a thick one is as large as its origin
def test_nothing_is_made_of_a_snapshot_that_has_lost_a_part_of_a_gib(
    driver: LvmDriver, volume: UUID, snapshot: UUID, kind: str
) -> None:
    size = GIB - 4 * MIB
    lvm("lvresize", "-f", "-y", "-L", f"{size}b", f"{GROUP}/_snapshot-{snapshot}")
    driver = fresh(kind)

    with pytest.raises(CutShort, match=f"has {size} bytes, and {GIB} are expected"):
        driver.create(copy_of(snapshot), CAUSE)
    with pytest.raises(CutShort):
        driver.revert(reversion(volume, snapshot), CAUSE)

    assert held(driver, volume) == {b"behind"}


def test_a_volume_with_snapshots_is_not_deleted(
    driver: LvmDriver, volume: UUID, snapshot: UUID
) -> None:
    with pytest.raises(HasSnapshots):
        driver.delete(volume, CAUSE.at)

    assert held(driver, volume) == {b"behind"}
    driver.delete_snapshot(snapshot, CAUSE.at)
    driver.delete(volume, CAUSE.at)
    assert driver.capabilities().total_volumes == 0


def test_a_snapshot_keeps_its_size_when_the_volume_grows(
    driver: LvmDriver, volume: UUID, snapshot: UUID
) -> None:
    driver.extend(volume, 2)
    write(device(driver, volume), GIB, b"behind")
    copy = copy_of(snapshot, size_gib=2)

    driver.create(copy, CAUSE)

    assert held(driver, copy.originator_id) == {b"before"}
    assert read(device(driver, copy.originator_id), GIB, 6) == bytes(6)


# What only thick ones know


class TestThick:
    @pytest.fixture
    def kind(self) -> str:
        return "default"

    def test_nobody_sees_what_a_snapshot_has_kept(
        self, driver: LvmDriver, volume: UUID
    ) -> None:
        front = device(driver, volume)
        for offset in range(0, GIB, MIB):
            write(front, offset, b"secret")
        event = wanted(volume)
        driver.take_snapshot(event, CAUSE)
        for offset in range(0, GIB, MIB):
            write(front, offset, b"public")

        driver.delete_snapshot(event.originator_id, CAUSE.at)

        place = lvcreate("default", "all", 2 * GIB)
        with place.open("rb") as file:
            while part := file.read(MIB):
                assert b"secret" not in part

    def test_a_snapshot_is_not_lost_when_all_of_its_volume_has_changed(
        self, driver: LvmDriver, volume: UUID, snapshot: UUID
    ) -> None:
        with device(driver, volume).open("r+b") as file:
            for _ in range(GIB // MIB):
                file.write(b"x" * MIB)
        copy = copy_of(snapshot)

        driver.create(copy, CAUSE)

        assert held(driver, copy.originator_id) == {b"before"}

    def test_one_that_was_half_taken_is_taken_anew(
        self, driver: LvmDriver, volume: UUID
    ) -> None:
        event = wanted(volume)
        name = f"_snapshot-{event.originator_id}"
        driver.take_snapshot(event, CAUSE)
        lvm("lvconvert", "-y", "--splitsnapshot", f"{GROUP}/{name}")
        MAPPER.remove(f"{mapped(GROUP, name)}-cow")

        driver = fresh("default")
        driver.take_snapshot(event, CAUSE)

        copy = copy_of(event.originator_id)
        driver.create(copy, CAUSE)
        assert held(driver, copy.originator_id) == {b"before"}

    def test_removing_goes_on_where_it_was(
        self,
        driver: LvmDriver,
        volume: UUID,
        snapshot: UUID,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(limits, "KEEP_EVERY", 0.0)
        told = list[float]()

        def some(percent: float) -> None:
            told.append(percent)
            if percent > 50:
                raise Stopped

        with pytest.raises(Stopped):
            driver.delete_snapshot(snapshot, CAUSE.at, some)
        assert told[-1] < 60
        again = list[float]()
        fresh("default").delete_snapshot(snapshot, CAUSE.at, again.append)

        assert again[0] > 40
        assert again[-1] == 100

    def test_one_that_is_opened_while_it_is_removed_is_not_told_to_be_as_it_was(
        self, driver: LvmDriver, snapshot: UUID
    ) -> None:
        opened, place = list[int](), f"/dev/{GROUP}/_snapshot-{snapshot}"

        def open_it(percent: float) -> None:
            if percent > 50 and not opened:
                opened.append(os.open(place, os.O_RDONLY | os.O_EXCL))

        try:
            for _ in range(2):
                with pytest.raises(HalfRemoved):
                    driver.delete_snapshot(snapshot, CAUSE.at, open_it)
        finally:
            os.close(opened[0])

        assert driver.delete_snapshot(snapshot, CAUSE.at) == "zero"

    def test_a_copy_whose_moment_is_gone_begins_anew(
        self, driver: LvmDriver, volume: UUID, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        copy, middle = copy_of(volume, "volume"), 256 * MIB
        write(device(driver, volume), middle, b"before")
        with monkeypatch.context() as patch:
            patch.setattr(limits, "KEEP_EVERY", 0.0)
            with pytest.raises(Stopped):
                driver.create(copy, CAUSE, stop_in_the_middle)
        lvm("lvremove", "-y", f"{GROUP}/_copying-{copy.originator_id}")
        for offset in (*ENDS, middle):
            write(device(driver, volume), offset, b"behind")
        with pytest.raises(Stopped):
            fresh("default").create(copy, CAUSE, stop)

        driver = fresh("default")
        driver.create(copy, CAUSE)

        assert held(driver, copy.originator_id) == {b"behind"}
        assert read(device(driver, copy.originator_id), middle, 6) == b"behind"

    def test_a_copy_goes_on_where_it_was(
        self,
        driver: LvmDriver,
        volume: UUID,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(limits, "KEEP_EVERY", 0.0)
        copy = copy_of(volume, "volume")

        def some(percent: float) -> None:
            if percent > 50:
                raise Stopped

        with pytest.raises(Stopped):
            driver.create(copy, CAUSE, some)
        for offset in ENDS:
            write(device(driver, volume), offset, b"behind")
        again = list[float]()
        driver = fresh("default")
        driver.create(copy, CAUSE, again.append)

        assert 40 < again[0] < 70
        assert again == sorted(again)
        assert held(driver, copy.originator_id) == {b"before"}
        assert len(names()) == 2

    def test_a_copy_that_was_called_off_leaves_nothing(
        self, driver: LvmDriver, volume: UUID
    ) -> None:
        before, copy = names(), copy_of(volume, "volume")
        with pytest.raises(Stopped):
            driver.create(copy, CAUSE, stop)
        with pytest.raises(HasSnapshots):
            driver.delete(volume, CAUSE.at)

        fresh("default").delete(copy.originator_id, CAUSE.at)

        assert names() == before

    def test_a_copy_shows_nothing_of_what_was_in_its_blocks(
        self, driver: LvmDriver, volume: UUID
    ) -> None:
        place = lvcreate("default", "all", 2 * GIB)
        with place.open("r+b") as file:
            for offset in range(0, 2 * GIB, MIB):
                file.seek(offset)
                file.write(b"secret")
        lvm("lvremove", "-f", "-y", f"{GROUP}/all")
        copy = copy_of(volume, "volume", 2)

        driver.create(copy, CAUSE)

        with device(driver, copy.originator_id).open("rb") as file:
            while part := file.read(MIB):
                assert b"secret" not in part


# Copies


@pytest.mark.parametrize("kind_of_source", ["snapshot", "volume"])
def test_a_copy_leaves_nothing_but_itself(
    driver: LvmDriver, volume: UUID, snapshot: UUID, kind_of_source: str
) -> None:
    source = {"snapshot": snapshot, "volume": volume}[kind_of_source]
    before, copy = names(), copy_of(source, kind_of_source, 2)

    driver.create(copy, CAUSE)

    assert names() - before == {f"volume-{copy.originator_id}"}


# Who uses them


def test_volumes_that_something_uses_are_told_of(
    driver: LvmDriver, volumes: list[UUID]
) -> None:
    driver.check_unused([*volumes, uuid4()])

    front = device(driver, volumes[0])
    with front.open("rb"), pytest.raises(VolumeIsBusy):
        driver.check_unused(volumes)
    bare = Path("/dev", GROUP, f"volume-{volumes[1]}")
    with bare.open("rb"), pytest.raises(VolumeIsBusy):
        driver.check_unused(volumes)
    driver.check_unused(volumes)
