"""The LVM driver passes the drivers' contract, thin and thick."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from adapters.contracts.drivers import GIB, DriverContract, size, write
from adapters.lvm.driver import LvmDriver
from domain.ports import Driver, Export

pytestmark = pytest.mark.lvm(disks=("12G", "1G"))

GROUP = "holdfast-test"
EDGE = 64 * 1024
DISKS = ["/dev/ubda", "/dev/ubdb"]


class Here:
    """A target for hosts that are this machine: they have the device already."""

    storage_protocol = "local"

    def set_up(self) -> None:
        pass

    def connect(self, volume_id: UUID, device: str, connector: Any) -> dict[str, Any]:
        return {"driver_volume_type": "local", "data": {"device_path": device}}

    def disconnect(self, volume_id: UUID, connector: dict[str, Any]) -> None:
        pass

    def remove(self, volume_id: UUID) -> None:
        pass

    def resized(self, volume_id: UUID, device: str) -> None:
        pass

    def has_session(
        self, volume_id: UUID, device: str, connector: dict[str, Any] | None
    ) -> bool:
        if not Path(device).exists():
            return False
        opened = run("dmsetup", "info", "-c", "--noheadings", "-o", "open", device)
        return int(opened) > 0

    def exports(self) -> set[UUID]:
        return set()

    def converge(self, wanted: Export, device: str) -> bool:
        return False


def run(*command: str) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


@pytest.fixture
def group() -> Iterator[str]:
    run("vgcreate", "-qq", "-y", GROUP, *DISKS)
    yield GROUP
    for front in Path("/dev/mapper").glob("front-*"):
        run("dmsetup", "remove", front.name)
    for volume in Path("/dev", GROUP).glob("volume-*"):
        blank(volume)
    # A guest's disk takes 2 s to forget a GiB.
    quick = ["--config", "devices/issue_discards=0"]
    run("vgremove", "-qq", "-ff", "-y", *quick, GROUP)


def blank(volume: Path) -> None:
    """Take away what tests write, around each GiB of a volume."""
    for end in range(GIB, size(volume) + GIB, GIB):
        write(volume, end - GIB, bytes(EDGE))
        write(volume, end - EDGE, bytes(EDGE))


class LvmContract(DriverContract):
    kind: str

    @pytest.fixture
    def driver(self, group: str) -> LvmDriver:
        return self.fresh()

    def restarted(self, driver: Driver) -> Driver:
        return self.fresh()

    def fresh(self) -> LvmDriver:
        driver = LvmDriver(Here(), volume_group=GROUP, lvm_type=self.kind)
        driver.set_up()
        return driver


class TestThin(LvmContract):
    kind = "thin"


class TestThick(LvmContract):
    kind = "default"
