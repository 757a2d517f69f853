"""The kernel's iSCSI target passes the contract; and what is special about it.

The clients are real ones: open-iscsi, and libiscsi as an independent second.
"""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import settings

from adapters.contracts.disk import Disk
from adapters.contracts.drivers import read, size, write
from adapters.contracts.initiator import Initiator, Refused, eventually
from adapters.contracts.targets import KEY, MIB, Death, IscsiContract, forced, proven
from adapters.contracts.ways import Ways
from adapters.refused import SystemRefused
from adapters.targets.choosing import target_of
from adapters.targets.failures import (
    DeviceIsBusy,
    NoInitiator,
    PortalRefused,
)
from adapters.targets.lio import LUN, ROOT, LioTarget
from domain.ports import Export, Target, VolumeIsBusy

pytestmark = pytest.mark.lvm(lio=True)

PREFIX = "iqn.2010-10.org.openstack:"
STRANGER = ROOT / "iscsi" / f"{PREFIX}volume-of-another"
CHANGES = ("mkdir", "write", "symlink", "unlink", "rmdir")  # of the kernel
DECIDED = {
    "enable",
    "vpd_unit_serial",
    "userid",
    "password",
    "write_protect",
    "authentication",
    "generate_node_acls",
    "demo_mode_discovery",
    "prod_mode_write_protect",
}


def lio(**options: Any) -> LioTarget:
    target = target_of(owner="tests", key=KEY, **options)
    assert isinstance(target, LioTarget)
    return target


@pytest.fixture
def target(device: Disk) -> Iterator[LioTarget]:  # which it lets go before it goes
    target = lio()
    target.set_up()
    yield target
    for volume in target.exports():
        target.remove(volume)


class TestLioTarget(IscsiContract):
    steps = (15, 10)
    to_strangers = "authorization failure"

    @pytest.fixture
    def death(self, target: LioTarget, monkeypatch: pytest.MonkeyPatch) -> Death:
        death = Death()
        for name in CHANGES:
            monkeypatch.setattr(os, name, death.counted(getattr(os, name)))
        return death

    def restarted(self, target: Target) -> Target:
        again = lio()
        again.set_up()
        return again

    def seen(self, target: LioTarget, volume: UUID) -> dict[str, str]:
        found = {}
        iscsi, store = target._iscsi, target._stores / str(volume)
        for path in (ROOT / "iscsi" / iscsi.iqn(volume), store):
            if path.exists():
                for each in [path, *path.rglob("*")]:
                    if each.is_symlink():
                        found[str(each)] = str(each.readlink())
                    elif each.is_dir():
                        found[str(each)] = ""
                    elif each.name in DECIDED:
                        found[str(each)] = each.read_text()
        return found

    def test_what_was_half_made_can_be_removed(
        self,
        target: LioTarget,
        device: Disk,
        volume: UUID,
        node_1: Initiator,
        death: Death,
    ) -> None:
        steps, died = 0, True
        while died:
            died = death.after(
                steps, lambda: target.connect(volume, device.path, node_1.connector)
            )
            assert target.exports() <= {volume}
            for found in target.exports():
                self.restarted(target).remove(found)
            assert not self.seen(target, volume), f"cut off after {steps} changes"
            steps += 1


class LioWays(Ways):
    def fresh(self) -> LioTarget:
        return lio()


TestLioWays = LioWays.TestCase
TestLioWays.settings = settings(max_examples=10, stateful_step_count=20, database=None)


# The answer


def test_the_answer_is_cinders(
    target: LioTarget, device: Disk, volume: UUID, node_1: Initiator
) -> None:
    answer = target.connect(volume, device.path, node_1.connector)

    username = answer["data"].pop("auth_username")
    assert len(username) == 16
    assert answer == {
        "driver_volume_type": "iscsi",
        "data": {
            "target_discovered": False,
            "target_portal": "127.0.0.1:3260",
            "target_iqn": f"{PREFIX}{volume}",
            "target_lun": 0,
            "volume_id": str(volume),
            "auth_method": "CHAP",
        },
    }


