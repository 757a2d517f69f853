"""A volume group for the tests, one a class, empty for each, and a volume in it."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

import pytest

from adapters.contracts.drivers import CAUSE, asked, device, write
from adapters.contracts.snapshots import wanted
from adapters.lvm.copies import ENDS
from adapters.lvm.driver import LvmDriver
from adapters.lvm.test_driver import fresh
from adapters.lvm.testing import GROUP, clear, make_group, remove_group


@pytest.fixture(scope="class")
def whole_group() -> Iterator[str]:
    make_group()
    yield GROUP
    remove_group()


@pytest.fixture
def group(whole_group: str) -> Iterator[str]:
    yield whole_group
    clear()


@pytest.fixture(params=["thin", "default"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def driver(group: str, kind: str) -> LvmDriver:
    """A driver as an agent has it."""
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
    event = wanted(volume)
    driver.take_snapshot(event, CAUSE)
    for offset in ENDS:
        write(device(driver, volume), offset, b"behind")
    return event.originator_id


@pytest.fixture
def volumes(driver: LvmDriver, volume: UUID) -> list[UUID]:
    """Two volumes, of which hosts can reach the first."""
    other = asked()
    driver.create(other, CAUSE)
    return [volume, other.originator_id]
