"""Volumes that hold again what their snapshots do, thin and thick."""

from __future__ import annotations

import re
import subprocess
from itertools import count
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from adapters.contracts.drivers import (
    CAUSE,
    GIB,
    asked,
    device,
    read,
    size,
    write,
)
from adapters.contracts.snapshots import copy_of, reversion
from adapters.lvm import limits
from adapters.lvm.copies import (
    ENDS,
    LATER,
    Stopped,
    held,
    names,
    stop_in_the_middle,
)
from adapters.lvm.driver import LvmDriver
from adapters.lvm.failures import (
    Crashed,
    HalfReverted,
    LvmFailed,
    SnapshotGone,
)
from adapters.lvm.mapper import mapped
from adapters.lvm.test_driver import fresh
from adapters.lvm.testing import DISKS, GROUP, lvm, run
from adapters.lvm.worker import Worker
from domain.ports import (
    Cause,
    DriverFailed,
    Untidy,
    VolumeIsBusy,
)

pytestmark = pytest.mark.lvm(disks=DISKS)


def test_a_reverted_volume_holds_what_its_snapshot_does(
    driver: LvmDriver, volume: UUID, snapshot: UUID
) -> None:
    before = names()

    driver.revert(reversion(volume, snapshot), LATER)

    assert held(driver, volume) == {b"before"}
    assert names() == before
    write(device(driver, volume), 4096, b"newer!")
    copy = copy_of(snapshot)
    driver.create(copy, CAUSE)
    assert held(driver, copy.originator_id) == {b"before"}


def test_reverting_twice_for_one_cause_is_reverting_once(
    driver: LvmDriver, volume: UUID, snapshot: UUID, kind: str
) -> None:
    event = reversion(volume, snapshot)
    driver.revert(event, LATER)
    write(device(driver, volume), 4096, b"newer!")

    driver.revert(event, LATER)
    fresh(kind).revert(event, LATER)

    assert read(device(driver, volume), 4096, 6) == b"newer!"


def test_a_volume_can_be_reverted_again_and_is_what_it_was(
    driver: LvmDriver, volume: UUID, snapshot: UUID
) -> None:
    driver.revert(reversion(volume, snapshot), LATER)
    write(device(driver, volume), 4096, b"newer!")

    driver.revert(reversion(volume, snapshot), Cause(10, LATER.at))

    assert held(driver, volume) == {b"before"}
    driver.delete_snapshot(snapshot, CAUSE.at)
    driver.delete(volume, CAUSE.at)
    assert not {name for name in names() if str(volume) in name}


def test_a_reversion_that_something_was_in_the_way_of_can_be_asked_for_again(
    driver: LvmDriver, volume: UUID, snapshot: UUID
) -> None:
    before, obstacle = names(), f"_reverting-{volume}"
    run("lvcreate", "-qq", "-y", "-L", "4m", "-Wn", "-Zn", "-n", obstacle, GROUP)
    for position in (LATER.position, 10, 11):
        with pytest.raises(DriverFailed, match=f"{obstacle}.* already exists"):
            driver.revert(reversion(volume, snapshot), Cause(position, LATER.at))
        assert len(held(driver, volume)) == 1
    run("lvremove", "-qq", "-y", f"{GROUP}/{obstacle}")

    driver.revert(reversion(volume, snapshot), Cause(12, LATER.at))

    assert held(driver, volume) == {b"before"}
    assert names() == before


