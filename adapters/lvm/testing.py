"""What tests of LVM begin with; they run in a guest."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

from adapters.contracts.drivers import GIB, size, write
from adapters.lvm.fronts import Fronts
from adapters.lvm.mapper import Mapper, mapped
from adapters.lvm.report import Lv
from adapters.lvm.settings import environment, write_system_dir
from adapters.lvm.shell import Shell

GROUP = "holdfast-test"
POOL = f"{GROUP}-pool"
DISKS = ("12G", "1G")
DEVICES = ("/dev/ubda", "/dev/ubdb")
SYSTEM_DIR = Path("/run/holdfast-tests")
LVM = Shell(environment(SYSTEM_DIR))
SECONDS = 60.0
MAPPER = Mapper()
FRONTS = Fronts(GROUP, MAPPER)
EXTENT, EDGE = 4 * 1024**2, 64 * 1024
HELD = 6  # of the words of the status of a pool: where its metadata snapshot is, or "-"
# A guest's disk takes 2 s to forget a GiB.
QUICK = ("-qq", "-ff", "-y", "--config", "devices/issue_discards=0")


def run(*command: str) -> str:
    """Run a program, and return what it prints."""
    ran = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return ran.stdout


def lvm(*words: str) -> list[dict[str, str]]:
    """Have LVM do something, without a process for it, and return what it reports."""
    reply = LVM.run(words, SECONDS)
    assert reply.done, reply.said
    return reply.rows


def make_group() -> None:
    """Make the volume group of the tests on the guest's disks."""
    write_system_dir(SYSTEM_DIR, DEVICES)
    lvm("vgcreate", "-y", GROUP, *DEVICES)


def remove_group() -> None:
    """Remove it, with all that is in it."""
    lvm("vgremove", "-ff", "-y", GROUP)


def lvcreate(kind: str, name: str, size_bytes: int) -> Path:
    """Make a logical volume that is nobody's; returns its device."""
    size_bytes = max(size_bytes, EXTENT)
    words = ["-V", f"{size_bytes}b", "--thinpool", POOL]
    if kind != "thin":
        words = ["-L", f"{size_bytes}b", "-Wn", "-Zy"]
    lvm("lvcreate", "-y", *words, "-n", name, GROUP)
    return Path("/dev", GROUP, name)


def clear() -> None:
    """Remove all but the pool, and what tests have written."""
    for volume_id in FRONTS.volumes():
        FRONTS.remove(volume_id)
    rows = lvm("lvs", "-o", "lv_name,lv_attr", GROUP)
    # What a pool is made of may be among them, in brackets.
    left = [row for row in rows if not row["lv_name"].strip("[]").startswith(POOL)]
    for lv in left:
        if lv["lv_attr"].startswith("s"):  # what it has kept is under no name before
            lvm("lvconvert", "-y", "--splitsnapshot", f"{GROUP}/{lv['lv_name']}")
            MAPPER.remove(f"{mapped(GROUP, lv['lv_name'])}-cow")
    names = {lv["lv_name"] for lv in left}
    for device in Path("/dev", GROUP).glob("*"):
        if device.name in names:  # an LVM that was killed leaves others without udev
            blank(device)
    if left:
        lvm("lvremove", "-ff", "-y", *(f"{GROUP}/{lv['lv_name']}" for lv in left))


def blank(volume: Path) -> None:
    """Take away what tests write, around each GiB of a volume."""
    for start in range(0, size(volume), GIB):
        write(volume, start, bytes(EDGE))
        write(volume, min(start + GIB, size(volume)) - EDGE, bytes(EDGE))


def thin_ids(group: str, pool: str) -> set[str]:
    """Return the numbers of the thin volumes that a pool itself has."""
    is_called = mapped(group, pool)
    used = f"{is_called}-tpool"  # its name while a thin volume is active
    if not MAPPER.device(used):
        used = is_called
    if run("dmsetup", "status", used).split()[HELD] != "-":
        # It outlives a power cut amid this, and there is only one at a time.
        run("dmsetup", "message", used, "0", "release_metadata_snap")
    run("dmsetup", "message", used, "0", "reserve_metadata_snap")
    try:
        listed = ("thin_ls", "--metadata-snap", "--no-headers", "-o", "DEV")
        return set(run(*listed, f"/dev/mapper/{is_called}_tmeta").split())
    finally:
        run("dmsetup", "message", used, "0", "release_metadata_snap")


def known_ids() -> set[str]:
    """Return the numbers of the thin volumes that LVM knows of."""
    rows = lvm("lvs", "-o", "thin_id", GROUP)
    return {row["thin_id"] for row in rows if row["thin_id"]}


def fill(group: str, lvs: Iterable[Lv]) -> None:
    """Have thick logical volumes behind what is there, all at once.

    LVM reads them as it reads what it has written, and makes their devices. One by
    one a thousand take minutes.
    """
    free = int(run("pvs", *FREE, "-S", f"vg_name={group}").split()[0])
    with TemporaryDirectory() as folder:
        file = Path(folder, "group")
        run("vgcfgbackup", "-qq", "-f", str(file), group)
        head, begins, rest = file.read_text().partition("\tlogical_volumes {\n")
        if not begins:
            head, end = head.rstrip().rsplit("\n}", 1)[0] + "\n", "\t}\n}\n"
        told = []
        for lv in lvs:
            extents = lv.size_bytes // EXTENT
            told.append(described(lv, free, extents))
            free += extents
        begins = "\tlogical_volumes {\n"
        file.write_text("".join([head, begins, *told, rest or end]))
        run("vgcfgrestore", "-qq", "-y", "--force", "-f", str(file), group)
    run("vgchange", "-qq", "-ay", group)


FREE = ("--noheadings", "-o", "pv_pe_alloc_count")


def described(lv: Lv, start: int, extents: int) -> str:
    """Return how LVM writes a linear logical volume down, on the first disk."""
    letters = uuid4().hex
    cuts = (0, 6, 10, 14, 18, 22, 26, 32)
    named = "-".join(letters[a:b] for a, b in pairwise(cuts))
    tags = ", ".join(f'"{tag}"' for tag in sorted(lv.tags))
    return (
        f'{lv.name} {{\nid = "{named}"\nstatus = ["READ", "WRITE", "VISIBLE"]\n'
        f"flags = []\ntags = [{tags}]\nsegment_count = 1\n"
        f"segment1 {{\nstart_extent = 0\nextent_count = {extents}\n"
        f'type = "striped"\nstripe_count = 1\nstripes = ["pv0", {start}]\n}}\n}}\n'
    )
