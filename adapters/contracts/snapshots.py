"""What every driver must do about what volumes held at one moment, and its copies."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID, uuid4

import msgspec
import pytest

from adapters.contracts.drivers import (
    CAUSE,
    GIB,
    WHEN,
    asked,
    counted,
    device,
    read,
    size,
    write,
)
from domain.ports import Cause, Driver, DriverFailed
from domain.provenance import Provenance
from domain.snapshot import Snapshot, SnapshotStatus
from domain.volume import Volume

LATER = Cause(8, "2026-02-03T04:05:06+00:00")
PLACES = (0, 4096, GIB // 2, GIB - 4096)


def wanted(
    volume_id: UUID, snapshot_id: UUID | None = None, size_gib: int = 1
) -> Snapshot.Created:
    """Return the event that asks for a snapshot."""
    return Snapshot.Created(
        originator_id=snapshot_id or uuid4(),
        originator_version=1,
        timestamp=WHEN,
        provenance=Provenance(),
        status=SnapshotStatus.CREATING,
        backend="contract",
        volume_id=volume_id,
        size_gib=size_gib,
    )


def copy_of(size_gib: int = 1, **source: UUID) -> Volume.Created:
    """Return the event that asks for a volume made of `snapshot=` or `volume=`."""
    return msgspec.structs.replace(asked(size_gib), source=source)


class SnapshotContract:
    """The promises about snapshots and copies, one fact a test.

    A subclass provides the fixture `driver`, as `DriverContract` has it.
    """

    def restarted(self, driver: Driver) -> Driver:
        """Return a new driver on the same storage, as after the agent was killed."""
        raise NotImplementedError

    @pytest.fixture
    def written(self, driver: Driver) -> UUID:
        """A volume of 1 GiB with "before" in some places."""
        event = asked()
        driver.create(event, CAUSE)
        fill(device(driver, event.originator_id), b"before")
        return event.originator_id

    @pytest.fixture
    def snapshot(self, driver: Driver, written: UUID) -> UUID:
        """A snapshot of that volume, which holds "after!" since."""
        event = wanted(written)
        driver.take_snapshot(event, CAUSE)
        fill(device(driver, written), b"after!")
        return event.originator_id

    # Taking snapshots

    def test_a_snapshot_keeps_what_its_volume_held(
        self, driver: Driver, written: UUID, snapshot: UUID
    ) -> None:
        made = copy_of(snapshot=snapshot)
        driver.create(made, CAUSE)

        assert held(device(driver, made.originator_id)) == {b"before"}
        assert held(device(driver, written)) == {b"after!"}

    def test_taking_a_snapshot_twice_is_taking_it_once(
        self, driver: Driver, written: UUID
    ) -> None:
        event = wanted(written)
        location = driver.take_snapshot(event, CAUSE)
        fill(device(driver, written), b"after!")

        assert driver.take_snapshot(event, CAUSE) == location
        assert self.restarted(driver).take_snapshot(event, CAUSE) == location

        made = copy_of(snapshot=event.originator_id)
        driver.create(made, CAUSE)
        assert held(device(driver, made.originator_id)) == {b"before"}

    @pytest.mark.parametrize("other", [Cause(8, CAUSE.at), Cause(7, LATER.at)])
    def test_a_snapshot_taken_for_another_cause_is_not_adopted(
        self, driver: Driver, written: UUID, snapshot: UUID, other: Cause
    ) -> None:
        with pytest.raises(DriverFailed):
            driver.take_snapshot(wanted(written, snapshot), other)

        made = copy_of(snapshot=snapshot)
        driver.create(made, CAUSE)
        assert held(device(driver, made.originator_id)) == {b"before"}

    def test_of_an_absent_volume_no_snapshot_is_taken(self, driver: Driver) -> None:
        before = counted(driver)

        with pytest.raises(DriverFailed):
            driver.take_snapshot(wanted(uuid4()), CAUSE)

        assert counted(driver) == before

    def test_a_volume_that_is_read_can_be_snapshot(
        self, driver: Driver, written: UUID
    ) -> None:
        event = wanted(written)
        with device(driver, written).open("rb"):
            driver.take_snapshot(event, CAUSE)

        made = copy_of(snapshot=event.originator_id)
        driver.create(made, CAUSE)
        assert held(device(driver, made.originator_id)) == {b"before"}

    def test_each_of_several_snapshots_keeps_what_was_there_when_it_was_taken(
        self, driver: Driver, written: UUID, snapshot: UUID
    ) -> None:
        second = wanted(written)
        driver.take_snapshot(second, LATER)
        fill(device(driver, written), b"latest")

        for source, what in ((snapshot, b"before"), (second.originator_id, b"after!")):
            made = copy_of(snapshot=source)
            driver.create(made, CAUSE)
            assert held(device(driver, made.originator_id)) == {what}

    def test_what_grew_since_is_not_in_the_snapshot(
        self, driver: Driver, written: UUID, snapshot: UUID
    ) -> None:
        driver.extend(written, 2)

        made = copy_of(snapshot=snapshot)
        driver.create(made, CAUSE)

        assert size(device(driver, made.originator_id)) == GIB

    def test_a_snapshot_takes_room_and_is_no_volume(
        self, driver: Driver, snapshot: UUID
    ) -> None:
        assert counted(driver) == (1, 2.0)
        assert counted(self.restarted(driver)) == (1, 2.0)

    # Deleting snapshots

    def test_a_deleted_snapshot_is_gone_and_its_volume_stays(
        self, driver: Driver, written: UUID, snapshot: UUID
    ) -> None:
        driver.delete_snapshot(snapshot, CAUSE.at)

        with pytest.raises(DriverFailed):
            driver.create(copy_of(snapshot=snapshot), CAUSE)
        assert held(device(driver, written)) == {b"after!"}
        assert counted(driver) == (1, 1.0)

    def test_deleting_a_snapshot_twice_is_deleting_it_once(
        self, driver: Driver, snapshot: UUID
    ) -> None:
        driver.delete_snapshot(snapshot, CAUSE.at)
        driver.delete_snapshot(snapshot, CAUSE.at)
        self.restarted(driver).delete_snapshot(snapshot, CAUSE.at)

        assert counted(driver) == (1, 1.0)

    def test_a_snapshot_that_never_was_counts_as_deleted(
        self, driver: Driver, snapshot: UUID
    ) -> None:
        driver.delete_snapshot(uuid4(), CAUSE.at)

        assert counted(driver) == (1, 2.0)

    def test_a_snapshot_taken_at_another_time_is_not_deleted(
        self, driver: Driver, snapshot: UUID
    ) -> None:
        driver.delete_snapshot(snapshot, LATER.at)

        assert counted(driver) == (1, 2.0)

    def test_the_snapshot_between_two_others_can_be_deleted(
        self, driver: Driver, written: UUID, snapshot: UUID
    ) -> None:
        second, third = wanted(written), wanted(written)
        driver.take_snapshot(second, CAUSE)
        fill(device(driver, written), b"latest")
        driver.take_snapshot(third, CAUSE)

        driver.delete_snapshot(second.originator_id, CAUSE.at)

        for source, what in ((snapshot, b"before"), (third.originator_id, b"latest")):
            made = copy_of(snapshot=source)
            driver.create(made, CAUSE)
            assert held(device(driver, made.originator_id)) == {what}

    # Copying

    def test_a_copy_of_a_volume_holds_what_that_does(
        self, driver: Driver, written: UUID
    ) -> None:
        made = copy_of(volume=written)

        driver.create(made, CAUSE)

        assert held(device(driver, made.originator_id)) == {b"before"}
        assert counted(driver) == (2, 2.0)

    @pytest.mark.parametrize("kind", ["snapshot", "volume"])
    def test_a_copy_and_its_source_are_written_apart(
        self, driver: Driver, written: UUID, kind: str
    ) -> None:
        source = written
        if kind == "snapshot":
            event = wanted(written)
            driver.take_snapshot(event, CAUSE)
            source = event.originator_id
        made, twin = copy_of(**{kind: source}), copy_of(**{kind: source})
        driver.create(made, CAUSE)

        fill(device(driver, made.originator_id), b"copied")

        driver.create(twin, CAUSE)
        assert held(device(driver, written)) == {b"before"}
        assert held(device(driver, twin.originator_id)) == {b"before"}
        assert held(device(driver, made.originator_id)) == {b"copied"}

    @pytest.mark.parametrize("kind", ["snapshot", "volume"])
    def test_a_copy_that_is_larger_reads_as_zeros_behind(
        self, driver: Driver, written: UUID, snapshot: UUID, kind: str
    ) -> None:
        made = copy_of(2, **{kind: {"snapshot": snapshot, "volume": written}[kind]})

        driver.create(made, CAUSE)

        path = device(driver, made.originator_id)
        assert size(path) == 2 * GIB
        assert len(held(path)) == 1
        for offset in (GIB, 2 * GIB - 4096):
            assert read(path, offset) == bytes(4096)

    @pytest.mark.parametrize("kind", ["snapshot", "volume"])
    def test_a_copy_outlives_its_source(
        self, driver: Driver, written: UUID, kind: str
    ) -> None:
        event = wanted(written)
        driver.take_snapshot(event, CAUSE)
        source = {"snapshot": event.originator_id, "volume": written}[kind]
        made = copy_of(**{kind: source})
        driver.create(made, CAUSE)

        driver.delete_snapshot(event.originator_id, CAUSE.at)
        if kind == "volume":
            driver.delete(written, CAUSE.at)

        assert held(device(driver, made.originator_id)) == {b"before"}

    def test_copying_again_keeps_what_was_written(
        self, driver: Driver, written: UUID
    ) -> None:
        made = copy_of(volume=written)
        location = driver.create(made, CAUSE)
        fill(device(driver, made.originator_id), b"copied")

        assert driver.create(made, CAUSE) == location
        assert self.restarted(driver).create(made, CAUSE) == location
        assert held(device(driver, made.originator_id)) == {b"copied"}

    @pytest.mark.parametrize("kind", ["snapshot", "volume"])
    def test_of_what_is_absent_no_copy_is_made(self, driver: Driver, kind: str) -> None:
        before = counted(driver)

        with pytest.raises(DriverFailed):
            driver.create(copy_of(**{kind: uuid4()}), CAUSE)

        assert counted(driver) == before

    def test_what_is_copied_stays_as_it_was(
        self, driver: Driver, written: UUID
    ) -> None:
        made = copy_of(volume=written)

        driver.create(made, CAUSE)
        driver.delete(made.originator_id, CAUSE.at)

        assert held(device(driver, written)) == {b"before"}
        assert counted(driver) == (1, 1.0)


def fill(path: Path, data: bytes) -> None:
    """Write to some places of a volume."""
    for offset in PLACES:
        write(path, offset, data)


def held(path: Path) -> set[bytes]:
    """Return what is in those places: one thing, unless it is a mixture."""
    return {read(path, offset, 6) for offset in PLACES}
