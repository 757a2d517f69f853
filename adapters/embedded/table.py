"""The machine's processes: who lives, whose child it is, what it was called with."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
HAS_PROC = (PROC / "self/stat").exists()


@dataclass(frozen=True)
class Process:
    """A process that is no zombie, as seen a moment ago."""

    pid: int
    parent: int
    command: str  # Each argument followed by a blank.


def process(pid: int) -> Process | None:
    """Return the process, or None if it is gone or a zombie.

    A zombie holds neither memory nor files, and a container's init may never reap it.
    """
    if HAS_PROC:
        return _read(PROC / str(pid))
    return next((each for each in processes() if each.pid == pid), None)


def is_taken(pid: int) -> bool:
    """Tell whether a process has the number, a zombie as well."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return True


def children_of(parent: int) -> list[int]:
    """Return the processes whose parent it is."""
    return [each.pid for each in processes() if each.parent == parent]


def processes() -> Iterator[Process]:
    """List every process that is no zombie."""
    if not HAS_PROC:
        return _from_ps()
    return filter(None, map(_read, PROC.glob("[0-9]*")))


def _read(folder: Path) -> Process | None:
    try:
        # The name stands in parentheses and may hold anything, parentheses too.
        stat = (folder / "stat").read_text().rpartition(")")[2]
        command = (folder / "cmdline").read_bytes().replace(b"\0", b" ")
    except OSError:  # It has ended, maybe while we looked.
        return None
    state, parent = stat.split()[:2]
    return (
        None
        if state == "Z"
        else Process(int(folder.name), int(parent), os.fsdecode(command))
    )


def _from_ps() -> Iterator[Process]:
    rows = subprocess.run(
        ["ps", "-A", "-ww", "-o", "pid=,ppid=,state=,args="],
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    for row in rows.splitlines():
        pid, parent, state, command = row.split(maxsplit=3)
        if not state.startswith("Z"):
            yield Process(int(pid), int(parent), command + " ")
