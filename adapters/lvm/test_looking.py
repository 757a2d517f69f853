"""Where LVM looks, if disks are missing or added, and what looking leaves alone."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from shutil import rmtree
from threading import Event
from typing import Any
from uuid import UUID

import pytest

from adapters.contracts.drivers import CAUSE, GIB, asked, size
from adapters.contracts.snapshots import wanted
from adapters.contracts.targets import KEY
from adapters.holders import PATIENCE, claimed, is_held_by_others
from adapters.lvm.driver import RUN
from adapters.lvm.mapper import SECTOR
from adapters.lvm.settings import CHOSEN, NARROW, environment, write_system_dir
from adapters.lvm.shell import Ended, Shell
from adapters.lvm.testing import QUICK, run
from adapters.lvm.worker import Worker
from domain.ports import Driver, DriverFailed
from service.agents import driver_of
from service.settings import LVM_DRIVER, BackendSettings

pytestmark = pytest.mark.lvm(disks=("4G", "4G"))

GROUP, OTHER = "first", "second"
DISK, ANOTHER = "/dev/ubda", "/dev/ubdb"
VOLUME = UUID(int=1)
CHUNK, SKIPPED = 512 * 1024, 2048  # bytes, sectors


@pytest.fixture
def group() -> Iterator[str]:
    rmtree(RUN / GROUP, ignore_errors=True)  # what another one was
    run("vgcreate", "-qq", "-y", GROUP, DISK)
    yield GROUP
    run("vgremove", *QUICK, GROUP)


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    write_system_dir(tmp_path, [])
    return Shell(environment(tmp_path))


def fresh(group: str, **more: Any) -> Driver:
    """Return a driver for hosts that are here; it was set up."""
    options = {"volume_group": group, "lvm_type": "default", "target_helper": "local"}
    options |= more
    driver = driver_of(BackendSettings("lvm", LVM_DRIVER, options=options), KEY)
    driver.set_up()
    return driver


def groups(shell: Shell) -> list[str]:
    """Return the volume groups that it sees."""
    return [row["vg_name"] for row in shell.run(["vgs", "-o", "vg_name"], 30).rows]


@pytest.mark.usefixtures("group")
def test_it_looks_at_nothing_but_the_disks_that_are_named(shell: Shell) -> None:
    run("vgcreate", "-qq", "-y", OTHER, ANOTHER)
    try:
        everywhere = groups(shell)
        shell.look_at([DISK])
        there = groups(shell)
    finally:
        run("vgremove", *QUICK, OTHER)

    assert everywhere == [GROUP, OTHER]
    assert there == [GROUP]


@pytest.fixture
def shell_of(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Shell]:
    """A shell that finds this script in the place of LVM's program."""

    def instead(script: str) -> Shell:
        program = tmp_path / "bin/lvm"
        program.parent.mkdir()
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o700)
        monkeypatch.setenv("PATH", str(program.parent), prepend=":")
        return Shell(environment(tmp_path))

    return instead


def test_a_disk_may_have_a_name_that_is_written_with_a_backslash() -> None:
    table = f"0 {5 * GIB // 2 // SECTOR} linear {ANOTHER} {GIB // SECTOR}"
    run("dmsetup", "create", "my disk", "--table", table)
    anywhere = 'devices/global_filter=["a|.*|"] devices/filter=["a|.*|"]'
    path = r"/dev/mapper/my\x20disk"
    run("vgcreate", "-qq", "-y", "--config", anywhere, OTHER, path)
    try:
        for _ in range(2):  # it is looked for, and then is where it was
            fresh(OTHER).create(asked(), CAUSE)
    finally:
        run("vgremove", *QUICK[:-1], f"{QUICK[-1]} {anywhere}", OTHER)
        run("dmsetup", "remove", "--retry", "my disk")


def test_an_lvm_that_is_killed_before_it_answers_is_started_anew(
    shell_of: Callable[[str], Shell],
) -> None:
    shell = shell_of('[ -e "$0-ran" ] && exec /sbin/lvm "$@"; : >"$0-ran"; kill -9 $$')

    with pytest.raises(Ended):
        shell.run(["vgs"], 30)

    assert [shell.run(["vgs"], 30).done for _ in range(2)] == [True, True]
    assert shell.stays


