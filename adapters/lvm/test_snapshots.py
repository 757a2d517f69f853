"""Snapshots, copies, reversions and groups of logical volumes, thin and thick."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from adapters.contracts.drivers import (
    CAUSE,
    GIB,
    WHEN,
    asked,
    device,
    read,
    size,
    write,
)
from adapters.lvm import limits
from adapters.lvm.driver import LvmDriver
from adapters.lvm.failures import HasSnapshots, SnapshotGone
from adapters.lvm.test_driver import fresh
from adapters.lvm.testing import DISKS, GROUP, lvcreate, lvm, run
from domain import reference
from domain.group_snapshot import GroupSnapshot, GroupSnapshotStatus, Member
from domain.ports import (
    Cause,
    DriverFailed,
    VolumeIsBusy,
)
from domain.provenance import Provenance
from domain.snapshot import Snapshot, SnapshotStatus
from domain.volume import Status, Volume

pytestmark = pytest.mark.lvm(disks=DISKS)

LATER = Cause(9, datetime(2026, 1, 2, 3, 4, 9, tzinfo=UTC).isoformat())
TOLD: dict[str, Any] = {
    "originator_version": 1,
    "timestamp": WHEN,
    "provenance": Provenance(),
    "backend": "contract",
}


def snapshot_of(volume_id: UUID, snapshot_id: UUID | None = None) -> Snapshot.Created:
    return Snapshot.Created(
        originator_id=snapshot_id or uuid4(),
        volume_id=volume_id,
        size_gib=1,
        status=SnapshotStatus.CREATING,
        **TOLD,
    )


def copy_of(size_gib: int = 1, **source: UUID) -> Volume.Created:
    return Volume.Created(
        originator_id=uuid4(),
        size_gib=size_gib,
        source=source,
        status=Status.CREATING,
        **TOLD,
    )


def reversion(volume_id: UUID, snapshot_id: UUID) -> Volume.ReversionStarted:
    return Volume.ReversionStarted(
        originator_id=volume_id,
        snapshot_id=snapshot_id,
        snapshot_made_at=WHEN,
        previous_status=Status.AVAILABLE,
        status=Status.REVERTING,
        **TOLD,
    )


def together_of(*volume_ids: UUID, consistent: bool = True) -> GroupSnapshot.Created:
    return GroupSnapshot.Created(
        originator_id=uuid4(),
        group_id=uuid4(),
        consistent=consistent,
        members=[Member(uuid4(), each, 1) for each in volume_ids],
        status=GroupSnapshotStatus.CREATING,
        **TOLD,
    )


def managing(volume_id: UUID, name: str) -> Snapshot.ManagingStarted:
    return Snapshot.ManagingStarted(
        originator_id=uuid4(),
        volume_id=volume_id,
        size_gib=1,
        reference=reference.to(name),
        status=SnapshotStatus.CREATING,
        **TOLD,
    )


@pytest.fixture(params=["thin", "default"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def driver(group: str, kind: str) -> LvmDriver:
    return fresh(kind)


@pytest.fixture
def volume(driver: LvmDriver) -> UUID:
    """A volume of 1 GiB that has something at its beginning and its end."""
    event = asked()
    driver.create(event, CAUSE)
    for offset in ENDS:
        write(device(driver, event.originator_id), offset, b"before")
    return event.originator_id


@pytest.fixture
def snapshot(driver: LvmDriver, volume: UUID) -> UUID:
    """What the volume held before something else was written to it."""
    event = snapshot_of(volume)
    driver.take_snapshot(event, CAUSE)
    for offset in ENDS:
        write(device(driver, volume), offset, b"behind")
    return event.originator_id


ENDS = (4096, GIB - 4096)


def held(driver: LvmDriver, volume_id: UUID) -> set[bytes]:
    return {read(device(driver, volume_id), offset, 6) for offset in ENDS}


def names() -> set[str]:
    """Return what is in the group, and the devices that the kernel has of it."""
    lvs = {row["lv_name"] for row in lvm("lvs", "-o", "lv_name", GROUP)}
    devices = set(run("dmsetup", "ls").split()) - {"No", "devices", "found"}
    return lvs | {each for each in devices if each.endswith("-cow")}


class Stopped(Exception):
    """Whoever hears of progress has had enough."""


def stop(_: float) -> None:
    raise Stopped


# Taking and removing


def test_a_snapshot_holds_what_the_volume_did(
    driver: LvmDriver, volume: UUID, snapshot: UUID
) -> None:
    copy = copy_of(snapshot=snapshot)
    driver.create(copy, CAUSE)

    assert held(driver, copy.originator_id) == {b"before"}
    assert held(driver, volume) == {b"behind"}


def test_a_snapshot_is_no_volume_and_is_promised_its_room(
    driver: LvmDriver, volume: UUID
) -> None:
    before = driver.capabilities()

    driver.take_snapshot(snapshot_of(volume), CAUSE)

    now = driver.capabilities()
    assert now.total_volumes == before.total_volumes == 1
    assert now.provisioned_capacity_gb >= before.provisioned_capacity_gb + 1


def test_a_snapshot_of_a_volume_in_use_is_taken(
    driver: LvmDriver, volume: UUID
) -> None:
    with device(driver, volume).open("rb"):
        driver.take_snapshot(snapshot_of(volume), CAUSE)


def test_taking_twice_takes_one(driver: LvmDriver, volume: UUID, kind: str) -> None:
    event = snapshot_of(volume)
    place = driver.take_snapshot(event, CAUSE)
    before = names()

    assert driver.take_snapshot(event, CAUSE) == place
    assert fresh(kind).take_snapshot(event, CAUSE) == place
    assert names() == before


def test_a_snapshot_that_was_taken_for_another_cause_is_left_alone(
    driver: LvmDriver, volume: UUID
) -> None:
    event = snapshot_of(volume)
    driver.take_snapshot(event, CAUSE)

    with pytest.raises(DriverFailed, match="made for the event"):
        driver.take_snapshot(event, LATER)
    assert driver.delete_snapshot(event.originator_id, LATER.at) is None

    assert f"_snapshot-{event.originator_id}" in names()


def test_a_removed_snapshot_leaves_nothing(
    driver: LvmDriver, volume: UUID, kind: str
) -> None:
    before, event = names(), snapshot_of(volume)
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
    copy = copy_of(2, snapshot=snapshot)

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
        event = snapshot_of(volume)
        driver.take_snapshot(event, CAUSE)
        for offset in range(0, GIB, MIB):
            write(front, offset, b"public")

        driver.delete_snapshot(event.originator_id, CAUSE.at)

        place = lvcreate("default", "all", 10 * GIB)
        with place.open("rb") as file:
            while part := file.read(MIB):
                assert b"secret" not in part

    def test_a_snapshot_is_not_lost_when_all_of_its_volume_has_changed(
        self, driver: LvmDriver, volume: UUID, snapshot: UUID
    ) -> None:
        with device(driver, volume).open("r+b") as file:
            for _ in range(GIB // MIB):
                file.write(b"x" * MIB)
        copy = copy_of(snapshot=snapshot)

        driver.create(copy, CAUSE)

        assert held(driver, copy.originator_id) == {b"before"}

    def test_one_that_was_half_taken_is_taken_anew(
        self, driver: LvmDriver, volume: UUID
    ) -> None:
        event = snapshot_of(volume)
        name = f"_snapshot-{event.originator_id}"
        driver.take_snapshot(event, CAUSE)
        lvm("lvconvert", "-y", "--splitsnapshot", f"{GROUP}/{name}")
        run(
            "dmsetup",
            "remove",
            f"{GROUP.replace('-', '--')}-{name.replace('-', '--')}-cow",
        )

        driver = fresh("default")
        driver.take_snapshot(event, CAUSE)

        copy = copy_of(snapshot=event.originator_id)
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

    def test_a_copy_goes_on_where_it_was(
        self,
        driver: LvmDriver,
        volume: UUID,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(limits, "KEEP_EVERY", 0.0)
        copy = copy_of(volume=volume)

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
        assert held(driver, copy.originator_id) == {b"before"}
        assert len(names()) == 2

    def test_a_copy_that_was_called_off_leaves_nothing(
        self, driver: LvmDriver, volume: UUID
    ) -> None:
        before, copy = names(), copy_of(volume=volume)
        with pytest.raises(Stopped):
            driver.create(copy, CAUSE, stop)
        with pytest.raises(HasSnapshots):
            driver.delete(volume, CAUSE.at)

        fresh("default").delete(copy.originator_id, CAUSE.at)

        assert names() == before

    def test_a_copy_shows_nothing_of_what_was_in_its_blocks(
        self, driver: LvmDriver, volume: UUID
    ) -> None:
        place = lvcreate("default", "all", 6 * GIB)
        with place.open("r+b") as file:
            for offset in range(0, 6 * GIB, MIB):
                file.seek(offset)
                file.write(b"secret")
        lvm("lvremove", "-f", "-y", f"{GROUP}/all")
        copy = copy_of(2, volume=volume)

        driver.create(copy, CAUSE)

        with device(driver, copy.originator_id).open("rb") as file:
            while part := file.read(MIB):
                assert b"secret" not in part


MIB = 1024**2

# Copies


@pytest.mark.parametrize("kind_of_source", ["snapshot", "volume"])
def test_a_copy_is_the_volumes_own(
    driver: LvmDriver, volume: UUID, snapshot: UUID, kind_of_source: str
) -> None:
    source = {"snapshot": snapshot, "volume": volume}[kind_of_source]
    before, copy = names(), copy_of(2, **{kind_of_source: source})

    place = driver.create(copy, CAUSE)
    write(device(driver, copy.originator_id), 4096, b"copied")

    assert place == f"/dev/{GROUP}/volume-{copy.originator_id}"
    assert size(device(driver, copy.originator_id)) == 2 * GIB
    assert read(device(driver, volume), 4096, 6) == b"behind"
    assert driver.create(copy, CAUSE) == place
    assert read(device(driver, copy.originator_id), 4096, 6) == b"copied"
    assert names() - before == {f"volume-{copy.originator_id}"}


def test_a_copy_outlives_its_source(driver: LvmDriver, volume: UUID) -> None:
    copy = copy_of(volume=volume)
    driver.create(copy, CAUSE)

    driver.delete(volume, CAUSE.at)

    assert held(driver, copy.originator_id) == {b"before"}


def test_a_copy_of_what_is_gone_fails(driver: LvmDriver, volume: UUID) -> None:
    before = names()

    with pytest.raises(SnapshotGone):
        driver.create(copy_of(snapshot=uuid4()), CAUSE)
    with pytest.raises(DriverFailed, match="is gone"):
        driver.create(copy_of(volume=uuid4()), CAUSE)

    assert names() == before
