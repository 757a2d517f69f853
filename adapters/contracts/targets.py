"""What every target must do."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

import pytest

from adapters.contracts.drivers import read, size, write
from adapters.contracts.initiator import Initiator, Refused, eventually
from domain import chap
from domain.ports import Export, Target

KEY = b"the key of an installation"
MIB = 1024**2


class Device(Protocol):
    """A block device or a file, and how it is made larger."""

    path: str
    size: int

    def grow(self, size: int) -> None: ...


class Host(Protocol):
    """A machine that uses volumes."""

    @property
    def connector(self) -> dict[str, Any]: ...

    def using(self, connection: dict[str, Any]) -> AbstractContextManager[Path]:
        """Have the volume as a device for a while; needs what proves who it is."""

    def rescan(self, connection: dict[str, Any]) -> None:
        """Look again how large it is."""


class TargetContract:
    """The promises of `domain.ports.Target`, one fact a test.

    There are the fixtures `target`, set up, `device`, at least 64 MiB large, and
    `volume`; a subclass says how a target restarts and what hosts there are.
    """

    exporting = True  # whether hosts reach nothing but what was connected
    grows_online = True  # or is seen to have grown when it is used the next time

    def restarted(self, target: Target) -> Target:
        """Return a new one on the same machine, as after the agent was killed."""
        raise NotImplementedError

    def host(self, name: str) -> Host:
        """Return a host of that name."""
        raise NotImplementedError

    @pytest.fixture
    def node_1(self) -> Host:
        return self.host("node-1")

    @pytest.fixture
    def node_2(self) -> Host:
        return self.host("node-2")

    @pytest.fixture
    def reach(
        self, target: Target, device: Device, volume: UUID
    ) -> Callable[[Host], AbstractContextManager[Path]]:
        """Connect a host, and use the volume from it."""

        def reach(host: Host) -> AbstractContextManager[Path]:
            connection = target.connect(volume, device.path, host.connector)
            return host.using(proven(volume, host, connection))

        return reach

    # Setting up

    def test_setting_up_twice_is_setting_up_once(self, target: Target) -> None:
        target.set_up()

        assert target.exports() == set()

    # Connecting

    def test_connecting_twice_gives_one_answer(
        self, target: Target, device: Device, volume: UUID, node_1: Host
    ) -> None:
        first = target.connect(volume, device.path, node_1.connector)

        assert target.connect(volume, device.path, node_1.connector) == first

    def test_connecting_after_a_restart_gives_the_same_answer(
        self, target: Target, device: Device, volume: UUID, node_1: Host
    ) -> None:
        first = target.connect(volume, device.path, node_1.connector)

        again = self.restarted(target)
        assert again.connect(volume, device.path, node_1.connector) == first

    def test_the_answer_has_no_secret(
        self, target: Target, device: Device, volume: UUID, node_1: Host
    ) -> None:
        answer = json.dumps(target.connect(volume, device.path, node_1.connector))

        secret = chap.secret(KEY, volume, node_1.connector["initiator"])
        assert secret not in answer
        assert "password" not in answer

    def test_a_host_reads_and_writes_the_device(
        self, reach: Any, device: Device, node_1: Host
    ) -> None:
        with reach(node_1) as disk:
            assert size(disk) == device.size
            write(disk, MIB, b"written by node-1")

        assert read(Path(device.path), MIB, 17) == b"written by node-1"

    def test_a_host_reads_what_another_wrote(
        self, reach: Any, target: Target, volume: UUID, node_1: Host, node_2: Host
    ) -> None:
        with reach(node_1) as disk:
            write(disk, 2 * MIB, b"written by node-1")
        target.disconnect(volume, node_1.connector)

        with reach(node_2) as disk:
            assert read(disk, 2 * MIB, 17) == b"written by node-1"

    def test_two_hosts_use_a_volume_at_once(
        self, reach: Any, node_1: Host, node_2: Host
    ) -> None:
        with reach(node_1) as first, reach(node_2) as second:
            write(first, 3 * MIB, b"seen at once")

            assert read(second, 3 * MIB, 12) == b"seen at once"

    # Disconnecting

    def test_disconnecting_twice_is_disconnecting_once(
        self, target: Target, device: Device, volume: UUID, node_1: Host
    ) -> None:
        target.connect(volume, device.path, node_1.connector)

        target.disconnect(volume, node_1.connector)
        target.disconnect(volume, node_1.connector)

        assert target.exports() == set()

    def test_a_host_that_never_connected_can_be_disconnected(
        self,
        target: Target,
        device: Device,
        volume: UUID,
        node_1: Host,
        node_2: Host,
    ) -> None:
        target.connect(volume, device.path, node_1.connector)

        target.disconnect(volume, node_2.connector)
        target.disconnect(volume, {"host": "says nothing else"})

        assert target.exports() == exported(self, volume)

    def test_removing_twice_is_removing_once(
        self, target: Target, device: Device, volume: UUID, node_1: Host
    ) -> None:
        target.connect(volume, device.path, node_1.connector)

        target.remove(volume)
        target.remove(volume)

        assert target.exports() == set()

    def test_what_was_taken_away_can_be_connected_again(
        self, target: Target, device: Device, volume: UUID, node_1: Host
    ) -> None:
        first = target.connect(volume, device.path, node_1.connector)
        target.remove(volume)

        assert target.connect(volume, device.path, node_1.connector) == first

    def test_an_absent_volume_can_be_taken_away(
        self, target: Target, volume: UUID, node_1: Host
    ) -> None:
        target.disconnect(volume, node_1.connector)
        target.remove(volume)

        assert target.exports() == set()

    # Growing

    def test_a_host_sees_the_device_grow(
        self, reach: Any, target: Target, device: Device, volume: UUID, node_1: Host
    ) -> None:
        with reach(node_1) as disk:
            device.grow(128 * MIB)

            target.resized(volume, device.path)
            connection = target.connect(volume, device.path, node_1.connector)
            node_1.rescan(connection)

            if self.grows_online:
                eventually(lambda: size(disk) == 128 * MIB)

        with reach(node_1) as disk:
            assert size(disk) == 128 * MIB

    # Sessions

    @pytest.mark.parametrize("anybody", [False, True])
    def test_a_host_that_uses_the_volume_has_a_session(
        self,
        reach: Any,
        target: Target,
        device: Device,
        volume: UUID,
        node_1: Host,
        anybody: bool,  # noqa: FBT001
    ) -> None:
        connector = None if anybody else node_1.connector

        with reach(node_1) as disk, disk.open("rb"):
            assert target.has_session(volume, device.path, connector)

        assert not target.has_session(volume, device.path, connector)

    def test_an_absent_volume_has_no_session(
        self, target: Target, volume: UUID, node_1: Host
    ) -> None:
        assert not target.has_session(volume, "/dev/absent", node_1.connector)
        assert not target.has_session(volume, "/dev/absent", None)

    # Converging

    def test_what_is_wanted_is_made(
        self, target: Target, device: Device, volume: UUID, node_1: Host
    ) -> None:
        wanted = Export(volume, (node_1.connector,))

        assert target.converge(wanted, device.path) is self.exporting
        assert target.exports() == exported(self, volume)

    def test_what_was_connected_is_as_it_is_wanted(
        self, target: Target, device: Device, volume: UUID, node_1: Host
    ) -> None:
        target.connect(volume, device.path, node_1.connector)

        assert not target.converge(Export(volume, (node_1.connector,)), device.path)

    def test_converging_twice_changes_nothing(
        self,
        target: Target,
        device: Device,
        volume: UUID,
        node_1: Host,
        node_2: Host,
    ) -> None:
        wanted = Export(volume, (node_1.connector, node_2.connector))
        target.converge(wanted, device.path)

        assert not self.restarted(target).converge(wanted, device.path)

    def test_what_nobody_wants_is_removed(
        self, target: Target, device: Device, volume: UUID, node_1: Host
    ) -> None:
        target.connect(volume, device.path, node_1.connector)

        assert target.converge(Export(volume), device.path) is self.exporting
        assert target.exports() == set()
        assert not target.converge(Export(volume), device.path)

    def test_what_is_converged_can_be_used(
        self, target: Target, device: Device, volume: UUID, node_1: Host
    ) -> None:
        connection = target.connect(volume, device.path, node_1.connector)
        target.remove(volume)

        target.converge(Export(volume, (node_1.connector,)), device.path)

        with node_1.using(proven(volume, node_1, connection)) as disk:
            assert size(disk) == device.size


class Killed(BaseException):
    """The agent is dead."""


class Death:
    """Kills at the n-th change that follows, of those that are counted."""

    def __init__(self) -> None:
        self._left = -1

    def counted(self, change: Callable[..., Any]) -> Callable[..., Any]:
        """Return what makes the change, unless the agent dies before."""

        def counted(*arguments: Any, **named: Any) -> Any:
            if self._left == 0:
                raise Killed
            self._left -= 1
            return change(*arguments, **named)

        return counted

    def after(self, changes: int, doing: Callable[[], Any]) -> bool:
        """Tell whether it died before the work was done."""
        self._left = changes
        try:
            doing()
        except Killed:
            return True
        finally:
            self._left = -1
        return False


class IscsiContract(TargetContract):
    """What more those promise that hosts reach by iSCSI; with open-iscsi.

    A subclass provides the fixture `death` as well, which counts what changes the
    target, and says what there is of a volume.
    """

    steps = (4, 3)  # more than so many changes connect a host, and remove a volume
    to_strangers = "."  # what they are told

    def host(self, name: str) -> Initiator:
        return Initiator(name)

    def seen(self, target: Any, volume: UUID) -> Any:
        """Return all that there is of a volume and that the target decides."""
        raise NotImplementedError

    # Who may come in

    def test_a_wrong_secret_is_refused(self, connect: Any, node_1: Initiator) -> None:
        connection = connect(node_1)
        connection["data"]["auth_password"] = "wrongwrongwrong"

        with pytest.raises(Refused, match="authorization failure"):
            node_1.login(connection)

    def test_no_secret_is_refused(self, connect: Any, node_1: Initiator) -> None:
        connection = connect(node_1)
        for name in ("auth_method", "auth_username", "auth_password"):
            del connection["data"][name]

        with pytest.raises(Refused):
            node_1.login(connection)

    def test_an_unknown_initiator_is_refused(
        self, connect: Any, node_1: Initiator, node_2: Initiator
    ) -> None:
        connection = connect(node_1)

        with pytest.raises(Refused, match=self.to_strangers):
            node_2.login(connection)

    def test_who_may_come_in_is_told(
        self,
        target: Target,
        connect: Any,
        volume: UUID,
        node_1: Initiator,
        node_2: Initiator,
    ) -> None:
        connect(node_1)
        connect(node_2)

        names = {each.connector["initiator"] for each in (node_1, node_2)}
        assert target.initiators() == {volume: names}

        target.disconnect(volume, node_1.connector)
        assert target.initiators() == {volume: names - {node_1.connector["initiator"]}}

    # Sessions

    def test_disconnecting_ends_the_session_of_that_host_alone(
        self,
        target: Target,
        connect: Any,
        device: Device,
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
            forced(disk, b"still here")

    # Mending

    def test_a_wrong_device_is_mended(
        self,
        target: Target,
        connect: Any,
        device: Device,
        volume: UUID,
        node_1: Initiator,
    ) -> None:
        target.connect(volume, "/dev/ubdb", node_1.connector)

        assert target.converge(Export(volume, (node_1.connector,)), device.path)

        with node_1.using(connect(node_1)) as disk:
            assert size(disk) == device.size

    # Killed at every step

    def test_a_connection_is_whole_wherever_its_making_was_cut_off(
        self,
        target: Target,
        device: Device,
        volume: UUID,
        node_1: Initiator,
        death: Death,
    ) -> None:
        target.connect(volume, device.path, node_1.connector)
        whole = self.seen(target, volume)
        target.remove(volume)
        steps = 0

        while death.after(
            steps, lambda: target.connect(volume, device.path, node_1.connector)
        ):
            again = self.restarted(target)
            again.connect(volume, device.path, node_1.connector)
            assert self.seen(target, volume) == whole, f"cut off after {steps} changes"
            target.remove(volume)
            steps += 1

        assert steps > self.steps[0]

    @pytest.mark.parametrize("asked", ["disconnect", "remove"])
    def test_nothing_is_left_wherever_its_removal_was_cut_off(
        self,
        target: Target,
        device: Device,
        volume: UUID,
        node_1: Initiator,
        death: Death,
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
            died = death.after(steps, removal)
            self.restarted(target).converge(Export(volume), device.path)
            assert not self.seen(target, volume), f"cut off after {steps} changes"
            assert target.exports() == set()
            steps += 1

        assert steps > self.steps[1]


def forced(disk: Path, data: bytes) -> None:
    """Write, and wait until the disk has it."""
    with disk.open("r+b") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def exported(suite: TargetContract, *volumes: UUID) -> set[UUID]:
    """Return what a target tells of volumes that were connected."""
    return set(volumes) if suite.exporting else set()


def proven(volume_id: UUID, host: Host, connection: dict[str, Any]) -> dict[str, Any]:
    """Return a connection as the service gives it to a caller: with the secret."""
    initiator = host.connector["initiator"]
    return chap.with_secret(KEY, volume_id, initiator, connection)
