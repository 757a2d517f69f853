"""On LVM, under load: every kind of drift is found, and nothing else is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path
from threading import Event
from typing import Any, NamedTuple
from uuid import UUID

import pytest

from adapters.contracts.drivers import GIB
from adapters.contracts.initiator import Initiator
from adapters.embedded.nats_server import NatsServer
from adapters.jetstream import sweeping
from adapters.lvm.driver import LvmDriver
from adapters.lvm.mapper import mapped
from adapters.lvm.test_driver import fresh
from adapters.lvm.testing import (
    DEVICES,
    GROUP,
    clear,
    lvcreate,
    lvm,
    make_group,
    remove_group,
)
from adapters.lvm.testing import run as system
from adapters.tasks import ended
from domain.ports import DriverFailed
from service.audit import overdue as audited
from service.test_sweeping import attached
from service.testing.callers import eventually
from service.testing.house import House, house

pytestmark = [
    pytest.mark.lvm(disks=("60G", "1G"), lio=True, seconds=1500),
    pytest.mark.slow,
]

NODE_1, NODE_2 = Initiator("node-1"), Initiator("node-2")
SECONDS = 600.0
WITHIN = 240.0
MANAGING = 600


class Found(NamedTuple):
    """What is told of a finding that tells it from others."""

    drift: str
    noun: str
    subject: str


class Bed(NamedTuple):
    """What a test breaks."""

    house: House
    driver: LvmDriver
    kind: str
    surveyed: list[float]  # when each survey was told of
    stack: ExitStack

    async def held(self) -> str:
        """Return a volume that a host may reach."""
        volume_id = await self.house.available()
        await attached(self.house, volume_id, NODE_1.connector)
        return volume_id

    async def snapshot(self, volume_id: str) -> str:
        """Return a snapshot of a volume."""
        asker = self.house.asker
        made = await asker.insist("snapshot.create", volume_id=volume_id)

        def so(snapshot: Any) -> bool:
            return bool(snapshot["status"] == "available")

        await asker.until("snapshot.show", so, id=made["id"])
        return str(made["id"])

    async def sweep(self) -> float:
        """Have a sweep made, and return the seconds that it took."""
        began, seen = time.monotonic(), len(self.surveyed)
        self.house.agent._sweeper.be_due()

        async def over() -> bool:
            return len(self.surveyed) > seen

        await eventually(over, WITHIN)
        return time.monotonic() - began


def lv(volume_id: str) -> str:
    return f"{GROUP}/volume-{volume_id}"


def tag(volume_id: str, *words: str) -> None:
    lvm("lvchange", *words, lv(volume_id))


def tags_of(its_id: str, name: str = "") -> list[str]:
    [row] = lvm("lvs", "-o", "lv_tags", f"{GROUP}/{name or f'volume-{its_id}'}")
    return row["lv_tags"].split(",")


# How each kind comes about


async def overdue(bed: Bed) -> set[Found]:
    wait = Event()
    bed.stack.callback(wait.set)

    def adopt(*_: Any) -> Any:
        wait.wait()
        raise DriverFailed("it was given up")

    bed.driver.adopt = adopt  # type: ignore[method-assign, assignment]
    there = {"source-name": "somebodys"}
    insist = bed.house.asker.insist
    asked = await insist("volume.manage", backend="files", reference=there)
    return {Found("transition_overdue", "volume", asked["id"])}


async def missing(bed: Bed) -> set[Found]:
    volume_id = await bed.house.available()
    lvm("lvremove", "-ff", "-y", lv(volume_id))
    return {Found("object_missing", "volume", volume_id)}


async def unexplained(bed: Bed) -> set[Found]:
    lvcreate(bed.kind, "stranger", GIB)
    return {Found("object_unexplained", "object", "stranger")}


async def dead(bed: Bed) -> set[Found]:
    volume_id = await bed.house.available()
    tags = tags_of(volume_id)
    await removed(bed.house, volume_id)
    lvcreate(bed.kind, f"volume-{volume_id}", GIB)
    tag(volume_id, *(f"--addtag={each}" for each in tags))
    return {Found("object_unexplained", "volume", volume_id)}


async def larger(bed: Bed) -> set[Found]:
    volume_id = await bed.house.available()
    lvm("lvextend", "-L", "+4m", lv(volume_id))
    return {Found("size", "volume", volume_id)}


async def smaller(bed: Bed) -> set[Found]:
    volume_id = await bed.house.available()
    lvm("lvreduce", "-f", "-y", "-L", "-4m", lv(volume_id))
    return {Found("size", "volume", volume_id)}


async def origin(bed: Bed) -> set[Found]:
    volume_id = await bed.house.available()
    [made_by] = [each for each in tags_of(volume_id) if "made-by" in each]
    tag(volume_id, f"--deltag={made_by}", "--addtag=holdfast.made-by=7/2020-01-01")
    return {Found("origin", "volume", volume_id)}


async def parent(bed: Bed) -> set[Found]:
    volume_id, other = [await bed.house.available() for _ in range(2)]
    snapshot_id = await bed.snapshot(volume_id)
    name = f"_snapshot-{snapshot_id}"
    tags = [f"--addtag={each}" for each in tags_of(snapshot_id, name)]
    lvm("lvremove", "-ff", "-y", f"{GROUP}/{name}")
    room = [] if bed.kind == "thin" else ["-L", "1100m"]
    lvm("lvcreate", "-y", "-s", *room, "-n", name, *tags, lv(other))
    return {Found("origin", "snapshot", snapshot_id)}


async def tags(bed: Bed) -> set[Found]:
    volume_id = await bed.house.available()
    tag(volume_id, f"--deltag=holdfast.volume={volume_id}")
    return {Found("tags", "volume", volume_id)}


async def activation(bed: Bed) -> set[Found]:
    volume_id = await bed.held()
    system("dmsetup", "suspend", mapped(GROUP, f"volume-{volume_id}"))
    return {Found("activation", "volume", volume_id)}


async def export_missing(bed: Bed) -> set[Found]:
    volume_id = await bed.held()
    bed.driver._target.remove(UUID(volume_id))
    return {Found("export_missing", "volume", volume_id)}


async def way_missing(bed: Bed) -> set[Found]:
    volume_id = await bed.held()
    insist, also = bed.house.asker.insist, NODE_2.connector
    await insist("volume.initialize_connection", id=volume_id, connector=also)
    bed.driver._target.disconnect(UUID(volume_id), NODE_2.connector)
    return {Found("export_missing", "volume", volume_id)}


async def way_unexplained(bed: Bed) -> set[Found]:
    volume_id = await bed.held()
    bed.driver.connect(UUID(volume_id), NODE_2.connector)
    return {Found("export_unexplained", "volume", volume_id)}


async def export_unexplained(bed: Bed) -> set[Found]:
    volume_id = await bed.house.available()
    bed.driver.connect(UUID(volume_id), NODE_2.connector)
    return {Found("export_unexplained", "volume", volume_id)}


async def session(bed: Bed) -> set[Found]:
    volume_id = await bed.house.available()
    connection = bed.driver.connect(UUID(volume_id), NODE_2.connector)
    bed.stack.callback(NODE_2.logout, connection)
    await asyncio.to_thread(NODE_2.login, connection)
    return {
        Found("session_without_attachment", "volume", volume_id),
        Found("export_unexplained", "volume", volume_id),
    }


# And whether it stays when all is done that is safe.
# fmt: off
PLANTED: dict[Callable[[Bed], Any], bool] = {
    overdue:            False,
    missing:            True,
    unexplained:        True,
    dead:               False,
    larger:             True,
    smaller:            False,
    origin:             True,
    parent:             True,
    tags:               False,
    activation:         False,
    export_missing:     False,
    way_missing:        False,
    way_unexplained:    False,
    export_unexplained: False,
    session:            False,
}
# fmt: on


@pytest.fixture(params=["thin", "default"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def driver(kind: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[LvmDriver]:
    """A driver whose agent sweeps when it is told to."""
    for name in ("EVERY", "AGAIN"):
        monkeypatch.setattr(sweeping, name, 3600)
    make_group()
    driver = fresh(
        kind,
        target_helper="lioadm",
        use_chap_auth=False,
        lvm_devices=DEVICES,
        volume_clear="none",
    )
    yield driver
    for volume in driver.exports():
        driver.remove_export(volume)
    clear()
    remove_group()


@asynccontextmanager
async def loaded(house: House) -> AsyncIterator[list[str]]:
    """Have volumes made, grown, attached and removed beside; yields those that were."""
    lived: list[str] = []

    async def live() -> None:
        while True:
            with suppress(TimeoutError):  # a guest has one processor
                volume_id = await house.available()
                await house.asker.insist("volume.extend", id=volume_id, size_gib=2)
                await house.settled(volume_id)
                held = await attached(house, volume_id, NODE_1.connector)
                await house.asker.insist("attachment.delete", id=held)
                await removed(house, volume_id)
                lived.append(volume_id)

    lives = [asyncio.create_task(live()) for _ in range(2)]
    try:
        yield lived
    finally:
        for each in lives:
            assert not each.done(), each.exception()
        await ended(*lives)


async def removed(house: House, volume_id: str) -> None:
    """Delete a volume, and return when it is gone."""

    def so(volume: Any) -> bool:
        return bool(volume["status"] == "deleted")

    async def asked() -> bool:
        told = await house.asker.insist("volume.delete", id=volume_id)
        return told.get("status") in ("deleting", "deleted")

    await eventually(asked, WITHIN)
    await house.asker.until("volume.show", so, id=volume_id)


async def repair(bed: Bed) -> None:
    """Have all done that is safe, and return when it was looked at again."""
    await bed.house.asker.insist("backend.repair", name="files", apply=True)

    async def done() -> bool:
        told = await bed.house.asker.insist("backend.repair", name="files")
        return not any(step["under_way"] for step in told["steps"])

    await eventually(done, WITHIN)
    for _ in range(3):
        await bed.sweep()


async def ever(house: House, event: str) -> set[Found]:
    items = await house.asker.all("backend.history", name="files")
    those = (each["data"] for each in items if each["event"] == f"backend.{event}")
    return {Found(it["drift"], it["noun"], it["subject"]) for it in those}


async def standing(house: House) -> set[Found]:
    items = await house.asker.all("backend.drift", name="files")
    return {Found(it["drift"], it["noun"], it["subject"]) for it in items}


def test_all_that_is_planted_is_found_and_what_is_safe_is_repaired(
    driver: LvmDriver,
    kind: str,
    tmp_path: Path,
    broker: NatsServer,
    settings: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    surveyed, exports = list[float](), driver.exports

    def asked() -> set[UUID]:
        surveyed.append(time.monotonic())  # what follows a survey
        return exports()

    monkeypatch.setattr(driver, "exports", asked)
    # What nothing else asks for is late after a second, and the watcher sees nothing.
    monkeypatch.setattr(audited, "GRACE", 1.0 - MANAGING)

    async def scenario() -> tuple[Any, ...]:
        async with (
            asyncio.timeout(SECONDS),
            house(tmp_path, broker.url, settings, driver, managing=MANAGING) as it,
            loaded(it) as lived,
        ):
            with ExitStack() as stack:
                bed = Bed(it, driver, kind, surveyed, stack)
                for _ in range(3):
                    await bed.sweep()
                quiet = await ever(it, "drift_found")
                planted = {plant: await plant(bed) for plant in PLANTED}
                await bed.sweep()
                found = await ever(it, "drift_found")
                await repair(bed)
                assert lived
                return quiet, planted, found, await standing(it)

    quiet, planted, found, left = asyncio.run(scenario())

    assert quiet == set()
    assert found == set().union(*planted.values())
    assert left == set().union(*(planted[plant] for plant in PLANTED if PLANTED[plant]))
