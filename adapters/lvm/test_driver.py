"""The LVM driver passes the drivers' contract, thin and thick."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from adapters.contracts.drivers import DriverContract
from adapters.lvm.driver import LvmDriver
from domain.ports import Driver, Export

GROUP = "holdfast-test"
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
        try:
            os.close(os.open(device, os.O_RDONLY | os.O_EXCL))
        except FileNotFoundError:
            return False
        except OSError as error:
            return error.errno == errno.EBUSY
        return False

    def exports(self) -> set[UUID]:
        return set()

    def converge(self, wanted: Export, device: str) -> bool:
        return False


def run(*command: str) -> str:
    return subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True
    ).stdout


@pytest.fixture
def group() -> Iterator[str]:
    run("vgcreate", "-qq", "-y", GROUP, *DISKS)
    yield GROUP
    for front in Path("/dev/mapper").glob("front-*"):
        run("dmsetup", "remove", front.name)
    run("vgremove", "-qq", "-ff", "-y", GROUP)


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
