"""What the tests of the file driver share."""

from __future__ import annotations

import subprocess
from pathlib import Path

from adapters.file.driver import FileDriver
from adapters.file.naming import names
from adapters.file.owner import OWNER
from adapters.file.volumes import INCOMING


def started(folder: Path) -> FileDriver:
    """Return a driver, set up; it may have been before."""
    driver = FileDriver(folder, max_over_subscription_ratio=1000)
    driver.set_up()
    return driver


def copy_home(home: Path, copy: Path) -> None:
    """Copy a volume's folder with its holes, which `shutil` would write as zeros."""
    subprocess.run(["cp", "-aT", home, copy], check=True)


def kept_in(folder: Path) -> set[str]:
    """Return the names in a backend's folder but for what each has."""
    return names(folder) - {INCOMING, OWNER}
