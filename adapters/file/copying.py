"""Copying a sparse file as it is at one moment.

A filesystem that can (XFS, btrfs) lets the copy share the blocks, in one step that no
write gets into. Elsewhere it is read and written a part after another, holes left out,
while nobody may write it; whoever does that again after a crash goes on.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from adapters.file.bookmark import Bookmark, moment
from adapters.file.failures import Written
from adapters.file.still import Check, Moved, still
from adapters.holders import holders
from domain.ports import Progress, unheard

FICLONE = 0x40049409  # of linux/fs.h; Python has no name for it before 3.12
CANNOT_SHARE = {errno.EOPNOTSUPP, errno.ENOTTY, errno.EXDEV, errno.EINVAL}
PART = 4 * 1024**2  # bytes
NEW = os.O_WRONLY | os.O_CREAT


def copy(
    source: Path,
    target: Path,
    progress: Progress = unheard,
    *,
    lasting: bool = False,
) -> None:
    """Make a file that holds what another does at one moment; durable it is not yet.

    Raises `Written` where others write it and its blocks cannot be shared; a lasting
    source nobody does.
    """
    with opened(source) as read, opened(target, NEW) as written:
        if share(read, written):
            return
    with held(source) as check:
        copy_held(source, target, check, progress, lasting=lasting)


def copy_held(
    source: Path,
    target: Path,
    check: Check,
    progress: Progress = unheard,
    *,
    lasting: bool = False,
) -> None:
    """Make a file that holds what another does, which is held still.

    What was copied before a crash, of the source as it still is, is not read again.
    """
    with opened(source) as read, opened(target, NEW) as written:
        if not share(read, written):
            size = os.fstat(read).st_size
            bookmark = Bookmark(target, moment(read, lasting=lasting))
            for done, more in copied(read, written, bookmark.find()):
                check()
                bookmark.move(written, done, more)
                progress(100 * done / size)
        check()


@contextmanager
def held(*paths: Path) -> Iterator[Check]:
    """Hold files still; raises `Written` where others may write one.

    Yields what has to be called after the last look at any; see `still`.
    """
    with ExitStack() as files:
        open_files = {files.enter_context(opened(path)): path for path in paths}
        try:
            with still(*open_files) as check:
                yield check
        except Moved as why:
            path = open_files[why.file]
            files.close()
            raise Written(path, holders(path)) from why


def share(source: int, target: int) -> bool:
    """Let the target have the source's blocks, if the filesystem can."""
    try:
        fcntl.ioctl(target, FICLONE, source)
    except OSError as error:
        if error.errno in CANNOT_SHARE:
            return False
        raise
    return True


def copied(source: int, target: int, done: int = 0) -> Iterator[tuple[int, int]]:
    """Copy what is behind the first bytes; tell after each part how many are done.

    And how many of them were written for it, which is less where there are holes.

    Never by `copy_file_range`: as a whole it cannot be interrupted, and on ext4 it
    takes five times as long.
    """
    size = os.fstat(source).st_size
    os.ftruncate(target, done)
    os.ftruncate(target, size)
    while (done := next_data(source, done, size)) < size:
        hole = os.lseek(source, done, os.SEEK_HOLE)
        while done < hole:
            part = os.pread(source, min(PART, hole - done), done)
            more = os.pwrite(target, part, done)
            done += more
            yield done, more
    yield size, 0


def next_data(file: int, offset: int, size: int) -> int:
    """Return where the next data is, or the file's end."""
    try:
        return os.lseek(file, offset, os.SEEK_DATA)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return size
        raise


@contextmanager
def opened(path: Path, flags: int = os.O_RDONLY) -> Iterator[int]:
    """Open a file, which is no symbolic link."""
    file = os.open(path, flags | os.O_NOFOLLOW, 0o600)
    try:
        yield file
    finally:
        os.close(file)
