"""A file driver, and a volume of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
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


@pytest.fixture
def calls(
    driver: FileDriver, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    """What the operating system is asked for that has to come in a certain order."""
    made: list[str] = []

    def noted(name: str) -> None:
        call = getattr(os, name)

        def note(what: Any, *rest: Any) -> None:
            path = Path(f"/proc/self/fd/{what}").readlink() if name == "fsync" else what
            made.append(f"{name} {Path(path).relative_to(folder)}")
            call(what, *rest)

        monkeypatch.setattr(os, name, note)

    for name in ("fsync", "rename", "unlink"):
        noted(name)
    return made
