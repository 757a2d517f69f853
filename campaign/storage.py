"""What there is on a storage, seen without the driver that keeps it."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol
from uuid import UUID

from adapters.file.naming import ID, is_ours, names
from adapters.file.testing import kept_in
from adapters.file.volumes import Volumes
from adapters.lvm import limits, snapshots, together, volumes
from adapters.lvm.report import LV_FIELDS, Lv, lv_of
from adapters.lvm.reverting import BY
from adapters.lvm.testing import thin_ids
from adapters.targets.configfs import inside
from campaign.disk import CLEARED, text_in
from domain.ports import Cause

SLOW = 60.0  # seconds that storage may take: how soon it has to be done is no subject
FIELDS = f"{LV_FIELDS},thin_id"
VOLUME_PREFIX = "volume-"
SNAPSHOT = "snapshot-"
OF = re.compile(r"holdfast\.of=(.+)")
TARGETS = Path("/sys/kernel/config/target/iscsi")
TYPES = {"thin": "thin", "thick": "default"}
SETTINGS = f"""
[[backend]]
name = "{{name}}"
volume_driver = "adapters.lvm.driver.LvmDriver"
volume_group = "{{name}}"
lvm_type = "{{type}}"
volume_clear_size = {CLEARED}
max_over_subscription_ratio = 1
"""


def take_time() -> None:
    """Let this process's driver of LVM take as long as one slow processor does."""
    limits.LIMIT = together.STALL = SLOW


class OnDisk(NamedTuple):
    """A volume or a snapshot as it is kept."""

    size_bytes: int
    cause: Cause | None
    strangers: set[str]


class Found(NamedTuple):
    """What a storage has: volumes, snapshots, whatever else, and who reaches what."""

    volumes: Mapping[str, OnDisk]
    snapshots: Mapping[str, OnDisk]
    leftovers: set[str]
    # Of each volume that is exported, if only in part. None: nothing can be.
    exports: Mapping[str, set[str]] | None = None


class Storage(Protocol):
    """Where a service keeps its volumes."""

    def found(self) -> Found:
        """Return all there is."""

    def read(self, places: Mapping[str, Iterable[int]]) -> dict[tuple[str, int], str]:
        """Return the text at each place in each of these volumes and snapshots."""


class Files:
    """The folder of the driver of files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def found(self) -> Found:
        """Return each volume's files, and those of none."""
        kept, taken = self._kept(""), self._kept(SNAPSHOT)
        ours = kept.keys() | {f"{SNAPSHOT}{key}" for key in taken}
        return Found(kept, taken, kept_in(self._folder) - ours)

    def read(self, places: Mapping[str, Iterable[int]]) -> dict[tuple[str, int], str]:
        """Return the text at each place in a volume's file, or a snapshot's."""
        return texts_in({key: self._file(key) for key in places}, places)

    def _file(self, key: str) -> Path:
        those = Volumes(self._folder), Volumes(self._folder, prefix=SNAPSHOT)
        [file] = [f for f in (each.path(UUID(key)) for each in those) if f.exists()]
        return file

    def _kept(self, prefix: str) -> dict[str, OnDisk]:
        """Return what has a name that begins so and goes on with an id."""
        named = re.compile(f"{prefix}({ID})")
        found = filter(None, map(named.fullmatch, names(self._folder)))
        storage = Volumes(self._folder, prefix=prefix)
        return {m[1]: on_disk(storage, self._folder / m[0], m[1]) for m in found}


def texts_in(
    disks: Mapping[str, Path], places: Mapping[str, Iterable[int]]
) -> dict[tuple[str, int], str]:
    """Return the text at each place on each disk."""
    return {
        (key, where): text_in(disks[key], where)
        for key, those in places.items()
        for where in those
    }


def on_disk(kept: Volumes, home: Path, key: str) -> OnDisk:
    """Return what a folder has of a volume or a snapshot."""
    strangers = {name for name in names(home) if not is_ours(name)}
    return OnDisk(kept.size(UUID(key)), kept.cause(UUID(key)), strangers)


