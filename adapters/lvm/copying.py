"""Block for block: one device comes to hold what another does."""

from __future__ import annotations

import errno
import mmap
import os
from pathlib import Path

from adapters.holders import claimed

BUFFER = 4 * 1024**2
# What is compared at once: more would be memory that the kernel gives anew each time.
PIECE = 64 * 1024


def copy(
    source: Path, target: Path, end: int, start: int, length: int, *, differing: bool
) -> None:
    """Let a part of the target hold what the source does, and zeros behind its `end`.

    What is written is durable; if `differing`, only what differs is. Nobody else has
    the target open.
    """
    reading = os.open(source, os.O_RDONLY | os.O_DIRECT)
    try:
        with claimed(target, os.O_RDWR | os.O_DIRECT) as writing:
            with mmap.mmap(-1, BUFFER) as wanted, mmap.mmap(-1, BUFFER) as there:
                for at in range(start, start + length, BUFFER):
                    size = min(BUFFER, start + length - at)
                    fill(wanted, reading, at, max(min(size, end - at), 0), size)
                    if differing:
                        fill(there, writing, at, size, size)
                    if not differing or differ(wanted, there, size):
                        put(wanted, writing, at, size)
            os.fsync(writing)
    finally:
        os.close(reading)


def fill(buffer: mmap.mmap, file: int, at: int, size: int, zeros_to: int) -> None:
    """Read so much into a buffer, and have zeros in it behind that."""
    with memoryview(buffer) as view, view[:size] as part:
        if size and os.preadv(file, [part], at) != size:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
    buffer[size:zeros_to] = bytes(zeros_to - size)


def differ(one: mmap.mmap, other: mmap.mmap, size: int) -> bool:
    """Tell whether buffers begin otherwise."""
    parts = (slice(at, min(at + PIECE, size)) for at in range(0, size, PIECE))
    return any(one[part] != other[part] for part in parts)


def put(buffer: mmap.mmap, file: int, at: int, size: int) -> None:
    """Write the beginning of a buffer."""
    with memoryview(buffer) as view, view[:size] as part:
        if os.pwritev(file, [part], at) != size:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
