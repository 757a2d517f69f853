"""What every driver must do."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID, uuid4

import pytest

from domain.aggregate import Intent
from domain.ports import Cause, Driver, DriverFailed, VolumeIsBusy
from domain.provenance import Provenance
from domain.volume import Volume
from domain.volume_status import Status

GIB = 1024**3
WHEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
CAUSE = Cause(7, WHEN.isoformat())
NODE_1 = {"host": "node-1", "initiator": "iqn.2026-01.example:node-1"}
NODE_2 = {"host": "node-2", "initiator": "iqn.2026-01.example:node-2"}


Asking = TypeVar("Asking", bound=Intent)


def intent(
    kind: type[Asking], status: str, key: UUID | None = None, **asked: Any
) -> Asking:
    """Return an event that asks a driver for something, of a volume or the like."""
    return kind(
        originator_id=key or uuid4(),
        originator_version=1,
        timestamp=WHEN,
        provenance=Provenance(),
        status=status,
        backend="contract",
        **asked,
    )


def asked(size_gib: int = 1, volume_id: UUID | None = None) -> Volume.Created:
    """Return the event that asks for a volume."""
    return intent(Volume.Created, Status.CREATING, volume_id, size_gib=size_gib)


class Suite:
    """What all promises of drivers begin with."""

    def restarted(self, driver: Driver) -> Driver:
        """Return a new driver on the same storage, as after the agent was killed."""
        raise NotImplementedError

    @pytest.fixture
    def volume(self, driver: Driver) -> UUID:
        """A volume of 1 GiB."""
        event = asked()
        driver.create(event, CAUSE)
        return event.originator_id


class DriverContract(Suite):
    """The promises of `domain.ports.Driver`, one fact a test.

    A subclass provides the fixture `driver`, set up on storage that holds no
    volume and has room for 8 GiB, and says how one restarts.
    """

    # Setting up

    def test_setting_up_twice_is_setting_up_once(
        self, driver: Driver, volume: UUID
    ) -> None:
        before = driver.capabilities()

        driver.set_up()

        assert counted(driver) == (before.total_volumes, before.provisioned_capacity_gb)

    # Creating

    def test_a_created_volume_has_its_size(self, driver: Driver) -> None:
        event = asked(size_gib=2)

        driver.create(event, CAUSE)

        assert size(device(driver, event.originator_id)) == 2 * GIB

    def test_a_created_volume_reads_as_zeros(
        self, driver: Driver, volume: UUID
    ) -> None:
        for offset in (0, GIB // 2, GIB - 4096):
            assert read(device(driver, volume), offset) == bytes(4096)

    def test_creating_twice_makes_one(self, driver: Driver) -> None:
        event = asked()

        assert driver.create(event, CAUSE) == driver.create(event, CAUSE)
        assert driver.capabilities().total_volumes == 1

    def test_creating_again_after_a_restart_makes_one(self, driver: Driver) -> None:
        event = asked()
        location = driver.create(event, CAUSE)

        assert self.restarted(driver).create(event, CAUSE) == location
        assert driver.capabilities().total_volumes == 1

    def test_creating_again_keeps_what_was_written(self, driver: Driver) -> None:
        event = asked()
        driver.create(event, CAUSE)
        write(device(driver, event.originator_id), 4096, b"kept")

        driver.create(event, CAUSE)

        assert read(device(driver, event.originator_id), 4096, 4) == b"kept"

    def test_creating_again_does_not_undo_an_extension(self, driver: Driver) -> None:
        event = asked()
        driver.create(event, CAUSE)
        driver.extend(event.originator_id, 2)

        driver.create(event, CAUSE)

        assert size(device(driver, event.originator_id)) == 2 * GIB

    @pytest.mark.parametrize(
        "other", [Cause(8, CAUSE.at), Cause(CAUSE.position, "2026-02-03T04:05:06Z")]
    )
    def test_a_volume_made_for_another_cause_is_not_adopted(
        self, driver: Driver, other: Cause
    ) -> None:
        event = asked()
        driver.create(event, CAUSE)
        write(device(driver, event.originator_id), 0, b"theirs")

        with pytest.raises(DriverFailed):
            driver.create(event, other)

        assert read(device(driver, event.originator_id), 0, 6) == b"theirs"

    def test_volumes_are_created_side_by_side(self, driver: Driver) -> None:
        events = [asked() for _ in range(8)]

        with ThreadPoolExecutor(4) as threads:
            made = set(threads.map(lambda event: driver.create(event, CAUSE), events))

        assert len(made) == driver.capabilities().total_volumes == len(events)

    # Deleting

    def test_a_deleted_volume_is_gone(self, driver: Driver, volume: UUID) -> None:
        driver.delete(volume, CAUSE.at)

        with pytest.raises(DriverFailed):
            driver.connect(volume, NODE_1)

    def test_deleting_gives_the_capacity_back(self, driver: Driver) -> None:
        before, event = counted(driver), asked()
        driver.create(event, CAUSE)

        driver.delete(event.originator_id, CAUSE.at)

        assert counted(driver) == before

    def test_deleting_twice_is_deleting_once(
        self, driver: Driver, volume: UUID
    ) -> None:
        driver.delete(volume, CAUSE.at)
        driver.delete(volume, CAUSE.at)

        assert driver.capabilities().total_volumes == 0

    def test_a_volume_made_for_another_cause_is_not_deleted(
        self, driver: Driver, volume: UUID
    ) -> None:
        driver.delete(volume, "2026-02-03T04:05:06+00:00")

        assert driver.capabilities().total_volumes == 1

    def test_what_never_was_counts_as_deleted(
        self, driver: Driver, volume: UUID
    ) -> None:
        driver.delete(uuid4(), CAUSE.at)

        assert driver.capabilities().total_volumes == 1

    def test_a_volume_in_use_is_not_deleted(self, driver: Driver, volume: UUID) -> None:
        path = device(driver, volume)
        write(path, 0, b"in use")

        with path.open("rb"), pytest.raises(VolumeIsBusy):
            driver.delete(volume, CAUSE.at)

        assert read(path, 0, 6) == b"in use"
        assert counted(driver) == (1, 1.0)

    def test_a_volume_that_was_busy_can_be_deleted_later(
        self, driver: Driver, volume: UUID
    ) -> None:
        with device(driver, volume).open("rb"), pytest.raises(VolumeIsBusy):
            driver.delete(volume, CAUSE.at)

        driver.delete(volume, CAUSE.at)

        assert driver.capabilities().total_volumes == 0

    def test_a_volume_made_again_has_nothing_of_the_one_before(
        self, driver: Driver
    ) -> None:
        event = asked()
        driver.create(event, CAUSE)
        write(device(driver, event.originator_id), 0, b"secret")
        driver.delete(event.originator_id, CAUSE.at)

        driver.create(event, Cause(99, CAUSE.at))

        assert read(device(driver, event.originator_id), 0, 6) == bytes(6)

    # Extending

    def test_an_extended_volume_keeps_its_data(
        self, driver: Driver, volume: UUID
    ) -> None:
        write(device(driver, volume), GIB - 4, b"kept")

        driver.extend(volume, 2)

        assert read(device(driver, volume), GIB - 4, 8) == b"kept" + bytes(4)
        assert size(device(driver, volume)) == 2 * GIB

    def test_extending_twice_is_extending_once(
        self, driver: Driver, volume: UUID
    ) -> None:
        driver.extend(volume, 2)
        driver.extend(volume, 2)

        assert counted(driver) == (1, 2.0)

    @pytest.mark.parametrize("size_gib", [1, 2])
    def test_a_volume_that_is_large_enough_stays_as_it_is(
        self, driver: Driver, size_gib: int
    ) -> None:
        event = asked(size_gib=2)
        driver.create(event, CAUSE)

        driver.extend(event.originator_id, size_gib)

        assert size(device(driver, event.originator_id)) == 2 * GIB

    def test_a_volume_in_use_can_be_extended(
        self, driver: Driver, volume: UUID
    ) -> None:
        with device(driver, volume).open("rb") as used:
            driver.extend(volume, 2)

            assert used.seek(0, 2) == 2 * GIB

    def test_what_is_absent_is_not_extended(self, driver: Driver) -> None:
        with pytest.raises(DriverFailed):
            driver.extend(uuid4(), 2)

        assert driver.capabilities().total_volumes == 0

    # Connecting

    def test_connecting_twice_gives_one_answer(
        self, driver: Driver, volume: UUID
    ) -> None:
        first = driver.connect(volume, NODE_1)

        assert driver.connect(volume, NODE_1) == first

    def test_connecting_after_a_restart_gives_the_same_answer(
        self, driver: Driver, volume: UUID
    ) -> None:
        first = driver.connect(volume, NODE_1)

        assert self.restarted(driver).connect(volume, NODE_1) == first

    def test_what_is_absent_is_not_connected(self, driver: Driver) -> None:
        with pytest.raises(DriverFailed):
            driver.connect(uuid4(), NODE_1)

    def test_data_outlives_the_host_that_wrote_it(
        self, driver: Driver, volume: UUID
    ) -> None:
        write(device(driver, volume, NODE_1), 8192, b"written by node-1")
        driver.disconnect(volume, NODE_1)

        assert read(device(driver, volume, NODE_2), 8192, 17) == b"written by node-1"

    def test_data_outlives_the_agent(self, driver: Driver, volume: UUID) -> None:
        write(device(driver, volume), 8192, b"written before")

        driver = self.restarted(driver)

        assert read(device(driver, volume), 8192, 14) == b"written before"

    def test_disconnecting_twice_is_disconnecting_once(
        self, driver: Driver, volume: UUID
    ) -> None:
        driver.connect(volume, NODE_1)

        driver.disconnect(volume, NODE_1)
        driver.disconnect(volume, NODE_1)

        assert not driver.has_session(volume, NODE_1)

    def test_removing_an_export_twice_is_removing_it_once(
        self, driver: Driver, volume: UUID
    ) -> None:
        driver.connect(volume, NODE_1)

        driver.remove_export(volume)
        driver.remove_export(volume)

        assert not driver.has_session(volume, None)

    def test_a_volume_that_was_taken_away_can_be_connected_again(
        self, driver: Driver, volume: UUID
    ) -> None:
        first = driver.connect(volume, NODE_1)
        driver.remove_export(volume)

        assert driver.connect(volume, NODE_1) == first

    def test_a_host_that_never_connected_can_be_disconnected(
        self, driver: Driver, volume: UUID
    ) -> None:
        driver.disconnect(volume, NODE_2)

        assert driver.capabilities().total_volumes == 1

    def test_an_absent_volume_can_be_taken_away(self, driver: Driver) -> None:
        absent = uuid4()

        driver.disconnect(absent, NODE_1)
        driver.remove_export(absent)

        assert not driver.has_session(absent, None)

    # Sessions

    @pytest.mark.parametrize("connector", [NODE_1, None])
    def test_a_connected_volume_that_is_read_has_a_session(
        self, driver: Driver, volume: UUID, connector: dict[str, Any] | None
    ) -> None:
        with device(driver, volume, NODE_1).open("rb"):
            assert driver.has_session(volume, connector)

    @pytest.mark.parametrize("connector", [NODE_1, None])
    def test_a_volume_that_nobody_has_open_has_no_session(
        self, driver: Driver, volume: UUID, connector: dict[str, Any] | None
    ) -> None:
        with device(driver, volume, NODE_1).open("rb"):
            pass

        assert not driver.has_session(volume, connector)

    # Surveying

    def test_a_survey_tells_what_is_there_and_what_made_it(
        self, driver: Driver
    ) -> None:
        event = asked(size_gib=2)
        driver.create(event, CAUSE)

        [found] = driver.survey().objects

        assert (found.noun, found.id) == ("volume", event.originator_id)
        assert (found.size_bytes, found.made_at) == (2 * GIB, CAUSE.at)
        assert (found.lacks, found.active) == ((), True)

    def test_a_survey_tells_nothing_of_what_is_gone(
        self, driver: Driver, volume: UUID
    ) -> None:
        driver.delete(volume, CAUSE.at)

        assert driver.survey().objects == ()

    def test_a_survey_tells_who_is_used(self, driver: Driver, volume: UUID) -> None:
        other = asked()
        driver.create(other, CAUSE)
        with held_open(device(driver, volume)):
            used = driver.survey().used

        assert used == {volume}

    def test_what_nobody_is_told_to_reach_is_not_reached(
        self, driver: Driver, volume: UUID
    ) -> None:
        assert not driver.survey().exported
        assert not driver.survey().used

    # Measuring

    def test_capabilities_count_volumes_and_add_up_their_sizes(
        self, driver: Driver
    ) -> None:
        for size_gib in (1, 2):
            driver.create(asked(size_gib), CAUSE)

        assert counted(driver) == (2, 3.0)

    def test_no_more_is_free_than_there_is(self, driver: Driver) -> None:
        measured = driver.capabilities()

        assert 0 <= measured.free_capacity_gb <= measured.total_capacity_gb

    def test_capabilities_are_the_same_after_a_restart(
        self, driver: Driver, volume: UUID
    ) -> None:
        before = counted(driver)

        assert counted(self.restarted(driver)) == before


@contextmanager
def held_open(path: Path) -> Iterator[None]:
    """Have another process keep a volume open."""
    with path.open("rb") as file, subprocess.Popen(["sleep", "60"], stdin=file) as it:
        file.close()
        yield
        it.kill()


def counted(driver: Driver) -> tuple[int, float]:
    """Return how many volumes there are, and their GiB."""
    measured = driver.capabilities()
    return measured.total_volumes, measured.provisioned_capacity_gb


def device(driver: Driver, volume_id: UUID, connector: Any = NODE_1) -> Path:
    """Connect, and return where the volume is read and written."""
    return Path(driver.connect(volume_id, connector)["data"]["device_path"])


def size(path: Path) -> int:
    """Return the bytes of a file or a block device."""
    with path.open("rb") as file:
        return file.seek(0, 2)


def read(path: Path, offset: int, count: int = 4096) -> bytes:
    """Read a part of a volume."""
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(count)


def write(path: Path, offset: int, data: bytes) -> None:
    """Write a part of a volume."""
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)