def test_several_portals_are_told_in_the_plural(
    target: LioTarget, device: Disk, volume: UUID, node_1: Initiator
) -> None:
    target = lio(target_secondary_ip_addresses=("127.0.0.2", "::1"))

    told = target.connect(volume, device.path, node_1.connector)["data"]

    portals = ["127.0.0.1:3260", "127.0.0.2:3260", "[::1]:3260"]
    assert told["target_portals"] == portals
    assert told["target_iqns"] == [told["target_iqn"]] * 3
    assert told["target_luns"] == [0] * 3
    for portal in portals:
        connection = {"driver_volume_type": "iscsi", "data": told}
        told["target_portal"] = portal
        with node_1.using(proven(volume, node_1, connection)) as disk:
            assert size(disk) == device.size


def test_a_host_with_several_paths_is_told_in_the_plural(
    target: LioTarget, device: Disk, volume: UUID, node_1: Initiator
) -> None:
    connector = node_1.connector | {"multipath": True}

    told = target.connect(volume, device.path, connector)["data"]

    assert told["target_portals"] == [told["target_portal"]]


def test_a_portal_is_there_though_the_last_other_target_lets_go_of_it(
    target: LioTarget, node_1: Initiator
) -> None:
    def come_and_go(_: int) -> None:
        device, volume = Disk(), uuid4()
        try:
            for _ in range(50):
                target.connect(volume, device.path, node_1.connector)
                target.remove(volume)
        finally:
            device.remove()

    with ThreadPoolExecutor() as pool:
        list(pool.map(come_and_go, range(2)))


def test_a_target_that_is_there_keeps_its_name_when_the_prefix_changes(
    connect: Any, device: Disk, volume: UUID, node_1: Initiator
) -> None:
    other, export = lio(target_prefix="iqn.2026-01.example:"), (volume, device.path)
    connection = connect(node_1)
    with node_1.using(connection):
        assert not other.converge(Export(volume, (node_1.connector,)), device.path)
        again = other.connect(*export, node_1.connector)
        assert again["data"]["target_iqn"] == connection["data"]["target_iqn"]
        assert other.has_session(*export, None)
        other.remove(volume)
        eventually(lambda: not node_1.logged_in(connection))

    assert not other.exports()
    named = other.connect(*export, node_1.connector)["data"]["target_iqn"]
    assert named == f"iqn.2026-01.example:{volume}"
    other.remove(volume)


def test_a_portal_that_is_no_more_is_closed(
    target: LioTarget, device: Disk, volume: UUID, node_1: Initiator
) -> None:
    more = lio(target_secondary_ip_addresses=("127.0.0.2",))
    more.connect(volume, device.path, node_1.connector)

    assert target.converge(Export(volume, (node_1.connector,)), device.path)

    portals = (ROOT / "iscsi" / f"{PREFIX}{volume}" / "tpgt_1" / "np").iterdir()
    assert [portal.name for portal in portals] == ["127.0.0.1:3260"]


def test_a_disk_is_known_by_its_volume(connect: Any, volume: UUID, node_1: Any) -> None:
    connection = connect(node_1)

    with node_1.using(connection) as disk:
        told = Path("/sys/block", disk.name, "device", "vpd_pg80").read_bytes()

    assert told[4:].decode().rstrip("\0") == str(volume)


# Who may come in


def test_another_initiators_secret_is_refused(
    connect: Any, node_1: Initiator, node_2: Initiator
) -> None:
    connect(node_2)
    connection = connect(node_1)

    with pytest.raises(Refused, match="authorization failure"):
        node_2.login(connection)


