"""NBD by a qemu-storage-daemon, for machines without any kind of iSCSI target.

A host has an export of its own, which can be taken from it and can be read-only. But
NBD knows no initiators and has no secrets: whoever reaches the port may list every
export and use it. It is for networks on which everybody may have everything.

    node hf-<volume, base32>                          the device, opened once
    export holdfast-<volume>-<host, hashed>-<rw|ro>   named <volume>-<host, hashed>
"""

from __future__ import annotations

import re
import time
from base64 import b32decode, b32encode
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import Any
from uuid import UUID

from adapters.noting import noted
from adapters.targets.failures import NoHost, PortalRefused, in_words
from adapters.targets.iscsi import writes
from adapters.targets.qmp import Monitor, QemuRefused, monitor
from adapters.tracing import step
from domain.ports import Export

FOLDER = Path("/run/holdfast")
NODE = re.compile(r"hf-([a-z2-7]{26})")
PAUSE = 0.01
PATIENCE = 10.0  # seconds


class NbdTarget:
    """The exports of a qemu-storage-daemon of this backend's own."""

    storage_protocol = "nbd"

    def __init__(self, portal: str, owner: str, folder: Path = FOLDER) -> None:
        """Talk to the daemon with the monitor `nbd-<owner>.sock`, a backend's."""
        self._host, _, self._port = portal.rpartition(":")
        self._socket = folder / f"nbd-{owner}.sock"
        self._lock = Lock()  # the daemon hears one of us at a time

    def set_up(self) -> None:
        """Look whether the daemon answers, and have it listen."""
        where = {"host": self._host.strip("[]"), "port": self._port}
        with self._at_work("listen") as daemon:
            try:
                daemon.ask("nbd-server-start", addr={"type": "inet", "data": where})
            except QemuRefused as error:
                if "already running" not in error.said:
                    raise PortalRefused(f"{self._host}:{self._port}") from error

    def connect(
        self, volume_id: UUID, device: str, connector: dict[str, Any]
    ) -> dict[str, Any]:
        """Let the host have an export; the answer is as Nova's for network disks."""
        host = host_of(connector)
        with self._at_work(f"export volume {volume_id}") as daemon:
            self._open(daemon, volume_id, device)
            kept = self._exports(daemon, volume_id).get(host)
            may = writes(connector) or kept is True
            self._admit(daemon, volume_id, host, may=may)
        return {
            "driver_volume_type": "nbd",
            "data": {
                "name": f"{volume_id}-{host}",
                "hosts": [self._host.strip("[]")],
                "ports": [self._port],
                "volume_id": str(volume_id),
                "access_mode": "rw" if may else "ro",
            },
        }

    def disconnect(self, volume_id: UUID, connector: dict[str, Any]) -> None:
        """Take the host's export away; with the last one the device is let go."""
        with self._at_work(f"take volume {volume_id} away") as daemon:
            exports = self._exports(daemon, volume_id)
            host = hashed(connector.get("host"))
            if host in exports:
                self._dismiss(daemon, volume_id, host, may=exports.pop(host))
            if not exports:
                self._remove(daemon, volume_id)

    def remove(self, volume_id: UUID) -> None:
        """Take every export away, and let go of the device."""
        with self._at_work(f"remove the export of volume {volume_id}") as daemon:
            self._remove(daemon, volume_id)

    def resized(self, volume_id: UUID, device: str) -> None:
        """Open the device anew where no client is connected.

        NBD cannot tell one that is: it sees the size when all have gone, and it
        connects the next time.
        """
        with self._at_work(f"look again at volume {volume_id}") as daemon:
            if node(volume_id) in self._nodes(daemon):
                self._open(daemon, volume_id, device)

    def has_session(
        self, volume_id: UUID, device: str, connector: dict[str, Any] | None
    ) -> bool:
        """Tell whether the host's export is used."""
        with self._at_work(f"see who uses volume {volume_id}") as daemon:
            exports = self._exports(daemon, volume_id)
            if connector is not None:
                host = hashed(connector.get("host"))
                exports = {host: exports[host]} if host in exports else {}
            return not self._idle(daemon, volume_id, exports)

    def exports(self) -> set[UUID]:
        """Tell of which volumes the device is open: that is first, and ends last."""
        with self._at_work("list exports") as daemon:
            found = map(NODE.fullmatch, self._nodes(daemon))
            return {volume_of(each[1]) for each in found if each}

    def initiators(self) -> dict[UUID, frozenset[str]]:
        """Tell of none: an export is a host's."""
        return {}

    def converge(self, wanted: Export, device: str) -> bool:
        """Let exactly these hosts have exports, each to read or to write."""
        volume_id, hosts = wanted.volume_id, readers(wanted)
        with self._at_work(f"converge the export of volume {volume_id}") as daemon:
            if not hosts:
                return self._remove(daemon, volume_id)
            changed = self._open(daemon, volume_id, device)
            exports = self._exports(daemon, volume_id)
            for host, may in exports.items() - hosts.items():
                self._dismiss(daemon, volume_id, host, may=may)
            for host, may in hosts.items() - exports.items():
                self._admit(daemon, volume_id, host, may=may)
            return changed or exports != hosts

    def _nodes(self, daemon: Monitor) -> dict[str, tuple[str, int]]:
        """Return which devices are open and how large they were, by their nodes."""
        return {
            each["node-name"]: (each["file"], each["image"]["virtual-size"])
            for each in daemon.ask("query-named-block-nodes", flat=True)
        }

    def _exports(self, daemon: Monitor, volume_id: UUID) -> dict[str, bool]:
        """Return the hosts that have exports, and whether each may write."""
        found = {}
        for each in daemon.ask("query-block-exports"):
            if each["id"].startswith(f"holdfast-{volume_id}-"):
                _, host, mode = each["id"].rsplit("-", 2)
                found[host] = mode == "rw"
        return found

    def _open(self, daemon: Monitor, volume_id: UUID, device: str) -> bool:
        """Have the device open; tell whether it was otherwise.

        One that has grown since is opened anew, unless a client is connected.
        """
        exports = {}
        if opened := self._nodes(daemon).get(node(volume_id)):
            if opened == (device, length(device)):
                return False
            exports = self._exports(daemon, volume_id)
            if opened[0] == device and not self._idle(daemon, volume_id, exports):
                return False
            self._remove(daemon, volume_id)
        daemon.ask(
            "blockdev-add",
            driver="host_device",
            node_name=node(volume_id),
            filename=device,
            discard="unmap",
        )
        for host, may in exports.items():
            self._admit(daemon, volume_id, host, may=may)
        return True

    def _idle(self, daemon: Monitor, volume_id: UUID, exports: dict[str, bool]) -> bool:
        """Tell whether none of the exports is used.

        The daemon says so only by letting go of what is not; that is made again.
        """
        for host, may in exports.items():
            try:
                self._drop(daemon, volume_id, host, may=may, how="safe")
            except QemuRefused:
                return False
            self._admit(daemon, volume_id, host, may=may)
        return True

    def _admit(self, daemon: Monitor, volume_id: UUID, host: str, *, may: bool) -> None:
        """Have an export for the host, to read or to write."""
        had = self._exports(daemon, volume_id).get(host)
        if had is may:
            return
        if had is not None:
            self._dismiss(daemon, volume_id, host, may=had)
        daemon.ask(
            "block-export-add",
            type="nbd",
            id=export(volume_id, host, may=may),
            node_name=node(volume_id),
            name=f"{volume_id}-{host}",
            writable=may,
        )

    def _dismiss(
        self, daemon: Monitor, volume_id: UUID, host: str, *, may: bool
    ) -> None:
        """Have no export; who uses it is cut off."""
        self._drop(daemon, volume_id, host, may=may, how="hard")

    def _drop(
        self, daemon: Monitor, volume_id: UUID, host: str, *, may: bool, how: str
    ) -> None:
        name = export(volume_id, host, may=may)
        daemon.ask("block-export-del", id=name, mode=how)
        end = time.monotonic() + PATIENCE
        while any(each["id"] == name for each in daemon.ask("query-block-exports")):
            if time.monotonic() > end:
                raise QemuRefused("block-export-del", "it is still there")
            time.sleep(PAUSE)

    def _remove(self, daemon: Monitor, volume_id: UUID) -> bool:
        """Have neither exports nor node; tell whether there was one."""
        for host, may in self._exports(daemon, volume_id).items():
            self._dismiss(daemon, volume_id, host, may=may)
        if there := node(volume_id) in self._nodes(daemon):
            daemon.ask("blockdev-del", node_name=node(volume_id))
        return there

    @contextmanager
    def _at_work(self, doing: str) -> Iterator[Monitor]:
        verb = doing.partition(" ")[0]
        with (
            self._lock,
            step(f"nbd {verb}", **{"holdfast.doing": doing}),
            noted(f"nbd: {doing}"),
            monitor(self._socket) as daemon,
        ):
            yield daemon


def length(device: str) -> int:
    """Return the bytes of a device."""
    with in_words(f"see how large {device} is"), Path(device).open("rb") as opened:
        return opened.seek(0, 2)


def node(volume_id: UUID) -> str:
    """Return the name of a volume's node, of which qemu takes 31 characters."""
    return f"hf-{b32encode(volume_id.bytes).decode().lower().rstrip('=')}"


def volume_of(name: str) -> UUID:
    """Return whose node has that name, without what it begins with."""
    return UUID(bytes=b32decode(name.upper() + "======"))


def export(volume_id: UUID, host: str, *, may: bool) -> str:
    """Return the id of a host's export."""
    return f"holdfast-{volume_id}-{host}-{'rw' if may else 'ro'}"


def hashed(host: object) -> str:
    """Return what stands for a host, whatever its name is made of."""
    return sha256(str(host).encode()).hexdigest()[:16]


def host_of(connector: dict[str, Any]) -> str:
    """Return what stands for the connector's host; raise `NoHost` without one."""
    if not connector.get("host"):
        raise NoHost
    return hashed(connector["host"])


def readers(wanted: Export) -> dict[str, bool]:
    """Return the hosts that are wanted, and whether each may write."""
    hosts: dict[str, bool] = {}
    for each in wanted.connectors:
        if each.get("host"):
            host = hashed(each["host"])
            hosts[host] = hosts.get(host, False) or writes(each)
    return hosts
