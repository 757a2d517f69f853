"""What becomes of a thick volume's blocks before others get them.

Thin volumes need none of it: their pool gives out no block before it is zero.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from functools import partial
from pathlib import Path

from adapters.holders import claimed
from adapters.lvm.limits import MIB, Told, in_steps
from adapters.noting import noted

BLKDISCARD, BLKZEROOUT = 0x1277, 0x127F  # <linux/fs.h>
REQUESTS = {"zero": BLKZEROOUT, "discard": BLKDISCARD, "none": None}
RANGE = struct.Struct("=QQ")


class Clearing:
    """Cinder's `volume_clear` and `volume_clear_size` (in MiB, 0 for all)."""

    def __init__(self, how: str, size_mib: int) -> None:
        self.how = how
        self._request = REQUESTS[how]
        self._most_bytes = size_mib * MIB

    @property
    def is_needed(self) -> bool:
        """Whether anything is written."""
        return self._request is not None

    def clear(self, device: Path, size: int, done: int, keep: Told, tell: Told) -> None:
        """Clear a device from where it was left, in steps.

        Raises `OSError`, `EBUSY` if somebody has the device open, and `TimeoutError`.
        """
        if self._request is not None:
            size = min(size, self._most_bytes or size)
            do = partial(clear, device, self._request)
            with noted(f"{self.how} {device}"):
                in_steps(do, done, size, keep, tell)


def clear(device: Path, request: int, start: int, length: int) -> None:
    """Clear a part of a device that nobody else has open, durably."""
    with claimed(device, os.O_RDWR) as file:
        fcntl.ioctl(file, request, RANGE.pack(start, length))
        os.fsync(file)


def is_busy(error: OSError) -> bool:
    """Tell whether somebody else has the device open."""
    return error.errno == errno.EBUSY
