"""What tests of snapshots and copies on LVM ask, and what they see."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

from adapters.contracts.drivers import (
    GIB,
    device,
    read,
)
from adapters.lvm.driver import LvmDriver
from adapters.lvm.testing import GROUP, lvm, run
from domain.ports import (
    Cause,
)

LATER = Cause(9, datetime(2026, 1, 2, 3, 4, 9, tzinfo=UTC).isoformat())


ENDS = (4096, GIB - 4096)


def held(driver: LvmDriver, volume_id: UUID) -> set[bytes]:
    return {read(device(driver, volume_id), offset, 6) for offset in ENDS}


def names() -> set[str]:
    """Return what is in the group, and the devices that the kernel has of it."""
    lvs = {row["lv_name"] for row in lvm("lvs", "-o", "lv_name", GROUP)}
    devices = set(run("dmsetup", "ls").split()) - {"No", "devices", "found"}
    return lvs | {each for each in devices if each.endswith("-cow")}


class Stopped(Exception):
    """Whoever hears of progress has had enough."""


def stop(_: float) -> None:
    raise Stopped


def stop_in_the_middle(percent: float) -> None:
    if percent > 50:  # noqa: PLR2004
        raise Stopped


MIB = 1024**2
