"""What a machine must have for guests to run on it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

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
}
# fmt: on


class CannotRun(Exception):
    """No guest runs on this machine."""


def kernel() -> Path:
    """Return the kernel; `BED_KERNEL` names another one than Debian's."""
    return Path(os.environ.get("BED_KERNEL", "/usr/bin/linux.uml"))


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
