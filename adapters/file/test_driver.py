"""The file driver passes the drivers' contract; and what is special about files."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from adapters.contracts.adoption import AdoptionContract, wanted
from adapters.contracts.drivers import CAUSE, GIB, DriverContract, asked, device
from adapters.contracts.snapshots import AnySizeContract, SnapshotContract
from adapters.file import driver as driving
from adapters.file.driver import FileDriver
from adapters.file.durable import empty
from adapters.file.failures import AnothersFolder, Crowded, NoSpace
from adapters.file.naming import names
from adapters.file.testing import kept_in, started
from domain import reference
from domain.ports import (
    AlreadyManaged,
    Cause,
    Driver,
    DriverFailed,
    UnknownReference,
    VolumeIsBusy,
)
from service.testing.disks import fill, tmpfs

MADE_BY = f"made-by {CAUSE.position} {CAUSE.at}"


class TestFileDriver(
    DriverContract, AdoptionContract, SnapshotContract, AnySizeContract
):
    def restarted(self, driver: Driver) -> Driver:
        assert isinstance(driver, FileDriver)
        again = FileDriver(driver._folder)
        again.set_up()
        return again

    def bring(self, driver: Driver, name: str, size_bytes: int) -> Path:
        assert isinstance(driver, FileDriver)
        return came_in(driver._folder, name, size_bytes)

    def bring_snapshot(
        self, driver: Driver, volume_id: UUID, name: str, size_bytes: int
    ) -> None:
        assert isinstance(driver, FileDriver)
        snapshot_came_in(driver._folder, volume_id, name, size_bytes)


def came_in(folder: Path, name: str, size_bytes: int = GIB) -> Path:
    """Put a file where one that is to become a volume is looked for."""
    path = folder / "incoming" / name
    path.parent.mkdir(exist_ok=True)
    with path.open("wb") as file:
        file.truncate(size_bytes)
    return path


def snapshot_came_in(
    folder: Path, volume_id: UUID, name: str, size_bytes: int = GIB
) -> Path:
    """Put a file where one that is to become a volume's snapshot is looked for."""
    path = folder / "incoming-snapshots" / str(volume_id) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.truncate(size_bytes)
    return path


def created(driver: FileDriver, size_gib: int = 1) -> UUID:
    event = asked(size_gib)
    driver.create(event, CAUSE)
    return event.originator_id


# What lies on the disk


def test_a_volume_says_which_event_made_it(driver: FileDriver, folder: Path) -> None:
    volume = created(driver)

    assert names(folder / str(volume)) == {"volume", MADE_BY}


def test_what_holdfast_0_1_0_made_is_known_and_can_be_removed(
    driver: FileDriver, folder: Path
) -> None:
    event = asked()
    home = folder / str(event.originator_id)
    home.mkdir()
    (home / "volume").touch()
    told = {"position": CAUSE.position, "at": CAUSE.at}
    (home / "made-by.json").write_text(json.dumps(told))

    assert driver.create(event, CAUSE) == str(home / "volume")
    driver.extend(event.originator_id, 2)
    driver.delete(event.originator_id, CAUSE.at)

    assert kept_in(folder) == set()


def test_a_volume_takes_no_space_until_it_is_written(driver: FileDriver) -> None:
    path = device(driver, created(driver, size_gib=8))

    assert path.stat().st_size == 8 * GIB
    assert path.stat().st_blocks == 0


def test_only_the_agents_user_may_read_volumes(
    driver: FileDriver, folder: Path
) -> None:
    path = device(driver, created(driver))

    modes = [oct(p.stat().st_mode & 0o777) for p in (folder, path.parent, path)]

    assert modes == ["0o700", "0o700", "0o600"]


