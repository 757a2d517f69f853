"""What volumes hold, byte for byte."""

from __future__ import annotations

import os
from pathlib import Path

GIB = 1024**3
PART = 1024**2
PLACES = (0, GIB // 2, GIB - PART)  # where something is written; the rest is zeros
ZEROS = bytes(PART)


def fill(path: Path, text: str) -> None:
    """Write a text to some places of a volume, for good."""
    with path.open("r+b") as storage:
        for place in PLACES:
            storage.seek(place)
            storage.write(part_of(text))
        storage.flush()
        os.fsync(storage.fileno())


def holds(path: Path, text: str) -> bool:
    """Tell whether a volume holds a text in its places, and zeros everywhere else."""
    with path.open("rb") as storage:
        end = storage.seek(0, os.SEEK_END)
        storage.seek(0)
        return all(
            storage.read(PART) == (part_of(text) if place in PLACES else ZEROS)
            for place in range(0, end, PART)
        )


def part_of(text: str) -> bytes:
    """Return what stands in each of the places."""
    line = f"{text}\n".encode()
    return (line * (PART // len(line) + 1))[:PART]
