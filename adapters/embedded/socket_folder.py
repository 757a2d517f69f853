"""Where PostgreSQL's socket lives: in its folder, or in a short one if need be."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from stat import S_ISDIR

# sockaddr_un holds 108 bytes, the closing zero included.
LONGEST_SOCKET = 107


def socket_folder(folder: Path, port: int) -> Path:
    """Return a folder as private as `folder`, free for that port's socket."""
    chosen = folder if _fits(folder, port) else _short_folder(folder)
    # PostgreSQL takes the lock file of a dead one for alive if its number is in use.
    for leftover in chosen.glob(f".s.PGSQL.{port}*"):
        leftover.unlink()
    return chosen


def forget_socket_folder(folder: Path) -> None:
    """Remove the short folder, if there is one, and its link."""
    link = folder / "socket"
    if link.is_symlink():
        shutil.rmtree(link.readlink(), ignore_errors=True)
        link.unlink()


def _private(folder: Path, owner: int) -> bool:
    """Tell whether it is still ours, for temporary folders are swept."""
    try:
        status = folder.lstat()
    except FileNotFoundError:
        return False
    return (
        S_ISDIR(status.st_mode)
        and status.st_uid == owner
        and status.st_mode & 0o077 == 0
    )


def _fits(folder: Path, port: int) -> bool:
    length = len(os.fsencode(folder / f".s.PGSQL.{port}"))
    # libpq reads a comma as the start of the next host.
    return length <= LONGEST_SOCKET and "," not in str(folder)


def _short_folder(folder: Path) -> Path:
    """Make one below the temporary folder, or return the one that the last run made.

    A link in `folder` remembers it, so that it is found again after any death.
    """
    link, owner = folder / "socket", folder.stat().st_uid
    if link.is_symlink():
        if _private(link.readlink(), owner):
            return link.readlink()
        link.unlink()
    short = Path(tempfile.mkdtemp(prefix="holdfast-"))
    os.chown(short, owner, -1)
    link.symlink_to(short)
    return short