def test_deleting_gives_the_blocks_back(tmp_path: Path) -> None:
    with tmpfs(tmp_path, "size=4m"):
        driver = FileDriver(tmp_path, max_over_subscription_ratio=1e6)
        volume = created(driver)
        with device(driver, volume).open("r+b") as file:
            file.write(bytes(range(256)) * 4096)
        used = os.statvfs(tmp_path).f_bfree

        driver.delete(volume, CAUSE.at)

        assert os.statvfs(tmp_path).f_bfree >= used + 256


def test_where_a_volume_is_does_not_depend_on_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    driver = FileDriver(Path("volumes"))
    driver.set_up()

    assert driver.create(event := asked(), CAUSE) == (
        f"{tmp_path}/volumes/{event.originator_id}/volume"
    )


def test_a_volume_is_durable_before_it_has_its_name_and_its_name_before_the_answer(
    driver: FileDriver, calls: list[str]
) -> None:
    volume = created(driver)

    making = f".{volume}.making"
    assert calls == [
        f"fsync {making}/{MADE_BY}",
        f"fsync {making}",
        f"rename {making}",
        "fsync .",
    ]


def test_a_volumes_disappearance_is_durable_before_its_data_goes(
    driver: FileDriver, calls: list[str]
) -> None:
    volume = created(driver)
    calls.clear()

    driver.delete(volume, CAUSE.at)

    assert [*calls[:2], *sorted(calls[2:])] == [
        f"rename {volume}",
        "fsync .",
        f"unlink .{volume}.deleting/{MADE_BY}",
        f"unlink .{volume}.deleting/volume",
    ]


def test_what_an_earlier_attempt_made_is_durable_when_it_is_answered(
    driver: FileDriver, calls: list[str]
) -> None:
    event = asked()
    driver.create(event, CAUSE)
    calls.clear()

    driver.create(event, CAUSE)

    volume = event.originator_id
    assert calls == [f"fsync {volume}/volume", f"fsync {volume}", "fsync ."]


def test_what_an_earlier_attempt_grew_is_durable_when_it_is_answered(
    driver: FileDriver, calls: list[str]
) -> None:
    volume = created(driver)
    calls.clear()

    driver.extend(volume, 1)

    assert calls == [f"fsync {volume}/volume"]


def test_what_an_earlier_attempt_removed_stays_removed_when_it_is_answered(
    driver: FileDriver, folder: Path, calls: list[str]
) -> None:
    volume = uuid4()
    leave(folder, volume, "deleting", [])

    driver.delete(volume, CAUSE.at)

    assert calls[-1] == "fsync ."


def test_a_folder_that_is_made_is_durable_before_it_is_used(
    folder: Path, calls: list[str]
) -> None:
    started(folder / "within" / "another")

    whose, incoming = ["fsync within/another"] * 2
    assert calls[:4] == ["fsync within", "fsync .", whose, incoming]


def test_what_is_taken_over_is_durable_before_it_loses_its_name(
    driver: FileDriver, folder: Path, calls: list[str]
) -> None:
    came_in(folder, "db")

    driver.adopt(event := wanted("db"), CAUSE)

    making = f".{event.originator_id}.making"
    assert calls == [
        f"fsync {making}/{MADE_BY}",
        f"fsync {making}",
        f"rename {making}",
        "fsync .",
        "unlink incoming/db",
        "fsync incoming",
    ]


def test_what_is_let_go_has_its_name_durably_before_its_volume_is_gone(
    driver: FileDriver, calls: list[str]
) -> None:
    volume = created(driver)
    calls.clear()

    driver.unmanage(volume, CAUSE.at)

    before = calls[: calls.index(f"rename {volume}")]
    assert {*before} == {"fsync incoming", "fsync ."}


def test_what_came_in_since_under_the_name_of_what_was_taken_over_stays(
    driver: FileDriver, folder: Path
) -> None:
    came_in(folder, "db")
    driver.adopt(event := wanted("db"), CAUSE)
    another = came_in(folder, "db", 2 * GIB)

    adopted = driver.adopt(event, CAUSE)

    assert adopted.size_gib == 1
    assert another.stat().st_size == 2 * GIB


