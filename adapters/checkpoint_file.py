"""Checkpoints in a file of notes, one after another, to be carried elsewhere."""

from __future__ import annotations

import os
import re
from errno import EEXIST
from pathlib import Path

from adapters.durable_file import make, put

TAIL = 64 * 1024  # bytes, in which the last note is for sure
NOTE = re.compile(rb"(?:[^\n]+\n)+\n(?:\xe2\x80\x94 [^\n]+\n)+(?=\n)")


def last_notes(path: Path) -> list[str]:
    """Return some hundred whole notes at the end of a file, if there is one.

    Raises `OSError`, also for what is no regular file.
    """
    check(path)
    try:
        with path.open("rb") as file:
            found, _ = last_in(file.seek(0, os.SEEK_END), file.fileno())
    except FileNotFoundError:
        return []
    return [note.decode() for note in found]


def append(path: Path, note: str) -> None:
    """Put a note behind the last, on the disk; what half a note has left goes.

    Raises `FileExistsError` where the file has something else, or is no regular one.
    """
    check(path)
    if not path.exists():
        make(path, f"{note}\n")
        return
    with path.open("r+b") as file:
        found, end = last_in(os.fstat(file.fileno()).st_size, file.fileno())
        if not found:  # the first note is there as a whole
            raise FileExistsError(EEXIST, "has no checkpoints", str(path))
        file.truncate(end)
        file.seek(end)
        put(file, f"{note}\n")


def check(path: Path) -> None:
    """Raise `FileExistsError` for a pipe or so, which would be waited for for ever."""
    if path.exists() and not path.is_file():
        raise FileExistsError(EEXIST, "is no regular file", str(path))


def last_in(size: int, file: int) -> tuple[list[bytes], int]:
    """Return whole notes at the end of a file, and where the next one goes."""
    start = max(0, size - TAIL)
    found = list(NOTE.finditer(os.pread(file, TAIL, start)))
    whole = found[1:] if start else found  # the first may lack its beginning
    return [note[0] for note in whole], start + found[-1].end() + 1 if found else 0
