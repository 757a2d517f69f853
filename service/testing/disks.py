"""Disks that are full."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def tmpfs(folder: Path, options: str) -> Iterator[None]:
    """Put a small filesystem of its own on a folder."""
    mount = ["mount", "-t", "tmpfs", "-o", options, "holdfast-test", str(folder)]
    if os.geteuid() or subprocess.run(mount, check=False).returncode:
        pytest.skip("cannot mount a tmpfs here: NOT TESTED on a filesystem of its own")
    try:
        yield
    finally:
        # Servers that were killed may still be on their way out.
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Leave no room in a folder, and return what takes it."""
    with (folder / "filler").open("wb", buffering=0) as filler:
        while True:
            try:
                filler.write(bytes(4096))
            except OSError:
                return Path(filler.name)
