"""How files are copied as at one moment, and what lies on the disk meanwhile."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import count
from pathlib import Path
from threading import Event, Thread
from typing import Any
from uuid import UUID, uuid4

import pytest

from adapters.contracts.drivers import CAUSE, GIB, asked, counted, device, read, write
from adapters.contracts.snapshots import (
    LATER,
    copy_of,
    fill,
    held,
    kept,
    managed,
    offered,
    reversion,
    together,
    wanted,
)
from adapters.file import copying, still
from adapters.file.driver import FileDriver
from adapters.file.failures import CutShort, NoSpace
from adapters.file.naming import names
from adapters.file.test_driver import snapshot_came_in
from adapters.file.testing import kept_in
from domain.ports import (
    Cause,
    DriverFailed,
    SourceReference,
    UnknownReference,
    Untidy,
    VolumeIsBusy,
)
from service.testing.disks import tmpfs

LOCKS = Path("/proc/locks")


@pytest.fixture
def shares_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A filesystem whose files share no blocks, whatever the tests run on."""
    monkeypatch.setattr(copying, "share", lambda *_: False)


@pytest.fixture
def shares(monkeypatch: pytest.MonkeyPatch) -> None:
    """A filesystem whose files share blocks, or one that acts like it."""

    def share(source: int, target: int) -> bool:
        assert list(copying.copied(source, target))
        return True

    monkeypatch.setattr(copying, "share", share)


# What lies on the disk


def test_a_snapshot_says_which_event_made_it_and_of_what(
    driver: FileDriver, folder: Path, volume: UUID
) -> None:
    event = wanted(volume)

    path = driver.take_snapshot(event, CAUSE)

    home = folder / f"snapshot-{event.originator_id}"
    made_by = f"made-by {CAUSE.position} {CAUSE.at}"
    assert path == str(home / "volume")
    assert names(home) == {"volume", made_by, f"of {volume}"}


@pytest.mark.usefixtures("shares_nothing")
def test_a_snapshot_takes_no_space_for_what_was_never_written(
    driver: FileDriver,
) -> None:
    event = asked(8)
    driver.create(event, CAUSE)
    write(device(driver, event.originator_id), 4 * GIB, b"somewhere")

    path = Path(driver.take_snapshot(wanted(event.originator_id), CAUSE))

    assert path.stat().st_size == 8 * GIB
    assert path.stat().st_blocks * 512 <= 64 * 1024
    assert read(path, 4 * GIB, 9) == b"somewhere"


def test_a_reverted_volume_keeps_nothing_of_what_it_held(
    driver: FileDriver, folder: Path, volume: UUID
) -> None:
    event = wanted(volume)
    driver.take_snapshot(event, CAUSE)
    driver.revert(reversion(volume, event.originator_id), CAUSE)

    driver.revert(reversion(volume, event.originator_id), LATER)

    home = folder / str(volume)
    assert len(names(home)) == 3  # the data, what made it, and what reverted it last
    assert {(home / name).stat().st_ino for name in names(home)} == {
        device(driver, volume).stat().st_ino
    }


def test_a_reversion_that_fails_says_which_content_the_volume_holds(
    driver: FileDriver, volume: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    event, path = wanted(volume), device(driver, volume)
    driver.take_snapshot(event, CAUSE)
    told: set[type[DriverFailed]] = set()

    for step in count():
        fill(path, b"after!")
        cause = Cause(10 + step, LATER.at)
        with monkeypatch.context() as patch:
            failing = FailingDisk(patch, step)
            try:
                driver.revert(reversion(volume, event.originator_id), cause)
            except Untidy:
                assert held(path) == {b"before"}
                told.add(Untidy)
            except DriverFailed:
                assert held(path) == {b"after!"}
                told.add(DriverFailed)
        if not failing.has_failed:
            break

    assert told == {Untidy, DriverFailed}
    assert held(path) == {b"before"}
    assert len(names(path.parent)) == 3


def test_what_a_volume_is_reverted_to_is_durable_before_what_it_held_is_gone(
    driver: FileDriver, volume: UUID, calls: list[str]
) -> None:
    event = wanted(volume)
    driver.take_snapshot(event, CAUSE)
    calls.clear()

    driver.revert(reversion(volume, event.originator_id), LATER)

    brought = f".{volume}.making/made-by {LATER.position} {LATER.at}"
    told = [call for call in calls if call != f"unlink {volume}/new"]
    assert told == [
        f"fsync {brought}",
        f"rename {brought}",
        f"fsync {volume}",
        f"unlink {volume}/before",  # of an earlier attempt
        f"rename {volume}/new",
        f"fsync {volume}",
        f"rename {volume}/new",
        f"unlink {volume}/before",
        f"fsync {volume}",
    ]


def test_a_volume_in_use_is_not_begun_to_be_reverted(
    driver: FileDriver, volume: UUID, calls: list[str]
) -> None:
    event = wanted(volume)
    driver.take_snapshot(event, CAUSE)
    calls.clear()

    with device(driver, volume).open("rb"), pytest.raises(VolumeIsBusy):
        driver.revert(reversion(volume, event.originator_id), LATER)

    assert calls == []


def test_a_copy_that_shares_blocks_is_of_what_held_still_until_it_was_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "share", lambda *_: True)
    (tmp_path / "source").touch()

    def check() -> None:
        raise still.Moved(0)

    with pytest.raises(still.Moved):
        copying.copy_held(tmp_path / "source", tmp_path / "target", check)


