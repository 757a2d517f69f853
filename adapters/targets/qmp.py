"""Talking to a qemu-storage-daemon through its monitor (QMP)."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from adapters.targets.failures import Missing
from domain.ports import DriverFailed

SECONDS = 10.0


@dataclass(eq=False)
class QemuRefused(DriverFailed):
    """The daemon did not do it."""

    command: str
    said: str

    def __str__(self) -> str:
        return f"qemu-storage-daemon refused {self.command}: {self.said}"


class Monitor:
    """A conversation; the daemon holds one at a time."""

    def __init__(self, stream: IO[Any]) -> None:
        self._stream = stream

    def ask(self, command: str, **arguments: Any) -> Any:
        """Return what a command returns, or raise `QemuRefused`."""
        named = {name.replace("_", "-"): value for name, value in arguments.items()}
        asked = {"execute": command, "arguments": named}
        self._stream.write(json.dumps(asked) + "\n")
        self._stream.flush()
        while True:
            answer = self.hear()
            if "error" in answer:
                raise QemuRefused(command, answer["error"]["desc"])
            if "return" in answer:  # and not an event
                return answer["return"]

    def hear(self) -> dict[str, Any]:
        """Return what the daemon says next."""
        if not (line := self._stream.readline()):
            raise ConnectionResetError
        said: dict[str, Any] = json.loads(line)
        return said


@contextmanager
def monitor(path: Path) -> Iterator[Monitor]:
    """Talk to the daemon; raises `Missing` where nothing answers."""
    try:
        with socket.socket(socket.AF_UNIX) as daemon:
            daemon.settimeout(SECONDS)
            daemon.connect(str(path))
            with daemon.makefile("rw") as stream:
                talk = Monitor(stream)
                talk.hear()
                talk.ask("qmp_capabilities")
                yield talk
    except OSError as error:
        raise Missing(
            f"no qemu-storage-daemon answers at {path}; install "
            "qemu-system-common, and start it: qemu-storage-daemon --chardev "
            f"socket,id=qmp,path={path},server=on,wait=off --monitor chardev=qmp"
        ) from error
