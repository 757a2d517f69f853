"""Disks that fail below a volume group, and room that ends: said in time, and got over.

What is asked while a disk fails is refused in words; it is done when it is asked again
and the disk is back, by the same driver, with what was written before still there.
"""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from adapters.contracts.adoption import wanted
from adapters.contracts.drivers import CAUSE, NODE_1, asked, device, read
from adapters.contracts.initiator import Initiator, eventually
from adapters.contracts.snapshots import together
from adapters.contracts.targets import KEY, proven
from adapters.lvm import limits, shell
from adapters.lvm.driver import LvmDriver
from adapters.lvm.failures import Hung, NoSpace, PoolIsBroken, PoolIsFull
from adapters.lvm.faulty import MODULES, FaultyDisk
from adapters.lvm.mapper import CONTROL, HEADER, ROOM, mapped
from adapters.lvm.testing import FRONTS, MAPPER, QUICK, run
from domain.ports import DriverFailed, Export
from service.agents import driver_of
from service.settings import LVM_DRIVER, BackendSettings

pytestmark = pytest.mark.lvm(disks=("12G",), modules=MODULES, lio=True)

GROUP = "faulty"
POOL = f"{GROUP}/{GROUP}-pool"
STRAY = 4711  # the number of a thin volume that LVM knows nothing of
POOL_DEVICE = f"{mapped(GROUP, f'{GROUP}-pool')}-tpool"
KEPT, DOOMED, LEAVING, GROWING, NEW, BROUGHT = map(
    UUID, (f"{n:032x}" for n in range(6))
)
NODE = Initiator("node-1")

Operation = Callable[[LvmDriver], object]

# What looks at no disk is done whatever becomes of it.
FREE: dict[str, Operation] = {
    "has_session": lambda driver: driver.has_session(KEPT, None),
    "exports": lambda driver: driver.exports(),
    "converge": lambda driver: driver.converge(Export(KEPT, (NODE_1,))),
    "connect": lambda driver: driver.connect(KEPT, NODE_1),
    "disconnect": lambda driver: driver.disconnect(KEPT, NODE_1),
    "remove_export": lambda driver: driver.remove_export(KEPT),
}
BOUND: dict[str, Operation] = {
    "create": lambda driver: driver.create(asked(volume_id=NEW), CAUSE),
    "extend": lambda driver: driver.extend(GROWING, 2),
    "delete": lambda driver: driver.delete(DOOMED, CAUSE.at),
    "adopt": lambda driver: driver.adopt(wanted("brought", BROUGHT), CAUSE),
    "unmanage": lambda driver: driver.unmanage(LEAVING, CAUSE.at),
    "manageable": lambda driver: driver.manageable(),
    "capabilities": lambda driver: driver.capabilities(),
    "set_up": lambda driver: driver.set_up(),
}
DONE, GONE, FAILS = "done", "out_of_sight", "device_failed"
BROKEN, HANGS = "pool_broken", "timed_out"

# fmt: off
OUTCOMES = [  # one for each of BOUND
    ("dead",       "default", [*[GONE] * 6,                FAILS,  GONE]),
    ("dead",       "thin",    [*[GONE] * 6,                FAILS,  GONE]),
    ("unwritable", "default", [FAILS,  *[FAILS] * 4, DONE, FAILS,  FAILS]),
    ("unwritable", "thin",    [BROKEN, *[FAILS] * 4, DONE, FAILS,  FAILS]),
    ("suspended",  "default", [HANGS] * 8),
    ("suspended",  "thin",    [HANGS] * 8),
    ("too slow",   "default", [HANGS] * 8),
    ("slow",       "thin",    [DONE] * 8),
]
# fmt: on


OPTIONS: dict[str, Any] = {
    "volume_group": GROUP,
    "volume_clear_size": 64,
    "lvm_devices": ["/dev/mapper/pv0"],
}


def fresh(kind: str) -> LvmDriver:
    """Return a driver for hosts that are here; it was set up."""
    return exporting(kind, target_helper="local")


def exporting(kind: str, **more: Any) -> LvmDriver:
    """Return one for hosts that are elsewhere."""
    options = OPTIONS | {"lvm_type": kind} | more
    driver = driver_of(BackendSettings("lvm", LVM_DRIVER, options=options), KEY)
    assert isinstance(driver, LvmDriver)
    driver.set_up()
    return driver


