"""What every driver must do about storage that was there before it, and stays."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from adapters.contracts.drivers import (
    CAUSE,
    GIB,
    Suite,
    asked,
    device,
    intent,
    read,
    size,
    write,
)
from domain import reference
from domain.ports import (
    AlreadyManaged,
    Cause,
    Driver,
    DriverFailed,
    Manageable,
    UnknownReference,
    VolumeIsBusy,
)
from domain.volume import Volume
from domain.volume_status import Status

LATER = Cause(8, "2026-02-03T04:05:06+00:00")


def wanted(name: str = "db", volume_id: UUID | None = None) -> Volume.ManagingStarted:
    """Return the event that asks for storage to be taken over."""
    named = reference.to(name)
    return intent(Volume.ManagingStarted, Status.MANAGING, volume_id, reference=named)


class AdoptionContract(Suite):
    """The promises of `adopt`, `unmanage` and `manageable`, one fact a test.

    A subclass provides the fixture `driver`, as `DriverContract` has it.
    """

    def bring(self, driver: Driver, name: str, size_bytes: int) -> Path:
        """Put storage there that is nobody's; returns where it is written and read."""
        raise NotImplementedError

    def listed(self, driver: Driver) -> list[Manageable]:
        """Return what is listed, but for what the storage itself is made of."""
        return driver.manageable()

    @pytest.fixture
    def stranger(self, driver: Driver) -> Path:
        """Storage of 1 GiB called "db", with something on it."""
        path = self.bring(driver, "db", GIB)
        write(path, 4096, b"before")
        return path

    # Taking over

    def test_what_is_taken_over_keeps_its_data(
        self, driver: Driver, stranger: Path
    ) -> None:
        event = wanted()

        adopted = driver.adopt(event, CAUSE)

        [listed] = self.listed(driver)
        assert (listed.id, adopted.size_gib) == (event.originator_id, 1)
        assert read(device(driver, event.originator_id), 4096, 6) == b"before"
        assert managed(driver) == 1

    def test_taking_over_twice_is_taking_over_once(
        self, driver: Driver, stranger: Path
    ) -> None:
        event = wanted()

        assert driver.adopt(event, CAUSE) == driver.adopt(event, CAUSE)
        assert managed(driver) == 1

    def test_taking_over_again_after_a_restart_is_taking_over_once(
        self, driver: Driver, stranger: Path
    ) -> None:
        event = wanted()
        adopted = driver.adopt(event, CAUSE)

        driver = self.restarted(driver)

        assert driver.adopt(event, CAUSE) == adopted
        assert managed(driver) == 1

    def test_a_volume_has_whole_gib(self, driver: Driver) -> None:
        path = self.bring(driver, "odd", GIB + GIB // 2)
        write(path, GIB, b"before")
        event = wanted("odd")

        adopted = driver.adopt(event, CAUSE)

        grown = device(driver, event.originator_id)
        assert (adopted.size_gib, size(grown)) == (2, 2 * GIB)
        assert read(grown, GIB, 6) == b"before"
        assert managed(driver) == 1

    def test_what_was_taken_over_is_a_volume_like_others(
        self, driver: Driver, stranger: Path
    ) -> None:
        event = wanted()
        driver.adopt(event, CAUSE)

        driver.extend(event.originator_id, 2)
        assert size(device(driver, event.originator_id)) == 2 * GIB
        driver.delete(event.originator_id, CAUSE.at)

        assert managed(driver) == 0
        assert self.listed(driver) == []

    def test_what_is_not_there_is_not_taken_over(
        self, driver: Driver, stranger: Path
    ) -> None:
        before = self.listed(driver)

        with pytest.raises(UnknownReference):
            driver.adopt(wanted("nothing"), CAUSE)

        assert self.listed(driver) == before

    @pytest.mark.parametrize("name", ["..", ".hidden", "-f", "a/b", "a b", ""])
    def test_a_name_that_is_none_reaches_nothing(
        self, driver: Driver, stranger: Path, name: str
    ) -> None:
        with pytest.raises(UnknownReference):
            driver.adopt(wanted(name), CAUSE)

        assert read(stranger, 4096, 6) == b"before"

    def test_what_is_in_use_is_not_taken_over(
        self, driver: Driver, stranger: Path
    ) -> None:
        with stranger.open("rb"):
            [listed] = self.listed(driver)
            with pytest.raises(VolumeIsBusy):
                driver.adopt(wanted(), CAUSE)

        assert not listed.safe_to_manage
        assert listed.reason_not_safe
        assert managed(driver) == 0
        assert driver.adopt(wanted(), CAUSE).size_gib == 1

    def test_what_is_a_volume_is_not_taken_over(self, driver: Driver) -> None:
        event = asked()
        driver.create(event, CAUSE)

        with pytest.raises(AlreadyManaged):
            driver.adopt(wanted(reference.name_of(event.originator_id)), LATER)

        assert managed(driver) == 1

    def test_nothing_is_taken_over_twice_by_others(
        self, driver: Driver, stranger: Path
    ) -> None:
        def adopt(_: int) -> bool:
            try:
                driver.adopt(wanted(), CAUSE)
            except DriverFailed:
                return False
            return True

        with ThreadPoolExecutor(4) as threads:
            assert sum(threads.map(adopt, range(4))) == 1

        assert managed(driver) == 1

    def test_an_id_that_something_else_has_is_not_taken(
        self, driver: Driver, stranger: Path
    ) -> None:
        event = asked()
        driver.create(event, CAUSE)

        with pytest.raises(DriverFailed):
            driver.adopt(wanted(volume_id=event.originator_id), LATER)

        assert read(device(driver, event.originator_id), 4096, 6) == bytes(6)
        assert read(stranger, 4096, 6) == b"before"

    # Letting go

    def test_what_is_let_go_keeps_its_data_and_can_be_taken_over_again(
        self, driver: Driver
    ) -> None:
        event = asked()
        driver.create(event, CAUSE)
        write(device(driver, event.originator_id), 4096, b"before")

        told = driver.unmanage(event.originator_id, CAUSE.at)

        assert told
        assert self.listed(driver) == [Manageable(told, 1, safe_to_manage=True)]
        assert managed(driver) == 0
        again = wanted(reference.name_in(told))
        driver.adopt(again, LATER)
        assert read(device(driver, again.originator_id), 4096, 6) == b"before"

    def test_a_volume_can_come_back_under_its_id(
        self, driver: Driver, stranger: Path
    ) -> None:
        event = wanted()
        driver.adopt(event, CAUSE)
        told = driver.unmanage(event.originator_id, CAUSE.at)

        assert told
        back = wanted(reference.name_in(told), event.originator_id)
        driver.adopt(back, LATER)

        assert read(device(driver, event.originator_id), 4096, 6) == b"before"
        assert managed(driver) == 1

    def test_letting_go_twice_is_letting_go_once(
        self, driver: Driver, stranger: Path
    ) -> None:
        event = wanted()
        driver.adopt(event, CAUSE)
        told = driver.unmanage(event.originator_id, CAUSE.at)

        assert driver.unmanage(event.originator_id, CAUSE.at) == told
        assert self.restarted(driver).unmanage(event.originator_id, CAUSE.at) == told

    def test_what_is_let_go_is_deleted_by_nobody(
        self, driver: Driver, stranger: Path
    ) -> None:
        event = wanted()
        driver.adopt(event, CAUSE)
        driver.unmanage(event.originator_id, CAUSE.at)

        with suppress(DriverFailed):
            driver.delete(event.originator_id, CAUSE.at)

        assert len(self.listed(driver)) == 1

    def test_what_never_was_is_not_let_go(self, driver: Driver, stranger: Path) -> None:
        assert driver.unmanage(uuid4(), CAUSE.at) is None

        assert read(stranger, 4096, 6) == b"before"

    def test_what_was_made_at_another_time_is_not_let_go(self, driver: Driver) -> None:
        event = asked()
        driver.create(event, CAUSE)

        assert driver.unmanage(event.originator_id, LATER.at) is None

        assert managed(driver) == 1

    def test_it_may_not_matter_when_it_was_made(
        self, driver: Driver, stranger: Path
    ) -> None:
        event = wanted()
        driver.adopt(event, CAUSE)

        told = driver.unmanage(event.originator_id, None)

        assert told
        assert self.listed(driver) == [Manageable(told, 1, safe_to_manage=True)]

    def test_what_is_in_use_is_not_let_go(self, driver: Driver) -> None:
        event = asked()
        driver.create(event, CAUSE)

        path = device(driver, event.originator_id)
        with path.open("rb"), pytest.raises(VolumeIsBusy):
            driver.unmanage(event.originator_id, CAUSE.at)

        assert managed(driver) == 1
        driver.delete(event.originator_id, CAUSE.at)
        assert self.listed(driver) == []

    # Listing

    def test_all_that_is_or_could_be_a_volume_is_listed_by_name(
        self, driver: Driver, stranger: Path
    ) -> None:
        event = asked(2)
        driver.create(event, CAUSE)
        self.bring(driver, "web", 512)

        db, volume, web = self.listed(driver)

        assert db == Manageable(reference.to("db"), 1, safe_to_manage=True)
        assert web == Manageable(reference.to("web"), 1, safe_to_manage=True)
        assert (volume.id, volume.size_gib) == (event.originator_id, 2)
        assert not volume.safe_to_manage
        assert volume.reason_not_safe == "already managed"


def managed(driver: Driver) -> int:
    """Return how many volumes there are, others' storage apart."""
    return driver.capabilities().total_volumes
