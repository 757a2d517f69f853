"""On LVM: a sweep of 500 volumes takes less than 10 s, and finds what was lost."""

from __future__ import annotations

import asyncio
import subprocess
import time
from pathlib import Path
from uuid import UUID

import pytest

from adapters.contracts.drivers import GIB
from adapters.embedded.nats_server import NatsServer
from adapters.jetstream import sweeping
from adapters.lvm import volumes
from adapters.lvm.driver import LvmDriver
from adapters.lvm.report import Lv
from adapters.lvm.testing import fill
from adapters.targets.choosing import target_of
from service.audit.test_drift_on_lvm import Found, standing
from service.manager import VolumeManager
from service.testing.at_work import available, made, write
from service.testing.callers import eventually
from service.testing.house import house
from service.testing.programs import BACKEND

pytestmark = [
    pytest.mark.lvm(lio=True, memory="2G", disks=("2T",), seconds=900),
    pytest.mark.slow,
]

GROUP, DISK = "holdfast-many", "/dev/ubda"
NUMBER, LOST = 500, 5
TIMES = 3
WITHIN = 10.0  # seconds


def test_a_sweep_of_500_volumes_takes_less_than_10_seconds(
    tmp_path: Path,
    broker: NatsServer,
    settings: dict[str, str],
    manager: VolumeManager,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("EVERY", "AGAIN"):
        monkeypatch.setattr(sweeping, name, 3600)
    lost = lay_down(manager)
    driver = LvmDriver(
        target_of(owner=BACKEND, key=b"k" * 32),
        name=BACKEND,
        volume_group=GROUP,
        lvm_type="default",
        volume_clear="none",
    )
    driver.set_up()
    ended, converge = list[float](), driver.exports

    def asked() -> set[UUID]:
        ended.append(time.monotonic())  # a survey is over
        return converge()

    monkeypatch.setattr(driver, "exports", asked)

    async def scenario() -> tuple[list[float], set[Found]]:
        took = []
        async with (
            asyncio.timeout(600),
            house(tmp_path, broker.url, settings, driver) as it,
        ):
            for number in range(1, TIMES + 2):
                await eventually(lambda n=number: swept(n), 120)  # type: ignore[misc]
                it.agent._sweeper.be_due()
                began = time.monotonic()
                await eventually(lambda n=number: swept(n + 1), 120)  # type: ignore[misc]
                took.append(ended[number] - began)
            return took[1:], await standing(it)

    async def swept(times: int) -> bool:
        return len(ended) >= times

    took, found = asyncio.run(scenario())

    print("a sweep took", *(f"{seconds:.2f}" for seconds in took), "s")
    assert found == {Found("object_missing", "volume", each) for each in lost}
    assert max(took) <= WITHIN


def lay_down(manager: VolumeManager) -> list[str]:
    """Have 500 volumes in the log and in a group, but for a few; returns those."""
    for words in (
        ["pvcreate", "-qq", "--metadatasize", "64M", DISK],
        ["vgcreate", "-qq", GROUP, DISK],
    ):
        subprocess.run(words, check=True)
    written = write(manager.recorder, [available(BACKEND) for _ in range(NUMBER)])
    there = list(made(written))
    kept = [
        Lv(volumes.name(volume_id), GIB, tags=volumes.tags(volume_id, cause))
        for volume_id, cause in there[LOST:]
    ]
    fill(GROUP, kept)
    return [str(volume_id) for volume_id, _ in there[:LOST]]
