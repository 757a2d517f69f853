"""Group snapshots of what a host writes to meanwhile, over iSCSI, at full speed."""

from __future__ import annotations

import mmap
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from uuid import UUID

import pytest

from adapters.contracts.drivers import CAUSE, asked
from adapters.contracts.initiator import Initiator, eventually
from adapters.contracts.snapshots import together
from adapters.contracts.targets import proven
from adapters.lvm.driver import LvmDriver
from adapters.lvm.test_driver import fresh
from adapters.lvm.testing import DEVICES, DISKS, GROUP, clear, lvm, make_group

pytestmark = [pytest.mark.lvm(disks=DISKS, lio=True), pytest.mark.slow]

PAGE, NUMBERS = 4096, struct.Struct("=Qd")
# Writes 1 here, 2 there, 3 here, each when the one before is safe; tells the last that
# is, and the longest that one took.
WRITER = """
import mmap, os, struct, sys, time
told, *disks = sys.argv[1:]
files = [os.open(disk, os.O_WRONLY | os.O_DIRECT | os.O_SYNC) for disk in disks]
file = os.open(told, os.O_RDWR)
told, page = mmap.mmap(file, 16), mmap.mmap(-1, 4096)
number = longest = 0
while True:
    for each in files:
        number += 1
        page[:8] = struct.pack("=Q", number)
        began = time.monotonic()
        os.pwritev(each, [page], 0)
        longest = max(longest, time.monotonic() - began)
        told[:] = struct.pack("=Qd", number, longest)
"""


class Writer:
    """A host's program that writes to its disks in turn."""

    def __init__(self, told: Path, disks: Sequence[Path]) -> None:
        told.write_bytes(bytes(NUMBERS.size))
        self._told = told
        command = [sys.executable, "-c", WRITER, str(told), *map(str, disks)]
        self._process = subprocess.Popen(command)

    @property
    def last(self) -> int:
        """The last number that is safe."""
        return int(NUMBERS.unpack(self._told.read_bytes())[0])

    @property
    def longest(self) -> float:
        """The longest that it had to wait, in seconds."""
        return float(NUMBERS.unpack(self._told.read_bytes())[1])

    def goes_on(self) -> None:
        """Wait until it writes."""
        last = self.last
        eventually(lambda: self.last > last + 10)

    def end(self) -> None:
        """End it; it must not have failed."""
        assert self._process.poll() is None
        self._process.kill()
        self._process.wait()


@pytest.fixture(scope="module", autouse=True)
def _group() -> None:
    make_group()


@pytest.fixture(scope="module", params=["default", "thin"])
def agent(request: pytest.FixtureRequest) -> LvmDriver:
    options = {"target_helper": "lioadm", "volume_clear": "none"}
    return fresh(request.param, lvm_devices=DEVICES, **options)


@pytest.fixture
def driver(agent: LvmDriver) -> Iterator[LvmDriver]:
    agent.set_up()
    yield agent
    for volume in agent.exports():
        agent.remove_export(volume)
    clear()


@pytest.fixture
def volumes(driver: LvmDriver) -> list[UUID]:
    events = [asked(), asked()]
    for event in events:
        driver.create(event, CAUSE)
    return [event.originator_id for event in events]


@pytest.fixture
def writer(driver: LvmDriver, volumes: list[UUID], tmp_path: Path) -> Iterator[Writer]:
    with ExitStack() as stack:
        disks = [stack.enter_context(disk_of(driver, each)) for each in volumes]
        writer = Writer(tmp_path / "told", disks)
        stack.callback(writer.end)
        writer.goes_on()
        yield writer


@contextmanager
def disk_of(driver: LvmDriver, volume_id: UUID) -> Iterator[Path]:
    """Use a volume from a host."""
    host = Initiator("node-1")
    connection = driver.connect(volume_id, host.connector)
    with host.using(proven(volume_id, host, connection)) as disk:
        yield disk


def taken(driver: LvmDriver, volumes: list[UUID], *, consistent: bool) -> list[int]:
    """Take a group snapshot, and return the number that each of it holds."""
    event = together(*volumes, consistent=consistent)
    assert driver.take_group_snapshot(event, CAUSE) is consistent
    numbers = []
    for each in event.members:
        name = f"_snapshot-{each.snapshot_id}"
        lvm("lvchange", "-ay", "-K", "-y", f"{GROUP}/{name}")
        numbers.append(number_in(Path("/dev", GROUP, name)))
        driver.delete_snapshot(each.snapshot_id, CAUSE.at)
    return numbers


def number_in(disk: Path) -> int:
    file = os.open(disk, os.O_RDONLY | os.O_DIRECT)
    try:
        with mmap.mmap(-1, PAGE) as page:
            os.preadv(file, [page], 0)
            return int.from_bytes(page[:8], sys.byteorder)
    finally:
        os.close(file)


def test_a_hundred_consistent_snapshots_are_each_of_one_moment(
    driver: LvmDriver, volumes: list[UUID], writer: Writer
) -> None:
    for _ in range(100):
        writer.goes_on()
        safe = writer.last

        numbers = taken(driver, volumes, consistent=True)

        assert max(numbers) - min(numbers) == 1
        assert max(numbers) >= safe
    print(f"the writer waited for {writer.longest * 1000:.0f} ms at most")


def test_snapshots_one_after_another_are_of_no_moment(
    driver: LvmDriver, volumes: list[UUID], writer: Writer
) -> None:
    apart = []
    for _ in range(10):
        writer.goes_on()
        numbers = taken(driver, volumes, consistent=False)
        apart.append(max(numbers) - min(numbers))

    assert max(apart) > 1


def test_a_host_goes_on_when_the_agent_that_held_it_up_was_killed(
    driver: LvmDriver, volumes: list[UUID], writer: Writer
) -> None:
    child = os.fork()
    if not child:
        with driver._fronts.held_up(volumes):
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    held_up = [driver._fronts.device(each) for each in volumes]
    assert all(front and front.is_suspended for front in held_up)

    driver.set_up()

    writer.goes_on()