@pytest.mark.usefixtures("group")
def test_an_lvm_without_a_shell_makes_what_it_is_asked(
    shell_of: Callable[[str], Shell],
) -> None:
    shell = shell_of('[ $# -gt 0 ] && exec /sbin/lvm "$@"; exit 3')

    made = shell.run(["lvcreate", "-y", "-L", "8m", "-n", "new", GROUP], 30)
    refused = shell.run(["lvcreate", "-y", "-L", "8m", "-n", "new", GROUP], 30)
    gone = shell.run(["lvremove", "-y", f"{GROUP}/new"], 30)

    assert (made.done, refused.done, gone.done) == (True, False, True)
    assert "already exists" in refused.said
    assert not shell.stays


def test_a_pool_has_chunks_as_large_as_the_stripes_of_its_disk(shell: Shell) -> None:
    stripes = Path("/dev/mapper/stripes")
    # Its label is not where one of theirs would be.
    parts = f"{DISK} {SKIPPED} {ANOTHER} {SKIPPED}"
    table = f"0 {2 * GIB // SECTOR} striped 2 {CHUNK // SECTOR} {parts}"
    run("dmsetup", "create", stripes.name, "--table", table)
    shell.run(["vgcreate", "-y", GROUP, str(stripes)], 30)
    try:
        fresh(GROUP, lvm_type="thin")
        [pool] = shell.run(["lvs", "-o", "chunk_size", GROUP], 30).rows
    finally:
        shell.run(["vgremove", "-ff", "-y", GROUP], 30)
        run("dmsetup", "remove", stripes.name)

    assert pool["chunk_size"] == str(CHUNK)


def test_a_disk_that_is_added_is_found_by_the_next_change(group: str) -> None:
    driver = fresh(group)
    run("vgextend", "-qq", "-y", group, ANOTHER)

    location = driver.create(asked(volume_id=VOLUME, size_gib=6), CAUSE)

    assert size(Path(location)) == 6 * GIB


def test_a_disk_that_is_added_is_found_when_the_group_is_read(group: str) -> None:
    driver = fresh(group)
    run("vgextend", "-qq", "-y", group, ANOTHER)
    driver.manageable()

    assert driver.capabilities().total_capacity_gb > 7


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """At which disks LVM was to look, one after the other; [] means everywhere."""
    told, look_at = list[list[str]](), Worker.look_at

    def noted(worker: Worker, disks: Sequence[str] = ()) -> None:
        told.append(list(disks))
        look_at(worker, disks)

    monkeypatch.setattr(Worker, "look_at", noted)
    return told


def test_an_agent_that_begins_looks_at_the_disks_of_the_one_before(
    group: str, looks: list[list[str]]
) -> None:
    fresh(group)
    driver = fresh(group)
    driver.set_up()  # as after a failure

    assert looks == [[], [DISK], [DISK], [], [DISK]]


@pytest.mark.parametrize("name", ["a-path", f"{GROUP}-path", "front-path"])
def test_it_looks_everywhere_if_there_are_other_devices(
    name: str, group: str, looks: list[list[str]]
) -> None:
    fresh(group)
    looks.clear()
    run("dmsetup", "create", name, "--table", "0 8192 zero")
    try:
        fresh(group)
    finally:
        run("dmsetup", "remove", name)

    assert looks == [[], [DISK]]


def test_the_groups_own_volumes_are_no_other_devices(
    group: str, looks: list[list[str]]
) -> None:
    driver = fresh(group)
    looks.clear()
    driver.create(asked(volume_id=VOLUME, size_gib=1), CAUSE)
    driver.take_snapshot(wanted(VOLUME), CAUSE)
    driver.connect(VOLUME, {"host": "here"})
    fresh(group).remove_export(VOLUME)

    assert looks == [[DISK]]


