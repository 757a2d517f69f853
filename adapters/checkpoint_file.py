"""Checkpoints in a file of notes, one after another, to be carried elsewhere."""

from __future__ import annotations

import os
import re
from errno import EEXIST
from functools import partial
from pathlib import Path
from typing import BinaryIO

from adapters.folder import sync

TAIL = 64 * 1024  # bytes, in which the last note is for sure
NOTE = re.compile(rb"(?:[^\n]+\n)+\n(?:\xe2\x80\x94 [^\n]+\n)+(?=\n)")


def last_notes(path: Path) -> list[str]:
    """Return some hundred whole notes at the end of a file, if there is one."""
    try:
        with path.open("rb") as file:
            found, _ = last_in(file.seek(0, os.SEEK_END), file.fileno())
    except FileNotFoundError:
        return []
    return [note.decode() for note in found]


def append(path: Path, note: str) -> None:
    """Put a note behind the last, on the disk; what half a note has left goes.

    Raises `FileExistsError` where the file has something else.
    """
    if not path.exists():
        begin(path, f"{note}\n")
        return
    with path.open("r+b") as file:
        found, end = last_in(os.fstat(file.fileno()).st_size, file.fileno())
        if not found:  # the first note is there as a whole
            raise FileExistsError(EEXIST, "has no checkpoints", str(path))
        file.truncate(end)
        file.seek(end)
        put(file, f"{note}\n")


def begin(path: Path, text: str, mode: int = 0o644) -> None:
    """Make a file, as a whole or not at all, and on the disk.

    Raises `FileExistsError`.
    """
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    try:
        with open(fresh, "xb", opener=partial(os.open, mode=mode)) as file:
            put(file, text)
        os.link(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)
    sync(path.parent)


def put(file: BinaryIO, text: str) -> None:
    """Have all of it on the disk; a disk that fills up takes a part at first."""
    file.write(text.encode())
    file.flush()
    os.fsync(file.fileno())


def last_in(size: int, file: int) -> tuple[list[bytes], int]:
    """Return whole notes at the end of a file, and where the next one goes."""
    start = max(0, size - TAIL)
    found = list(NOTE.finditer(os.pread(file, TAIL, start)))
    whole = found[1:] if start else found  # the first may lack its beginning
    return [note[0] for note in whole], start + found[-1].end() + 1 if found else 0
