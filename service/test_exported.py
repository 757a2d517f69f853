"""Volumes of a group, used by hosts over the network, as an agent serves them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from adapters.contracts.drivers import CAUSE, GIB, asked, read, size, write
from adapters.contracts.initiator import Initiator, eventually
from adapters.contracts.targets import Host, proven
from adapters.lvm.driver import LvmDriver
from adapters.lvm.test_driver import fresh
from adapters.lvm.testing import DISKS, FRONTS, GROUP, clear, lvm, make_group
from adapters.targets.testing import Client, storage_daemon, tgtd
from domain.ports import DriverFailed, Export, VolumeIsBusy

pytestmark = pytest.mark.lvm(disks=DISKS, lio=True, modules=("nbd",))

Daemon = Callable[[], AbstractContextManager[None]]

# What has to run for a helper, and a host that it serves.
# fmt: off
WAYS: dict[str, tuple[Daemon, Callable[[str], Host]]] = {
    "lioadm": (nullcontext,                     Initiator),
    "tgtadm": (tgtd,                            Initiator),
    "nbd":    (lambda: storage_daemon("tests"), Client),
}
# fmt: on
ISCSI = ["lioadm", "tgtadm"]


@pytest.fixture(scope="module", autouse=True)
def _group() -> None:
    make_group()


@pytest.fixture(scope="module", params=WAYS)
def way(request: pytest.FixtureRequest) -> Iterator[str]:
    daemon, _ = WAYS[request.param]
    with daemon():
        yield request.param


@pytest.fixture(scope="module", params=["thin"])
def agent(request: pytest.FixtureRequest, way: str) -> LvmDriver:
    return fresh(request.param, target_helper=way)


@pytest.fixture
def driver(agent: LvmDriver) -> Iterator[LvmDriver]:
    agent.set_up()
    yield agent
    for volume in agent.exports():
        agent.remove_export(volume)
    clear()


@pytest.fixture
def volume(driver: LvmDriver) -> UUID:
    event = asked()
    driver.create(event, CAUSE)
    return event.originator_id


@pytest.fixture
def node_1(way: str) -> Host:
    return WAYS[way][1]("node-1")


@pytest.fixture
def node_2(way: str) -> Host:
    return WAYS[way][1]("node-2")


@pytest.fixture
def reach(driver: LvmDriver, volume: UUID) -> Any:
    """Connect a host, and use the volume from it."""

    def reach(host: Host) -> AbstractContextManager[Path]:
        connection = driver.connect(volume, host.connector)
        return host.using(proven(volume, host, connection))

    return reach


def test_a_volume_outlives_its_hosts(
    driver: LvmDriver, volume: UUID, reach: Any, node_1: Host, node_2: Host
) -> None:
    with reach(node_1) as disk:
        assert size(disk) == GIB
        write(disk, 4096, b"written by node-1")
    driver.disconnect(volume, node_1.connector)

    with reach(node_2) as disk:
        assert read(disk, 4096, 17) == b"written by node-1"


def test_a_deleted_volume_is_reached_by_nobody(
    driver: LvmDriver, volume: UUID, reach: Any, node_1: Host
) -> None:
    with reach(node_1):
        pass

    driver.delete(volume, CAUSE.at)

    assert driver.exports() == set()
    assert driver.capabilities().total_volumes == 0
    with pytest.raises(DriverFailed, match="is gone"):
        driver.connect(volume, node_1.connector)


@pytest.mark.parametrize("verb", ["delete", "unmanage"])
def test_a_volume_is_busy_while_a_host_has_a_session(
    driver: LvmDriver, volume: UUID, reach: Any, node_1: Host, verb: str
) -> None:
    with reach(node_1) as disk:
        assert driver.has_session(volume, None)
        assert driver.has_session(volume, node_1.connector)
        with pytest.raises(VolumeIsBusy):
            getattr(driver, verb)(volume, CAUSE.at)
        write(disk, 4096, b"still there")

    eventually(lambda: not driver.has_session(volume, None))
    getattr(driver, verb)(volume, CAUSE.at)
    assert driver.capabilities().total_volumes == 0


def test_a_host_that_was_disconnected_has_no_session_any_more(
    driver: LvmDriver, volume: UUID, reach: Any, node_1: Host, node_2: Host
) -> None:
    driver.connect(volume, node_2.connector)
    with reach(node_1):
        driver.disconnect(volume, node_1.connector)

        assert not driver.has_session(volume, node_1.connector)

    assert driver.exports() == {volume}


def test_what_the_last_host_has_left_is_let_go_by_the_next_sweep(
    driver: LvmDriver, volume: UUID, node_1: Host
) -> None:
    driver.connect(volume, node_1.connector)
    driver.disconnect(volume, node_1.connector)
    assert driver.exports() == {volume}

    assert driver.converge(Export(volume))

    assert driver.exports() == FRONTS.volumes() == set()


def test_an_export_is_removed_under_its_hosts(
    driver: LvmDriver, volume: UUID, reach: Any, node_1: Host
) -> None:
    with reach(node_1):
        driver.remove_export(volume)

        assert driver.exports() == FRONTS.volumes() == set()

    driver.delete(volume, CAUSE.at)


def test_a_host_sees_its_volume_grow(
    driver: LvmDriver, volume: UUID, reach: Any, node_1: Host, way: str
) -> None:
    with reach(node_1) as disk:
        write(disk, GIB - 4, b"kept")

        driver.extend(volume, 2)
        connection = driver.connect(volume, node_1.connector)
        node_1.rescan(connection)

        if way in ISCSI:
            eventually(lambda: size(disk) == 2 * GIB)
            write(disk, 2 * GIB - 4096, b"new")

    with reach(node_1) as disk:
        assert size(disk) == 2 * GIB
        assert read(disk, GIB - 4, 8) == b"kept" + bytes(4)


def test_what_is_wanted_is_there_again_after_a_reboot(
    driver: LvmDriver, volume: UUID, reach: Any, node_1: Host
) -> None:
    with reach(node_1) as disk:
        write(disk, 4096, b"before")
    connection = driver.connect(volume, node_1.connector)
    driver.remove_export(volume)
    lvm("vgchange", "-an", GROUP)

    wanted = Export(volume, (node_1.connector,))
    driver.set_up()
    assert driver.converge(wanted)
    assert not driver.converge(wanted)

    with node_1.using(proven(volume, node_1, connection)) as disk:
        assert read(disk, 4096, 6) == b"before"


def test_a_sweep_disturbs_nobody_who_is_wanted(
    driver: LvmDriver, volume: UUID, reach: Any, node_1: Host
) -> None:
    with reach(node_1) as disk, disk.open("rb"):
        assert not driver.converge(Export(volume, (node_1.connector,)))

        assert driver.has_session(volume, node_1.connector)
        write(disk, 4096, b"goes on")


def test_a_volume_that_is_not_there_is_exported_to_nobody(
    driver: LvmDriver, node_1: Host
) -> None:
    assert not driver.converge(Export(uuid4(), (node_1.connector,)))

    assert driver.exports() == set()