@pytest.mark.parametrize(
    "hostile",
    [
        "",
        None,
        7,
        "../../x",
        "iqn.2026-01.example:x/../../../core",
        "iqn.2026-01.example:x\n",
        "iqn.2026-01.example:" + "x" * 300,
        "node-1",
        "iqn.2026-01.example:ü",
    ],
)
def test_what_is_no_name_of_an_initiator_is_refused(
    target: LioTarget, device: Disk, volume: UUID, hostile: Any
) -> None:
    with pytest.raises(NoInitiator):
        target.connect(volume, device.path, {"initiator": hostile})

    target.disconnect(volume, {"initiator": hostile})
    assert not target.has_session(volume, device.path, {"initiator": hostile})
    assert not target.converge(Export(volume, ({"initiator": hostile},)), device.path)
    assert target.exports() == set()


@pytest.mark.parametrize(
    "name",
    [
        "iqn.1993-08.org.debian:01:5c5a8df0cd32",
        "iqn.1998-01.com.vmware:ESX-1",
        "iqn.2026-01.example",
        "eui.02004567A425678D",
        "naa.52004567BA64678D",
    ],
)
def test_every_kind_of_name_is_known(
    target: LioTarget, device: Disk, volume: UUID, name: str
) -> None:
    target.connect(volume, device.path, {"initiator": name})

    assert target.exports() == {volume}


def test_without_chap_the_name_is_enough(
    target: LioTarget, device: Disk, volume: UUID, node_1: Initiator, node_2: Initiator
) -> None:
    connection = lio(use_chap_auth=False).connect(volume, device.path, node_1.connector)

    assert "auth_method" not in connection["data"]
    with node_1.using(connection) as disk:
        assert size(disk) == device.size
    with pytest.raises(Refused):
        node_2.login(connection)


def test_libiscsi_is_let_in_with_the_secret_alone(
    connect: Any, node_1: Initiator
) -> None:
    data = connect(node_1)["data"]

    def inquire() -> subprocess.CompletedProcess[str]:
        command = ["iscsi-inq", "-i", node_1.initiator, url(data)]
        return subprocess.run(command, check=False, capture_output=True, text=True)

    assert "Vendor:LIO-ORG" in inquire().stdout
    data["auth_password"] = "wrongwrongwrong"
    assert inquire().returncode


def test_who_has_no_part_in_it_does_not_learn_of_it(
    connect: Any, node_1: Initiator, node_2: Initiator
) -> None:
    iqn = connect(node_1)["data"]["target_iqn"]

    assert iqn in discovered(node_1)
    assert iqn not in discovered(node_2)


def url(data: dict[str, Any]) -> str:
    """Return where a volume is for libiscsi."""
    who = f"{data['auth_username']}%{data['auth_password']}"
    address = f"{data['target_portal']}/{data['target_iqn']}/{data['target_lun']}"
    return f"iscsi://{who}@{address}"


