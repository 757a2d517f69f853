"""The story of `holdfast demo` on real LVM and iSCSI, in a guest.

    python -m bed --lio python -m bed.demo

A volume is a logical volume; a host is an initiator of open-iscsi, which logs in with
the secret that the answer has; an instance keeps a file in an ext4 file system.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import uvloop

from adapters.contracts.initiator import Initiator, Refused
from service import settings
from service.cli.client import Ended
from service.cli.running import in_one_line
from service.demo import (
    PATIENCE,
    Teller,
    attached,
    check,
    copied,
    freed,
    kept,
    looked_back,
    lost,
    made,
    outlived,
    read_again,
    run,
    say,
)

SAID = "Holdfast on LVM: a volume outlives the machine that uses it."
DISK = "/dev/ubda"
GROUP = "holdfast"
SETTINGS = f"""\
[[backend]]
name = "lvm"
volume_driver = "{settings.LVM_DRIVER}"
volume_group = "{GROUP}"
lvm_devices = ["{DISK}"]
"""
GIB = 1024**3
WRONG = "xxxxxxxxxxxxxxxx"
DIRECTLY = "oflag=direct"


class Iscsi:
    """Hosts that reach a volume by iSCSI, each by its own initiator."""

    shown = "connection.data.target_iqn"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._told: dict[str, dict[str, Any]] = {}
        self._disks: dict[str, Path] = {}

    def connector(self, host: str) -> dict[str, Any]:
        """Return the host's name and its initiator's."""
        return Initiator(host).connector

    async def device(self, tell: Teller, host: str, connection: dict[str, Any]) -> str:
        """Log in, and return the disk."""
        self._told[host] = connection
        wrong = {"data": connection["data"] | {"auth_password": WRONG}}
        await self._refused(tell, host, wrong, "with a wrong secret")
        began = perf_counter()
        disk = await asyncio.to_thread(Initiator(host).login, connection)
        self._disks[host] = disk
        seconds = perf_counter() - began
        tell.note(f"{host} logs in with the secret that it was told: its disk is")
        tell.note(f"{disk}, after {seconds:.1f} s.\n")
        return str(disk)

    def writable(self, device: str) -> str:
        """Make a file system, and return an empty file in it."""
        command("mkfs.ext4", "-q", device)
        path = Path(self.readable(device))
        path.touch()
        return str(path)

    def readable(self, device: str) -> str:
        """Mount the file system, and return the file."""
        folder = self._folder / Path(device).name
        if not folder.is_mount():
            folder.mkdir(exist_ok=True)
            command("mount", device, str(folder))
        return str(folder / "orders")

    async def keep_out(self, tell: Teller) -> None:
        """Have those who do not hold the volume try to reach it."""
        tell.step("Nobody else reaches it.")
        overheard = self._told["node-2"]
        await self._refused(tell, "node-3", overheard, "with the secret of node-2")
        lost = f"of={self._disks['node-1']}"  # which may not even open any more
        try:
            command("dd", "if=/dev/zero", lost, "bs=4K", "count=1", DIRECTLY)
        except Ended:
            tell.note("node-1 still has its mount, and cannot write any more.\n")
        else:
            raise Ended("this should not happen: node-1 still writes")

    async def grow(self, tell: Teller, volume_id: str, host: str, device: str) -> None:
        """Extend the volume under its file system."""
        tell.step("The volume grows while it is mounted.")
        waiting = {"Holdfast-Wait": str(PATIENCE)}
        more = {"id": volume_id, "size_gib": 2}
        await tell.ask("volume.extend", ("status", "size_gib"), waiting, **more)
        await asyncio.to_thread(Initiator(host).rescan, self._told[host])
        command("resize2fs", device)
        size = int(command("blockdev", "--getsize64", device))
        check(size == 2 * GIB, f"{host} sees {size} bytes")
        tell.note(f"{host} looks again, sees 2 GiB, and its file system fills them.\n")

    async def _refused(
        self, tell: Teller, host: str, told: dict[str, Any], how: str
    ) -> None:
        """Have a host log in that must not be let in."""
        try:
            await asyncio.to_thread(Initiator(host).login, told)
        except Refused as refused:
            check("authorization failure" in str(refused), str(refused))
            tell.note(f"{host} logs in {how}, and is refused.")
        else:
            raise Ended(f"this should not happen: {host} was let in {how}")


async def story(tell: Teller, folder: Path) -> None:
    """Tell it; raise `Ended` where it comes out wrong."""
    hosts = Iscsi(folder)
    volume_id = await made(tell)
    told = command("lvs", "--noheadings", "-o", "lv_name,lv_size,pool_lv", GROUP)
    for line in told.splitlines():
        tell.note(line.strip())
    device, attachment_id = await attached(tell, hosts, volume_id, "web-1", "node-1")
    written = await lost(tell, hosts, device)
    await outlived(tell, hosts, volume_id, device)
    await freed(tell, volume_id, attachment_id)
    device, _ = await attached(tell, hosts, volume_id, "web-2", "node-2")
    await read_again(tell, hosts, device, written)
    await hosts.keep_out(tell)
    await hosts.grow(tell, volume_id, "node-2", device)
    await copied(tell, hosts, await kept(tell, volume_id), written)
    await looked_back(tell, volume_id)


def tell_story() -> None:
    """Make a volume group on a scratch disk, and tell the story of it."""
    command("vgcreate", "-q", "-y", "--metadatasize", "16M", GROUP, DISK)
    with TemporaryDirectory(prefix="holdfast-demo-") as name:
        folder = Path(name)
        (folder / "holdfast.toml").write_text(SETTINGS)
        configured = settings.load(folder / "holdfast.toml", {})
        told = run(folder / "data", configured, SAID, lambda tell: story(tell, folder))
        uvloop.run(told)
        for mounted in filter(Path.is_mount, folder.iterdir()):
            command("umount", "-l", str(mounted))
    say("The service is stopped, and nothing is left of it: all of this was a guest.")


def command(*words: str) -> str:
    """Run a command of the system's and return what it says; raise `Ended`."""
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    if done.returncode:
        raise Ended(f"{' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


if __name__ == "__main__":
    try:
        with in_one_line():
            tell_story()
    except Ended as ended:
        sys.exit(f"demo-lvm: {ended}")
