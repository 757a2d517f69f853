"""Disks that fail below a whole service: what callers and operators see of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from adapters.embedded.nats_server import NatsServer
from adapters.jetstream import agent
from adapters.lvm import limits
from adapters.lvm.driver import LvmDriver
from adapters.lvm.faulty import MODULES, FaultyDisk
from adapters.lvm.testing import QUICK
from adapters.lvm.testing import run as system
from adapters.targets.local import LocalTarget
from service.house import House, Run, lived

pytestmark = pytest.mark.lvm(disks=("12G",), modules=MODULES)

GROUP = "faulty"


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyDisk]:
    """A disk with an empty volume group, and an agent that notices all that changes."""
    monkeypatch.setattr(limits, "LIMIT", 5.0)
    monkeypatch.setattr(agent, "SET_UP_AGAIN", 0.5)
    disk = FaultyDisk()
    disk.put_in()
    system("vgcreate", "-qq", "-y", GROUP, disk.path)
    yield disk
    disk.mend()
    for front in Path("/dev/mapper").glob("front-*"):
        system("dmsetup", "remove", "--retry", front.name)
    system("vgremove", *QUICK, GROUP)
    disk.take_out()


@pytest.fixture
def run(tmp_path: Path, broker: NatsServer, settings: dict[str, str]) -> Run:
    return lived(tmp_path, broker.url, settings, extending=15)


def driver(kind: str) -> LvmDriver:
    return LvmDriver(LocalTarget(), name="files", volume_group=GROUP, lvm_type=kind)


async def works(house: House, *, so: bool = True) -> Any:
    """Return what the backend waits for once it works, or does not."""

    def is_so(told: Any) -> bool:
        return bool(told["working"]) == so

    return (await house.asker.until("backend.is_working", is_so, name="files"))[
        "reason"
    ]


async def last_event(house: House, volume_id: str) -> tuple[str, str, str]:
    history = await house.asker.insist("volume.history", id=volume_id)
    last = history["items"][-1]
    return last["event"], last["data"]["code"], last["data"]["message"]


def test_a_dead_disk_is_told_of_and_what_is_asked_once_it_is_back_is_done(
    disk: FaultyDisk, run: Run
) -> None:
    async def scenario(house: House) -> list[Any]:
        volume_id = await house.available()
        await works(house)
        disk.suffer("dead")
        await house.asker.insist("volume.extend", id=volume_id, size_gib=2)
        failed = await house.settled(volume_id)
        why = await works(house, so=False)
        refused = await house.asker.ask("volume.create", seconds=20, size_gib=1)
        event = await last_event(house, volume_id)
        disk.mend()
        await works(house)
        await house.asker.insist("volume.extend", id=volume_id, size_gib=2)
        grown = await house.settled(volume_id)
        made = await house.settled(await house.create())
        return [failed["status"], event, why, refused.body, grown, made["status"]]

    failed, event, why, refused, grown, made = run(driver("default"), scenario)

    assert failed == "error_extending"
    # Where the disk was missed before the work began, that has waited for it in vain.
    said = {"out_of_sight": "kernel log", "deadline": "backend is-working files"}
    name, code, words = event
    assert name == "volume.extension_failed"
    assert said[code] in words
    assert "kernel log" in why
    assert refused["type"] == "no-capacity"
    assert (grown["status"], grown["size_gib"]) == ("available", 2)
    assert made == "available"
