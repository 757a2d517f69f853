"""Holding files still: nobody writes them meanwhile, or it is known that somebody did.

The kernel grants a read lease only on a file that nobody has open for writing, mapped
or not, in any container. While we have it, whoever opens the file for writing waits,
until we give way or /proc/sys/fs/lease-break-time is over.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from adapters.holders import lease

BREAK_TIME = Path("/proc/sys/fs/lease-break-time")
Check = Callable[[], None]
PATIENCE = 1.0  # seconds that who wants to write may have to wait


@dataclass(eq=False)
class Moved(Exception):
    """Others may write a file, or have written it since it was to hold still."""

    file: int


@contextmanager
def still(*files: int) -> Iterator[Check]:
    """Hold files still that are open for reading; raise `Moved` where others write.

    Yields what raises `Moved` unless none was written since; it has to be called
    after the last look at a file, and every now and then before.
    """
    held: list[int] = []
    try:
        for file in files:
            try:
                lease(file, fcntl.F_RDLCK)
            except OSError as error:
                raise Moved(file) from error
            held.append(file)
        yield check_of(held)
    finally:
        for file in held:
            with suppress(OSError):  # it was lost
                lease(file, fcntl.F_UNLCK)


def holds_still(path: Path) -> bool:
    """Tell whether a file can be held still."""
    file = os.open(path, os.O_RDONLY)
    try:
        with still(file):
            return True
    except Moved:
        return False
    finally:
        os.close(file)


def check_of(files: list[int]) -> Check:
    """Return what raises `Moved` unless none of the files was written since."""
    # A broken lease is told of at once, but lasts until its time is over.
    lasts = min(PATIENCE, float(BREAK_TIME.read_text()) or PATIENCE)
    safe_until = monotonic() + lasts

    def check() -> None:
        nonlocal safe_until
        now = monotonic()
        for file in files:
            if fcntl.fcntl(file, fcntl.F_GETLEASE) != fcntl.F_RDLCK:
                if now >= safe_until:
                    raise Moved(file)
                return
        safe_until = now + lasts

    return check
