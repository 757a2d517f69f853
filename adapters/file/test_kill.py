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

import msgspec
import pytest

from adapters.contracts import snapshots
from adapters.contracts.adoption import wanted
from adapters.contracts.drivers import CAUSE, GIB, asked, read, write
from adapters.file import bookmark
from adapters.file.driver import FileDriver
from adapters.file.naming import names
from adapters.file.test_driver import came_in
from adapters.file.testing import kept_in
from domain import reference
from domain.group_snapshot import Member
from domain.ports import Cause

SPAWN = multiprocessing.get_context("forkserver")
SPAWN.set_forkserver_preload([__name__])

WHOLE = {"volume", f"made-by {CAUSE.position} {CAUSE.at}"}
VOLUME, BYSTANDER, COPY, SNAPSHOT, BESIDE = (UUID(int=n) for n in range(1, 6))
LATER, EVEN_LATER = (Cause(n, CAUSE.at) for n in (8, 9))
STEPS = [
    *("mkdir", "open", "ftruncate", "fsync", "fdatasync", "link"),
    *("close", "rename", "unlink", "rmdir", "pwrite"),
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


def take_snapshot(driver: FileDriver) -> None:
    driver.take_snapshot(snapshots.wanted(VOLUME, SNAPSHOT), CAUSE)


def delete_snapshot(driver: FileDriver) -> None:
    driver.delete_snapshot(SNAPSHOT, CAUSE.at)


def let_snapshot_go(driver: FileDriver) -> None:
    driver.unmanage_snapshot(SNAPSHOT, CAUSE.at)


def take_snapshot_over(driver: FileDriver) -> None:
    name = reference.name_of_snapshot(SNAPSHOT)
    driver.adopt_snapshot(snapshots.managed(VOLUME, name, SNAPSHOT), LATER)


def copy(driver: FileDriver) -> None:
    event = snapshots.copy_of(SNAPSHOT)
    driver.create(msgspec.structs.replace(event, originator_id=COPY), CAUSE)


def revert(driver: FileDriver) -> None:
    driver.revert(snapshots.reversion(VOLUME, SNAPSHOT), LATER)


def take_group_snapshot(driver: FileDriver) -> None:
    members = [Member(SNAPSHOT, VOLUME, 1), Member(BESIDE, BYSTANDER, 1)]
    event = snapshots.together(VOLUME, BYSTANDER)
    driver.take_group_snapshot(msgspec.structs.replace(event, members=members), CAUSE)


# What is done to a volume that holds something before an operation is killed.
BEFORE: dict[Operation, list[Operation]] = {
    take_snapshot: [],
    take_group_snapshot: [],
    delete_snapshot: [take_snapshot],
    let_snapshot_go: [take_snapshot],
    take_snapshot_over: [take_snapshot, let_snapshot_go],
    copy: [take_snapshot],
    revert: [take_snapshot],
}

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


def is_held(home: str, data: bytes) -> Callable[[Path], bool]:
    def check(folder: Path) -> bool:
        path = folder / home / "volume"
        return path.stat().st_size == GIB and snapshots.held(path) == {data}

    return check


def are_taken(folder: Path) -> bool:
    theirs = folder / f"snapshot-{BESIDE}" / "volume"
    return IS_TAKEN(folder) and read(theirs, 0, 6) == b"theirs"


def is_removed(folder: Path) -> bool:
    return not (folder / f"snapshot-{SNAPSHOT}").exists()


def is_left(folder: Path) -> bool:
    came_in = folder / "incoming-snapshots" / str(VOLUME)
    path = came_in / reference.name_of_snapshot(SNAPSHOT)
    one = names(came_in) == {path.name} and path.stat().st_nlink == 1
    return is_removed(folder) and one and snapshots.held(path) == {b"before"}


def is_back(folder: Path) -> bool:
    came_in = folder / "incoming-snapshots" / str(VOLUME)
    return IS_TAKEN(folder) and names(came_in) == set()


def is_reverted(folder: Path) -> bool:
    alone = len({path.stat().st_ino for path in (folder / str(VOLUME)).iterdir()}) == 1
    return alone and is_held(str(VOLUME), b"before")(folder)


IS_TAKEN = is_held(f"snapshot-{SNAPSHOT}", b"before")
CASES = [
    pytest.param(create, is_there, id="creating"),
    pytest.param(extend, is_larger, id="extending"),
    pytest.param(delete, is_gone, id="deleting"),
    pytest.param(adopt, is_taken_over, id="taking over"),
    pytest.param(unmanage, is_let_go, id="letting go"),
    pytest.param(take_snapshot, IS_TAKEN, id="taking a snapshot"),
    pytest.param(delete_snapshot, is_removed, id="deleting a snapshot"),
    pytest.param(let_snapshot_go, is_left, id="letting a snapshot go"),
    pytest.param(take_snapshot_over, is_back, id="taking a snapshot over"),
    pytest.param(copy, is_held(str(COPY), b"before"), id="copying"),
    pytest.param(revert, is_reverted, id="reverting"),
    pytest.param(take_group_snapshot, are_taken, id="taking a group snapshot"),
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


@pytest.mark.parametrize(
    ("operation", "done"),
    [
        pytest.param(copy, is_held(str(COPY), b"before"), id="copying"),
        pytest.param(take_snapshot, IS_TAKEN, id="taking a snapshot"),
        pytest.param(revert, is_reverted, id="reverting"),
        pytest.param(take_group_snapshot, are_taken, id="taking a group snapshot"),
    ],
)
def test_a_copy_that_was_killed_at_any_step_goes_on_and_is_finished(
    tmp_path: Path, operation: Operation, done: Callable[[Path], bool]
) -> None:
    went_on = 0
    for folder in killed_at_each_step(tmp_path, operation, every=1):
        driver = FileDriver(folder)
        driver.set_up()
        went_on += bool(leftovers(folder))

        operation(driver)

        assert done(folder)
        assert not leftovers(folder)
        assert read(folder / str(BYSTANDER) / "volume", 0, 6) == b"theirs"
    assert went_on > 3


def test_a_volume_whose_reversion_was_killed_has_one_content_or_the_other(
    tmp_path: Path,
) -> None:
    for folder in killed_at_each_step(tmp_path, revert):
        driver = FileDriver(folder)
        driver.set_up()

        path = folder / str(VOLUME) / "volume"
        assert snapshots.held(path) in ({b"before"}, {b"after!"})
        assert IS_TAKEN(folder)
        driver.extend(VOLUME, 2)
        driver.revert(snapshots.reversion(VOLUME, SNAPSHOT), EVEN_LATER)
        assert path.stat().st_size == 2 * GIB
        assert snapshots.held(path) == {b"before"}


@pytest.mark.parametrize("operation", [take_snapshot, take_group_snapshot])
def test_what_a_kill_leaves_of_snapshots_can_be_removed(
    tmp_path: Path, operation: Operation
) -> None:
    for folder in killed_at_each_step(tmp_path, operation):
        driver = FileDriver(folder)

        driver.delete_snapshot(SNAPSHOT, CAUSE.at)
        driver.delete_snapshot(BESIDE, CAUSE.at)

        assert kept_in(folder) == {str(VOLUME), str(BYSTANDER)}


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


def killed_at_each_step(
    tmp_path: Path, operation: Operation, every: int = bookmark.EVERY
) -> Iterator[Path]:
    """Yield a folder for each step at which the operation was killed, and one after.

    A copy says how far it is every so many bytes.
    """
    for step in itertools.count(1):
        folder = prepared(tmp_path / str(step), operation)
        child = SPAWN.Process(target=die_at, args=(step, operation, folder, every))
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
    if operation in BEFORE:
        driver.create(asked(volume_id=VOLUME), CAUSE)
        snapshots.fill(folder / str(VOLUME) / "volume", b"before")
        for earlier in BEFORE[operation]:
            earlier(driver)
            snapshots.fill(folder / str(VOLUME) / "volume", b"after!")
    if operation in (extend, delete, unmanage):
        create(driver)
        write(folder / str(VOLUME) / "volume", 4096, b"mine")
    return folder


def die_at(step: int, operation: Operation, folder: Path, every: int) -> None:
    """Run an operation, but not its nth call to the operating system."""
    bookmark.EVERY = every
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
    return {name for name in kept_in(folder) if name.startswith(".")}


def contents(folder: Path) -> Contents:
    """Return each volume's size, and whether it is whole."""
    found: Contents = {}
    for name in kept_in(folder):
        files = names(folder / name)
        size = (folder / name / "volume").stat().st_size
        explained = FileDriver(folder)._volumes.cause(UUID(name)) == CAUSE
        found[UUID(name)] = size, explained and files == WHOLE
    return found
