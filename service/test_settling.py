"""On LVM: an agent that starts settles what is in flight, and serves meanwhile."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from adapters.contracts.drivers import GIB
from adapters.embedded.nats_server import NatsServer
from adapters.lvm import volumes
from adapters.lvm.driver import LvmDriver
from adapters.lvm.report import Lv
from adapters.lvm.testing import fill
from adapters.postgres.reading import rebuilt
from adapters.targets.choosing import target_of
from domain import reference
from domain.volume import Volume
from service.manager import VolumeManager
from service.settings import LVM_DRIVER
from service.testing.at_work import SETTLED, available, carry_out, made, write
from service.testing.callers import Caller, caller, eventually
from service.testing.loads import nothing_is_in_flight
from service.testing.programs import AGENT, BACKEND, SERVE, program

pytestmark = [
    pytest.mark.lvm(lio=True, memory="2G", disks=("2T",), seconds=1200),
    pytest.mark.slow,
]

GROUP = "holdfast-many"
DISK = "/dev/ubda"
NUMBER = 1000
PATIENCE = 900.0  # seconds
LOOK_EVERY = 1.0  # seconds
OPTIONS: dict[str, Any] = {
    "volume_group": GROUP,
    "lvm_type": "default",
    "volume_clear": "none",
}


@pytest.fixture
def group() -> str:
    """A volume group whose metadata has room for many."""
    for words in (
        ["pvcreate", "-qq", "--metadatasize", "64M", DISK],
        ["vgcreate", "-qq", GROUP, DISK],
    ):
        subprocess.run(words, check=True)
    return GROUP


def test_a_thousand_volumes_half_of_them_in_flight_are_settled_beside_new_work(
    group: str, config: Path, broker: NatsServer, manager: VolumeManager
) -> None:
    kinds = list(SETTLED)
    begun = [kinds[n % len(kinds)] for n in range(NUMBER // 2)]
    at_work = [begin(BACKEND) for begin in begun]
    others = [available(BACKEND) for _ in range(NUMBER - len(at_work))]
    lay_down(group, manager, [*others, *at_work])
    told = config.read_text().partition("[[backend]]")[0]
    options = {"name": BACKEND, "volume_driver": LVM_DRIVER} | OPTIONS
    lines = [f"{key} = {json.dumps(value)}" for key, value in options.items()]
    config.write_text("\n".join([told, "[[backend]]", *lines, ""]))

    async def first() -> tuple[Any, int]:
        async with caller(broker.url) as asker:
            await eventually(lambda: works(asker), PATIENCE)
            asked = await asker.insist("volume.create", "key-1", size_gib=1)
            await asker.until("volume.show", is_available, id=asked["id"])
            working = await asker.insist("backend.is_working", name=BACKEND)
            left = await asker.insist("agent.in_flight", "", name=BACKEND, after=0)
            return working, len(left["items"])

    async def last() -> None:
        async with caller(broker.url) as asker:
            await eventually(lambda: says_nothing(asker), PATIENCE)
            await nothing_is_in_flight(asker)

    async def works(asker: Caller) -> bool:
        told = await asker.insist("backend.is_working", name=BACKEND)
        return bool(told.get("working"))  # it may not be known yet

    async def says_nothing(asker: Caller) -> bool:
        await asyncio.sleep(LOOK_EVERY)  # looking is work for the same processor
        working = await asker.insist("backend.is_working", name=BACKEND)
        return working["reason"] is None

    def is_available(volume: Any) -> bool:
        return bool(volume["status"] == "available")

    with program(SERVE, config), program(AGENT, config):
        working, left = asyncio.run(first())
        asyncio.run(last())

    assert working["working"]
    assert re.fullmatch(r"settling \d+ of 500 in flight", working["reason"])
    assert left > 0
    fold = rebuilt(manager.recorder)
    found = Counter(
        (begin, str(fold[volume.id].status))
        for begin, volume in zip(begun, at_work, strict=True)
    )
    assert found == Counter((begin, SETTLED[begin]) for begin in begun)
    there = {each.id: each.size_gib for each in driver().manageable() if each.id}
    assert there == {
        volume.id: volume.size_gib
        for volume in fold.values()
        if isinstance(volume, Volume) and volume.status != "deleted"
    }


def lay_down(group: str, manager: VolumeManager, begun: list[Volume]) -> None:
    """Have the log and the storage as an agent left them that was killed."""
    written = write(manager.recorder, begun)
    ours = [
        Lv(volumes.name(volume_id), GIB, tags=volumes.tags(volume_id, cause))
        for volume_id, cause in made(written)
    ]
    others = [
        Lv(reference.name_in(event.reference), GIB)
        for event, _ in written
        if isinstance(event, Volume.ManagingStarted)
    ]
    fill(group, [*ours, *others])
    carry_out(driver(), written)


def driver() -> LvmDriver:
    """Return a driver like the agent's, set up."""
    ready = LvmDriver(target_of(owner=BACKEND, key=b"k" * 32), name=BACKEND, **OPTIONS)
    ready.set_up()
    return ready