def test_a_reversion_that_leaves_something_says_that_it_is_made(
    driver: LvmDriver, volume: UUID, snapshot: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = names()
    with monkeypatch.context() as patch:
        refuse(patch, "lvremove|lvconvert")
        for _ in range(2):
            with pytest.raises(Untidy, match=r"was refused.* holds what the sn"):
                driver.revert(reversion(volume, snapshot), LATER)

    assert held(driver, volume) == {b"before"}
    driver.revert(reversion(volume, snapshot), Cause(10, LATER.at))
    assert names() == before


def test_a_volume_that_has_grown_keeps_its_size(
    driver: LvmDriver, volume: UUID, snapshot: UUID
) -> None:
    driver.extend(volume, 2)
    write(device(driver, volume), GIB, b"behind")

    driver.revert(reversion(volume, snapshot), LATER)

    assert held(driver, volume) == {b"before"}
    assert size(device(driver, volume)) == 2 * GIB
    assert read(device(driver, volume), GIB, 6) == bytes(6)


def test_a_volume_in_use_is_not_reverted(
    driver: LvmDriver, volume: UUID, snapshot: UUID
) -> None:
    before = names()
    with device(driver, volume).open("rb"), pytest.raises(VolumeIsBusy):
        driver.revert(reversion(volume, snapshot), LATER)

    assert held(driver, volume) == {b"behind"}
    assert names() == before


def test_a_volume_is_reverted_to_its_own_snapshot_alone(
    driver: LvmDriver, volume: UUID, snapshot: UUID
) -> None:
    other = asked()
    driver.create(other, CAUSE)

    with pytest.raises(SnapshotGone):
        driver.revert(reversion(other.originator_id, snapshot), LATER)
    with pytest.raises(SnapshotGone):
        driver.revert(reversion(volume, uuid4()), LATER)

    assert held(driver, volume) == {b"behind"}


class TestThickReversion:
    @pytest.fixture
    def kind(self) -> str:
        return "default"

    def test_it_goes_on_where_it_was(
        self,
        driver: LvmDriver,
        volume: UUID,
        snapshot: UUID,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(limits, "KEEP_EVERY", 0.0)
        event, again = reversion(volume, snapshot), list[float]()

        with pytest.raises(Stopped):
            driver.revert(event, LATER, stop_in_the_middle)
        driver = fresh("default")
        driver.revert(event, LATER, again.append)

        assert again[0] > 40
        assert held(driver, volume) == {b"before"}

    def test_nobody_gets_what_is_reverted_in_part(
        self, driver: LvmDriver, volume: UUID, snapshot: UUID
    ) -> None:
        with pytest.raises(Stopped):
            driver.revert(reversion(volume, snapshot), LATER, stop_in_the_middle)

        with pytest.raises(HalfReverted, match=f"_reverting-{volume}"):
            device(fresh("default"), volume)

    def test_what_cannot_be_read_leaves_the_volume_as_it_was(
        self, driver: LvmDriver, volume: UUID, snapshot: UUID
    ) -> None:
        before = names()

        def breaking(_: float) -> None:
            become(f"_snapshot-{snapshot}", f"0 {GIB // 512} error")

        with pytest.raises(DriverFailed, match="Input/output error"):
            driver.revert(reversion(volume, snapshot), LATER, breaking)

        assert held(driver, volume) == {b"behind"}
        assert names() == before

    def test_what_cannot_be_written_is_kept_elsewhere_until_it_can(
        self, driver: LvmDriver, volume: UUID, snapshot: UUID
    ) -> None:
        def breaking(percent: float) -> None:
            if percent > 50:
                become(f"volume-{volume}", f"0 {GIB // 512} error")

        with pytest.raises(HalfReverted, match=f"_reverting-{volume}"):
            driver.revert(reversion(volume, snapshot), LATER, breaking)

        lvm("lvchange", "--refresh", f"{GROUP}/volume-{volume}")
        kept = Path("/dev", GROUP, f"_reverting-{volume}")
        assert read(kept, ENDS[0], 6) == read(kept, ENDS[1], 6) == b"behind"
        driver.revert(reversion(volume, snapshot), Cause(10, LATER.at))
        assert held(driver, volume) == {b"before"}
        assert not kept.exists()

    def test_what_lvm_does_not_write_down_on_its_way_leaves_it_as_it_was(
        self,
        driver: LvmDriver,
        volume: UUID,
        snapshot: UUID,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(limits, "KEEP_EVERY", 0.0)
        before = names()

        with monkeypatch.context() as patch:
            refuse(patch, "addtag=holdfast.restored=[1-9]")
            with pytest.raises(LvmFailed):
                driver.revert(reversion(volume, snapshot), LATER)

        assert held(driver, volume) == {b"behind"}
        assert names() == before

    @pytest.mark.parametrize("every", [0.0, 60.0])
    def test_what_lvm_cannot_say_is_whole_is_not_told_to_be(
        self,
        driver: LvmDriver,
        volume: UUID,
        snapshot: UUID,
        monkeypatch: pytest.MonkeyPatch,
        every: float,
    ) -> None:
        monkeypatch.setattr(limits, "KEEP_EVERY", every)
        with monkeypatch.context() as patch:
            refuse(patch, "deltag=holdfast.restored=")
            with pytest.raises(HalfReverted):
                driver.revert(reversion(volume, snapshot), LATER)

        driver.revert(reversion(volume, snapshot), Cause(10, LATER.at))

        assert held(driver, volume) == {b"before"}

    def test_a_copy_that_was_left_behind_is_not_what_the_volume_held(
        self,
        driver: LvmDriver,
        volume: UUID,
        snapshot: UUID,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        before, event = names(), reversion(volume, snapshot)

        def breaking(_: float) -> None:
            become(f"_snapshot-{snapshot}", f"0 {GIB // 512} error")

        with monkeypatch.context() as patch:
            refuse(patch, "lvconvert")
            with pytest.raises(LvmFailed):
                driver.revert(event, LATER, breaking)
        for offset in ENDS:
            write(device(driver, volume), offset, b"newest")

        with pytest.raises(DriverFailed, match="Input/output error"):
            driver.revert(event, Cause(10, LATER.at), breaking)

        assert held(driver, volume) == {b"newest"}
        assert names() == before

    def test_a_volume_that_is_reverted_in_part_can_be_deleted(
        self, driver: LvmDriver, volume: UUID, snapshot: UUID
    ) -> None:
        with pytest.raises(Stopped):
            driver.revert(reversion(volume, snapshot), LATER, stop_in_the_middle)

        driver.delete_snapshot(snapshot, CAUSE.at)
        driver.delete(volume, CAUSE.at)

        assert names() == set()


class TestThinReversion:
    @pytest.fixture
    def kind(self) -> str:
        return "thin"

    @pytest.mark.parametrize("step", [1, 2, 3])
    def test_an_lvm_that_crashed_before_a_tag_was_changed_loses_nothing(
        self,
        driver: LvmDriver,
        volume: UUID,
        snapshot: UUID,
        monkeypatch: pytest.MonkeyPatch,
        step: int,
    ) -> None:
        before = names()
        with monkeypatch.context() as patch:
            crash_at(step, patch)
            driver.revert(reversion(volume, snapshot), LATER)

        assert held(driver, volume) == {b"before"}
        assert names() == before


def crash_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have LVM crash before its nth change of something that is there."""
    run_lvm, changes = Worker.run, count(1)

    def run_or_crash(worker: Worker, *words: str) -> list[dict[str, str]]:
        if words[0] in ("lvchange", "lvrename") and next(changes) == step:
            raise Crashed(GROUP, words[0], 139)
        return run_lvm(worker, *words)

    monkeypatch.setattr(Worker, "run", run_or_crash)


def refuse(monkeypatch: pytest.MonkeyPatch, wanted: str) -> None:
    """Have LVM refuse each command that has something in it."""
    run_lvm = Worker.run

    def run_or_refuse(worker: Worker, *words: str) -> list[dict[str, str]]:
        if re.search(wanted, " ".join(words)):
            raise LvmFailed(GROUP, words[0], "it was refused", "see why")
        return run_lvm(worker, *words)

    monkeypatch.setattr(Worker, "run", run_or_refuse)


def become(lv: str, table: str) -> None:
    """Let the kernel have another table of a logical volume than LVM wants."""
    device = mapped(GROUP, lv)
    run("dmsetup", "suspend", "--noflush", device)
    ran = ["dmsetup", "load", device]
    subprocess.run(ran, input=table, text=True, check=True)
    run("dmsetup", "resume", device)
