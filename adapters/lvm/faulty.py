"""A disk that can be broken and mended while a volume group is on it, in a guest."""

from __future__ import annotations

from pathlib import Path

from adapters.lvm.testing import run

SCRATCH = Path("/dev/ubda")
START = 2 << 20  # sectors: behind its own label, or LVM would see one disk twice
MODULES = ("dm-flakey", "dm-delay")

# Tables of device-mapper: what a disk is, and what can become of it.
# fmt: off
HEALTHY = "0 {size} linear {disk}"
FAULTS = {
    "dead":       "0 {size} error",
    "unwritable": "0 {size} flakey {disk} 0 3600 1 error_writes",
    "slow":       "0 {size} delay {disk} 20",    # milliseconds, for each access
    "too slow":   "0 {size} delay {disk} 3000",
}
# fmt: on


class FaultyDisk:
    """`/dev/mapper/<name>`, of so many GiB."""

    def __init__(self, name: str = "pv0", size_gib: int = 8) -> None:
        size = size_gib << 21
        self.path = f"/dev/mapper/{name}"
        self._name = name
        self._facts = {"size": size, "disk": f"{SCRATCH} {START}"}

    def put_in(self) -> None:
        """Have it there."""
        run("dmsetup", "create", self._name, "--table", HEALTHY.format(**self._facts))

    def take_out(self) -> None:
        """Have it no more; nothing may use it."""
        run("dmsetup", "remove", "--retry", self._name)

    def suffer(self, fault: str) -> None:
        """Break it under those who use it."""
        if fault == "suspended":
            self._suspend()
        else:
            self._become(FAULTS[fault])

    def mend(self) -> None:
        """Let it go on as if nothing had been."""
        self._become(HEALTHY)

    def _become(self, table: str) -> None:
        self._suspend()
        run("dmsetup", "load", self._name, "--table", table.format(**self._facts))
        run("dmsetup", "resume", self._name)

    def _suspend(self) -> None:
        run("dmsetup", "suspend", "--noflush", "--nolockfs", self._name)
