"""What the tests of the file driver share."""

from __future__ import annotations

from pathlib import Path

from adapters.file.driver import FileDriver


def started(folder: Path) -> FileDriver:
    """Return a driver, set up; it may have been before."""
    driver = FileDriver(folder, max_over_subscription_ratio=1000)
    driver.set_up()
    return driver
