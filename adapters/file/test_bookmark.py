"""A copy that was cut short goes on where it was, while its source is what it was."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest

from adapters.contracts.drivers import CAUSE, GIB, asked, device, read, write
from adapters.contracts.snapshots import (
    LATER,
    copy_of,
    fill,
    held,
    reversion,
    together,
    wanted,
)
from adapters.file import bookmark, copying
from adapters.file.driver import FileDriver
from adapters.file.durable import alone
from adapters.file.testing import started
from domain.ports import Cause, DriverFailed, Progress, unheard

COPY = UUID(int=1)
BEHIND = {GIB // 2, GIB - 4096}  # where there is data that is not copied at first

Operation = Callable[[FileDriver, Cause, Progress], object]


class Killed(Exception):
    """The agent is no more."""


@pytest.fixture(autouse=True)
def in_small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy that says after each part how far it is; no blocks are shared."""
    monkeypatch.setattr(bookmark, "EVERY", 1)
    monkeypatch.setattr(copying, "share", lambda *_: False)


@pytest.fixture
def snapshot(driver: FileDriver, volume: UUID) -> UUID:
    """A snapshot of it."""
    event = wanted(volume)
    driver.take_snapshot(event, CAUSE)
    return event.originator_id


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Where files are read from now on."""
    pread, offsets = os.pread, list[int]()

    def reading(file: int, size: int, offset: int) -> bytes:
        offsets.append(offset)
        return pread(file, size, offset)

    monkeypatch.setattr(os, "pread", reading)
    return offsets


@pytest.fixture
def power_cut(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], None]:
    """What lets the machine start anew."""
    start = tmp_path / "start"
    start.write_text("another\n")
    return lambda: monkeypatch.setattr(bookmark, "START", start)


@pytest.mark.parametrize("what", ["snapshot", "of volume", "of snapshot", "reversion"])
def test_a_copy_that_was_cut_short_reads_only_what_was_not_copied(
    folder: Path, volume: UUID, snapshot: UUID, what: str, reads: list[int]
) -> None:
    operation, home = {
        "snapshot": (taken_of(volume, COPY), f"snapshot-{COPY}"),
        "of volume": (made_of("volume", volume, COPY), str(COPY)),
        "of snapshot": (made_of("snapshot", snapshot, COPY), str(COPY)),
        "reversion": (back_to(volume, snapshot), str(volume)),
    }[what]
    cut_short(folder, operation)
    reads.clear()

    operation(started(folder), CAUSE, unheard)

    assert set(reads) == BEHIND
    assert held(folder / home / "volume") == {b"before"}
    assert not said(folder)


@pytest.mark.parametrize("consistent", [True, False])
def test_of_a_group_snapshot_that_was_cut_short_no_member_is_read_twice(
    folder: Path,
    volume: UUID,
    reads: list[int],
    monkeypatch: pytest.MonkeyPatch,
    *,
    consistent: bool,
) -> None:
    driver, event = started(folder), asked()
    driver.create(event, CAUSE)
    fill(device(driver, event.originator_id), b"before")
    both = together(volume, event.originator_id, consistent=consistent)
    reads.clear()
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", Dying(os.pwrite, after=4))
        with pytest.raises(Killed):
            driver.take_group_snapshot(both, CAUSE)
    first = len(reads)

    started(folder).take_group_snapshot(both, CAUSE)

    assert reads[first:] == [*sorted(BEHIND)]


@pytest.mark.parametrize("kind", ["volume", "snapshot"])
def test_what_was_copied_of_a_file_that_has_changed_since_is_copied_anew(
    folder: Path, volume: UUID, snapshot: UUID, kind: str
) -> None:
    source, home = {
        "volume": (volume, folder / str(volume)),
        "snapshot": (snapshot, folder / f"snapshot-{snapshot}"),
    }[kind]
    operation = made_of(kind, source, COPY)
    cut_short(folder, operation)
    fill(home / "volume", b"after!")

    operation(started(folder), CAUSE, unheard)

    assert held(folder / str(COPY) / "volume") == {b"after!"}


def test_after_a_power_cut_a_copy_of_a_snapshot_goes_on(
    folder: Path, snapshot: UUID, power_cut: Callable[[], None], reads: list[int]
) -> None:
    operation = made_of("snapshot", snapshot, COPY)
    cut_short(folder, operation)
    reads.clear()
    power_cut()

    operation(started(folder), CAUSE, unheard)

    assert set(reads) == BEHIND
    assert held(folder / str(COPY) / "volume") == {b"before"}


def test_after_a_power_cut_a_copy_of_a_volume_begins_anew(
    folder: Path, volume: UUID, power_cut: Callable[[], None], reads: list[int]
) -> None:
    operation = made_of("volume", volume, COPY)
    cut_short(folder, operation)
    reads.clear()
    power_cut()

    operation(started(folder), CAUSE, unheard)

    assert set(reads) == {0} | BEHIND


def test_what_is_behind_what_was_flushed_is_copied_anew(
    folder: Path, snapshot: UUID
) -> None:
    operation = made_of("snapshot", snapshot, COPY)
    cut_short(folder, operation)
    [name] = said(folder)
    write(name, GIB // 4, b"rubbish")

    operation(started(folder), CAUSE, unheard)

    assert read(folder / str(COPY) / "volume", GIB // 4, 7) == bytes(7)


def test_what_is_said_to_be_copied_was_flushed_before(
    driver: FileDriver, snapshot: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    for name in ("pwrite", "fdatasync", "link"):
        noting(monkeypatch, name, calls)

    made_of("snapshot", snapshot, COPY)(driver, CAUSE, unheard)

    assert calls[:9] == ["pwrite", "fdatasync", "link"] * 3


def test_small_copies_are_not_flushed_on_their_way(
    driver: FileDriver, snapshot: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bookmark, "EVERY", 64 * 1024**2)
    calls: list[str] = []
    noting(monkeypatch, "fdatasync", calls)

    made_of("snapshot", snapshot, COPY)(driver, CAUSE, unheard)

    assert calls == []


def test_a_copy_that_somebody_is_still_at_is_made_without_him(
    folder: Path, snapshot: UUID, reads: list[int]
) -> None:
    operation = made_of("snapshot", snapshot, COPY)
    cut_short(folder, operation)
    reads.clear()

    with alone(folder / f".{COPY}.making"):  # who was thought dead
        operation(started(folder), CAUSE, unheard)

    assert set(reads) == {0} | BEHIND
    assert held(folder / str(COPY) / "volume") == {b"before"}


def test_a_copy_that_somebody_has_begun_meanwhile_is_left_to_him(
    driver: FileDriver, folder: Path, snapshot: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    making = folder / f".{COPY}.making"
    mkdir = os.mkdir

    with ExitStack() as another:

        def too_late(path: Path, mode: int) -> None:
            mkdir(path, mode)
            another.enter_context(alone(making))

        monkeypatch.setattr(os, "mkdir", too_late)
        with pytest.raises(DriverFailed):
            made_of("snapshot", snapshot, COPY)(driver, CAUSE, unheard)

        assert making.is_dir()


@pytest.mark.parametrize("ending", ["deleted", "for another cause"])
def test_a_copy_that_nobody_will_go_on_with_is_removed(
    folder: Path, snapshot: UUID, ending: str, reads: list[int]
) -> None:
    operation = made_of("snapshot", snapshot, COPY)
    cut_short(folder, operation)
    reads.clear()
    driver = started(folder)

    if ending == "deleted":
        driver.delete(COPY, CAUSE.at)
    else:
        operation(driver, LATER, unheard)

    assert not said(folder)
    assert set(reads) == ({0} | BEHIND if ending != "deleted" else set())


def made_of(kind: str, source: UUID, copy: UUID) -> Operation:
    """Return what makes a volume of something."""
    event = msgspec.structs.replace(copy_of(source, kind), originator_id=copy)
    return lambda driver, cause, told: driver.create(event, cause, told)


def taken_of(volume: UUID, snapshot: UUID) -> Operation:
    """Return what takes a snapshot."""
    event = wanted(volume, snapshot)
    return lambda driver, cause, told: driver.take_snapshot(event, cause, told)


def back_to(volume: UUID, snapshot: UUID) -> Operation:
    """Return what reverts a volume."""
    event = reversion(volume, snapshot)
    return lambda driver, cause, told: driver.revert(event, cause, told)


def cut_short(folder: Path, operation: Operation) -> None:
    """Begin a copy, and be killed when the first part of three is there."""

    def die(_: float) -> None:
        raise Killed

    with pytest.raises(Killed):
        operation(started(folder), CAUSE, die)
    assert len(said(folder)) == 1


class Dying:
    """A call to the operating system, amid which one is killed after so many."""

    def __init__(self, call: Callable[..., Any], after: int) -> None:
        self._call = call
        self._left = after

    def __call__(self, *about: Any) -> Any:
        if not self._left:
            raise Killed
        self._left -= 1
        return self._call(*about)


def said(folder: Path) -> list[Path]:
    """Return where it is said how far a copy is."""
    return [*folder.glob("*/copied *")]


def noting(patch: pytest.MonkeyPatch, name: str, calls: list[str]) -> None:
    """Note each call of that name to the operating system."""
    call = getattr(os, name)

    def noted(*args: Any, **kwargs: Any) -> Any:
        calls.append(name)
        return call(*args, **kwargs)

    patch.setattr(os, name, noted)
