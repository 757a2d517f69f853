"""Disks that fail below a whole service: what callers and operators see of it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from adapters.embedded.nats_server import NatsServer
from adapters.file.driver import FileDriver
from adapters.jetstream import measuring
from adapters.jetstream.agent import Agent
from adapters.lvm import limits
from adapters.lvm.driver import LvmDriver
from adapters.lvm.faulty import MODULES, FaultyDisk
from adapters.lvm.testing import QUICK
from adapters.lvm.testing import run as system
from adapters.targets.local import LocalTarget
from adapters.tasks import ended
from service.connecting import connect
from service.testing.callers import eventually
from service.testing.house import House, Run, lived

pytestmark = pytest.mark.lvm(disks=("12G",), modules=MODULES)

GROUP = "faulty"
# By what work fails. Where the disk was missed before it began, it has waited in vain.
SAID = {
    "out_of_sight": "kernel log",
    "timed_out": "slow or suspended",
    "deadline": "backend is-working files",
}


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyDisk]:
    """A disk with an empty volume group, and an agent that notices all that changes."""
    monkeypatch.setattr(limits, "LIMIT", 5.0)
    monkeypatch.setattr(measuring, "SET_UP_AGAIN", 0.5)
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
    return lived(tmp_path, broker.url, settings, creating=30, extending=15)


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
    name, code, words = event
    assert name == "volume.extension_failed"
    assert SAID[code] in words
    assert "kernel log" in why
    assert refused["type"] == "no-capacity"
    assert (grown["status"], grown["size_gib"]) == ("available", 2)
    assert made == "available"


def test_a_disk_that_hangs_holds_up_nothing_elsewhere(
    disk: FaultyDisk, run: Run, tmp_path: Path
) -> None:
    async def scenario(house: House) -> list[Any]:
        await second(house, tmp_path / "elsewhere")
        disk.suffer("suspended")
        stuck = await house.create(backend="files")
        made = [await house.create(backend="elsewhere") for _ in range(3)]
        seen = [(await house.settled(each))["status"] for each in made]
        meanwhile = await house.asker.insist("volume.show", id=stuck)
        failed = await house.settled(stuck)
        why = await works(house, so=False)
        disk.mend()
        await works(house)
        later = await house.settled(await house.create(backend="files"))
        return [seen, meanwhile["status"], failed, why, later["status"]]

    seen, meanwhile, failed, why, later = run(driver("default"), scenario)

    assert seen == ["available"] * 3
    assert meanwhile == "creating"
    assert failed["status"] == "error"
    assert SAID[failed["error"]["code"]] in failed["error"]["message"]
    assert "no answer" in why
    assert later == "available"


def test_a_pool_that_fills_up_says_so_refuses_and_goes_on_when_it_is_extended(
    disk: FaultyDisk, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "MEASURE_EVERY", 0.5)
    pool = f"{GROUP}/{GROUP}-pool"
    kind = ["--type", "thin-pool", "-L", "100m", "-Zy", "-n", f"{GROUP}-pool"]
    system("lvcreate", "-qq", "-y", *kind, GROUP)

    async def told(house: House, events: int) -> list[Any]:
        def so(history: Any) -> bool:
            return len(of_pool(history)) >= events

        found = await house.asker.until("backend.history", so, name="files")
        return of_pool(found)

    async def scenario(house: House) -> list[Any]:
        volume = Path(f"/dev/{GROUP}/volume-{await house.available()}")
        for times, mib in enumerate((82, 92, 96), 1):
            await asyncio.to_thread(write, volume, mib)
            await told(house, times)
        refused = await house.asker.ask("volume.create", seconds=20, size_gib=1)
        system("lvextend", "-qq", "-L", "500m", pool)
        events = await told(house, 4)
        made = await house.settled(await house.create())
        return [events, refused.body, made["status"]]

    events, refused, made = run(driver("thin"), scenario)

    filled = "backend.pool_filled"
    thresholds = [
        (filled, 80),
        (filled, 90),
        (filled, 95),
        ("backend.pool_relieved", 0),
    ]
    assert events == thresholds
    assert "has a pool whose data is 96 % full" in refused["considered"]["files"]
    assert made == "available"


def test_a_pool_that_failed_with_its_disk_is_mended_by_its_agent(
    disk: FaultyDisk, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "MEASURE_EVERY", 0.5)
    monkeypatch.setattr(limits, "LIMIT", 25.0)  # to check a pool takes its time
    device = f"{GROUP}-{GROUP}--pool-tpool"

    async def scenario(house: House) -> str:
        await house.available()
        disk.suffer("dead")

        async def has_failed() -> bool:
            return "Fail" in system("dmsetup", "status", device)

        await eventually(has_failed)
        await works(house, so=False)
        disk.mend()
        await works(house)
        made = await house.settled(await house.create())
        status: str = made["status"]
        return status

    assert run(driver("thin"), scenario) == "available"


async def second(house: House, folder: Path) -> None:
    """Have a backend of files beside it, with an agent of its own."""
    client = await connect(house.settings.nats_url, "agent")
    house.stack.push_async_callback(client.close)
    files = FileDriver(folder, name="elsewhere")
    other = Agent(client, files, "elsewhere", house.settings.key, "another holder")
    house.stack.push_async_callback(ended, asyncio.create_task(other.run()))

    def so(told: Any) -> bool:
        return bool(told.get("working"))

    await house.asker.until("backend.is_working", so, name="elsewhere")


def of_pool(history: Any) -> list[tuple[str, int]]:
    """Return what happened to the data of a pool."""
    return [
        (item["event"], item["data"]["threshold"])
        for item in history["items"]
        if "pool" in item["event"] and item["data"]["part"] == "data"
    ]


def write(volume: Path, mib: int) -> None:
    """Have something on the first MiB of a volume, so many of them."""
    with volume.open("r+b") as file:
        file.write(b"x" * (mib << 20))
        file.flush()
        os.fsync(file.fileno())
