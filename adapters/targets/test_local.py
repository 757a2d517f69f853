"""A device that is used where it is passes the targets' contract."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from adapters.contracts.disk import SCRATCH, Disk
from adapters.contracts.targets import MIB, TargetContract
from adapters.holders import holders
from adapters.targets.local import LocalTarget
from domain.ports import Target


class File:
    """A file, which does for a device here."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        path.touch()
        self.grow(64 * MIB)

    def grow(self, size: int) -> None:
        self.size = size
        os.truncate(self.path, size)


class SameHost:
    """Whoever runs beside the storage."""

    def __init__(self, name: str) -> None:
        self.connector = {"host": name, "initiator": f"iqn.2026-01.example:{name}"}

    @contextmanager
    def using(self, connection: dict[str, Any]) -> Iterator[Path]:
        yield Path(connection["data"]["device_path"])

    def rescan(self, connection: dict[str, Any]) -> None:
        """Do nothing: it is the device itself."""


class TestLocalTarget(TargetContract):
    exporting = False

    @pytest.fixture
    def target(self) -> LocalTarget:
        return LocalTarget()

    @pytest.fixture
    def device(self, tmp_path: Path) -> File:
        return File(tmp_path / "volume")

    def restarted(self, target: Target) -> Target:
        return LocalTarget()

    def host(self, name: str) -> SameHost:
        return SameHost(name)


def test_the_connection_is_the_device() -> None:
    assert LocalTarget().connect(uuid4(), "/dev/vg/volume", {}) == {
        "driver_volume_type": "local",
        "data": {"device_path": "/dev/vg/volume"},
    }


# Block devices, which have no leases


@pytest.mark.lvm
def test_a_block_device_that_is_open_is_in_use(device: Disk) -> None:
    used = LocalTarget().has_session

    with Path(device.path).open("rb"):
        assert used(uuid4(), device.path, None)
    assert not used(uuid4(), device.path, None)


@pytest.mark.lvm
def test_a_mounted_block_device_is_in_use(device: Disk, tmp_path: Path) -> None:
    used = LocalTarget().has_session
    subprocess.run(["mkfs.ext4", "-q", device.path], check=True)
    subprocess.run(["mount", device.path, tmp_path], check=True)

    assert used(uuid4(), device.path, None)
    subprocess.run(["umount", tmp_path], check=True)
    assert not used(uuid4(), device.path, None)


@pytest.mark.lvm
def test_what_is_below_another_block_device_names_it(device: Disk) -> None:
    [above] = holders(SCRATCH)

    assert above.startswith("/dev/dm-")
