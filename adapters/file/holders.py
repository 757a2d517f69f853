"""Who has a file open.

Whether anybody has is asked of the kernel: it grants a write lease only on a file
that nobody else has open. That takes 10 µs and knows what a look through /proc
misses: files mapped and then closed, loop devices, targets in the kernel,
processes of other containers. /proc and /sys then give the names.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

PROC = Path("/proc")
BLOCK = Path("/sys/block")
UNSEEN = "something unseen from here (the kernel, or another container)"


def holders(path: Path) -> list[str]:
    """Name who has the file open; nobody, and nobody has an absent one."""
    try:
        seen = path.lstat()
        leased = _lease(path)
    except FileNotFoundError:
        return []
    if leased:
        return []
    named = [*_processes(seen), *_loops(seen)]
    return named or ([UNSEEN] if leased is False else [])


def _lease(path: Path) -> bool | None:
    """Tell whether a lease is granted; None where there are none (NFS, others' files).

    Who opens the file in that moment waits for it to pass.
    """
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except BlockingIOError:  # somebody else has a lease on it
        return False
    try:
        # Who has a lease is told by SIGIO that somebody waits, and dies of it;
        # SIGURG goes unnoticed.
        fcntl.fcntl(file, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    except OSError as error:
        return False if error.errno == errno.EAGAIN else None
    else:
        return True
    finally:
        os.close(file)


def _processes(wanted: os.stat_result) -> Iterator[str]:
    """Name the processes that this one may look at and that have the file open."""
    for process in filter(lambda p: p.name.isdigit(), PROC.iterdir()):
        # Processes end while we look, and some are not ours to look at.
        with suppress(OSError), os.scandir(process / "fd") as files:
            if any(_same(wanted, file.path) for file in files):
                yield f"process {process.name} ({_line(process / 'comm')})"


def _loops(wanted: os.stat_result) -> Iterator[str]:
    for backing in BLOCK.glob("loop*/loop/backing_file"):
        with suppress(OSError):
            if _same(wanted, _line(backing)):
                yield f"/dev/{backing.parts[-3]}"


def _same(wanted: os.stat_result, path: str) -> bool:
    try:
        return os.path.samestat(wanted, Path(path).stat())
    except OSError:
        return False


def _line(path: Path) -> str:
    return path.read_text(errors="replace").rstrip("\n")