class VolumeGroups:
    """Volume groups, `thin` and `thick`, and the targets for what is in them."""

    def __init__(self, *groups: str) -> None:
        self._groups = groups

    def make(self, *disks: str) -> None:
        """Make each on a disk; a thin one with its pool."""
        for group, disk in zip(self._groups, disks, strict=True):
            said("pvcreate", "-qq", "--metadatasize", "16M", disk)
            said("vgcreate", "-qq", group, disk)
            if TYPES[group] == "thin":
                pool = ["--type", "thin-pool", "-Zy", "--poolmetadatasize", "16M"]
                said(
                    "lvcreate",
                    "-qq",
                    "-y",
                    *pool,
                    "-l95%FREE",
                    "-n",
                    f"{group}-pool",
                    group,
                )

    def settings(self) -> str:
        """Return the backends, each with the name of its group, as TOML."""
        return "".join(SETTINGS.format(name=n, type=TYPES[n]) for n in self._groups)

    def found(self) -> Found:
        """Return what is in the groups, and the devices that are of no use."""
        found: dict[str, OnDisk] = {}
        taken: dict[str, OnDisk] = {}
        leftovers = suspended()
        for lv in map(lv_of, self._rows()):
            if lv.name.startswith(VOLUME_PREFIX):
                found[lv.name.removeprefix(VOLUME_PREFIX)] = kept(lv)
            elif lv.name.startswith(volumes.SNAPSHOT):
                taken[lv.name.removeprefix(volumes.SNAPSHOT)] = kept_snapshot(lv)
            elif not lv.is_pool:
                leftovers.add(lv.name)
        return Found(found, taken, leftovers | self._strays(), reachable())

    def read(self, places: Mapping[str, Iterable[int]]) -> dict[tuple[str, int], str]:
        """Return the text at each place in what need not be active.

        Asked of LVM together, for it takes as long for one as for all.
        """
        rows = {row["lv_name"]: row for row in self._rows()}
        named = {
            key: rows.get(f"{VOLUME_PREFIX}{key}") or rows[f"{volumes.SNAPSHOT}{key}"]
            for key in places
        }
        names = {key: f"{r['vg_name']}/{r['lv_name']}" for key, r in named.items()}
        asleep = [names[key] for key, r in named.items() if r["lv_attr"][4] != "a"]
        with active(*asleep):
            disks = {key: Path("/dev", name) for key, name in names.items()}
            return texts_in(disks, places)

    def check(self) -> Iterator[str]:
        """Yield what is wrong with the pools' metadata, which nobody uses."""
        for row in self._rows():
            if row["lv_attr"][0] == "t":
                name = f"{row['vg_name']}/{row['lv_name']}_tmeta"
                with active(name):
                    checked = failed("thin_check", "-q", f"/dev/{name}")
                if checked:
                    yield f"thin_check of {name}: {checked}"

    def _rows(self) -> list[dict[str, str]]:
        told = said(
            *("lvs", "--reportformat", "json", "--units", "b", "--nosuffix"),
            *("-o", f"vg_name,{FIELDS}", *self._groups),
        )
        rows: list[dict[str, str]] = json.loads(told)["report"][0]["lv"]
        return rows

    def _strays(self) -> set[str]:
        """Return thin volumes that only LVM, or only the pool, knows of."""
        rows = self._rows()
        strays: set[str] = set()
        for pool in (row for row in rows if row["lv_attr"][0] == "t"):
            group, name = pool["vg_name"], pool["lv_name"]
            known = {row["thin_id"] for row in rows if row["pool_lv"] == name}
            has = thin_ids(group, name)
            strays |= {f"thin volume {n}, which only LVM has," for n in known - has}
            strays |= {
                f"thin volume {n}, which only the pool has," for n in has - known
            }
        return strays


def kept(lv: Lv) -> OnDisk:
    """Return a volume as its logical volume says it is."""
    cause = volumes.cause(lv)
    named = UUID(lv.name.removeprefix(VOLUME_PREFIX))
    ours = volumes.tags(named, cause) if cause else frozenset()
    strangers = {tag for tag in lv.tags - ours if not tag.startswith(BY)}
    return OnDisk(lv.size_bytes, cause, strangers)


def kept_snapshot(lv: Lv) -> OnDisk:
    """Return a snapshot as its logical volume says it is."""
    cause = volumes.cause(lv)
    key = UUID(lv.name.removeprefix(volumes.SNAPSHOT))
    of = next((UUID(m[1]) for t in lv.tags if (m := OF.fullmatch(t))), None)
    ours = (
        snapshots.tags(key, of, cause) | {together.AT_ONCE} if cause and of else set()
    )
    return OnDisk(lv.reads_bytes, cause, set(lv.tags - ours))


def reachable() -> dict[str, set[str]]:
    """Return who reaches each volume that is exported, if only in part."""
    return {name: set[str]() for name in fronted()} | dict(exported())


def exported() -> Iterator[tuple[str, set[str]]]:
    """Yield each target's volume, and the initiators that may log in.

    One that is being removed may have lost what names them.
    """
    for target in TARGETS.glob("iqn.*:*"):
        acls = {acl.name for acl in inside(target / "tpgt_1" / "acls")}
        yield target.name.partition(":")[2], acls


def fronted() -> Iterator[str]:
    """Yield the volumes that have a front device."""
    for name in Path("/dev/mapper").glob("front-*"):
        yield name.name.removeprefix("front-")


def suspended() -> set[str]:
    """Return devices that hold everybody up."""
    told = said("dmsetup", "info", "-c", "--noheadings", "-o", "name,suspended")
    pairs = (line.rpartition(":") for line in told.splitlines() if ":" in line)
    return {f"{name}, suspended" for name, _, how in pairs if how == "Suspended"}


@contextmanager
def active(*names: str) -> Iterator[None]:
    """Have the devices of logical volumes for a moment."""
    if names:
        said("lvchange", "-ay", "-K", "-y", *names)
    try:
        yield
    finally:
        if names:
            said("lvchange", "-an", "-y", *names)


def said(*command: str) -> str:
    """Return what a command says."""
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def failed(*command: str) -> str:
    """Return what a command that fails says."""
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    return done.stderr or f"status {done.returncode}" if done.returncode else ""
