"""What the volumes of a service lie on, and how hosts reach them there.

The same sentences are asked of a service with files and of one with a volume group.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any, Protocol

from adapters.contracts.initiator import Initiator
from adapters.lvm.driver import LvmDriver
from adapters.targets.choosing import target_of
from features.steps.faulty import FaultyDriver

FAULTY = f"{FaultyDriver.__module__}.{FaultyDriver.__qualname__}"
FILES = """
[volume_type.shared]
multiattach = "<is> True"

[volume_type.archive]
volume_backend_name = "small"

[volume_type.modest]
volume_backend_name = "<or> small <or> spare"

[volume_type.guaranteed]
QoS_support = "<is> True"

[[backend]]
name = "files"
volume_driver = "adapters.file.driver.FileDriver"
folder = "{folder}/files"
"""
OTHERS = {"faulty": 0, "small": 10, "roomy": 300_000, "spare": 200_000}
OTHER = """
[[backend]]
name = "{name}"
volume_driver = "{driver}"
folder = "{folder}/{name}"
holds_gib = {holds_gib}
max_over_subscription_ratio = {ratio}
"""
GROUP = "holdfast"
DISK = "/dev/ubda"
LVM = f"""
[[backend]]
name = "lvm"
volume_driver = "{LvmDriver.__module__}.{LvmDriver.__qualname__}"
volume_group = "{GROUP}"
lvm_devices = ["{DISK}"]  # the disks of hosts are here, too, and may not answer
"""


class Storage(Protocol):
    """What volumes lie on."""

    home: str  # the backend of a volume of which nothing else is said

    def settings(self, folder: Path) -> str:
        """Return the settings of a service that keeps everything in a folder."""

    def device(self, folder: Path, backend: str, volume_id: str) -> Path:
        """Return where a volume's data is."""

    def has_traces(self, folder: Path, backend: str, volume_id: str) -> bool:
        """Tell whether anything is left of a volume."""

    def connector(self, host: str) -> dict[str, Any]:
        """Return what a host says of itself."""

    def leads_to(self, connection: dict[str, Any], device: Path) -> bool:
        """Tell whether a host that was told this reaches the volume."""


class Files:
    """Files in the service's folder: each backend has one of its own."""

    home = "files"

    def settings(self, folder: Path) -> str:
        """Return the settings of an installation with several backends."""
        others = [
            OTHER.format(
                name=name,
                driver=FAULTY,
                folder=folder,
                holds_gib=holds,
                ratio=1 if holds else 20,
            )
            for name, holds in OTHERS.items()
        ]
        return FILES.format(folder=folder) + "".join(others)

    def device(self, folder: Path, backend: str, volume_id: str) -> Path:
        """Return the volume's file."""
        return folder / backend / volume_id / "volume"

    def has_traces(self, folder: Path, backend: str, volume_id: str) -> bool:
        """Tell whether its folder is there."""
        return self.device(folder, backend, volume_id).parent.exists()

    def connector(self, host: str) -> dict[str, Any]:
        """Return the host's name."""
        return {"host": host}

    def leads_to(self, connection: dict[str, Any], device: Path) -> bool:
        """Tell whether it is the file itself."""
        told = (connection["driver_volume_type"], connection["data"]["device_path"])
        return told == ("local", str(device))


class VolumeGroup:
    """Logical volumes, which hosts reach by iSCSI; in a guest only."""

    home = "lvm"

    def settings(self, folder: Path) -> str:
        """Make the volume group, and return the settings of a service that has it."""
        lvm("vgcreate", "-q", "-y", "--metadatasize", "16M", GROUP, DISK)
        return LVM

    def device(self, folder: Path, backend: str, volume_id: str) -> Path:
        """Return the logical volume's device."""
        return Path("/dev", GROUP, f"volume-{volume_id}")

    def has_traces(self, folder: Path, backend: str, volume_id: str) -> bool:
        """Tell whether the volume group has it."""
        named = ["-S", f"lv_name=volume-{volume_id}", "-o", "lv_name", "--noheadings"]
        return bool(lvm("lvs", *named, GROUP).strip())

    def connector(self, host: str) -> dict[str, Any]:
        """Return what os-brick says of a host, as far as it matters."""
        return Initiator(host).connector

    def leads_to(self, connection: dict[str, Any], device: Path) -> bool:
        """Tell whether it is the volume's own target."""
        volume_id = device.name.removeprefix("volume-")
        target = str(connection["data"]["target_iqn"])
        return connection["driver_volume_type"] == "iscsi" and volume_id in target

    def lose_power(self) -> None:
        """Leave what a restart of the machine leaves: logical volumes, and no more."""
        target = target_of(owner="lvm", key=b"")
        driver = LvmDriver(target, volume_group=GROUP, lvm_devices=[DISK])
        driver.set_up()
        for volume_id in driver.exports():
            driver.remove_export(volume_id)
        lvm("vgchange", "-q", "-an", GROUP)


STORAGES: dict[str, type[Files | VolumeGroup]] = {"wire": Files, "lvm": VolumeGroup}


def lvm(verb: str, *words: str) -> str:
    """Run a command of LVM's, which looks at our disk alone."""
    return command(verb, "--devices", DISK, *words)


def command(*words: str) -> str:
    """Run a command of the system's and return what it says."""
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout
