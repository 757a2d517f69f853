"""What tests of targets begin with: their daemons, and NBD's client; in a guest."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from adapters.contracts.drivers import size
from adapters.contracts.initiator import eventually
from adapters.targets.failures import Missing
from adapters.targets.nbd import FOLDER
from adapters.targets.tgtd import SOCKET, Mode, Op, ask


@contextmanager
def tgtd() -> Iterator[None]:
    """Have a tgtd for a while."""
    with subprocess.Popen(["tgtd", "-f"], stderr=subprocess.DEVNULL) as daemon:
        eventually(lambda: answers() and SOCKET.exists())
        yield
        daemon.kill()  # it does not listen to SIGTERM while it has targets


def answers() -> bool:
    """Tell whether a tgtd does."""
    try:
        ask(Op.SHOW, Mode.SYSTEM)
    except Missing:
        return False
    return True


@contextmanager
def storage_daemon(owner: str) -> Iterator[None]:
    """Have the qemu-storage-daemon of a backend for a while."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    socket = FOLDER / f"nbd-{owner}.sock"
    listening = f"socket,id=qmp,path={socket},server=on,wait=off"
    command = ["qemu-storage-daemon", "--chardev", listening]
    with subprocess.Popen([*command, "--monitor", "chardev=qmp"]) as daemon:
        eventually(socket.exists)
        yield
        daemon.kill()


class Client:
    """A host with the kernel's NBD client."""

    def __init__(self, host: str) -> None:
        self.connector = {"host": host, "initiator": f"iqn.2026-01.example:{host}"}
        self.disk = Path("/dev/nbd" + host[-1])

    @contextmanager
    def using(self, connection: dict[str, Any]) -> Iterator[Path]:
        """Have the volume as a disk."""
        data = connection["data"]
        server = [data["hosts"][0], data["ports"][0]]
        read_only = ["-readonly"] if data["access_mode"] == "ro" else []
        command = ["nbd-client", "-N", data["name"], *server, self.disk, *read_only]
        subprocess.run(command, check=True, capture_output=True)
        try:
            eventually(lambda: size(self.disk) > 0)
            yield self.disk
        finally:
            subprocess.run(
                ["nbd-client", "-d", self.disk], check=True, capture_output=True
            )
            eventually(lambda: not Path("/sys/block", self.disk.name, "pid").exists())

    def rescan(self, connection: dict[str, Any]) -> None:
        """Do nothing: NBD cannot."""
