"""What a machine must have for guests to run on it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).parent
SBIN = "/usr/local/sbin:/usr/sbin:/sbin"

# fmt: off
PROGRAMS = {  # and the Debian package that has it
    "busybox":             "busybox-static",
    "modprobe":            "kmod",
    "lvm":                 "lvm2",
    "thin_check":          "thin-provisioning-tools",
    "dmsetup":             "dmsetup",
    "iscsiadm":            "open-iscsi",
    "tgtd":                "tgt",
    "iscsi-ls":            "libiscsi-bin",
    "nbd-client":          "nbd-client",
    "qemu-img":            "qemu-utils",
    "qemu-storage-daemon": "qemu-system-common",
    "mkfs.ext4":           "e2fsprogs",
    "strace":              "strace",
    "gcc":                 "gcc libc6-dev",
}
# fmt: on


class CannotRun(Exception):
    """No guest runs on this machine."""


def kernel() -> Path:
    """Return the kernel; `BED_KERNEL` names another one than Debian's."""
    return Path(os.environ.get("BED_KERNEL", "/usr/bin/linux.uml"))


def preloaded(room: Path) -> dict[str, str]:
    """Return what of the environment mends the kernel; made in `room`."""
    library = room / "mends.so"
    subprocess.run(
        ["gcc", "-shared", "-fPIC", "-o", library, HERE / "mends.c"], check=True
    )
    return {"LD_PRELOAD": str(library)}


def path(given: str = os.defpath) -> str:
    """Return a PATH that leads to the administrator's programs as well."""
    return f"{given}:{SBIN}"


def missing() -> list[str]:
    """Return the Debian packages that are still to be installed."""
    absent = [] if os.access(kernel(), os.X_OK) else ["user-mode-linux"]
    searched = path(os.environ.get("PATH", os.defpath))
    return absent + [
        package
        for program, package in PROGRAMS.items()
        if shutil.which(program, path=searched) is None
    ]


def require() -> None:
    """Raise `CannotRun`, saying what to install, where something is missing."""
    if packages := missing():
        install = f"apt install --no-install-recommends {' '.join(packages)}"
        raise CannotRun(install)
