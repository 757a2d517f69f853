"""Hosts that reach volumes by iSCSI: open-iscsi as a test's hands.

One machine can be several hosts, for an initiator's name belongs to an interface of
open-iscsi. Works as root where iscsi_tcp can be loaded.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

SESSIONS = Path("/sys/class/iscsi_session")
NAME = Path("/etc/iscsi/initiatorname.iscsi")
GROUP = 1
STARTING = Lock()  # or two hosts would each start the daemon
RECORDS = Lock()  # each looks through all, and one might take away another's
PATIENCE = 30.0  # seconds
# A login that is refused is not tried again, or a test would wait for two minutes.
IMPATIENT = {
    "node.session.initial_login_retry_max": "1",
    "node.session.err_timeo.lu_reset_timeout": "5",
}
PATIENCE_WITH_SESSION = "node.session.timeo.replacement_timeout"
CREDENTIALS = {
    "node.session.auth.authmethod": "auth_method",
    "node.session.auth.username": "auth_username",
    "node.session.auth.password": "auth_password",
}
T = TypeVar("T")


class Refused(Exception):
    """The target did not let the initiator in."""


class Initiator:
    """A host of that name."""

    def __init__(self, host: str, patience: int = 1) -> None:
        """Give a session that is lost up after so many seconds."""
        self.host = host
        self._patience = str(patience)
        self.initiator = f"iqn.2026-01.example:{host}"

    @property
    def connector(self) -> dict[str, Any]:
        """Return what the host says of itself."""
        return {"host": self.host, "initiator": self.initiator, "ip": "127.0.0.1"}

    @contextmanager
    def using(self, connection: dict[str, Any]) -> Iterator[Path]:
        """Have the disk for a while."""
        try:
            yield self.login(connection)
        finally:
            self.logout(connection)

    def login(self, connection: dict[str, Any]) -> Path:
        """Log in as a connection_info says, and return the disk when it is there.

        Raises `Refused`.
        """
        iscsid()
        data = connection["data"]
        self._interface()
        self._node(data, "-o", "new")
        settings = IMPATIENT | {PATIENCE_WITH_SESSION: self._patience}
        settings |= {n: data[k] for n, k in CREDENTIALS.items() if k in data}
        pairs = [word for n, v in settings.items() for word in ("-n", n, "-v", v)]
        self._node(data, "-o", "update", *pairs)
        self._node(data, "--login")
        return self.disk(connection)

    def logout(self, connection: dict[str, Any]) -> None:
        """Log out, and forget the target."""
        data = connection["data"]
        if self.session(connection):
            self._node(data, "--logout")
        self._node(data, "-o", "delete")

    def rescan(self, connection: dict[str, Any]) -> None:
        """Look at the disk again: how large it is, for example."""
        self._node(connection["data"], "--rescan")

    def session(self, connection: dict[str, Any]) -> Path | None:
        """Return the session with the target, if there is one."""
        wanted = (connection["data"]["target_iqn"], self.initiator)
        for session in SESSIONS.glob("session*"):
            if tuple(line(session / n) for n in ("targetname", "initiatorname")) == (
                wanted
            ):
                return session
        return None

    def logged_in(self, connection: dict[str, Any]) -> bool:
        """Tell whether the session is alive."""
        session = self.session(connection)
        return session is not None and line(session / "state") == "LOGGED_IN"

    def disk(self, connection: dict[str, Any]) -> Path:
        """Return the disk of the session, when it is there."""
        lun = connection["data"]["target_lun"]

        def found() -> Path | None:
            if session := self.session(connection):
                for block in session.glob(f"device/target*/*:{lun}/block/*"):
                    disk = Path("/dev") / block.name
                    return disk if opens(disk) else None
            return None

        return eventually(found)

    def _interface(self) -> None:
        if not Path("/etc/iscsi/ifaces", self.host).exists():
            interface = ["-m", "iface", "-I", self.host]
            iscsiadm(*interface, "-o", "new")
            name = ["-n", "iface.initiatorname", "-v", self.initiator]
            iscsiadm(*interface, "-o", "update", *name)

    def _node(self, data: dict[str, Any], *arguments: str) -> None:
        # With the number of its group, a portal has a record for each interface.
        portal = f"{data['target_portal']},{GROUP}"
        node = ["-T", data["target_iqn"], "-p", portal, "-I", self.host]
        with RECORDS:
            iscsiadm("-m", "node", *node, *arguments)


def opens(disk: Path) -> bool:
    """Tell whether a disk is there to be used: its name comes a moment before."""
    try:
        os.close(os.open(disk, os.O_RDONLY))
    except OSError:
        return False
    return True


def iscsid() -> None:
    """Have open-iscsi's daemon running."""
    with STARTING:
        if failed("pidof", "iscsid"):
            if not NAME.exists():
                NAME.write_text("InitiatorName=iqn.2026-01.example:nobody\n")
            subprocess.run(["iscsid"], check=True)
            eventually(lambda: not failed("iscsiadm", "-m", "iface"))


def iscsiadm(*arguments: str) -> None:
    """Run the command; raise `Refused` with what it says."""
    if told := failed("iscsiadm", *arguments):
        raise Refused(told)


def failed(*command: str) -> str:
    """Run a command; return what it said if it failed."""
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    return done.stderr or "failed" if done.returncode else ""


def eventually(found: Callable[[], T | None], within: float = PATIENCE) -> T:
    """Return the first truth that is found."""
    end = time.monotonic() + within
    while not (it := found()):
        assert time.monotonic() < end, "not within the time"
        time.sleep(0.01)
    return it


def line(path: Path) -> str:
    """Return what a file in /sys says; nothing, if it has gone."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""
