"""Changing what a directory has, alone, and so that no power cut undoes it."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from threading import Lock

from adapters.durable_file import sync
from adapters.file.naming import NEW, is_ours, names
from domain.ports import DriverFailed


class Names:
    """The names in a directory; those who change some at once share an fsync."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._asked = count(1)
        self._newest = 0
        self._durable = 0
        self._turn = Lock()

    def sync(self) -> None:
        """Make every change durable that was made before."""
        number = self._newest = next(self._asked)
        with self._turn:
            if number > self._durable:
                # Whoever has a number by now has made its change.
                newest = self._newest
                sync(self._directory)
                self._durable = newest


def truncate(path: Path, size_bytes: int, flags: int) -> int:
    """Make the file at least that large, durably, and return how large it is now."""
    file = os.open(path, flags | os.O_NOFOLLOW, 0o600)
    try:
        size = os.fstat(file).st_size
        if size < size_bytes:
            os.ftruncate(file, size_bytes)
        os.fsync(file)
        return max(size, size_bytes)
    finally:
        os.close(file)


def replace(path: Path, other: Path) -> None:
    """Let a name be one of another file, at once."""
    new = path.with_name(NEW)
    new.unlink(missing_ok=True)
    if not path.samefile(other):
        new.hardlink_to(other)
        new.rename(path)


@contextmanager
def alone(directory: Path) -> Iterator[bool]:
    """Have a directory to oneself until one is done, or dead.

    Yields False where nobody can know (NFS). Raises `BlockingIOError` while another has
    it, who may have been thought dead.
    """
    file = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield is_locked(file)
    finally:
        os.close(file)


def is_left_alone(directory: Path) -> bool:
    """Tell whether it is known that nobody has a directory to himself."""
    try:
        with alone(directory) as is_known:
            return is_known
    except BlockingIOError:
        return False


def is_locked(file: int) -> bool:
    """Lock an open directory, if locks work there, or raise `BlockingIOError`."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno == errno.EWOULDBLOCK:
            raise
        return False
    return True


@contextmanager
def emptied_on_failure(home: Path) -> Iterator[None]:
    """Remove what is half-made where it cannot be made whole."""
    try:
        yield
    except (OSError, DriverFailed):
        with suppress(OSError):
            empty(home)
        raise


def empty(home: Path) -> None:
    """Remove a directory and the files that we put into it, if nobody else does."""
    with suppress(FileNotFoundError):
        for name in filter(is_ours, names(home)):
            (home / name).unlink(missing_ok=True)
        home.rmdir()