@pytest.mark.parametrize("spoil", ["a file", "a link", "bytes"])
def test_it_looks_everywhere_if_what_was_kept_is_no_more(
    spoil: str, group: str, looks: list[list[str]]
) -> None:
    fresh(group)
    looks.clear()
    kept = RUN / group / NARROW
    match spoil:
        case "bytes":
            (kept / CHOSEN).write_bytes(b"\xff")
        case "a file":
            rmtree(kept)
            kept.touch()
        case "a link":
            elsewhere = kept.rename(kept.with_name("elsewhere"))
            (elsewhere / CHOSEN).unlink()
            kept.symlink_to(elsewhere)
    fresh(group)

    assert looks == [[], [DISK]]


def test_settings_that_are_gone_are_written_anew(shell: Shell, group: str) -> None:
    shell.look_at([DISK])
    rmtree(shell.settings)

    assert groups(shell) == [group]


def test_whoever_looks_for_a_group_is_told_where_lvm_looks(group: str) -> None:
    raises = pytest.raises(DriverFailed, match=f"looks at {ANOTHER} alone")
    with raises as failure:
        fresh(group, lvm_devices=[ANOTHER])

    assert "lvm_devices" in str(failure.value)


def test_it_looks_everywhere_if_it_is_to_look_at_other_devices(
    group: str, looks: list[list[str]]
) -> None:
    fresh(group)
    looks.clear()
    fresh(group, lvm_devices=[DISK])

    assert looks == [[], [DISK]]


def test_a_disk_that_was_added_meanwhile_is_found_by_the_next_agent(group: str) -> None:
    fresh(group)
    run("vgextend", "-qq", "-y", group, ANOTHER)

    assert fresh(group).capabilities().total_capacity_gb > 7


def test_a_disk_that_was_taken_away_is_looked_at_no_more(
    group: str, looks: list[list[str]]
) -> None:
    run("vgextend", "-qq", "-y", group, ANOTHER)
    fresh(group)
    looks.clear()
    run("vgreduce", "-qq", group, ANOTHER)
    fresh(group)

    assert sorted(looks[0]) == [DISK, ANOTHER]
    assert looks[1:] == [[DISK]]


def test_a_group_that_has_moved_meanwhile_is_found_by_the_next_agent(
    group: str, looks: list[list[str]]
) -> None:
    fresh(group)
    looks.clear()
    run("vgextend", "-qq", "-y", group, ANOTHER)
    run("vgreduce", "-qq", group, DISK)
    try:
        fresh(group).capabilities()
    finally:
        run("pvremove", "-qq", DISK)

    assert looks == [[DISK], [], [ANOTHER]]


def test_looking_at_who_has_a_device_open_does_not_hinder_claiming_it(
    group: str,
) -> None:
    run("lvcreate", "-qq", "-y", "-L", "4m", "-n", "open", group)
    device, done, looks = Path("/dev", group, "open").resolve(), Event(), list[bool]()

    def look() -> None:
        while not done.is_set():
            looks.append(is_held_by_others(device))

    with ThreadPoolExecutor() as other:
        looking = other.submit(look)
        try:
            for _ in range(500):
                with claimed(device, os.O_RDWR):
                    pass
        finally:
            done.set()
        looking.result()

    assert looks
    assert not any(looks)


def test_what_is_claimed_for_a_moment_is_waited_for(group: str) -> None:
    """As by a program that is being started: it has what we had open."""
    run("lvcreate", "-qq", "-y", "-L", "4m", "-n", "open", group)
    device, held = Path("/dev", group, "open"), Event()

    def hold() -> None:
        with claimed(device, os.O_RDWR) as file:
            other = os.dup(file)
        held.set()
        time.sleep(PATIENCE / 4)
        os.close(other)

    with ThreadPoolExecutor() as others:
        holding = others.submit(hold)
        assert held.wait(30)
        with claimed(device, os.O_RDWR):
            pass
        holding.result()

    raises = pytest.raises(OSError, match="busy")
    with claimed(device, os.O_RDWR), raises, claimed(device, os.O_RDWR):
        pass
