"""A look at the disks below a volume group, without LVM."""

from __future__ import annotations

import mmap
import os

from adapters.lvm.limits import in_time

A_LITTLE = 4096  # bytes, at the beginning: LVM's label is there


def look_at(disk: str) -> None:
    """Read a little of a disk itself; raise `OSError`, or `TimeoutError`."""
    try:
        in_time(read, disk)
    except OSError as error:
        error.filename = error.filename or disk
        raise


def read(disk: str) -> None:
    """Read what is on the disk now, not what the kernel remembers of it."""
    file = os.open(disk, os.O_RDONLY | os.O_DIRECT | os.O_CLOEXEC)
    try:
        with mmap.mmap(-1, A_LITTLE) as page:  # O_DIRECT wants whole pages
            os.preadv(file, [page], 0)
    finally:
        os.close(file)
