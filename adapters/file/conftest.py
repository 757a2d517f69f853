"""A file driver, and a volume of it."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import pytest

from adapters.contracts.drivers import CAUSE, asked, device
from adapters.contracts.snapshots import fill
from adapters.file.driver import FileDriver
from adapters.file.testing import started


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "volumes"


@pytest.fixture
def driver(folder: Path) -> FileDriver:
    return started(folder)


@pytest.fixture
def volume(driver: FileDriver) -> UUID:
    """A volume of 1 GiB with "before" in some places."""
    event = asked()
    driver.create(event, CAUSE)
    fill(device(driver, event.originator_id), b"before")
    return event.originator_id
