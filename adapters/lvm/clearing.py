"""What becomes of a thick volume's blocks before others get them.

Thin volumes need none of it: their pool gives out no block before it is zero.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import time
from collections.abc import Callable
from pathlib import Path

from adapters.lvm.limits import in_time, within

MIB = 1024**2
STEP_BYTES = 64 * MIB  # a disk that is slower than 3 MiB a second counts as hung
KEEP_EVERY = 5.0  # seconds of clearing that a kill may cost

BLKDISCARD, BLKZEROOUT = 0x1277, 0x127F  # <linux/fs.h>
REQUESTS = {"zero": BLKZEROOUT, "discard": BLKDISCARD, "none": None}
RANGE = struct.Struct("=QQ")

# Told how many bytes are clear from the beginning, of how many.
Cleared = Callable[[int, int], None]


class Clearing:
    """Cinder's `volume_clear` and `volume_clear_size` (in MiB, 0 for all)."""

    def __init__(self, how: str, size_mib: int) -> None:
        self.how = how
        self._request = REQUESTS[how]
        self._most_bytes = size_mib * MIB

    def clear(
        self, device: Path, size: int, done: int, keep: Cleared, tell: Cleared
    ) -> None:
        """Clear a device from where it was left.

        `tell` hears of each step, `keep` now and then. Raises `OSError`, `EBUSY` if
        somebody has the device open, and `TimeoutError`.
        """
        if self._request is None:
            return
        size, kept = min(size, self._most_bytes or size), time.monotonic()
        while done < size:
            step = min(STEP_BYTES, size - done)
            with within():
                in_time(clear, device, self._request, done, step)
            done += step
            tell(done, size)
            if time.monotonic() - kept > KEEP_EVERY:
                keep(done, size)
                kept = time.monotonic()


def clear(device: Path, request: int, start: int, length: int) -> None:
    """Clear a part of a device that nobody else has open, durably."""
    file = os.open(device, os.O_RDWR | os.O_EXCL | os.O_CLOEXEC)
    try:
        fcntl.ioctl(file, request, RANGE.pack(start, length))
        os.fsync(file)
    finally:
        os.close(file)


def is_busy(error: OSError) -> bool:
    """Tell whether somebody else has the device open."""
    return error.errno == errno.EBUSY
