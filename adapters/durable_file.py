"""Small files that are on the disk as a whole, and the names in their folder."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import BinaryIO


def make(path: Path, text: str, mode: int = 0o644) -> None:
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


def sync(folder: Path) -> None:
    """Make the names in a folder durable: a power cut may undo a rename else."""
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)
