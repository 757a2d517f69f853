"""What lies on a volume's disk: texts at places."""

from __future__ import annotations

import os
from pathlib import Path

BLOCK = 4096  # bytes that are written at once, and read again
CLEARED = 32  # MiB at the beginning of a thick volume that are zeros when it is new
PLACES = range(0, CLEARED * 1024**2, 4 * 1024**2)  # of texts in a volume, in bytes
BEAT = PLACES[0] + BLOCK  # of what is written to several volumes in turn


def put(disk: Path, where: int, what: str) -> None:
    """Write a text durably."""
    with disk.open("r+b", buffering=0) as file:
        file.seek(where)
        file.write(what.encode().ljust(BLOCK, b"\0"))
        os.fsync(file)


def text_in(disk: Path, where: int) -> str:
    """Return the text at a place."""
    with disk.open("rb") as file:
        file.seek(where)
        return file.read(BLOCK).rstrip(b"\0").decode(errors="replace")