def test_what_is_in_use_and_so_not_let_go_gets_no_other_name(
    driver: FileDriver, folder: Path
) -> None:
    volume = created(driver)

    with device(driver, volume).open("rb"), pytest.raises(VolumeIsBusy):
        driver.unmanage(volume, CAUSE.at)

    assert names(folder / "incoming") == set()


def test_a_name_that_was_left_to_what_is_deleted_is_gone_durably_before_it_is(
    driver: FileDriver, folder: Path, calls: list[str]
) -> None:
    volume = created(driver)
    (folder / "incoming" / "db").hardlink_to(device(driver, volume))
    calls.clear()

    driver.delete(volume, CAUSE.at)

    assert calls[:4] == [
        f"rename {volume}",
        "fsync .",
        "unlink incoming/db",
        "fsync incoming",
    ]


def test_what_is_marked_says_so_durably(driver: FileDriver, calls: list[str]) -> None:
    volume = created(driver)
    (device(driver, volume).parent / MADE_BY).unlink()
    calls.clear()

    driver.mark("volume", volume, CAUSE, None)

    assert calls == [f"fsync {volume}"]


# What cannot be explained is never adopted, and left alone


@pytest.mark.parametrize("made_by", [None, b"", b"{", b'{"position": "7"}', "seven"])
def test_what_does_not_say_what_made_it_is_neither_adopted_nor_deleted(
    driver: FileDriver, folder: Path, made_by: bytes | str | None
) -> None:
    event = asked()
    home = folder / str(event.originator_id)
    home.mkdir()
    (home / "volume").write_text("whose?")
    if isinstance(made_by, str):
        (home / f"made-by {made_by}").touch()
    elif made_by is not None:
        (home / "made-by.json").write_bytes(made_by)

    with pytest.raises(DriverFailed, match="does not say which event made it"):
        driver.create(event, CAUSE)
    with pytest.raises(DriverFailed, match="does not say which event made it"):
        driver.delete(event.originator_id, CAUSE.at)

    assert (home / "volume").read_text() == "whose?"


def test_a_file_or_a_link_in_a_volumes_place_is_left_alone(
    driver: FileDriver, folder: Path, tmp_path: Path
) -> None:
    file, link = asked(), asked()
    (folder / str(file.originator_id)).write_text("a file")
    (folder / str(link.originator_id)).symlink_to(tmp_path)

    for event in (file, link):
        with pytest.raises(DriverFailed, match="is in the way"):
            driver.create(event, CAUSE)
        with pytest.raises(DriverFailed, match="is in the way"):
            driver.delete(event.originator_id, CAUSE.at)

    assert driver.capabilities().total_volumes == 0
    assert len(kept_in(folder)) == 2


@pytest.mark.parametrize("what", ["volume", "snapshot"])
def test_a_volume_whose_folder_is_elsewhere_is_left_alone_and_nothing_is_safe(
    driver: FileDriver, folder: Path, tmp_path: Path, what: str
) -> None:
    its_id = created(driver)
    home = device(driver, its_id).parent
    if what == "snapshot":
        home = home.rename(folder / f"snapshot-{its_id}")
    home.rename(tmp_path / "elsewhere")
    home.symlink_to(tmp_path / "elsewhere")
    delete = driver.delete if what == "volume" else driver.delete_snapshot

    with pytest.raises(DriverFailed, match="it is no folder") as raised:
        delete(its_id, CAUSE.at)

    assert "which event made it" not in str(raised.value)
    # Whoever repairs would remove what says that it was deleted.
    [found] = driver.survey().objects
    assert (found.name, found.id) == (home.name, None)
    assert (tmp_path / "elsewhere" / "volume").exists()


