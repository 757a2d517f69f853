"""A pool that was not told what LVM has written down: LVM ended in between."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest

from adapters.contracts.adoption import wanted as adopting
from adapters.contracts.drivers import CAUSE, asked, device, read, write
from adapters.contracts.snapshots import wanted
from adapters.lvm import volumes
from adapters.lvm.driver import LvmDriver
from adapters.lvm.failures import Crashed
from adapters.lvm.mapper import mapped
from adapters.lvm.test_driver import fresh
from adapters.lvm.testing import DISKS, GROUP, MAPPER, POOL, known_ids, run, thin_ids
from adapters.lvm.worker import Worker

pytestmark = pytest.mark.lvm(disks=DISKS)

TOLD = f"{mapped(GROUP, POOL)}-tpool"
STRAY = "77"
OTHER = UUID(int=2)
Write = Callable[[str], None]


@pytest.fixture
def kind() -> str:
    return "thin"


@pytest.fixture
def other(driver: LvmDriver, volume: UUID) -> UUID:
    """A volume beside another."""
    event = asked()
    driver.create(event, CAUSE)
    assert event.originator_id != volume
    return event.originator_id


@pytest.fixture
def write_down(tmp_path: Path) -> Write:
    """Write down what LVM is to tell the pool, as it does before it tells it."""

    def written(message: str) -> None:
        file = tmp_path / "group"
        run("vgcfgbackup", "-qq", "-f", str(file), GROUP)
        head, known, rest = file.read_text().partition("transaction_id = ")
        number, _, rest = rest.partition("\n")
        told = f"{known}{int(number) + 1}\nmessage1 {{\n{message}\n}}\n"
        file.write_text(f"{head}{told}{rest}")
        run("vgcfgrestore", "-qq", "-y", "--force", "-f", str(file), GROUP)

    return written


def number_of(name: str) -> str:
    """Return what its pool calls a thin volume."""
    return run("lvs", "--noheadings", "-o", "thin_id", f"{GROUP}/{name}").strip()


def test_a_volume_that_the_pool_does_not_have_is_made(
    other: UUID, write_down: Write
) -> None:
    name = volumes.name(other)
    number = number_of(name)
    run("lvchange", "-qq", "-an", f"{GROUP}/{name}")
    run("dmsetup", "message", TOLD, "0", f"delete {number}")
    write_down(f'create = "{name}"')
    with pytest.raises(subprocess.CalledProcessError):
        run("lvchange", "-qq", "-ay", f"{GROUP}/{name}")

    driver = fresh("thin")
    run("lvchange", "-qq", "-ay", f"{GROUP}/{name}")

    assert read(device(driver, other), 0, 6) == bytes(6)


def test_the_only_volume_of_a_pool_that_does_not_have_it_is_made(
    driver: LvmDriver, write_down: Write
) -> None:
    event = asked()
    name = Path(driver.create(event, CAUSE)).name
    number = number_of(name)
    run("lvchange", "-qq", "-an", f"{GROUP}/{name}")
    run("lvchange", "-qq", "-ay", f"{GROUP}/{POOL}")
    run("dmsetup", "message", TOLD, "0", f"delete {number}")
    write_down(f'create = "{name}"')

    there = device(fresh("thin"), event.originator_id)

    assert read(there, 0, 6) == bytes(6)


def test_a_snapshot_that_the_pool_has_made_already_is_not_made_again(
    driver: LvmDriver, other: UUID, write_down: Write
) -> None:
    name = Path(driver.take_snapshot(wanted(other), CAUSE)).name
    write_down(f'create = "{name}"')
    with pytest.raises(subprocess.CalledProcessError):
        run("lvcreate", "-qq", "-V", "1g", "-n", "x", "--thinpool", f"{GROUP}/{POOL}")

    driver = fresh("thin")

    assert read(device(driver, other), 0, 6) == bytes(6)
    driver.create(asked(), CAUSE)


@pytest.mark.usefixtures("other")
def test_what_was_removed_leaves_the_pool(write_down: Write) -> None:
    make = "dmsetup", "message", TOLD, "0", f"create_thin {STRAY}"
    run(*make)
    with pytest.raises(subprocess.CalledProcessError):
        run(*make)
    write_down(f"delete = {STRAY}")

    fresh("thin")
    run(*make)

    run("dmsetup", "message", TOLD, "0", f"delete {STRAY}")


@pytest.mark.parametrize("is_told", [True, False])
def test_what_is_removed_leaves_a_pool_for_which_something_was_written_down(
    other: UUID, volume: UUID, write_down: Write, *, is_told: bool
) -> None:
    name = volumes.name(other)
    number = number_of(name)
    write_down(f'create = "{volumes.name(volume)}"')
    if is_told:
        told = int(MAPPER.status(TOLD)[0].parameters.split()[0])
        run("dmsetup", "message", TOLD, "0", f"set_transaction_id {told} {told + 1}")

    fresh("thin").delete(other, CAUSE.at)

    make = "dmsetup", "message", TOLD, "0", f"create_thin {number}"
    run(*make)
    run("dmsetup", "message", TOLD, "0", f"delete {number}")


def test_what_is_removed_from_another_pool_is_left_in_ours(
    driver: LvmDriver, volume: UUID
) -> None:
    others, name = f"{POOL}-of-others", f"volume-{volume}"
    write(device(driver, volume), 4096, b"before")
    driver.remove_export(volume)
    run("lvchange", "-qq", "-an", f"{GROUP}/{name}")
    make = "lvcreate", "-qq", "-y", "--type", "thin-pool", "-Zy", "-L", "64m"
    run(*make, "-n", others, GROUP)
    run("lvcreate", "-qq", "-V", "1g", "-n", "x", "--thinpool", f"{GROUP}/{others}")
    assert number_of(name) == number_of("x")
    driver.adopt(adopting("x", OTHER), CAUSE)

    fresh("thin").delete(OTHER, CAUSE.at)

    assert read(device(fresh("thin"), volume), 4096, 6) == b"before"
    run("lvremove", "-qq", "-y", f"{GROUP}/{others}")


def test_a_thin_volume_is_removed_from_a_group_that_is_thick_now(
    driver: LvmDriver, other: UUID, volume: UUID
) -> None:
    driver.remove_export(volume)
    for each in (volumes.name(other), volumes.name(volume), POOL):
        run("lvchange", "-qq", "-an", f"{GROUP}/{each}")

    fresh("default").delete(other, CAUSE.at)

    assert thin_ids(GROUP, POOL) == known_ids()


@pytest.mark.usefixtures("volume")
def test_what_a_pool_has_can_be_asked_after_a_cut_amid_asking() -> None:
    pool = f"{mapped(GROUP, POOL)}-tpool"
    run("dmsetup", "message", pool, "0", "reserve_metadata_snap")

    assert thin_ids(GROUP, POOL) == known_ids()


@pytest.mark.usefixtures("group")
@pytest.mark.parametrize("kind", ["thin", "default"])
def test_an_lvm_that_was_killed_when_it_had_made_a_volume_is_no_failure(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver, event = fresh(kind), asked()
    run_lvm, killed = Worker.run, list[str]()

    def run_and_die(worker: Worker, *words: str) -> list[dict[str, str]]:
        told = run_lvm(worker, *words)
        if words[0] == "lvcreate" and not killed:
            killed.append(words[0])
            raise Crashed(GROUP, words[0], 137)
        return told

    monkeypatch.setattr(Worker, "run", run_and_die)
    driver.create(event, CAUSE)

    assert killed
    assert read(device(driver, event.originator_id), 0, 6) == bytes(6)
