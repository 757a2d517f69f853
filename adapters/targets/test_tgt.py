"""tgtd passes the targets' contract, with open-iscsi; and what is special about it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from hypothesis import settings

from adapters.contracts.disk import Disk
from adapters.contracts.drivers import size
from adapters.contracts.initiator import Initiator, eventually
from adapters.contracts.targets import KEY, MIB, Death, IscsiContract
from adapters.contracts.ways import Ways
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
def death(target: TgtTarget, monkeypatch: pytest.MonkeyPatch) -> Death:
    death = Death()

    def counted(op: Op, *arguments: Any, **named: Any) -> str:
        asking = ask if op is Op.SHOW else death.counted(ask)
        return str(asking(op, *arguments, **named))

    monkeypatch.setattr("adapters.targets.tgt.ask", counted)
    return death


def accounts() -> list[str]:
    return ask(Op.SHOW, Mode.ACCOUNT).splitlines()[1:]


class TestTgtTarget(IscsiContract):
    def restarted(self, target: Target) -> Target:
        again = tgt()
        again.set_up()
        return again

    def seen(self, target: Any, volume: UUID) -> list[Any]:
        return [*targets(), *accounts()]


class TgtWays(Ways):
    modes = ("rw", "rw")  # no host can be kept from writing

    def fresh(self) -> TgtTarget:
        return tgt()


TestTgtWays = TgtWays.TestCase
TestTgtWays.settings = settings(max_examples=10, stateful_step_count=20, database=None)


# Taking one of several hosts away


def test_tgtd_outlives_it_and_the_others_stay_wherever_it_was_cut_off(
    target: TgtTarget, device: Disk, volume: UUID, death: Death
) -> None:
    going, *others = (Initiator(f"node-{n}").connector for n in range(1, 5))
    stay = {each["initiator"] for each in others}
    steps, died = 0, True
    while died:
        for each in (going, *others):
            target.connect(volume, device.path, each)
        died = death.after(steps, lambda: target.disconnect(volume, going))
        if died:
            target.converge(Export(volume, tuple(others)), device.path)

        assert target.initiators() == {volume: stay}, f"cut off after {steps} changes"
        [shown] = targets()
        assert len(shown.accounts) == len(accounts()) == len(others)
        steps += 1

    assert steps > len(others)


# Who may come in


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


@pytest.mark.parametrize("changes", range(3))
def test_a_growth_that_was_killed_is_finished_when_it_is_asked_for_again(
    connect: Any,
    device: Disk,
    volume: UUID,
    node_1: Initiator,
    death: Death,
    changes: int,
) -> None:
    connection = connect(node_1)
    device.grow(128 * MIB)
    assert death.after(changes, lambda: tgt().resized(volume, device.path))

    tgt().resized(volume, device.path)

    with node_1.using(connection) as disk:
        assert size(disk) == 128 * MIB
    assert not tgt().converge(Export(volume, (node_1.connector,)), device.path)


def test_what_is_not_ours_is_not_touched(
    target: TgtTarget, connect: Any, volume: UUID, node_1: Initiator
) -> None:
    ask(Op.NEW, Mode.TARGET, f"targetname={PREFIX}volume-of-another", tid=1)

    connect(node_1)
    assert target.exports() == {volume}
    target.remove(volume)

    assert [each.iqn for each in targets()] == [f"{PREFIX}volume-of-another"]
    ask(Op.DELETE, Mode.TARGET, tid=1, force=True)


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
