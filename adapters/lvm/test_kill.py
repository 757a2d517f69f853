"""The agent is killed around every change, and the next one finishes it."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import pytest
from msgspec.structs import replace

from adapters.contracts.adoption import wanted
from adapters.contracts.drivers import (
    CAUSE,
    GIB,
    NODE_1,
    asked,
    device,
    read,
    size,
    write,
)
from adapters.contracts.snapshots import copy_of, managed, reversion
from adapters.contracts.snapshots import together as together_of
from adapters.contracts.snapshots import wanted as snapshot_of
from adapters.lvm.copies import LATER, names
from adapters.lvm.driver import LvmDriver
from adapters.lvm.failures import HalfReverted
from adapters.lvm.mapper import CONTROL, Mapper, Verb
from adapters.lvm.report import Reply
from adapters.lvm.shell import Ended, Process
from adapters.lvm.test_driver import fresh
from adapters.lvm.testing import (
    DISKS,
    GROUP,
    POOL,
    clear,
    known_ids,
    lvcreate,
    lvm,
    thin_ids,
)
from domain.group_snapshot import Member

pytestmark = [pytest.mark.lvm(disks=DISKS), pytest.mark.slow]

VOLUME, OTHER, COPY, SNAPSHOT = (UUID(int=each) for each in range(1, 5))
GROUP_SNAPSHOT = together_of(VOLUME, OTHER)
GROUP_SNAPSHOT.members[0] = Member(SNAPSHOT, VOLUME, 1)
LOOKS = {"vgs", "lvs", *(Verb.LIST_DEVICES, Verb.DEV_STATUS, Verb.TABLE_STATUS)}

PARTS = 6

Operation = Callable[[LvmDriver], object]


def create(driver: LvmDriver) -> None:
    driver.create(asked(volume_id=VOLUME), CAUSE)


def connect(driver: LvmDriver) -> None:
    driver.connect(VOLUME, NODE_1)


def extend(driver: LvmDriver) -> None:
    driver.extend(VOLUME, 2)


def delete(driver: LvmDriver) -> None:
    driver.delete(VOLUME, CAUSE.at)


def adopt(driver: LvmDriver) -> None:
    driver.adopt(wanted("db", VOLUME), CAUSE)


def unmanage(driver: LvmDriver) -> None:
    driver.unmanage(VOLUME, CAUSE.at)


def take(driver: LvmDriver) -> None:
    driver.take_snapshot(snapshot_of(VOLUME, SNAPSHOT), CAUSE)


def drop(driver: LvmDriver) -> None:
    driver.delete_snapshot(SNAPSHOT, CAUSE.at)


def clone(driver: LvmDriver) -> None:
    driver.create(replace(copy_of(SNAPSHOT, size_gib=2), originator_id=COPY), CAUSE)


def copy(driver: LvmDriver) -> None:
    driver.create(replace(copy_of(VOLUME, "volume"), originator_id=COPY), CAUSE)


def revert(driver: LvmDriver) -> None:
    driver.revert(reversion(VOLUME, SNAPSHOT), LATER)


def take_all(driver: LvmDriver) -> None:
    assert driver.take_group_snapshot(GROUP_SNAPSHOT, CAUSE)


def adopt_one(driver: LvmDriver) -> None:
    event = replace(managed(VOLUME, "nightly"), originator_id=SNAPSHOT)
    driver.adopt_snapshot(event, CAUSE)


def unmanage_one(driver: LvmDriver) -> None:
    driver.unmanage_snapshot(SNAPSHOT, CAUSE.at)


def nothing(_: LvmDriver) -> None:
    """Begin with an empty group."""


def connected(driver: LvmDriver) -> None:
    create(driver)
    connect(driver)


def stranger(_: LvmDriver) -> None:
    lvcreate("thin", "db", GIB // 2)


def written(driver: LvmDriver) -> None:
    create(driver)
    write(device(driver, VOLUME), 4096, b"before")


def snapshotted(driver: LvmDriver) -> None:
    written(driver)
    take(driver)
    write(device(driver, VOLUME), 4096, b"behind")


def two(driver: LvmDriver) -> None:
    written(driver)
    driver.create(asked(volume_id=OTHER), CAUSE)
    device(driver, OTHER)


def their_snapshot(driver: LvmDriver) -> None:
    written(driver)
    lvm("lvcreate", "-y", "-s", "-n", "nightly", f"{GROUP}/volume-{VOLUME}")


def is_whole(driver: LvmDriver) -> bool:
    return size(device(driver, VOLUME)) == GIB


def is_larger(driver: LvmDriver) -> bool:
    return size(device(driver, VOLUME)) == 2 * GIB


def is_gone(driver: LvmDriver) -> bool:
    return driver.capabilities().total_volumes == 0 and driver.exports() == set()


def is_taken(driver: LvmDriver) -> bool:
    [told] = driver.manageable_snapshots()
    return told.id == SNAPSHOT and only(VOLUME, SNAPSHOT)


def is_dropped(driver: LvmDriver) -> bool:
    return driver.manageable_snapshots() == [] and only(VOLUME)


def is_left(driver: LvmDriver) -> bool:
    [told] = driver.manageable_snapshots()
    return told.safe_to_manage


def is_cloned(driver: LvmDriver) -> bool:
    there = device(driver, COPY)
    return (size(there), read(there, 4096, 6)) == (2 * GIB, b"before") and (
        only(VOLUME, SNAPSHOT, COPY)
    )


def is_copied(driver: LvmDriver) -> bool:
    return read(device(driver, COPY), 4096, 6) == b"before" and only(VOLUME, COPY)


def is_reverted(driver: LvmDriver) -> bool:
    return read(device(driver, VOLUME), 4096, 6) == b"before" and (
        only(VOLUME, SNAPSHOT)
    )


def are_taken(driver: LvmDriver) -> bool:
    write(device(driver, VOLUME), 4096, b"behind")
    driver.create(replace(copy_of(SNAPSHOT), originator_id=COPY), CAUSE)
    return read(device(driver, COPY), 4096, 6) == b"before" and (
        len(driver.manageable_snapshots()) == len(GROUP_SNAPSHOT.members)
    )


def only(*ids: UUID) -> bool:
    """Tell whether nothing else is there; a pool, and a bystander, are nothing."""
    there = [name for name in names() if not name.endswith(("-pool", str(OTHER)))]
    # A thick snapshot has a device of its own for what changes.
    lvs = {name.replace("--", "-").removesuffix("-cow")[-36:] for name in there}
    return lvs == set(map(str, ids))


CASES = [
    pytest.param("thin", nothing, create, is_whole, id="creating"),
    pytest.param("thin", create, connect, is_whole, id="connecting"),
    pytest.param("thin", connected, extend, is_larger, id="extending"),
    pytest.param("thin", connected, delete, is_gone, id="deleting"),
    pytest.param("thin", stranger, adopt, is_whole, id="taking over"),
    pytest.param("thin", connected, unmanage, is_gone, id="letting go"),
    pytest.param("thin", written, take, is_taken, id="snapshotting"),
    pytest.param("default", written, take, is_taken, id="snapshotting a thick one"),
    pytest.param("thin", snapshotted, drop, is_dropped, id="dropping"),
    pytest.param("default", snapshotted, drop, is_dropped, id="dropping a thick one"),
    pytest.param("thin", snapshotted, clone, is_cloned, id="cloning"),
    pytest.param("default", snapshotted, clone, is_cloned, id="copying a snapshot"),
    pytest.param("thin", written, copy, is_copied, id="cloning a volume"),
    pytest.param("default", written, copy, is_copied, id="copying a volume"),
    pytest.param("thin", snapshotted, revert, is_reverted, id="reverting"),
    pytest.param("default", snapshotted, revert, is_reverted, id="reverting by copy"),
    pytest.param("thin", two, take_all, are_taken, id="taking a group"),
    pytest.param("default", two, take_all, are_taken, id="taking a thick group"),
    pytest.param("thin", their_snapshot, adopt_one, is_taken, id="taking one over"),
    pytest.param("thin", snapshotted, unmanage_one, is_left, id="letting one go"),
]


@pytest.mark.parametrize("when", ["before", "amid", "after"])
@pytest.mark.parametrize(("kind", "before", "operation", "done"), CASES)
def test_what_was_killed_around_a_change_is_finished_when_asked_again(
    group: str,
    kind: str,
    before: Operation,
    operation: Operation,
    done: Callable[[LvmDriver], bool],
    when: str,
) -> None:
    for _ in killed_around_each_change(kind, before, operation, when):
        driver = fresh(kind)

        operation(driver)

        assert done(driver)
        assert read(device_of_bystander(driver), 0, 6) == bytes(6)


@pytest.mark.parametrize("when", ["before", "amid", "after"])
@pytest.mark.parametrize("kind", ["thin", "default"])
def test_a_reversion_that_was_killed_shows_nobody_a_mixture(
    group: str, kind: str, when: str
) -> None:
    for _ in killed_around_each_change(kind, snapshotted, revert, when):
        with suppress(HalfReverted):
            there = device(fresh(kind), VOLUME)
            assert read(there, 4096, 6) in (b"before", b"behind")


@pytest.mark.parametrize("part", range(PARTS))  # each takes minutes on slow machines
@pytest.mark.parametrize(("kind", "before", "operation", "done"), CASES)
def test_what_lvm_was_killed_amid_is_finished_when_asked_again(
    group: str,
    kind: str,
    before: Operation,
    operation: Operation,
    done: Callable[[LvmDriver], bool],
    part: int,
) -> None:
    for _ in killed(before, operation, kind, die_with_lvm, count(1 + part, PARTS)):
        driver = fresh(kind)

        operation(driver)

        assert done(driver)
        assert kind != "thin" or thin_ids(GROUP, POOL) == known_ids()
        assert read(device_of_bystander(driver), 0, 6) == bytes(6)


def device_of_bystander(driver: LvmDriver) -> Any:
    event = asked(volume_id=OTHER)
    driver.create(event, CAUSE)
    return device(driver, event.originator_id)


def killed_around_each_change(
    kind: str, before: Operation, operation: Operation, when: str
) -> Iterator[int]:
    """Yield each change at which the operation was killed, and the one behind them."""
    for step in killed(before, operation, kind, partial(die, when=when), count(1)):
        yield step
    assert step > 1, "nothing was ever killed"


def killed(
    before: Operation,
    operation: Operation,
    kind: str,
    die: Callable[..., None],
    steps: Iterable[int],
) -> Iterator[int]:
    """Yield each step at which the operation was killed, and the first behind it."""
    for step in steps:
        before(fresh(kind))
        child = os.fork()
        if not child:
            ends(partial(die, step, kind, operation))
        _, status = os.waitpid(child, 0)
        yield step
        gc.collect()  # an LVM ends with its driver
        clear()
        if os.waitstatus_to_exitcode(status) == 0:
            return
        assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL


def ends(what: Callable[[], None]) -> None:
    """Do it, and end as it does: what a test has begun is not this process's."""
    try:
        what()
    except BaseException:  # noqa: BLE001 - the exit status tells
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def die(step: int, kind: str, operation: Operation, when: str) -> None:
    """Do it, and be killed around the nth change."""
    driver, changes = fresh(kind), count(1)

    def dying(call: Callable[..., Any], name: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **more: Any) -> Any:
            mine = name(*args) not in LOOKS and next(changes) == step
            if mine and when == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            done = call(*args, **more)
            if mine:
                os.kill(os.getpid(), signal.SIGKILL)
            return done

        return counted

    mapper: Any = Mapper
    process: Any = Process
    mapper._ask = dying(Mapper._ask, lambda _, verb, *__: verb)
    said = ["lvs"]

    def say(self: Process, words: list[str]) -> None:
        said[0] = words[0]
        asked_of(self, words)

    asked_of = Process.say
    process.say = say
    if when == "after":
        process.answer = dying(Process.answer, lambda *_: said[0])
    else:
        process.say = dying(say, lambda _, words: words[0])
    operation(driver)


def die_with_lvm(step: int, kind: str, operation: Operation) -> None:
    """Do it, and die with an LVM that is killed before it asks the kernel again."""
    driver, process, traced = fresh(kind), cast("Any", Process), set[int]()
    say, answer = Process.say, Process.answer

    def say_traced(self: Process, words: list[str]) -> None:
        if not traced:
            traced.add(self.pid)
            kill_at(self.pid, step)
        say(self, words)

    def answer_or_die(self: Process, seconds: float) -> Reply:
        try:
            return answer(self, seconds)
        except Ended:
            os.kill(os.getpid(), signal.SIGKILL)
            raise

    process.say, process.answer = say_traced, answer_or_die
    operation(driver)


def kill_at(pid: int, step: int) -> None:
    """Have a process killed when it would ask device-mapper for the nth time."""
    kernel = "-e", "trace=ioctl", "-P", str(CONTROL)
    kill = "-e", f"inject=ioctl:signal=KILL:when={step}"
    strace = "strace", "-qq", "-o", "/dev/null", *kernel, *kill, "-p", str(pid)
    subprocess.Popen(strace)
    status = Path("/proc", str(pid), "status")
    while "TracerPid:\t0" in status.read_text():
        time.sleep(0.001)