def test_another_cause_is_named(driver: FileDriver) -> None:
    event = asked()
    driver.create(event, Cause(41, "2026-01-01T00:00:00Z"))

    with pytest.raises(DriverFailed, match=r"position 41 \(2026-01-01T00:00:00Z\)"):
        driver.create(event, CAUSE)


def test_a_volume_that_is_not_alone_is_not_deleted(driver: FileDriver) -> None:
    volume = created(driver)
    stranger = device(driver, volume).with_name("notes.txt")
    stranger.touch()

    with pytest.raises(DriverFailed, match=r"also holds notes\.txt"):
        driver.delete(volume, CAUSE.at)

    assert device(driver, volume).exists()


def test_a_volume_that_is_not_alone_is_told_before_others_go(
    driver: FileDriver, folder: Path
) -> None:
    volumes = [created(driver) for _ in range(2)]
    (folder / str(volumes[1]) / "notes.txt").touch()

    with pytest.raises(Crowded, match=r"notes\.txt"):
        driver.check_unused(volumes)


def test_a_volume_whose_data_somebody_removed_is_deleted(
    driver: FileDriver, folder: Path
) -> None:
    volume = created(driver)
    device(driver, volume).unlink()

    driver.delete(volume, CAUSE.at)

    assert str(volume) not in kept_in(folder)


def test_what_somebody_else_removes_meanwhile_is_removed(folder: Path) -> None:
    empty(folder / "gone")