class FailingDisk:
    """A disk that takes so many changes, not the next one, and all after that."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, changes: int) -> None:
        self._left = changes
        for name in ("link", "unlink", "rename", "mkdir", "rmdir", "fsync"):
            monkeypatch.setattr(os, name, partial(self._change, getattr(os, name)))

    @property
    def has_failed(self) -> bool:
        return self._left < 0

    def _change(self, change: Callable[..., Any], *about: Any, **how: Any) -> Any:
        self._left -= 1
        if self._left == -1:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return change(*about, **how)


@pytest.mark.parametrize("kind", ["making", "deleting"])
def test_setting_up_removes_what_was_left_of_a_snapshot(
    driver: FileDriver, folder: Path, kind: str
) -> None:
    leftover = folder / f".snapshot-{uuid4()}.{kind}"
    leftover.mkdir()
    (leftover / "volume").touch()

    driver.set_up()

    assert kept_in(folder) == set()


# What has lost its tags


def test_a_snapshot_without_its_tags_is_told_and_is_marked_again(
    driver: FileDriver, folder: Path, volume: UUID
) -> None:
    event = wanted(volume)
    driver.take_snapshot(event, CAUSE)
    home = folder / f"snapshot-{event.originator_id}"
    for name in names(home) - {"volume"}:
        (home / name).unlink()

    def lacks() -> set[tuple[str, ...]]:
        found = driver.survey().objects
        return {each.lacks for each in found if each.id == event.originator_id}

    assert lacks() == {("what made it", "what it is of")}
    driver.mark("snapshot", event.originator_id, CAUSE, volume)
    assert lacks() == {()}


@pytest.mark.parametrize(
    ("cause", "of"),
    [(Cause(CAUSE.position, "another"), "volume"), (CAUSE, "another")],
    ids=["made by another event", "of another volume"],
)
def test_what_says_that_it_is_something_else_is_not_marked(
    driver: FileDriver, folder: Path, volume: UUID, cause: Cause, of: str
) -> None:
    event = wanted(volume)
    driver.take_snapshot(event, CAUSE)
    before = names(folder / f"snapshot-{event.originator_id}")
    its_volume = volume if of == "volume" else uuid4()

    with pytest.raises(DriverFailed):
        driver.mark("snapshot", event.originator_id, cause, its_volume)

    assert names(folder / f"snapshot-{event.originator_id}") == before


def test_what_has_lost_its_data_is_not_marked(driver: FileDriver, volume: UUID) -> None:
    device(driver, volume).unlink()

    with pytest.raises(DriverFailed, match="is gone"):
        driver.mark("volume", volume, CAUSE, None)


# What has lost its end


def test_nothing_is_made_of_a_snapshot_that_is_cut_short(
    driver: FileDriver, volume: UUID
) -> None:
    event = wanted(volume)
    snapshot = Path(driver.take_snapshot(event, CAUSE))
    fill(device(driver, volume), b"after!")
    os.truncate(snapshot, 8 * 1024**2)
    cut_short = pytest.raises(CutShort, match=f"{snapshot} has 8388608 .* 1073741824")

    with cut_short:
        driver.create(copy_of(event.originator_id, size_gib=2), CAUSE)
    with cut_short:
        driver.revert(reversion(volume, event.originator_id), CAUSE)

    assert held(device(driver, volume)) == {b"after!"}
    assert driver.capabilities().total_volumes == 1


def test_nothing_is_made_of_a_volume_that_is_cut_short(
    driver: FileDriver, volume: UUID
) -> None:
    os.truncate(device(driver, volume), 8 * 1024**2)

    with pytest.raises(CutShort, match=f"volume {volume}"):
        driver.create(copy_of(volume, "volume"), CAUSE)
    with pytest.raises(CutShort):
        driver.take_snapshot(wanted(volume), CAUSE)
    with pytest.raises(CutShort):
        driver.take_group_snapshot(together(volume), CAUSE)


def test_a_copy_that_was_asked_for_before_sizes_were_told_is_made(
    driver: FileDriver, volume: UUID
) -> None:
    event = copy_of(volume, "volume", source_size_gib=None)

    driver.create(event, CAUSE)

    assert held(device(driver, event.originator_id)) == {b"before"}


# Holding still


@pytest.mark.usefixtures("shares_nothing")
def test_a_volume_that_is_written_is_not_copied_and_the_writer_is_named(
    driver: FileDriver, volume: UUID
) -> None:
    before = counted(driver)
    refused = pytest.raises(VolumeIsBusy, match=rf"process {os.getpid()} .*XFS")
    with device(driver, volume).open("r+b"):
        with refused:
            driver.take_snapshot(wanted(volume), CAUSE)
        with refused:
            driver.create(copy_of(volume, "volume"), CAUSE)

    assert counted(driver) == before


@pytest.mark.usefixtures("shares")
def test_a_volume_that_is_written_is_copied_where_blocks_are_shared(
    driver: FileDriver, volume: UUID
) -> None:
    event = wanted(volume)

    with device(driver, volume).open("r+b"):
        driver.take_snapshot(event, CAUSE)

    assert kept(driver, event.originator_id) == {b"before"}


@pytest.mark.usefixtures("shares_nothing")
def test_who_wants_to_write_waits_until_the_copy_is_made(
    driver: FileDriver, volume: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(still, "PATIENCE", 40.0)
    event, path = wanted(volume), device(driver, volume)
    writer = Thread(target=fill, args=(path, b"after!"))

    def begin_to_write(_: float) -> None:
        if not writer.ident:
            writer.start()
            until(lambda: breaking(path))

    driver.take_snapshot(event, CAUSE, begin_to_write)
    writer.join()

    assert held(path) == {b"after!"}
    assert kept(driver, event.originator_id) == {b"before"}


@pytest.mark.usefixtures("shares_nothing")
def test_who_wants_to_write_does_not_wait_for_long(
    driver: FileDriver, folder: Path, volume: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(still, "PATIENCE", 0.0)
    path, enough = device(driver, volume), Event()
    writer = Thread(target=write_until, args=(path, enough))

    def begin_to_write(_: float) -> None:
        if not writer.ident:
            writer.start()
            until(lambda: breaking(path))

    with pytest.raises(VolumeIsBusy):
        driver.take_snapshot(wanted(volume), CAUSE, begin_to_write)
    enough.set()
    writer.join()

    assert kept_in(folder) == {str(volume)}
    assert held(path) == {b"after!"}


def test_where_nothing_can_be_held_still_groups_are_not_consistent(
    driver: FileDriver, volume: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.EINVAL, "no leases here")

    monkeypatch.setattr(still, "lease", refuse)
    driver.set_up()

    assert not driver.capabilities().consistent_group_snapshot_enabled
    with pytest.raises(VolumeIsBusy):
        driver.take_group_snapshot(together(volume), CAUSE)


@pytest.mark.parametrize("sharing", ["shares", "shares_nothing"])
def test_a_consistent_group_with_a_member_that_is_written_is_refused_as_a_whole(
    driver: FileDriver, volume: UUID, sharing: str, request: pytest.FixtureRequest
) -> None:
    request.getfixturevalue(sharing)
    other = asked()
    driver.create(other, CAUSE)
    event = together(volume, other.originator_id)

    with (
        device(driver, other.originator_id).open("r+b"),
        pytest.raises(VolumeIsBusy, match=str(other.originator_id)),
    ):
        driver.take_group_snapshot(event, CAUSE)

    assert counted(driver) == (2, 2.0)
    fill(device(driver, volume), b"after!")  # nobody has to wait


@pytest.mark.parametrize("consistent", [True, False])
def test_a_consistent_group_snapshot_is_of_one_moment_and_another_is_not(
    driver: FileDriver, volume: UUID, *, consistent: bool
) -> None:
    other = asked()
    driver.create(other, CAUSE)
    paths = [device(driver, each) for each in (volume, other.originator_id)]
    for path in paths:
        write(path, 0, bytes(8))
    enough = Event()
    writer = Thread(target=alternate, args=(paths, enough))
    apart: list[int] = []
    writer.start()
    try:
        while len(apart) < (20 if consistent else 500) and set(apart) <= {0, 1}:
            event = together(volume, other.originator_id, consistent=consistent)
            with suppress(VolumeIsBusy):
                driver.take_group_snapshot(event, CAUSE)
                first, second = (number_in(driver, m) for m in event.members)
                apart.append(first - second)
    finally:
        enough.set()
        writer.join()

    assert (set(apart) <= {0, 1}) is consistent


# Copying


@pytest.mark.usefixtures("shares_nothing")
def test_it_is_told_how_far_a_copy_is(driver: FileDriver, volume: UUID) -> None:
    told: list[float] = []

    driver.take_snapshot(wanted(volume), CAUSE, told.append)

    assert told == sorted(told)
    assert told[0] < 1
    assert 50 in map(round, told)
    assert told[-1] == 100


@pytest.mark.usefixtures("shares_nothing")
def test_a_copy_that_is_called_off_can_be_asked_for_again(
    driver: FileDriver, folder: Path, volume: UUID
) -> None:
    class CalledOff(Exception):
        pass

    def call_off(_: float) -> None:
        raise CalledOff

    event = wanted(volume)
    with pytest.raises(CalledOff):
        driver.take_snapshot(event, CAUSE, call_off)
    assert counted(driver) == (1, 1.0)
    fill(device(driver, volume), b"after!")  # nobody has to wait

    driver.take_snapshot(event, CAUSE)

    assert kept(driver, event.originator_id) == {b"after!"}
    assert kept_in(folder) == {str(volume), f"snapshot-{event.originator_id}"}


def test_what_no_room_was_found_for_is_not_copied(tmp_path: Path) -> None:
    with tmpfs(tmp_path, "size=4m"):
        driver = FileDriver(tmp_path, max_over_subscription_ratio=1e6)
        driver.set_up()
        event = asked()
        driver.create(event, CAUSE)
        write(device(driver, event.originator_id), 0, os.urandom(3 * 1024**2))

        with pytest.raises(NoSpace, match="No space left on device"):
            driver.take_snapshot(wanted(event.originator_id), CAUSE)

        assert kept_in(tmp_path) == {str(event.originator_id)}


def test_what_can_never_be_filled_is_not_copied(folder: Path, volume: UUID) -> None:
    driver = FileDriver(folder, max_over_subscription_ratio=0)
    driver.set_up()

    with pytest.raises(NoSpace, match="do not fit"):
        driver.take_snapshot(wanted(volume), CAUSE)
    with pytest.raises(NoSpace, match="do not fit"):
        driver.create(copy_of(volume, "volume"), CAUSE)


def test_a_disk_that_fails_while_blocks_are_shared_is_no_filesystem_that_cannot(
    driver: FileDriver, volume: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(fcntl, "ioctl", full)

    with pytest.raises(NoSpace):
        driver.take_snapshot(wanted(volume), CAUSE)


def test_a_volume_opened_while_it_is_being_reverted_holds_what_it_did(
    driver: FileDriver, volume: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    event, path = wanted(volume), device(driver, volume)
    driver.take_snapshot(event, CAUSE)
    fill(path, b"after!")
    rename = os.rename
    opened: list[Any] = []

    def open_first(source: Path, target: Path) -> None:
        if target == path and not opened:
            opened.append(path.open("rb"))
        rename(source, target)

    monkeypatch.setattr(os, "rename", open_first)
    with pytest.raises(VolumeIsBusy):
        driver.revert(reversion(volume, event.originator_id), CAUSE)
    opened[0].close()

    assert held(path) == {b"after!"}
    assert len(names(path.parent)) == 2  # the data, and what made it
    driver.revert(reversion(volume, event.originator_id), CAUSE)
    assert held(path) == {b"before"}


# What came in


def test_a_file_that_was_put_there_becomes_a_snapshot_of_its_volume(
    driver: FileDriver, folder: Path, volume: UUID
) -> None:
    path = snapshot_came_in(folder, volume, "monday")
    fill(path, b"monday")

    listed = driver.manageable_snapshots()
    event = managed(volume, "monday")
    driver.adopt_snapshot(event, CAUSE)

    assert listed == [offered(volume, "monday")]
    assert kept(driver, event.originator_id) == {b"monday"}
    assert names(path.parent) == set()


@pytest.mark.parametrize("size_bytes", [0, 1, 5_000, GIB - 1, GIB + 1])
def test_a_file_that_has_no_whole_gib_becomes_no_snapshot(
    driver: FileDriver, folder: Path, size_bytes: int
) -> None:
    event = asked(2)
    driver.create(event, CAUSE)
    path = snapshot_came_in(folder, event.originator_id, "monday", size_bytes)

    with pytest.raises(UnknownReference, match=f"has {size_bytes} bytes, no whole GiB"):
        driver.adopt_snapshot(managed(event.originator_id, "monday"), CAUSE)

    assert not driver.manageable_snapshots()[0].safe_to_manage
    assert path.stat().st_size == size_bytes


def test_a_file_that_is_a_byte_larger_than_the_volume_is_no_snapshot_of_it(
    driver: FileDriver, folder: Path, volume: UUID
) -> None:
    snapshot_came_in(folder, volume, "monday", GIB + 1)

    with pytest.raises(UnknownReference, match=f"larger than {volume}") as why:
        driver.adopt_snapshot(managed(volume, "monday"), CAUSE)

    [listed] = driver.manageable_snapshots()
    assert listed.reason_not_safe == str(why.value)


def test_a_file_is_no_snapshot_of_a_volume_that_is_not_there(
    driver: FileDriver, folder: Path
) -> None:
    nobody = uuid4()
    snapshot_came_in(folder, nobody, "monday")

    with pytest.raises(UnknownReference, match=f"no volume {nobody}") as why:
        driver.adopt_snapshot(managed(nobody, "monday"), CAUSE)

    [listed] = driver.manageable_snapshots()
    assert not listed.safe_to_manage
    assert listed.reason_not_safe == str(why.value)
    assert listed.source_reference == SourceReference(nobody)


def test_files_of_one_name_are_told_apart_by_their_volumes(
    driver: FileDriver, folder: Path
) -> None:
    volumes = [asked() for _ in range(2)]
    for event in volumes:
        driver.create(event, CAUSE)
        snapshot_came_in(folder, event.originator_id, "nightly")

    listed = driver.manageable_snapshots()

    ids = sorted((event.originator_id for event in volumes), key=str)
    assert listed == [offered(volume_id, "nightly") for volume_id in ids]


@pytest.mark.parametrize("ending", ["delete", "unmanage"])
def test_where_snapshots_came_in_goes_with_the_volume(
    driver: FileDriver, folder: Path, volume: UUID, ending: str
) -> None:
    came_in = snapshot_came_in(folder, volume, "monday").parent
    event = managed(volume, "monday")
    driver.adopt_snapshot(event, CAUSE)
    driver.delete_snapshot(event.originator_id, CAUSE.at)

    for _ in range(2):
        came_in.mkdir(exist_ok=True)  # the first time it was killed before that
        getattr(driver, ending)(volume, CAUSE.at)

    assert not came_in.exists()


@pytest.mark.parametrize("ending", ["delete", "unmanage"])
def test_a_file_that_came_in_outlives_the_volume(
    driver: FileDriver, folder: Path, volume: UUID, ending: str
) -> None:
    path = snapshot_came_in(folder, volume, "monday")

    getattr(driver, ending)(volume, CAUSE.at)

    assert path.exists()


def test_a_file_in_use_becomes_no_snapshot(
    driver: FileDriver, folder: Path, volume: UUID
) -> None:
    path = snapshot_came_in(folder, volume, "monday")

    with path.open("rb"), pytest.raises(VolumeIsBusy):
        driver.adopt_snapshot(managed(volume, "monday"), CAUSE)

    assert path.exists()


def test_a_snapshot_in_use_is_neither_removed_nor_let_go(
    driver: FileDriver, volume: UUID
) -> None:
    event = wanted(volume)
    path = Path(driver.take_snapshot(event, CAUSE))

    with path.open("rb"):
        with pytest.raises(VolumeIsBusy, match="snapshot"):
            driver.delete_snapshot(event.originator_id, CAUSE.at)
        with pytest.raises(VolumeIsBusy, match="snapshot"):
            driver.unmanage_snapshot(event.originator_id, CAUSE.at)

    assert kept(driver, event.originator_id) == {b"before"}


def breaking(path: Path) -> bool:
    """Tell whether somebody waits to write a file that is held still."""
    number = f":{path.stat().st_ino} "
    lines = LOCKS.read_text().splitlines()
    return any("BREAKING" in line and number in line for line in lines)


def until(happened: Callable[[], bool]) -> None:
    """Wait until something has happened."""
    ends = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < ends


def write_until(path: Path, enough: Event) -> None:
    """Have a file open for writing, and write it."""
    with path.open("r+b"):
        fill(path, b"after!")
        enough.wait(30)


def alternate(paths: list[Path], enough: Event) -> None:
    """Write increasing numbers, to one file after another."""
    for number in iter(range(2**62)):
        for path in paths:
            write(path, 0, number.to_bytes(8))
        if enough.wait(0.001):
            return


def number_in(driver: FileDriver, member: Any) -> int:
    """Return the number that a snapshot has."""
    path = driver._snapshots.path(member.snapshot_id)
    return int.from_bytes(read(path, 0, 8))
