"""Talking to tgtd, as tgtadm does, without a process a question.

tgtadm would also show every password to whoever lists the machine's processes. The
protocol has no version: a header of fixed size, parameters as text, and the answer an
error number and text.
"""

from __future__ import annotations

import re
import socket
import struct
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

from adapters.targets.failures import Missing
from domain.ports import DriverFailed

SOCKET = Path("/var/run/tgtd/socket.0")
SECONDS = 10.0
# mode, op, driver, length, target, session, LUN, connection, four that we do not use
# either, and whether sessions are no hindrance.
HEADER = struct.Struct("=II64sIiQQIIIIII")
ANSWER = struct.Struct("=II")
NO_LUN = 2**64 - 1
# How tgtd shows its targets.
TARGET = re.compile(r"^Target (\d+): (\S+)$", re.MULTILINE)
SECTION = re.compile(r"^ {4}(\S.*) information:$", re.MULTILINE)
FIRST_WORD = re.compile(r"^ +(\S+)", re.MULTILINE)
DEVICE = re.compile(r"Backing store path: (?!None$)(.+)$", re.MULTILINE)
SERIAL = re.compile(r"SCSI SN: (\S+)")
SESSION = re.compile(r"Initiator: (\S+)")


class Mode(IntEnum):
    SYSTEM = 0
    TARGET = 1
    DEVICE = 2
    PORTAL = 3
    ACCOUNT = 7


class Op(IntEnum):
    NEW = 0
    DELETE = 1
    SHOW = 2
    BIND = 3
    UNBIND = 4
    UPDATE = 5


@dataclass(eq=False)
class TgtdRefused(DriverFailed):
    """tgtd did not do it."""

    op: Op
    mode: Mode
    number: int

    def __str__(self) -> str:
        return (
            f"tgtd refused to {self.op.name.lower()} a {self.mode.name.lower()} "
            f"(error {self.number}); its log says more"
        )


@dataclass
class Shown:
    """A target as tgtd shows it."""

    tid: int
    iqn: str
    device: str = ""  # none yet
    serial: str = ""
    accounts: list[str] = field(default_factory=list)  # in the order of tgtd's
    initiators: set[str] = field(default_factory=set)
    sessions: set[str] = field(default_factory=set)  # whose they are


def ask(
    op: Op,
    mode: Mode,
    parameters: str = "",
    *,
    tid: int = -1,
    lun: int = NO_LUN,
    force: bool = False,
) -> str:
    """Ask for one thing; return what tgtd tells of it.

    Raises `TgtdRefused`, and `Missing` where nothing answers.
    """
    text = parameters.encode() + b"\0" if parameters else b""
    length = HEADER.size + len(text)
    numbers = (tid, 0, lun, 0, 0, 0, 0, 0, int(force))
    head = HEADER.pack(mode, op, b"iscsi", length, *numbers)
    try:
        with socket.socket(socket.AF_UNIX) as tgtd:
            tgtd.settimeout(SECONDS)
            tgtd.connect(str(SOCKET))
            tgtd.sendall(head + text)
            error, size = ANSWER.unpack(exactly(tgtd, ANSWER.size))
            told = exactly(tgtd, size - ANSWER.size) if not error else b""
    except OSError as failed:
        raise Missing(
            f"tgtd does not answer at {SOCKET}; install tgt and start it "
            "(`systemctl start tgt`), and see that the agent is root"
        ) from failed
    if error:
        raise TgtdRefused(op, mode, error)
    return told.rstrip(b"\0").decode()


def exactly(tgtd: socket.socket, size: int) -> bytes:
    """Return that many bytes."""
    received = b""
    while len(received) < size:
        if not (more := tgtd.recv(size - len(received))):
            raise ConnectionResetError
        received += more
    return received


def targets() -> list[Shown]:
    """Return all targets, also those of others."""
    _, *each = TARGET.split(ask(Op.SHOW, Mode.TARGET))
    return [shown(*one) for one in zip(each[::3], each[1::3], each[2::3], strict=True)]


def shown(tid: str, iqn: str, text: str) -> Shown:
    """Read what tgtd says of a target."""
    _, *each = SECTION.split(text)
    said = dict(zip(each[::2], each[1::2], strict=True))
    return Shown(
        int(tid),
        iqn,
        device=last(DEVICE.findall(said["LUN"])),
        serial=last(SERIAL.findall(said["LUN"])),
        accounts=FIRST_WORD.findall(said["Account"]),
        initiators=set(FIRST_WORD.findall(said["ACL"])),
        sessions=set(SESSION.findall(said["I_T nexus"])),
    )


def last(found: list[str]) -> str:
    """Return the last one, for the first LUN is tgt's own; "" for none."""
    return found[-1] if found else ""