@pytest.fixture
def disk() -> Iterator[FaultyDisk]:
    """A disk with an empty volume group."""
    disk = FaultyDisk()
    disk.put_in()
    run("vgcreate", "-qq", "-y", GROUP, disk.path)
    yield disk
    disk.mend()
    for front in Path("/dev/mapper").glob("front-*"):
        run("dmsetup", "remove", "--retry", front.name)
    run("vgremove", *QUICK, GROUP)
    disk.take_out()


@contextmanager
def in_a_hurry(*, really: bool = True) -> Iterator[None]:
    """Let nobody wait for a disk for long."""
    with pytest.MonkeyPatch.context() as patch:
        if really:
            patch.setattr(limits, "LIMIT", 1.0)
            patch.setattr(shell, "GRACE", 0.1)
        yield


# Every operation, on every disk


@pytest.mark.parametrize(("fault", "kind", "expected"), OUTCOMES)
def test_each_operation_says_in_time_that_a_disk_fails_and_is_done_when_it_is_back(
    disk: FaultyDisk,
    fault: str,
    kind: str,
    expected: list[str],
) -> None:
    driver = fresh(kind)
    for volume in (KEPT, DOOMED, LEAVING, GROWING):
        driver.create(asked(volume_id=volume), CAUSE)
    bring(kind, "brought")
    write(device(driver, KEPT), b"kept")
    driver = fresh(kind)

    disk.suffer(fault)
    free = {name: outcome(does, driver) for name, does in FREE.items()}
    with in_a_hurry(really=HANGS in expected):
        bound = {name: outcome(does, driver) for name, does in BOUND.items()}

    assert free == dict.fromkeys(FREE, DONE)
    assert bound == dict(zip(BOUND, expected, strict=True))
    disk.mend()
    eventually(partial(is_done, BOUND["set_up"], driver))
    for does in BOUND.values():
        # What was given up may hold a volume until it has noticed.
        eventually(partial(is_done, does, driver))
    assert read(device(driver, KEPT), 0, 4) == b"kept"
    assert driver.capabilities().total_volumes == len((KEPT, GROWING, NEW, BROUGHT))


@pytest.mark.parametrize(
    ("fault", "operation", "words"),
    [
        ("dead", "create", '"faulty" not found.*see with `lsblk` and in the kernel'),
        ("dead", "capabilities", "Input/output error .*/dev/mapper/pv0.*kernel log"),
        ("unwritable", "extend", "Error writing device /dev/mapper/pv0 .*replace it"),
        ("suspended", "capabilities", "no answer from /dev/mapper/pv0 within 1 s; see"),
        ("suspended", "create", "no answer within 1 s; see whether a disk below it is"),
    ],
)
def test_the_words_say_which_disk_it_is_or_where_that_is_said(
    disk: FaultyDisk,
    fault: str,
    operation: str,
    words: str,
) -> None:
    driver = fresh("default")
    driver.create(asked(volume_id=GROWING), CAUSE)
    disk.suffer(fault)

    with in_a_hurry(), pytest.raises(DriverFailed, match=words):
        BOUND[operation](driver)


@pytest.mark.slow
def test_nothing_takes_longer_than_30_seconds(disk: FaultyDisk) -> None:
    driver = fresh("default")
    disk.suffer("suspended")
    began = time.monotonic()

    with pytest.raises(Hung):
        driver.create(asked(), CAUSE)

    assert time.monotonic() - began < 30


def test_a_disk_that_went_and_comes_back_has_lost_nothing(disk: FaultyDisk) -> None:
    driver = fresh("default")
    driver.create(asked(volume_id=KEPT), CAUSE)
    run("lvchange", "-qq", "-an", GROUP)
    disk.take_out()

    gone = [outcome(BOUND[name], driver) for name in ("delete", "capabilities")]

    disk.put_in()
    assert gone == [GONE, FAILS]
    assert driver.create(asked(volume_id=KEPT), CAUSE)
    assert driver.capabilities().total_volumes == 1


# Thin pools


def test_a_pool_that_failed_with_its_disk_goes_on_below_those_who_have_it_open(
    disk: FaultyDisk,
) -> None:
    driver = fresh("thin")
    driver.create(asked(volume_id=KEPT), CAUSE)
    front = device(driver, KEPT)
    write(front, b"kept")
    with front.open("r+b", buffering=0) as held:
        disk.suffer("dead")
        with pytest.raises(OSError, match="Input/output"):
            write(front, b"lost", 1 << 20)
        eventually(lambda: "Fail" in run("dmsetup", "status", POOL_DEVICE))
        disk.mend()
        with pytest.raises(PoolIsBroken, match="switches it off and on"):
            driver.capabilities()

        driver.set_up()

        assert held.write(b"more") == 4
    driver.create(asked(), CAUSE)
    assert read(front, 0, 4) == b"more"


