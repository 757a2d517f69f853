"""The agent is killed around every change, and the next one finishes it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any
from uuid import UUID

import pytest

from adapters.contracts.adoption import wanted
from adapters.contracts.drivers import CAUSE, GIB, NODE_1, asked, device, read, size
from adapters.lvm.driver import LvmDriver
from adapters.lvm.mapper import Mapper, Verb
from adapters.lvm.shell import Process
from adapters.lvm.test_driver import fresh
from adapters.lvm.testing import DISKS, clear, lvcreate

pytestmark = [pytest.mark.lvm(disks=DISKS), pytest.mark.slow]

VOLUME = UUID(int=1)
LOOKS = {"vgs", "lvs", *(Verb.LIST_DEVICES, Verb.DEV_STATUS, Verb.TABLE_STATUS)}

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


def nothing(_: LvmDriver) -> None:
    """Begin with an empty group."""


def connected(driver: LvmDriver) -> None:
    create(driver)
    connect(driver)


def stranger(_: LvmDriver) -> None:
    lvcreate("thin", "db", GIB // 2)


def is_whole(driver: LvmDriver) -> bool:
    return size(device(driver, VOLUME)) == GIB


def is_larger(driver: LvmDriver) -> bool:
    return size(device(driver, VOLUME)) == 2 * GIB


def is_gone(driver: LvmDriver) -> bool:
    return driver.capabilities().total_volumes == 0 and driver.exports() == set()


CASES = [
    pytest.param(nothing, create, is_whole, id="creating"),
    pytest.param(create, connect, is_whole, id="connecting"),
    pytest.param(connected, extend, is_larger, id="extending"),
    pytest.param(connected, delete, is_gone, id="deleting"),
    pytest.param(stranger, adopt, is_whole, id="taking over"),
    pytest.param(connected, unmanage, is_gone, id="letting go"),
]


@pytest.mark.parametrize("when", ["before", "amid", "after"])
@pytest.mark.parametrize(("before", "operation", "done"), CASES)
def test_what_was_killed_around_a_change_is_finished_when_asked_again(
    group: str,
    before: Operation,
    operation: Operation,
    done: Callable[[LvmDriver], bool],
    when: str,
) -> None:
    for _ in killed_around_each_change(before, operation, when):
        driver = fresh("thin")

        operation(driver)

        assert done(driver)
        assert read(device_of_bystander(driver), 0, 6) == bytes(6)


def device_of_bystander(driver: LvmDriver) -> Any:
    event = asked(volume_id=UUID(int=2))
    driver.create(event, CAUSE)
    return device(driver, event.originator_id)


def killed_around_each_change(
    before: Operation, operation: Operation, when: str
) -> Iterator[None]:
    """Yield after each change at which the operation was killed, and once after it."""
    for step in count(1):
        before(fresh("thin"))
        child = os.fork()
        if not child:
            die(step, operation, when)
        _, status = os.waitpid(child, 0)
        yield
        clear()
        if os.waitstatus_to_exitcode(status) == 0:
            assert step > 1, "nothing was ever killed"
            return
        assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL


def die(step: int, operation: Operation, when: str) -> None:
    """Do it, and be killed around the nth change."""
    driver, changes = fresh("thin"), count(1)

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
    try:
        operation(driver)
    finally:
        os._exit(0)
