"""NBD passes the targets' contract, with the kernel's client; and what is special."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from hypothesis import settings

from adapters.contracts.disk import Disk
from adapters.contracts.drivers import size, write
from adapters.contracts.targets import KEY, MIB, TargetContract
from adapters.contracts.ways import Ways
from adapters.targets.choosing import target_of
from adapters.targets.failures import Missing, NoHost, PortalRefused
from adapters.targets.nbd import FOLDER, NbdTarget
from adapters.targets.qmp import Monitor, QemuRefused, monitor
from adapters.targets.testing import Client, storage_daemon
from domain.ports import Export, Target

pytestmark = pytest.mark.lvm(modules=("nbd",))

SOCKET = FOLDER / "nbd-tests.sock"


def nbd(owner: str = "tests", **options: Any) -> NbdTarget:
    target = target_of(owner=owner, key=KEY, target_helper="nbd", **options)
    assert isinstance(target, NbdTarget)
    return target


@pytest.fixture(scope="module", autouse=True)
def _daemon() -> Iterator[None]:
    with storage_daemon("tests"):
        yield


@pytest.fixture
def target(device: Disk) -> Iterator[NbdTarget]:
    target = nbd()
    target.set_up()
    yield target
    for volume in target.exports():
        target.remove(volume)


class TestNbdTarget(TargetContract):
    grows_online = False

    def restarted(self, target: Target) -> Target:
        again = nbd()
        again.set_up()
        return again

    def host(self, name: str) -> Client:
        return Client(name)


class NbdWays(Ways):
    tells_initiators = False

    def fresh(self) -> NbdTarget:
        return nbd()


TestNbdWays = NbdWays.TestCase
TestNbdWays.settings = settings(max_examples=3, stateful_step_count=10, database=None)


def test_the_answer_is_novas_of_a_network_disk(
    target: NbdTarget, device: Disk, volume: UUID
) -> None:
    answer = target.connect(volume, device.path, Client("node-1").connector)

    name = answer["data"].pop("name")
    assert name.startswith(str(volume))
    assert answer == {
        "driver_volume_type": "nbd",
        "data": {
            "hosts": ["127.0.0.1"],
            "ports": ["10809"],
            "volume_id": str(volume),
            "access_mode": "rw",
        },
    }


def test_a_second_client_reads_it_too(
    target: NbdTarget, device: Disk, volume: UUID
) -> None:
    data = target.connect(volume, device.path, Client("node-1").connector)["data"]
    url = f"nbd://{data['hosts'][0]}:{data['ports'][0]}/{data['name']}"

    told = subprocess.run(
        ["qemu-img", "info", url], check=True, capture_output=True, text=True
    )

    assert f"({device.size} bytes)" in told.stdout


def test_a_host_that_is_to_read_cannot_write(
    target: NbdTarget, device: Disk, volume: UUID
) -> None:
    node_1 = Client("node-1")
    reader = node_1.connector | {"mode": "ro"}

    with (
        node_1.using(target.connect(volume, device.path, reader)) as disk,
        pytest.raises(OSError, match="Errno"),
    ):
        write(disk, MIB, b"by who may not")


def test_converging_takes_the_right_to_write_away(
    target: NbdTarget, device: Disk, volume: UUID
) -> None:
    node_1 = Client("node-1")
    reader = node_1.connector | {"mode": "ro"}
    target.connect(volume, device.path, node_1.connector)

    assert target.connect(volume, device.path, reader)["data"]["access_mode"] == "rw"
    assert target.converge(Export(volume, (reader,)), device.path)
    assert target.connect(volume, device.path, reader)["data"]["access_mode"] == "ro"


def test_the_session_of_one_host_is_not_anothers_and_ends_with_its_export(
    target: NbdTarget, device: Disk, volume: UUID
) -> None:
    node_1, node_2 = Client("node-1"), Client("node-2")
    target.connect(volume, device.path, node_2.connector)

    with node_1.using(target.connect(volume, device.path, node_1.connector)):
        assert target.has_session(volume, device.path, node_1.connector)
        assert not target.has_session(volume, device.path, node_2.connector)
        target.disconnect(volume, node_1.connector)
        assert not target.has_session(volume, device.path, None)

    assert target.exports() == {volume}


def test_a_wrong_device_is_mended(
    target: NbdTarget, device: Disk, volume: UUID
) -> None:
    node_1 = Client("node-1")
    target.connect(volume, "/dev/ubdb", node_1.connector)

    assert target.converge(Export(volume, (node_1.connector,)), device.path)

    with node_1.using(target.connect(volume, device.path, node_1.connector)) as disk:
        assert size(disk) == device.size


def test_what_is_not_ours_is_not_touched(
    target: NbdTarget, device: Disk, volume: UUID
) -> None:
    with monitor(SOCKET) as daemon:
        daemon.ask("blockdev-add", driver="null-co", node_name="hf-theirs")

    target.connect(volume, device.path, Client("node-1").connector)
    assert target.exports() == {volume}
    target.remove(volume)

    with monitor(SOCKET) as daemon:
        daemon.ask("blockdev-del", node_name="hf-theirs")


class Killed(BaseException):
    """The agent is dead."""


CHANGES = ("blockdev-add", "block-export-add", "block-export-del", "blockdev-del")


@pytest.mark.parametrize("hosts", [1, 2])
def test_it_is_as_wanted_wherever_a_change_was_cut_off(
    target: NbdTarget,
    device: Disk,
    volume: UUID,
    monkeypatch: pytest.MonkeyPatch,
    hosts: int,
) -> None:
    connectors = tuple(Client(f"node-{n}").connector for n in range(hosts))
    wanted, none, ask = Export(volume, connectors), Export(volume), Monitor.ask
    left = 0

    def dying(self: Monitor, command: str, **arguments: Any) -> Any:
        nonlocal left
        if command in CHANGES:
            if left == 0:
                raise Killed
            left -= 1
        return ask(self, command, **arguments)

    for before, after in ((none, wanted), (wanted, none)):
        for steps in range(hosts + 1):
            target.converge(before, device.path)
            left = steps
            with monkeypatch.context() as patch:
                patch.setattr(Monitor, "ask", dying)
                with pytest.raises(Killed):
                    target.converge(after, device.path)

            again = nbd()
            again.converge(after, device.path)
            assert not again.converge(after, device.path), f"cut off after {steps}"
            assert again.exports() == ({volume} if after.connectors else set())


def test_a_connector_without_a_host_is_refused(
    target: NbdTarget, device: Disk, volume: UUID
) -> None:
    with pytest.raises(NoHost):
        target.connect(volume, device.path, {"initiator": "iqn.2026-01.example:x"})


def test_a_device_that_is_not_there_is_refused(target: NbdTarget, volume: UUID) -> None:
    with pytest.raises(QemuRefused, match="No such file"):
        target.connect(volume, "/dev/absent", Client("node-1").connector)


def test_a_daemon_that_does_not_answer_is_named() -> None:
    with pytest.raises(Missing, match="qemu-storage-daemon --chardev"):
        nbd(owner="nobody").set_up()


@pytest.mark.usefixtures("target")
def test_an_address_that_the_machine_does_not_have_is_named() -> None:
    with monitor(SOCKET) as daemon:
        daemon.ask("nbd-server-stop")

    with pytest.raises(PortalRefused, match="cannot listen at 192"):
        nbd(target_ip_address="192.0.2.1").set_up()