def test_a_pool_that_cannot_be_mended_yet_is_left_to_those_who_read(
    disk: FaultyDisk,
) -> None:
    driver = fresh("thin")
    driver.create(asked(volume_id=KEPT), CAUSE)
    write(device(driver, KEPT), b"kept")
    disk.suffer("unwritable")
    eventually(lambda: outcome(BOUND["create"], driver) == BROKEN)

    with pytest.raises(DriverFailed, match="Error writing device"):
        driver.set_up()

    assert read(device(driver, KEPT), 0, 4) == b"kept"


def test_a_pool_that_an_lvm_which_was_killed_has_held_up_goes_on(
    disk: FaultyDisk,
) -> None:
    driver = fresh("thin")
    driver.create(asked(), CAUSE)
    run("dmsetup", "suspend", POOL_DEVICE)

    driver.set_up()

    driver.create(asked(), CAUSE)


def test_a_pool_whose_disk_hangs_holds_up_nobody_who_tells_it_something(
    disk: FaultyDisk,
) -> None:
    driver = fresh("thin")
    driver.create(asked(), CAUSE)
    disk.suffer("suspended")

    with in_a_hurry(), pytest.raises(TimeoutError):
        MAPPER.message(POOL_DEVICE, f"create_thin {STRAY}")

    disk.mend()
    eventually(partial(has_told, f"delete {STRAY}"))


# Room that ends


def test_a_full_group_says_so_and_keeps_nothing_half_made(disk: FaultyDisk) -> None:
    driver = fresh("default")
    driver.create(asked(volume_id=GROWING), CAUSE)

    with pytest.raises(NoSpace, match="add a disk to the volume group"):
        driver.create(asked(size_gib=100), CAUSE)
    with pytest.raises(NoSpace, match="add a disk to the volume group"):
        driver.extend(GROWING, 100)

    assert driver.capabilities().provisioned_capacity_gb == 1.0


def test_a_full_pool_takes_no_new_volume_until_it_is_extended(
    disk: FaultyDisk,
) -> None:
    pool("-L", "128m")
    driver = fresh("thin")
    for volume in (KEPT, DOOMED):
        driver.create(asked(volume_id=volume), CAUSE)
    filling = fill(device(driver, KEPT), mib=256)
    eventually(lambda: driver.capabilities().data_percent == 100)

    with pytest.raises(PoolIsFull, match=r"100\.0 % of its data .* extend it"):
        driver.create(asked(), CAUSE)
    driver.delete(DOOMED, CAUSE.at)

    run("lvextend", "-qq", "-L", "1g", POOL)
    assert filling.wait(30) == 0
    driver.create(asked(), CAUSE)


def test_full_metadata_takes_nothing_until_it_is_extended(disk: FaultyDisk) -> None:
    pool("-L", "1g", "--poolmetadatasize", "4m")
    driver = fresh("thin")
    driver.create(asked(volume_id=KEPT), CAUSE)
    front = device(driver, KEPT)
    write(front, b"kept")
    fill_metadata()

    with pytest.raises(PoolIsBroken, match="lvextend --poolmetadatasize"):
        driver.create(asked(), CAUSE)
    with pytest.raises(PoolIsBroken, match="lvextend --poolmetadatasize"):
        driver.set_up()  # which leaves those who read alone

    assert read(front, 0, 4) == b"kept"
    run("lvextend", "-qq", "--poolmetadatasize", "+16m", POOL)
    driver.set_up()
    driver.create(asked(), CAUSE)
    write(front, b"more")


# Hosts that have it open by iSCSI


@pytest.mark.parametrize("kind", ["default", "thin"])
@pytest.mark.parametrize("fault", ["dead", "suspended"])
def test_a_session_goes_on_with_its_disk(
    disk: FaultyDisk, kind: str, fault: str
) -> None:
    driver = exporting(kind)
    driver.create(asked(volume_id=KEPT), CAUSE)
    connection = proven(KEPT, NODE, driver.connect(KEPT, NODE.connector))
    with NODE.using(connection) as remote:
        write(remote, b"kept")
        disk.suffer(fault)
        writing = fill(remote, mib=8)
        if fault == "dead":
            assert writing.wait(60) != 0
        disk.mend()
        driver.set_up()

        if fault == "suspended":
            assert writing.wait(60) == 0
        write(remote, b"more")
        assert NODE.logged_in(connection)

    driver.disconnect(KEPT, NODE.connector)
    assert read(Path("/dev", GROUP, f"volume-{KEPT}"), 0, 4) == b"more"


