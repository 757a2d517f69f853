"""The names in a folder, on the disk."""

from __future__ import annotations

import os
from pathlib import Path


def sync(folder: Path) -> None:
    """Make the names in a folder durable: a power cut may undo a rename else."""
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)
