"""Checkpoints in a file of notes, one after another, to be carried elsewhere."""

from __future__ import annotations

import os
import re
from errno import EEXIST
from pathlib import Path

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
    file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        found, end = last_in(os.fstat(file).st_size, file)
        if not found:  # the first note is there as a whole
            raise FileExistsError(EEXIST, "has no checkpoints", str(path))
        os.ftruncate(file, end)
        os.pwrite(file, f"{note}\n".encode(), end)
        os.fsync(file)
    finally:
        os.close(file)


def begin(path: Path, text: str, mode: int = 0o644) -> None:
    """Make a file, as a whole or not at all, and on the disk.

    Raises `FileExistsError`.
    """
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    file = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        os.write(file, text.encode())
        os.fsync(file)
        os.link(fresh, path)
    finally:
        os.close(file)
        fresh.unlink()
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def last_in(size: int, file: int) -> tuple[list[bytes], int]:
    """Return whole notes at the end of a file, and where the next one goes."""
    start = max(0, size - TAIL)
    found = list(NOTE.finditer(os.pread(file, TAIL, start)))
    whole = found[1:] if start else found  # the first may lack its beginning
    return [note[0] for note in whole], start + found[-1].end() + 1 if found else 0
