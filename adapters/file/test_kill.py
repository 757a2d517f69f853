"""The agent is killed, and asked again.

A fork server starts the children: it has one thread, whatever pytest has.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import random
import signal
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

import pytest

from adapters.contracts.adoption import wanted
from adapters.contracts.drivers import CAUSE, GIB, asked, read, write
from adapters.file.driver import FileDriver
from adapters.file.test_driver import came_in
from adapters.file.volumes import names

SPAWN = multiprocessing.get_context("forkserver")
SPAWN.set_forkserver_preload(["adapters.file.driver", "adapters.contracts.drivers"])

WHOLE = {"volume", f"made-by {CAUSE.position} {CAUSE.at}"}
VOLUME, BYSTANDER = UUID(int=1), UUID(int=2)
STEPS = [
    *("mkdir", "open", "ftruncate", "fsync", "link"),
    *("close", "rename", "unlink", "rmdir"),
]

Operation = Callable[[FileDriver], object]
Contents = dict[UUID, tuple[int, bool]]


def set_up(driver: FileDriver) -> None:
    driver.set_up()


def create(driver: FileDriver) -> None:
    driver.create(asked(volume_id=VOLUME), CAUSE)


def extend(driver: FileDriver) -> None:
    driver.extend(VOLUME, 2)


def delete(driver: FileDriver) -> None:
    driver.delete(VOLUME, CAUSE.at)


def adopt(driver: FileDriver) -> None:
    driver.adopt(wanted(volume_id=VOLUME), CAUSE)


def unmanage(driver: FileDriver) -> None:
    driver.unmanage(VOLUME, CAUSE.at)


# Killed at every step


def is_there(folder: Path) -> bool:
    return (folder / str(VOLUME) / "volume").stat().st_size == GIB


def is_larger(folder: Path) -> bool:
    path = folder / str(VOLUME) / "volume"
    return path.stat().st_size == 2 * GIB and read(path, 4096, 4) == b"mine"


def is_gone(folder: Path) -> bool:
    return not (folder / str(VOLUME)).exists()


def is_taken_over(folder: Path) -> bool:
    path = folder / str(VOLUME) / "volume"
    data = path.stat().st_size == 2 * GIB and read(path, 4096, 4) == b"mine"
    return data and names(folder / "incoming") == set()


def is_let_go(folder: Path) -> bool:
    path = folder / "incoming" / f"volume-{VOLUME}"
    gone = not (folder / str(VOLUME)).exists() and path.stat().st_nlink == 1
    return gone and read(path, 4096, 4) == b"mine"


CASES = [
    pytest.param(create, is_there, id="creating"),
    pytest.param(extend, is_larger, id="extending"),
    pytest.param(delete, is_gone, id="deleting"),
    pytest.param(adopt, is_taken_over, id="taking over"),
    pytest.param(unmanage, is_let_go, id="letting go"),
]


@pytest.mark.parametrize("restart", [True, False], ids=["restarted", "asked again"])
@pytest.mark.parametrize(("operation", "done"), CASES)
def test_an_operation_that_was_killed_at_any_step_is_finished_when_asked_again(
    tmp_path: Path, operation: Operation, done: Callable[[Path], bool], *, restart: bool
) -> None:
    for folder in killed_at_each_step(tmp_path, operation):
        driver = FileDriver(folder)
        if restart:
            driver.set_up()
            assert not leftovers(folder)

        operation(driver)

        assert done(folder)
        assert not leftovers(folder)
        assert read(folder / str(BYSTANDER) / "volume", 0, 6) == b"theirs"


@pytest.mark.parametrize("operation", [create, extend, delete])
def test_what_a_kill_leaves_is_whole_or_absent(
    tmp_path: Path, operation: Operation
) -> None:
    for folder in killed_at_each_step(tmp_path, operation):
        FileDriver(folder).set_up()

        assert contents(folder) in (
            {BYSTANDER: (GIB, True)},
            {BYSTANDER: (GIB, True), VOLUME: (GIB, True)},
            {BYSTANDER: (GIB, True), VOLUME: (2 * GIB, True)},
        )


@pytest.mark.parametrize("operation", [adopt, unmanage])
def test_what_is_let_go_after_a_kill_is_whole_and_has_one_name(
    tmp_path: Path, operation: Operation
) -> None:
    for folder in killed_at_each_step(tmp_path, operation):
        driver = FileDriver(folder)
        driver.set_up()

        unmanage(driver)

        [name] = names(folder / "incoming")
        assert read(folder / "incoming" / name, 4096, 4) == b"mine"
        assert name in ("db", f"volume-{VOLUME}")
        assert not leftovers(folder)


def test_setting_up_that_was_killed_at_any_step_is_finished_when_asked_again(
    tmp_path: Path,
) -> None:
    for folder in killed_at_each_step(tmp_path, set_up):
        FileDriver(folder).set_up()

        assert not leftovers(folder)
        assert contents(folder) == {BYSTANDER: (GIB, True)}


def killed_at_each_step(tmp_path: Path, operation: Operation) -> Iterator[Path]:
    """Yield a folder for each step at which the operation was killed, and one after."""
    for step in itertools.count(1):
        folder = prepared(tmp_path / str(step), operation)
        child = SPAWN.Process(target=die_at, args=(step, operation, folder))
        child.start()
        child.join()
        yield folder
        if child.exitcode == 0:
            assert step > 3, "nothing was ever killed"
            return
        assert child.exitcode == -signal.SIGKILL


def prepared(folder: Path, operation: Operation) -> Path:
    driver = FileDriver(folder)
    driver.set_up()
    bystander = driver.create(asked(volume_id=BYSTANDER), CAUSE)
    write(Path(bystander), 0, b"theirs")
    if operation is adopt:
        path = came_in(folder, "db", GIB + 1)
        write(path, 4096, b"mine")
    if operation in (extend, delete, unmanage):
        create(driver)
        write(folder / str(VOLUME) / "volume", 4096, b"mine")
    return folder


def die_at(step: int, operation: Operation, folder: Path) -> None:
    """Run an operation, but not its nth call to the operating system."""
    calls = itertools.count(1)

    def dying(call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            if next(calls) == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **kwargs)

        return counted

    for name in STEPS:
        setattr(os, name, dying(getattr(os, name)))
    operation(FileDriver(folder))


# Killed at any moment


@pytest.mark.parametrize("seed", range(20))
def test_what_was_acknowledged_before_a_kill_is_there_after_it(
    tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    driver = FileDriver(tmp_path)
    driver.set_up()
    ours, theirs = SPAWN.Pipe(duplex=False)
    child = SPAWN.Process(target=work, args=(tmp_path, seed, theirs))
    child.start()
    theirs.close()
    said = [ours.recv() for _ in range(chance.randrange(4, 40))]
    ours.poll(chance.uniform(0, 0.002))
    child.kill()
    child.join()
    said += remaining(ours)

    driver = FileDriver(tmp_path)
    driver.set_up()

    acknowledged, cut_short = told(said)
    assert not leftovers(tmp_path)
    assert without(cut_short, contents(tmp_path)) == without(cut_short, acknowledged)


def work(folder: Path, seed: int, report: Connection) -> None:
    """Create, extend and delete; say before each what will be, and after it so."""
    driver, chance = FileDriver(folder), random.Random(seed)
    for number in itertools.count():
        volume = uuid5(UUID(int=seed), str(number % 5))
        verb = chance.choice(["create", "extend", "delete"])
        size = perform(driver, verb, volume, report)
        report.send(("did", volume, size))


def perform(
    driver: FileDriver, verb: str, volume: UUID, report: Connection
) -> int | None:
    report.send(("does", volume, None))
    there = driver._volumes.cause(volume)
    if verb == "delete":
        driver.delete(volume, CAUSE.at)
        return None
    if verb == "create" or not there:
        driver.create(asked(volume_id=volume), CAUSE)
    else:
        driver.extend(volume, 2)
    return driver._volumes.size(volume)


def remaining(pipe: Connection) -> list[tuple[str, UUID, int | None]]:
    said = []
    try:
        while True:
            said.append(pipe.recv())
    except EOFError:
        return said


def told(said: list[tuple[str, UUID, int | None]]) -> tuple[Contents, UUID | None]:
    """Return what was acknowledged to be there, and what was under way."""
    there: Contents = {}
    under_way: UUID | None = None
    for word, volume, size in said:
        under_way = volume if word == "does" else None
        if size:
            there[volume] = size, True
        elif word == "did":
            there.pop(volume, None)
    return there, under_way


def without(volume: UUID | None, contents: Contents) -> Contents:
    return {i: found for i, found in contents.items() if i != volume}


# What is in a folder


def leftovers(folder: Path) -> set[str]:
    return {name for name in names(folder) if name.startswith(".")}


def contents(folder: Path) -> Contents:
    """Return each volume's size, and whether it is whole."""
    found: Contents = {}
    for name in names(folder):
        files = names(folder / name)
        size = (folder / name / "volume").stat().st_size
        explained = FileDriver(folder)._volumes.cause(UUID(name)) == CAUSE
        found[UUID(name)] = size, explained and files == WHOLE
    return found
