"""A private PostgreSQL 18 on a Unix socket that only our user can reach.

PostgreSQL refuses to run as root, and root's clone or data often lies below /root,
which nobody else can enter. So root runs it as `nobody` and, instead of opening any
folder, lends it CAP_DAC_OVERRIDE, the right to pass closed ones. Its data and socket
lie in a folder of root's with mode 0700, so that no other process of `nobody` comes
near a server with such a right.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from signal import SIGINT, SIGQUIT

from adapters.embedded.cluster import (
    ENVIRONMENT,
    clear,
    give,
    initialise,
    program,
    refuse_other_major,
    server_account,
)
from adapters.embedded.kernel import Account
from adapters.embedded.process import (
    LEFTOVER_SECONDS,
    POLL_SECONDS,
    Child,
    ServerFailed,
    lines_of,
    private_folder,
    words,
)
from adapters.embedded.socket_folder import forget_socket_folder, socket_folder

START_SECONDS = 300  # A recovery from a crash reads up to max_wal_size, 1 GB.
STOP_SECONDS = 20

# fmt: off
OPTIONS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "60",
    "shared_buffers": "128MB",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "wal_level": "minimal",       # no replicas, no archive
    "max_wal_senders": "0",
    "dynamic_shared_memory_type": "mmap",  # /dev/shm is small in a container
    "jit": "off",
    "timezone": "UTC",
    "log_checkpoints": "off",
    "log_min_messages": "log",    # a conflict is an answer to the client, and no news
}
# fmt: on


@contextmanager
def postgres(folder: Path) -> Iterator[dict[str, str]]:
    """Run PostgreSQL on `folder` and yield the eventsourcing library's settings for it.

    The folder is the server's alone and becomes private (0700). Raises `ServerFailed`.
    """
    server = PostgresServer(folder)
    server.start()
    try:
        yield server.settings
    finally:
        server.stop()


def settings_of(folder: Path) -> dict[str, str]:
    """Return the settings for the PostgreSQL that somebody runs on `folder`."""
    folder = folder.resolve()
    link = folder / "socket"  # see socket_folder.py
    host = link.readlink() if link.is_symlink() else folder
    return PostgresServer(folder).settings | {"POSTGRES_HOST": str(host)}


class PostgresServer:
    """A PostgreSQL that can be killed and restarted on its folder and socket."""

    def __init__(self, folder: Path, port: int = 5432) -> None:
        self.folder = folder
        self.port = port  # Only a part of the socket's name.
        self._child: Child | None = None
        self._socket_folder: Path | None = None

    @property
    def settings(self) -> dict[str, str]:
        """Return the eventsourcing library's settings; known once it was started."""
        return {
            "PERSISTENCE_MODULE": "eventsourcing.postgres",
            "POSTGRES_DBNAME": "postgres",
            "POSTGRES_HOST": str(self._socket_folder),
            "POSTGRES_PORT": str(self.port),
            "POSTGRES_USER": "postgres",
            "POSTGRES_PASSWORD": "",
        }

    @property
    def pid(self) -> int | None:
        """Return its first process, None while it does not run."""
        return self._child.pid if self._child and self._child.running else None

    def start(self) -> None:
        """Start it and return when it takes connections; else raise `ServerFailed`."""
        folder = private_folder(self.folder)
        try:
            account = made_ready(folder)
            self._socket_folder = socket_folder(folder, self.port)
            self._child = launch(folder, account, self._socket_folder, self.port)
        except OSError as error:  # a full disk, for example
            reason = f"{error.filename or folder} cannot be used ({words(error)})"
            raise ServerFailed("postgres", reason) from error

    def stop(self) -> None:
        """End its sessions, write a checkpoint, and return when it is gone."""
        if self._child is not None:
            self._child.stop(SIGINT, SIGQUIT, seconds=STOP_SECONDS)
            forget_socket_folder(self.folder)

    def kill(self) -> None:
        """End it and its sessions as a power cut would; return when they are gone."""
        if self._child is not None:
            self._child.kill()


def made_ready(folder: Path) -> Account | None:
    """Have data in the folder that a server can begin with; return whose it is."""
    data, account = folder / "data", server_account(folder)
    if not data.exists():
        initialise(folder, account)
    refuse_other_major(data)
    give(data, account)
    clear(data)
    return account


def launch(folder: Path, account: Account | None, sockets: Path, port: int) -> Child:
    """Start the server, again while sessions of a killed one still hold its memory."""
    options = OPTIONS | {"unix_socket_directories": str(sockets), "port": str(port)}
    arguments = [f"--{key}={value}" for key, value in options.items()]
    deadline = time.monotonic() + LEFTOVER_SECONDS
    while True:
        child = Child(
            [program("postgres"), "-D", folder / "data", *arguments],
            log=folder / "postgres.log",
            farewell=SIGQUIT,
            account=account,
            environment=ENVIRONMENT,
        )
        try:
            child.wait_until(partial(_ready, folder / "data", child.pid), START_SECONDS)
        except ServerFailed:
            held = "pre-existing shared memory" in child.said()
            if not held or time.monotonic() > deadline:
                raise
            time.sleep(POLL_SECONDS)
        else:
            return child


def _ready(data: Path, pid: int) -> bool:
    """Tell whether the server says so itself, in the last line of its lock file."""
    found, *others = lines_of(data / "postmaster.pid") or [""]
    return found == str(pid) and [line.strip() for line in others[-1:]] == ["ready"]