def test_a_host_whose_writes_are_held_up_is_taken_away_when_the_disk_lets_go(
    disk: FaultyDisk,
) -> None:
    driver = exporting("default")
    driver.create(asked(volume_id=KEPT), CAUSE)
    connection = proven(KEPT, NODE, driver.connect(KEPT, NODE.connector))
    front = FRONTS.path(KEPT).resolve()
    with NODE.using(connection) as remote:
        disk.suffer("suspended")
        writing = fill(remote, mib=8)
        eventually(lambda: held(front))  # at the target, not on the way to it

        with in_a_hurry(), pytest.raises(Hung, match="no answer within"):
            driver.remove_export(KEPT)

        disk.mend()
        eventually(partial(is_done, FREE["remove_export"], driver))
        writing.kill()
        writing.wait()
    assert driver.exports() == set()


def test_a_host_goes_on_though_its_disk_kept_it_from_being_held_up_in_time(
    disk: FaultyDisk,
) -> None:
    driver = fresh("default")
    driver.create(asked(volume_id=KEPT), CAUSE)
    front = device(driver, KEPT)
    disk.suffer("suspended")
    writing = fill(front, mib=64)
    eventually(lambda: held(front.resolve()))

    with in_a_hurry(), pytest.raises(Hung):
        driver.take_group_snapshot(together(KEPT), CAUSE)

    disk.mend()
    try:
        assert writing.wait(20) == 0
    finally:
        MAPPER.resume(front.name)  # or the group could not be removed
        writing.wait()


def outcome(operation: Operation, driver: LvmDriver) -> str:
    """Return what came of an operation: done, or the code of its failure."""
    try:
        operation(driver)
    except DriverFailed as failure:
        return failure.code
    return DONE


def has_told(message: str) -> bool:
    """Tell whether the pool has done now what it was told."""
    with suppress(OSError):
        MAPPER.message(POOL_DEVICE, message)
        return True
    return False


def is_done(operation: Operation, driver: LvmDriver) -> bool:
    """Tell whether it is done now."""
    return outcome(operation, driver) == DONE


def bring(kind: str, name: str) -> None:
    """Have a logical volume that is nobody's."""
    words = ["-V", "512m", "--thinpool", f"{GROUP}-pool"]
    if kind != "thin":
        words = ["-L", "512m", "-Wn", "-Zy"]
    run("lvcreate", "-qq", "-y", *words, "-n", name, GROUP)


def pool(*words: str) -> None:
    """Have a pool as an operator makes one."""
    kind = ["--type", "thin-pool", "-Zy", "-n", f"{GROUP}-pool"]
    run("lvcreate", "-qq", "-y", *kind, *words, GROUP)


def write(path: Path, data: bytes, offset: int = 0) -> None:
    """Write to the disk itself, or raise `OSError`."""
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def fill(path: Path, mib: int) -> subprocess.Popen[bytes]:
    """Write so much, as another program that may have to wait."""
    to = [f"of={path}", "bs=1M", f"count={mib}", "oflag=direct", "conv=fsync"]
    return subprocess.Popen(["dd", "if=/dev/urandom", *to], stderr=subprocess.DEVNULL)


def held(disk: Path) -> bool:
    """Tell whether something that was written to a disk is not done yet."""
    _, writes = Path("/sys/block", disk.name, "inflight").read_text().split()
    return int(writes) > 0


def fill_metadata() -> None:
    """Have the pool know of so many volumes that it has no room for one more."""
    control = os.open(CONTROL, os.O_RDWR)
    head = (4, 0, 0, ROOM, HEADER.size, 0, 0, 0, 0, 0, 0, POOL_DEVICE.encode(), b"")
    request = 3 << 30 | HEADER.size << 16 | 0xFD << 8 | 14  # DM_TARGET_MSG
    for volume in count(1000):  # LVM's own are far below
        said = struct.pack("=Q", 0) + f"create_thin {volume}".encode()
        message = bytearray((HEADER.pack(*head) + said).ljust(ROOM, b"\0"))
        try:
            fcntl.ioctl(control, request, message)
        except OSError:
            break
    os.close(control)
