"""A block device that can grow: a part of a scratch disk, by device-mapper."""

from __future__ import annotations

import subprocess
from pathlib import Path
from uuid import uuid4

MIB = 1024**2
SECTOR = 512
SCRATCH = Path("/dev/ubda")


class Disk:
    """One test's device, `size` bytes large."""

    def __init__(self, size: int = 64 * MIB) -> None:
        self._name = f"test-{uuid4().hex}"
        self.path = f"/dev/mapper/{self._name}"
        self.size = size
        dmsetup("create", self._name, "--table", self._table())

    def grow(self, size: int) -> None:
        """Make it larger, under whoever has it open."""
        self.size = size
        dmsetup("reload", self._name, "--table", self._table())
        dmsetup("resume", self._name)

    def remove(self) -> None:
        """Let go of it; fails while anybody has it open."""
        dmsetup("remove", "--retry", self._name)

    def _table(self) -> str:
        return f"0 {self.size // SECTOR} linear {SCRATCH} 0"


def dmsetup(*arguments: str) -> None:
    """Run the command."""
    subprocess.run(["dmsetup", *arguments], check=True, capture_output=True)
