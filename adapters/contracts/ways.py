"""A target against a dictionary: who can reach what, after whatever was asked."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from adapters.contracts.disk import Disk
from domain.ports import Export, Target

VOLUMES = st.integers(0, 1)
HOSTS = st.sampled_from(["node-1", "node-2", "node-3"])


class Ways(RuleBasedStateMachine):
    """One agent after another on one target; no host ever uses what it could."""

    modes = ("rw", "ro")  # that hosts are let in by
    tells_initiators = True

    def __init__(self) -> None:
        super().__init__()
        self.disks = [Disk(), Disk()]
        self.volumes = [uuid4(), uuid4()]
        self.hosts: list[dict[str, str]] = [{}, {}]  # of each volume: who may do what
        self._begin()

    def fresh(self) -> Target:
        """Return what an agent sets up when it begins."""
        raise NotImplementedError

    def _begin(self) -> None:
        self.target = self.fresh()
        self.target.set_up()

    def export(self, volume: int, hosts: dict[str, str]) -> Export:
        """Return what is wanted where these hosts are to reach it."""
        connectors = (connector(host, mode) for host, mode in hosts.items())
        return Export(self.volumes[volume], tuple(connectors))

    @rule(volume=VOLUMES, host=HOSTS, mode=st.integers(0, 1))
    def connect(self, volume: int, host: str, mode: int) -> None:
        """Let a host in; who may write already keeps that."""
        asked = self.modes[mode]
        had = self.hosts[volume].get(host)
        device = self.disks[volume].path
        self.target.connect(self.volumes[volume], device, connector(host, asked))
        self.hosts[volume][host] = "rw" if "rw" in (had, asked) else "ro"

    @rule(volume=VOLUMES, host=HOSTS)
    def disconnect(self, volume: int, host: str) -> None:
        self.target.disconnect(self.volumes[volume], connector(host, "rw"))
        self.hosts[volume].pop(host, None)

    @rule(volume=VOLUMES)
    def remove(self, volume: int) -> None:
        self.target.remove(self.volumes[volume])
        self.hosts[volume].clear()

    @rule(volume=VOLUMES, hosts=st.dictionaries(HOSTS, st.integers(0, 1)))
    def converge(self, volume: int, hosts: dict[str, int]) -> None:
        """Have exactly these hosts reach it."""
        wanted = {host: self.modes[mode] for host, mode in hosts.items()}
        changed = self.target.converge(
            self.export(volume, wanted), self.disks[volume].path
        )
        assert changed is (wanted != self.hosts[volume])
        self.hosts[volume] = wanted

    @rule()
    def restart(self) -> None:
        self._begin()

    @invariant()
    def is_as_it_was_asked_for(self) -> None:
        """All is there, nothing else, and nothing has to be mended."""
        pairs = zip(self.volumes, self.hosts, strict=True)
        reached = {volume: hosts for volume, hosts in pairs if hosts}
        assert self.target.exports() == reached.keys()
        if self.tells_initiators:
            names = {v: {*map(initiator, hosts)} for v, hosts in reached.items()}
            assert self.target.initiators() == names
        for volume, disk in enumerate(self.disks):
            wanted = self.export(volume, self.hosts[volume])
            assert not self.target.converge(wanted, disk.path)
            assert not self.target.has_session(wanted.volume_id, disk.path, None)

    def teardown(self) -> None:
        for volume in self.volumes:
            self.target.remove(volume)
        for disk in self.disks:
            disk.remove()


def connector(host: str, mode: str) -> dict[str, Any]:
    """Return what a host says of itself."""
    return {"host": host, "initiator": initiator(host), "mode": mode}


def initiator(host: str) -> str:
    """Return who logs in from a host."""
    return f"iqn.2026-01.org.example:{host}"
