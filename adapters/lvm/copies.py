"""What tests of snapshots and copies on LVM ask, and what they see."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from adapters.contracts.drivers import (
    GIB,
    WHEN,
    device,
    read,
)
from adapters.lvm.driver import LvmDriver
from adapters.lvm.testing import GROUP, lvm, run
from domain import reference
from domain.group_snapshot import GroupSnapshot, GroupSnapshotStatus, Member
from domain.ports import (
    Cause,
)
from domain.provenance import Provenance
from domain.snapshot import Snapshot, SnapshotStatus
from domain.volume import Status, Volume

LATER = Cause(9, datetime(2026, 1, 2, 3, 4, 9, tzinfo=UTC).isoformat())
TOLD: dict[str, Any] = {
    "originator_version": 1,
    "timestamp": WHEN,
    "provenance": Provenance(),
    "backend": "contract",
}


def reversion(volume_id: UUID, snapshot_id: UUID) -> Volume.ReversionStarted:
    return Volume.ReversionStarted(
        originator_id=volume_id,
        snapshot_id=snapshot_id,
        snapshot_made_at=WHEN,
        previous_status=Status.AVAILABLE,
        status=Status.REVERTING,
        **TOLD,
    )


def together_of(*volume_ids: UUID, consistent: bool = True) -> GroupSnapshot.Created:
    return GroupSnapshot.Created(
        originator_id=uuid4(),
        group_id=uuid4(),
        consistent=consistent,
        members=[Member(uuid4(), each, 1) for each in volume_ids],
        status=GroupSnapshotStatus.CREATING,
        **TOLD,
    )


def managing(volume_id: UUID, name: str) -> Snapshot.ManagingStarted:
    return Snapshot.ManagingStarted(
        originator_id=uuid4(),
        volume_id=volume_id,
        size_gib=1,
        reference=reference.to(name),
        status=SnapshotStatus.CREATING,
        **TOLD,
    )


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
