"""tgtd passes the targets' contract, with open-iscsi; and what is special about it."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest

from adapters.contracts.disk import Disk
from adapters.contracts.drivers import size
from adapters.contracts.initiator import Initiator, Refused, eventually
from adapters.contracts.targets import KEY, TargetContract, proven
from adapters.targets.choosing import target_of
from adapters.targets.failures import (
    CannotKeepFromWriting,
    Missing,
    NoInitiator,
    PortalRefused,
)
from adapters.targets.testing import tgtd
from adapters.targets.tgt import TgtTarget
from adapters.targets.tgtd import SOCKET, Mode, Op, TgtdRefused, ask, targets
from domain.ports import Export, Target

pytestmark = pytest.mark.lvm(lio=True)

PREFIX = "iqn.2010-10.org.openstack:"


def tgt(**options: Any) -> TgtTarget:
    target = target_of(owner="tests", key=KEY, target_helper="tgtadm", **options)
    assert isinstance(target, TgtTarget)
    return target


@pytest.fixture(scope="module", autouse=True)
def _tgtd() -> Iterator[None]:
    with tgtd():
        yield


@pytest.fixture
def target(device: Disk) -> Iterator[TgtTarget]:
    target = tgt()
    target.set_up()
    yield target
    for volume in target.exports():
        target.remove(volume)


@pytest.fixture
def volume() -> UUID:
    return uuid4()


@pytest.fixture
def node_1() -> Initiator:
    return Initiator("node-1")


@pytest.fixture
def node_2() -> Initiator:
    return Initiator("node-2")


@pytest.fixture
def connect(target: TgtTarget, device: Disk, volume: UUID) -> Any:
    """Connect a host; the answer has what proves who it is."""

    def connect(host: Initiator) -> dict[str, Any]:
        told = target.connect(volume, device.path, host.connector)
        return proven(volume, host, told)

    return connect


class TestTgtTarget(TargetContract):
    def restarted(self, target: Target) -> Target:
        again = tgt()
        again.set_up()
        return again

    def host(self, name: str) -> Initiator:
        return Initiator(name)


# Who may come in


def test_a_wrong_secret_is_refused(connect: Any, node_1: Initiator) -> None:
    connection = connect(node_1)
    connection["data"]["auth_password"] = "wrongwrongwrong"

    with pytest.raises(Refused, match="authorization failure"):
        node_1.login(connection)


def test_no_secret_is_refused(connect: Any, node_1: Initiator) -> None:
    connection = connect(node_1)
    for name in ("auth_method", "auth_username", "auth_password"):
        del connection["data"][name]

    with pytest.raises(Refused):
        node_1.login(connection)


def test_an_unknown_initiator_is_refused(
    connect: Any, node_1: Initiator, node_2: Initiator
) -> None:
    connection = connect(node_1)

    with pytest.raises(Refused):
        node_2.login(connection)


def test_what_is_no_name_of_an_initiator_is_refused(
    target: TgtTarget, device: Disk, volume: UUID
) -> None:
    with pytest.raises(NoInitiator):
        target.connect(volume, device.path, {"initiator": "../../x,password=x"})

    assert target.exports() == set()


def test_a_host_that_is_to_read_only_is_refused(
    target: TgtTarget, device: Disk, volume: UUID, node_1: Initiator
) -> None:
    with pytest.raises(CannotKeepFromWriting, match="lioadm"):
        target.connect(volume, device.path, node_1.connector | {"mode": "ro"})

    assert target.exports() == set()


# Sessions


def test_disconnecting_ends_a_session_and_the_others_go_on(
    target: TgtTarget,
    connect: Any,
    device: Disk,
    volume: UUID,
    node_1: Initiator,
    node_2: Initiator,
) -> None:
    first, second = connect(node_1), connect(node_2)
    with node_1.using(first), node_2.using(second) as disk:
        target.disconnect(volume, node_1.connector)

        eventually(lambda: not node_1.logged_in(first))
        assert not target.has_session(volume, device.path, node_1.connector)
        eventually(lambda: node_2.logged_in(second))
        assert size(disk) == device.size


def test_removing_ends_every_session_and_leaves_no_account(
    target: TgtTarget, connect: Any, volume: UUID, node_1: Initiator
) -> None:
    connection = connect(node_1)
    with node_1.using(connection):
        target.remove(volume)

        eventually(lambda: not node_1.logged_in(connection))
    assert connection["data"]["auth_username"] not in ask(Op.SHOW, Mode.ACCOUNT)


# Mending


def test_what_is_missing_is_made(
    target: TgtTarget, connect: Any, device: Disk, volume: UUID, node_1: Initiator
) -> None:
    connection = connect(node_1)
    [shown] = targets()
    ask(Op.DELETE, Mode.DEVICE, tid=shown.tid, lun=1)
    for account in shown.accounts:
        ask(Op.DELETE, Mode.ACCOUNT, f"user={account}")

    assert target.converge(Export(volume, (node_1.connector,)), device.path)

    with node_1.using(connection) as disk:
        assert size(disk) == device.size


def test_a_wrong_device_is_mended(
    target: TgtTarget, connect: Any, device: Disk, volume: UUID, node_1: Initiator
) -> None:
    target.connect(volume, "/dev/ubdb", node_1.connector)

    assert target.converge(Export(volume, (node_1.connector,)), device.path)

    assert [each.device for each in targets()] == [device.path]


def test_what_is_not_ours_is_not_touched(
    target: TgtTarget, connect: Any, volume: UUID, node_1: Initiator
) -> None:
    ask(Op.NEW, Mode.TARGET, f"targetname={PREFIX}volume-of-another", tid=1)

    connect(node_1)
    assert target.exports() == {volume}
    target.remove(volume)

    assert [each.iqn for each in targets()] == [f"{PREFIX}volume-of-another"]
    ask(Op.DELETE, Mode.TARGET, tid=1, force=True)


# Killed at every step


class Killed(BaseException):
    """The agent is dead."""


@pytest.fixture
def after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Callable[[], Any]], bool]:
    """Do something, and die before its n-th change; tells whether it came to that."""
    left = [-1]

    def counted(op: Op, *arguments: Any, **named: Any) -> str:
        if op is not Op.SHOW:
            if left[0] == 0:
                raise Killed
            left[0] -= 1
        return ask(op, *arguments, **named)

    def after(changes: int, doing: Callable[[], Any]) -> bool:
        left[0] = changes
        try:
            doing()
        except Killed:
            return True
        finally:
            left[0] = -1
        return False

    monkeypatch.setattr("adapters.targets.tgt.ask", counted)
    return after


def test_a_connection_is_whole_wherever_its_making_was_cut_off(
    target: TgtTarget, device: Disk, volume: UUID, node_1: Initiator, after: Any
) -> None:
    def connect() -> None:
        tgt().connect(volume, device.path, node_1.connector)

    connect()
    whole = targets()
    target.remove(volume)
    steps = 0
    while after(steps, connect):
        connect()
        assert targets() == whole, f"cut off after {steps} changes"
        target.remove(volume)
        steps += 1

    assert steps > 4


@pytest.mark.parametrize("asked", ["disconnect", "remove"])
def test_nothing_is_left_wherever_its_removal_was_cut_off(
    target: TgtTarget,
    device: Disk,
    volume: UUID,
    node_1: Initiator,
    after: Any,
    asked: str,
) -> None:
    def removal() -> None:
        if asked == "remove":
            target.remove(volume)
        else:
            target.disconnect(volume, node_1.connector)

    steps, died = 0, True
    while died:
        target.connect(volume, device.path, node_1.connector)
        died = after(steps, removal)
        tgt().converge(Export(volume), device.path)
        assert targets() == [], f"cut off after {steps} changes"
        assert not ask(Op.SHOW, Mode.ACCOUNT).splitlines()[1:]
        steps += 1

    assert steps > 3


# Trouble


def test_a_device_that_is_not_there_is_refused(
    target: TgtTarget, volume: UUID, node_1: Initiator
) -> None:
    with pytest.raises(TgtdRefused):
        target.connect(volume, "/dev/absent", node_1.connector)


def test_a_port_that_something_else_has_is_named(target: TgtTarget) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(PortalRefused, match="cannot listen at 127"):
            tgt(target_port=port).set_up()


def test_a_tgtd_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adapters.targets.tgtd.SOCKET", SOCKET.with_name("absent"))

    with pytest.raises(Missing, match="install tgt"):
        tgt().set_up()