def test_a_link_in_the_datas_place_is_not_followed(
    driver: FileDriver, tmp_path: Path
) -> None:
    volume = created(driver)
    path = device(driver, volume)
    path.replace(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")

    with pytest.raises(DriverFailed, match="gone"):
        driver.connect(volume, {})
    with pytest.raises(DriverFailed, match="symbolic links"):
        driver.delete(volume, CAUSE.at)

    assert path.is_symlink()


def test_creating_again_finishes_what_is_missing(driver: FileDriver) -> None:
    event = asked()
    path = Path(driver.create(event, CAUSE))
    path.unlink()

    driver.create(event, CAUSE)

    assert path.stat().st_size == GIB


# Leftovers


@pytest.mark.parametrize("kind", ["making", "deleting"])
@pytest.mark.parametrize("files", [[], [MADE_BY], ["made-by.json", "volume"]])
def test_setting_up_removes_leftovers(
    driver: FileDriver, folder: Path, kind: str, files: list[str]
) -> None:
    leave(folder, uuid4(), kind, files)

    driver.set_up()

    assert kept_in(folder) == set()


@pytest.mark.parametrize("kind", ["making", "deleting"])
def test_what_cannot_be_removed_keeps_no_other_volume_waiting(
    driver: FileDriver, folder: Path, kind: str
) -> None:
    leave(folder, stuck := uuid4(), kind, ["volume", "notes.txt"])
    leave(folder, uuid4(), kind, ["volume"])

    driver.set_up()

    assert kept_in(folder) == {f".{stuck}.{kind}"}
    driver.create(asked(), CAUSE)


@pytest.mark.parametrize("kind", ["making", "deleting"])
def test_creating_removes_the_volumes_leftovers(
    driver: FileDriver, folder: Path, kind: str
) -> None:
    event = asked()
    leave(folder, event.originator_id, kind, ["volume"])

    driver.create(event, CAUSE)

    assert kept_in(folder) == {str(event.originator_id)}


@pytest.mark.parametrize("kind", ["making", "deleting"])
def test_extending_removes_the_volumes_leftovers(
    driver: FileDriver, folder: Path, kind: str
) -> None:
    volume = created(driver)
    leave(folder, volume, kind, ["volume"])

    driver.extend(volume, 2)

    assert kept_in(folder) == {str(volume)}


@pytest.mark.parametrize("kind", ["making", "deleting"])
def test_deleting_removes_the_volumes_leftovers(
    driver: FileDriver, folder: Path, kind: str
) -> None:
    volume = uuid4()
    leave(folder, volume, kind, ["volume"])

    driver.delete(volume, CAUSE.at)

    assert kept_in(folder) == set()


def test_a_volume_whose_deletion_was_cut_short_counts_no_more(
    driver: FileDriver, folder: Path
) -> None:
    volume = created(driver)
    (folder / str(volume)).rename(folder / f".{volume}.deleting")

    driver.delete(volume, CAUSE.at)

    told = driver.capabilities()
    assert (told.total_volumes, told.provisioned_capacity_gb) == (0, 0)


def test_what_is_not_ours_is_left_alone(driver: FileDriver, folder: Path) -> None:
    strangers = {
        "lost+found",
        ".hidden.making",
        f"{uuid4()}.bak",
        f".{uuid4()}.making~",
    }
    for name in strangers:
        (folder / name).mkdir()

    driver.set_up()

    assert kept_in(folder) == strangers
    assert driver.capabilities().total_volumes == 0


def test_what_hides_is_told_of_but_not_what_is_half_made(
    driver: FileDriver, folder: Path
) -> None:
    (folder / ".hidden").touch()
    (folder / f".{uuid4()}.making").mkdir()
    (folder / f".snapshot-{uuid4()}.deleting").mkdir()

    assert [found.name for found in driver.survey().objects] == [".hidden"]


@pytest.mark.parametrize("planted", ["made-by 1 2020-01-01", "made-by 99 2030-01-01"])
@pytest.mark.parametrize("leads_to", [None, "volume", "made-by 1 2020-01-01"])
def test_a_tag_that_somebody_else_has_put_there_is_none(
    driver: FileDriver, folder: Path, planted: str, leads_to: str | None
) -> None:
    volume = created(driver)
    path = folder / str(volume) / planted
    path.symlink_to(leads_to) if leads_to else path.touch()

    ours, strange = driver.survey().objects

    assert (ours.id, ours.made_at) == (volume, CAUSE.at)
    assert strange.name == f"{volume}/{planted}"
    with pytest.raises(Crowded):
        driver.delete(volume, CAUSE.at)


def test_a_folder_that_went_away_is_not_made_anew(
    driver: FileDriver, folder: Path
) -> None:
    volume = created(driver)
    away = folder.rename(folder.with_name("away"))

    with pytest.raises(DriverFailed, match="mounted, and it is used again by itself"):
        driver.set_up()
    assert not folder.exists()
    folder.mkdir()  # as where a disk is not mounted
    with pytest.raises(DriverFailed, match="is not the folder that was set up"):
        driver.set_up()

    folder.rmdir()
    away.rename(folder)
    driver.set_up()
    assert [found.id for found in driver.survey().objects] == [volume]


def test_a_folder_that_was_set_up_is_recognized_by_who_comes_next(
    driver: FileDriver, folder: Path, tmp_path: Path
) -> None:
    FileDriver(folder).recognize()
    folder.rename(folder.with_name("away"))
    with pytest.raises(DriverFailed, match="its disk is mounted"):
        FileDriver(folder).recognize()
    folder.mkdir()
    with pytest.raises(DriverFailed, match="its disk is mounted"):
        FileDriver(folder).recognize()

    (folder / "incoming").mkdir()
    FileDriver(folder).recognize()


def test_a_folder_of_before_there_was_such_a_sign_is_recognized_by_its_volumes(
    driver: FileDriver, folder: Path
) -> None:
    created(driver)
    (folder / "incoming").rmdir()

    FileDriver(folder).recognize()


@pytest.mark.parametrize("through", ["the folder", "a link to it"])
def test_a_folder_of_another_backend_is_refused_and_not_touched(
    driver: FileDriver, folder: Path, tmp_path: Path, through: str
) -> None:
    volume = created(driver)
    leave(folder, volume, "making", ["volume"])
    before = names(folder)
    if through != "the folder":
        (tmp_path / "link").symlink_to(folder)
        folder = tmp_path / "link"
    other = FileDriver(folder, name="other")

    other.recognize()
    with pytest.raises(AnothersFolder, match=r"of backend files.*give it back.*rm /"):
        other.set_up()

    assert names(folder) == before
    started(folder)
    driver.set_up()


def test_a_folder_that_says_nothing_becomes_the_next_backends(
    driver: FileDriver, folder: Path
) -> None:
    """As one that an earlier version has set up, or that somebody has given on."""
    (folder / ".backend").unlink()

    FileDriver(folder, name="other").set_up()

    with pytest.raises(AnothersFolder, match="of backend other"):
        driver.set_up()


def test_a_full_disk_keeps_no_backend_from_its_folder(
    driver: FileDriver, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (folder / ".backend").unlink()
    monkeypatch.setattr(Path, "symlink_to", full)

    FileDriver(folder).set_up()


def test_what_says_whose_the_folder_is_is_no_drift(driver: FileDriver) -> None:
    assert driver.survey().objects == ()


def leave(folder: Path, volume_id: UUID, kind: str, files: list[str]) -> None:
    home = folder / f".{volume_id}.{kind}"
    home.mkdir()
    for name in files:
        (home / name).touch()


# A folder that is not what it was


def test_what_is_absent_from_a_lost_folder_does_not_count_as_deleted(
    driver: FileDriver, folder: Path
) -> None:
    volume = created(driver)
    folder.rename(folder.with_name("unmounted"))

    with pytest.raises(DriverFailed, match="see that its disk is mounted"):
        driver.delete(volume, CAUSE.at)


def test_nothing_is_made_in_another_folder_of_the_same_name(
    driver: FileDriver, folder: Path
) -> None:
    folder.rename(folder.with_name("unmounted"))
    folder.mkdir()

    with pytest.raises(DriverFailed, match="not the folder that was set up"):
        created(driver)


# In use


def test_who_uses_a_volume_is_named(driver: FileDriver) -> None:
    volume = created(driver)
    path = device(driver, volume)

    with path.open("rb"), pytest.raises(VolumeIsBusy, match=rf"process {os.getpid()} "):
        driver.delete(volume, CAUSE.at)


def test_a_volume_opened_while_it_is_being_deleted_is_kept(
    driver: FileDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = created(driver)
    path, rename = device(driver, volume), os.rename
    opened = []

    def open_first(source: Path, target: Path) -> None:
        monkeypatch.undo()
        opened.append(path.open("rb"))
        rename(source, target)

    monkeypatch.setattr(os, "rename", open_first)
    with pytest.raises(VolumeIsBusy):
        driver.delete(volume, CAUSE.at)
    opened.pop().close()

    assert path.exists()


# Full, too large, read-only, forbidden


def test_what_can_never_be_filled_is_refused(folder: Path) -> None:
    driver = FileDriver(folder, max_over_subscription_ratio=0.001)
    driver.set_up()

    with pytest.raises(NoSpace, match="do not fit") as refused:
        created(driver, size_gib=1000)

    assert refused.value.code == "no_space"
    assert kept_in(folder) == set()


def test_growth_that_can_never_be_filled_is_refused(folder: Path) -> None:
    driver = FileDriver(folder)
    driver.set_up()
    volume = created(driver)

    with pytest.raises(NoSpace, match="do not fit"):
        driver.extend(volume, 60_000)

    assert device(driver, volume).stat().st_size == GIB


def test_only_growth_has_to_fit(folder: Path) -> None:
    roomy = FileDriver(folder, max_over_subscription_ratio=1e6)
    roomy.set_up()
    volume = created(roomy, size_gib=4000)

    FileDriver(folder, max_over_subscription_ratio=0.5).extend(volume, 4001)

    assert device(roomy, volume).stat().st_size == 4001 * GIB


def test_a_filesystem_without_inodes_is_full(tmp_path: Path) -> None:
    with tmpfs(tmp_path, "size=4m,nr_inodes=4"):
        driver = FileDriver(tmp_path, max_over_subscription_ratio=1e6)
        created(driver)

        with pytest.raises(NoSpace, match=r"No space left on device .*free blocks"):
            created(driver)

        assert len(kept_in(tmp_path)) == 1


def test_a_filesystem_without_blocks_is_full(tmp_path: Path) -> None:
    with tmpfs(tmp_path, "size=4m"):
        driver = FileDriver(tmp_path)
        fill(tmp_path)

        with pytest.raises(NoSpace, match="do not fit"):
            created(driver)


@pytest.mark.parametrize("inodes", [1, 2])
def test_what_runs_out_on_the_way_leaves_nothing(tmp_path: Path, inodes: int) -> None:
    with tmpfs(tmp_path, f"size=4m,nr_inodes={inodes}"):
        driver = FileDriver(tmp_path, max_over_subscription_ratio=1e6)

        with pytest.raises(NoSpace, match="No space left on device"):
            created(driver)

        assert kept_in(tmp_path) == set()


def test_a_driver_starts_on_a_full_disk_and_deletes(tmp_path: Path) -> None:
    with tmpfs(tmp_path, "size=4m"):
        driver = FileDriver(tmp_path, max_over_subscription_ratio=1e6)
        volume = created(driver)
        fill(tmp_path)

        driver.set_up()
        driver.delete(volume, CAUSE.at)

        assert kept_in(tmp_path) == {"filler"}


def test_a_file_that_is_too_large_for_the_filesystem_is_refused(folder: Path) -> None:
    driver = FileDriver(folder, max_over_subscription_ratio=1e9)
    driver.set_up()

    with pytest.raises(DriverFailed, match="no file that large"):
        created(driver, size_gib=2**32)

    assert kept_in(folder) == set()


def test_a_read_only_filesystem_is_named(tmp_path: Path) -> None:
    with tmpfs(tmp_path, "size=4m,ro"):
        driver = FileDriver(tmp_path)

        with pytest.raises(DriverFailed, match=r"Read-only file system .*remount it"):
            driver.set_up()


def test_a_folder_that_is_not_ours_to_write_is_named(folder: Path) -> None:
    driver = FileDriver(folder)
    folder.mkdir(0o500)

    with (
        somebody_else(),
        pytest.raises(DriverFailed, match=r"Permission denied .*own the folder"),
    ):
        driver.set_up()


def test_a_file_in_the_folders_place_is_named(folder: Path) -> None:
    folder.touch()

    with pytest.raises(DriverFailed, match=r"File exists .*name another folder"):
        FileDriver(folder).set_up()


@contextmanager
def somebody_else() -> Iterator[None]:
    """Give up root's right to write everywhere, if it is root who tests."""
    user = os.geteuid()
    with suppress(PermissionError):  # root without capabilities has no such right
        os.seteuid(user or 65534)
    try:
        yield
    finally:
        os.seteuid(user)


# What came in, and what went


@pytest.mark.parametrize("kind", ["folder", "symlink", "fifo"])
def test_only_a_plain_file_becomes_a_volume(
    driver: FileDriver, folder: Path, kind: str
) -> None:
    (elsewhere := folder / "elsewhere").touch()
    path = folder / "incoming" / "db"
    make: dict[str, Callable[[], None]] = {
        "folder": path.mkdir,
        "symlink": lambda: path.symlink_to(elsewhere),
        "fifo": lambda: os.mkfifo(path),
    }
    make[kind]()

    [listed] = driver.manageable()

    assert not listed.safe_to_manage
    with pytest.raises(UnknownReference, match="no plain file"):
        driver.adopt(wanted(), CAUSE)


def test_a_file_that_others_know_by_another_name_is_left_to_them(
    driver: FileDriver, folder: Path
) -> None:
    (folder / "theirs").hardlink_to(came_in(folder, "db"))

    with pytest.raises(AlreadyManaged, match="has other hard links"):
        driver.adopt(wanted(), CAUSE)


def test_a_file_that_no_reference_can_name_is_listed_with_what_to_do(
    driver: FileDriver, folder: Path
) -> None:
    came_in(folder, "my disk")

    [listed] = driver.manageable()

    assert "rename the file" in str(listed.reason_not_safe)


def test_a_file_whose_name_is_no_text_is_listed_as_it_can_be_told(
    driver: FileDriver, folder: Path
) -> None:
    came_in(folder, os.fsdecode(b"\xffdb"))
    snapshot_came_in(folder, created(driver), os.fsdecode(b"\xffdb"))

    for [listed, *_] in (driver.manageable(), driver.manageable_snapshots()):
        assert listed.reference == reference.to("\\xffdb")
        assert not listed.safe_to_manage
        assert "rename the file" in str(listed.reason_not_safe)


def test_what_cannot_grow_to_whole_gib_is_left_as_it_is(tmp_path: Path) -> None:
    driver = FileDriver(tmp_path, max_over_subscription_ratio=0)
    driver.set_up()
    path = came_in(tmp_path, "db", GIB + 1)

    with pytest.raises(NoSpace):
        driver.adopt(wanted(), CAUSE)

    assert path.stat().st_size == GIB + 1


def test_a_volume_is_not_let_go_over_something_of_its_name(
    driver: FileDriver, folder: Path
) -> None:
    volume = created(driver)
    theirs = came_in(folder, f"volume-{volume}", 7)

    with pytest.raises(DriverFailed, match="File exists"):
        driver.unmanage(volume, CAUSE.at)

    assert theirs.stat().st_size == 7
    assert device(driver, volume).stat().st_size == GIB


def test_deleting_leaves_no_name_that_a_kill_has_left(
    driver: FileDriver, folder: Path
) -> None:
    came_in(folder, "db")
    event = wanted()
    driver.adopt(event, CAUSE)
    path = device(driver, event.originator_id)
    (folder / "incoming" / "db").hardlink_to(path)

    driver.delete(event.originator_id, CAUSE.at)

    assert names(folder / "incoming") == set()


def test_a_survey_tells_of_what_has_a_volumes_name_and_no_data(
    driver: FileDriver, folder: Path
) -> None:
    volume = created(driver)
    (folder / str(volume) / "volume").unlink()

    [found] = driver.survey().objects

    assert (found.name, found.id) == (str(volume), None)


def test_a_survey_tells_of_what_somebody_has_put_into_a_volumes_folder(
    driver: FileDriver, folder: Path
) -> None:
    volume = created(driver)
    (folder / str(volume) / "theirs").write_bytes(b"diary")

    found = {each.name: (each.id, each.size_bytes) for each in driver.survey().objects}

    assert found == {str(volume): (volume, GIB), f"{volume}/theirs": (None, 5)}


def test_a_survey_goes_on_whatever_somebody_has_put_there(
    driver: FileDriver, folder: Path
) -> None:
    volume, other = created(driver), str(uuid4())
    (folder / other).mkdir()
    (folder / other / "volume").symlink_to("/etc/hostname")
    (folder / os.fsdecode(b"\xff")).touch()

    found = {each.name: each.id for each in driver.survey().objects}

    assert found == {str(volume): volume, other: None, "\\xff": None}


def test_a_survey_goes_on_when_what_it_looks_at_goes(
    driver: FileDriver, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "theirs").mkdir()
    (folder / "theirs" / "diary").write_bytes(b"diary")
    monkeypatch.setattr(driving, "names", lambda path: names(path) | {"gone"})
    there = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda path: [path / "gone", *there(path)])

    [found] = driver.survey().objects

    assert (found.name, found.size_bytes) == ("theirs", 5)