def discovered(host: Initiator) -> str:
    """Return what libiscsi finds at the portal in the host's name."""
    command = ["iscsi-ls", "-i", host.initiator, "iscsi://127.0.0.1:3260"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    return done.stdout


# Reading only


def test_a_host_that_is_to_read_cannot_write(
    connect: Any, node_1: Initiator, node_2: Initiator
) -> None:
    reader = connect(node_2, mode="ro")

    with node_1.using(connect(node_1)) as written, node_2.using(reader) as disk:
        write(written, MIB, b"by who may")
        assert read(disk, MIB, 10) == b"by who may"
        assert Path("/sys/block", disk.name, "ro").read_text() == "1\n"
        with pytest.raises(OSError, match="Read-only"):
            write(disk, MIB, b"by who may not")


def test_the_target_itself_keeps_a_reader_from_writing(
    connect: Any, node_1: Initiator
) -> None:
    with node_1.using(connect(node_1, mode="ro")) as disk:
        subprocess.run(["blockdev", "--setrw", disk], check=True)
        with pytest.raises(OSError, match=r"Errno"):
            forced(disk, b"by who may not")


def test_who_may_write_for_one_instance_keeps_it_when_another_is_to_read(
    connect: Any, node_1: Initiator
) -> None:
    with node_1.using(connect(node_1)) as disk:
        connect(node_1, mode="ro")

        forced(disk, b"written")


def test_converging_takes_the_right_to_write_away(
    target: LioTarget, connect: Any, device: Disk, volume: UUID, node_1: Initiator
) -> None:
    reader = node_1.connector | {"mode": "ro"}
    with node_1.using(connect(node_1)) as disk:
        assert target.converge(Export(volume, (reader,)), device.path)

        with pytest.raises(OSError, match=r"Errno"):
            forced(disk, b"by who may not")


# Sessions


def test_the_session_of_one_host_is_not_anothers(
    target: LioTarget,
    connect: Any,
    device: Disk,
    volume: UUID,
    node_1: Initiator,
    node_2: Initiator,
) -> None:
    connect(node_2)

    with node_1.using(connect(node_1)):
        assert target.has_session(volume, device.path, node_1.connector)
        assert not target.has_session(volume, device.path, node_2.connector)


@pytest.fixture
def busy(
    target: LioTarget, connect: Any, device: Disk, volume: UUID, node_1: Initiator
) -> Iterator[subprocess.Popen[bytes]]:
    """A client that reads all the time, by libiscsi."""
    where = url(connect(node_1)["data"])
    command = ["iscsi-perf", "-i", node_1.initiator, "-t", "600", where]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as client:
        eventually(lambda: target.has_session(volume, device.path, node_1.connector))
        yield client
        client.kill()


def test_a_client_that_is_killed_leaves_no_session(
    target: LioTarget, busy: subprocess.Popen[bytes], device: Disk, volume: UUID
) -> None:
    busy.kill()

    eventually(lambda: not target.has_session(volume, device.path, None))


def test_a_session_ends_amid_its_reading(
    target: LioTarget,
    busy: subprocess.Popen[bytes],
    device: Disk,
    volume: UUID,
    node_1: Initiator,
) -> None:
    target.disconnect(volume, node_1.connector)

    assert not target.has_session(volume, device.path, None)
    os.close(os.open(device.path, os.O_RDONLY | os.O_EXCL))


def test_removing_ends_every_session_and_lets_go_of_the_device(
    target: LioTarget, connect: Any, device: Disk, volume: UUID, node_1: Initiator
) -> None:
    connection = connect(node_1)
    with node_1.using(connection):
        target.remove(volume)

        os.close(os.open(device.path, os.O_RDONLY | os.O_EXCL))
        eventually(lambda: not node_1.logged_in(connection))


def test_a_host_goes_on_when_its_target_was_made_anew(
    target: LioTarget, connect: Any, device: Disk, volume: UUID, node_1: Initiator
) -> None:
    connection = connect(node_1)
    with node_1.using(connection):
        target.remove(volume)  # a restart of the storage host leaves nothing
        eventually(lambda: not node_1.logged_in(connection))

        assert target.converge(Export(volume, (node_1.connector,)), device.path)

        eventually(lambda: node_1.logged_in(connection))


def test_an_extension_reaches_a_session_that_is_in_use(
    target: LioTarget, connect: Any, device: Disk, volume: UUID, node_1: Initiator
) -> None:
    connection = connect(node_1)
    with node_1.using(connection) as disk, disk.open("r+b", buffering=0) as file:
        device.grow(96 * MIB)
        target.resized(volume, device.path)
        node_1.rescan(connection)
        eventually(lambda: size(disk) == 96 * MIB)

        file.seek(95 * MIB)
        file.write(b"beyond the old end")
        os.fsync(file.fileno())

    assert read(Path(device.path), 95 * MIB, 18) == b"beyond the old end"


# Mending


def test_a_wrong_secret_in_the_kernel_is_mended(
    target: LioTarget, connect: Any, device: Disk, volume: UUID, node_1: Initiator
) -> None:
    connection = connect(node_1)
    acl = ROOT / "iscsi" / f"{PREFIX}{volume}" / "tpgt_1" / "acls" / node_1.initiator
    (acl / "auth" / "password").write_text("changed by hand")

    assert target.converge(Export(volume, (node_1.connector,)), device.path)

    with node_1.using(connection) as disk:
        assert size(disk) == device.size


def test_that_anybody_is_let_in_is_told_and_mended(
    target: LioTarget, connect: Any, device: Disk, volume: UUID, node_1: Initiator
) -> None:
    connect(node_1)
    open_to_all = target._group(volume) / "attrib" / "generate_node_acls"
    open_to_all.write_text("1")
    names = {node_1.connector["initiator"]}

    assert target.initiators() == {volume: names | {"any initiator"}}

    assert target.converge(Export(volume, (node_1.connector,)), device.path)
    assert target.initiators() == {volume: names}


def test_an_initiator_that_is_not_wanted_is_removed_with_its_session(
    target: LioTarget,
    connect: Any,
    device: Disk,
    volume: UUID,
    node_1: Initiator,
    node_2: Initiator,
) -> None:
    first, second = connect(node_1), connect(node_2)
    with node_1.using(first), node_2.using(second):
        assert target.converge(Export(volume, (node_2.connector,)), device.path)

        eventually(lambda: not node_1.logged_in(first))
        assert node_2.logged_in(second)


def test_what_is_not_ours_is_not_touched(
    target: LioTarget, device: Disk, volume: UUID, node_1: Initiator
) -> None:
    STRANGER.mkdir()
    other = target_of(owner="another backend", key=KEY)
    theirs = uuid4()
    other.connect(theirs, "/dev/ubdb", node_1.connector)

    target.set_up()
    target.connect(volume, device.path, node_1.connector)
    assert target.exports() == {volume}
    target.remove(volume)

    assert other.exports() == {theirs}
    assert STRANGER.is_dir()
    other.remove(theirs)
    STRANGER.rmdir()


# Trouble


def test_a_device_that_somebody_else_has_is_busy(
    target: LioTarget, device: Disk, volume: UUID, node_1: Initiator
) -> None:
    claimed = os.open(device.path, os.O_RDONLY | os.O_EXCL)

    with pytest.raises(DeviceIsBusy, match="lsblk") as refused:
        target.connect(volume, device.path, node_1.connector)
    os.close(claimed)

    assert isinstance(refused.value, VolumeIsBusy)


def test_a_device_that_is_not_there_is_named(
    target: LioTarget, volume: UUID, node_1: Initiator
) -> None:
    with pytest.raises(SystemRefused, match="device is there"):
        target.connect(volume, "/dev/absent", node_1.connector)


def test_a_port_that_something_else_has_is_named(
    device: Disk, target: LioTarget, volume: UUID, node_1: Initiator
) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        pytest.raises(PortalRefused, match="cannot listen at 127"),
    ):
        lio(target_port=server.getsockname()[1]).connect(
            volume, device.path, node_1.connector
        )


def test_volumes_have_the_same_number_at_targets_of_their_own(
    target: LioTarget, device: Disk, volume: UUID, node_1: Initiator
) -> None:
    other = uuid4()

    told = [
        target.connect(volume, device.path, node_1.connector),
        target.connect(other, "/dev/ubdb", node_1.connector),
    ]

    assert {each["data"]["target_lun"] for each in told} == {LUN}
    assert len({each["data"]["target_iqn"] for each in told}) == 2


@pytest.fixture(autouse=True)
def _logged_out() -> Iterator[None]:
    """Leave no session behind, whatever a test came to."""
    yield
    with suppress(OSError):
        subprocess.run(
            ["iscsiadm", "-m", "session", "--logout"], check=False, capture_output=True
        )
