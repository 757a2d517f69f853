"""Trouble with LVM, in sentences an operator can act on."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from adapters.refused import SystemRefused
from domain import ports
from domain.pool import FULL
from domain.ports import (
    AlreadyManaged,
    Cause,
    DriverFailed,
    TimedOut,
    UnknownReference,
    VolumeIsBusy,
)

GIB = 1024**3


@dataclass(eq=False)
class Unusable(DriverFailed):
    """An option has a value that it cannot have."""

    code = "unusable"

    option: str
    value: object
    known: Iterable[str]

    def __str__(self) -> str:
        return f"{self.option} is {' or '.join(self.known)}, not {self.value!r}"


@dataclass(eq=False)
class LvmFailed(DriverFailed):
    """LVM did not do what it was asked."""

    can_heal = False

    group: str
    command: str
    said: str
    advice: str

    def __str__(self) -> str:
        said = self.said or "it did not say why"
        return f"{self.command} failed in {self.group}: {said}; {self.advice}"


class Transient(LvmFailed):
    """LVM did not do it, and may the next time."""

    can_heal = True


class NoSpace(LvmFailed):
    """The volume group or its pool has no room for what was asked."""

    code = "no_space"


class PoolFull(NoSpace):
    """The thin pool has no room for more."""

    code = "pool_full"


class GroupOutOfSight(LvmFailed):
    """The volume group, or a part of it, is not to be seen."""

    code = "out_of_sight"


class DiskFailed(LvmFailed):
    """A disk of the volume group fails to read or to write."""

    code = "device_failed"


class PoolIsDamaged(LvmFailed):
    """What a thin pool knows of its volumes does not fit together."""

    code = "pool_broken"


class AlreadyThere(LvmFailed):
    """Something has the name already."""


class StillUsed(LvmFailed, VolumeIsBusy):
    """LVM found that something uses the logical volume."""


LOOK = "look at what is there"
ENLARGE = "add a disk to the volume group, or use another backend"
DISKS = "see with `lsblk` and in the kernel log whether its disks are there"
FAILING = "see in the kernel log which disk fails, and have it back or replace it"
REPAIR = "keep a copy of its disks, and repair it with `lvconvert --repair`"

# fmt: off
REFUSALS = [  # the first that matches what LVM says
    (r"already exists",              AlreadyThere,    LOOK),
    (r"[Ii]nsufficient (free|suit)", NoSpace,         ENLARGE),
    (r"free space in (thin )?pool",  PoolFull,        "extend the pool"),
    (r"PVs? .*missing|missing PV",   GroupOutOfSight, DISKS),
    (r"[Vv]olume group .*not found", GroupOutOfSight, DISKS),
    (r"[Mm]anual repair",            PoolIsDamaged,   REPAIR),
    (r"transaction_id is",           PoolIsDamaged,   REPAIR),
    (r"[Ee]rror (reading|writing)",  DiskFailed,      FAILING),
    (r"Input/output error",          DiskFailed,      FAILING),
    (r"in use|used by another",      StillUsed,       "end what uses it"),
    (r"suspended",                   Transient,       "see what is suspended, and why"),
    (r"\b[Ll]ock(ing)?\b",           Transient,       "see who holds the volume group"),
]
# fmt: on
# What LVM makes of a pool that takes no writes: all kinds of things.
VAGUE = (LvmFailed, PoolFull)
OTHERWISE = (LvmFailed, "look at `lvs -a` and in the kernel log")


def failure_of(group: str, command: str, said: str) -> LvmFailed:
    """Return what is wrong, by what LVM said."""
    for words, kind, advice in REFUSALS:
        if re.search(words, said):
            return kind(group, command, said, advice)
    kind, advice = OTHERWISE
    return kind(group, command, said, advice)


class Crashed(Transient):
    """The `lvm` program ended before it had answered."""

    def __init__(self, group: str, command: str, status: int) -> None:
        said = f"lvm ended with status {status}"
        super().__init__(group, command, said, "look in the kernel log")
        self.status = status


class Hung(LvmFailed, TimedOut):
    """LVM or a device did not answer in time; what was asked has been stopped."""

    code = "timed_out"

    def __init__(
        self, group: str, doing: str, seconds: float, device: str | None = None
    ) -> None:
        whose = f" from {device}" if device else ""
        said = f"no answer{whose} within {seconds:.0f} s"
        if not round(seconds):  # what was done before has taken the rest
            said = f"no time was left for an answer{whose}"
        advice = "see whether a disk below it is slow or suspended; then ask again"
        super().__init__(group, doing, said, advice)
        self.seconds = seconds


class DeviceFailed(SystemRefused):
    """The kernel refused something about a device."""

    code = "device_failed"

    def __init__(self, group: str, doing: str, error: OSError) -> None:
        advice = "see in the kernel log whether a disk fails"
        super().__init__(f"{doing} in {group}", error, advice)


class NotWritten(SystemRefused):
    """The settings for LVM cannot be written."""

    DOING = "write the settings for LVM"
    ADVICE = "see that the folder can be written to, and is the agent's alone"


class NoLvm(DriverFailed):
    """There is no `lvm` to run."""

    def __str__(self) -> str:
        return "there is no lvm program on this machine; install lvm2"


class NoMapper(DriverFailed):
    """The kernel's device-mapper cannot be asked."""

    def __str__(self) -> str:
        return (
            "/dev/mapper/control cannot be opened; load the kernel module dm_mod, and "
            "run the agent as root"
        )


@dataclass(eq=False)
class AnothersGroup(DriverFailed):
    """The volume group says that it is another backend's."""

    code = "anothers_group"

    group: str
    tags: Sequence[str]

    def __str__(self) -> str:
        away = " ".join(f"--deltag {tag}" for tag in self.tags)
        return (
            f"volume group {self.group} is another backend's, as its tags say "
            f"({', '.join(self.tags)}), and two would promise the same room; has this "
            "backend had that name, give it back in the settings, for its volumes "
            "remain that one's; only where it has none any more, run "
            f"`vgchange {away} {self.group}`"
        )


@dataclass(eq=False)
class NoPool(DriverFailed):
    """What has the thin pool's name is none."""

    group: str
    name: str

    def __str__(self) -> str:
        return (
            f"{self.group}/{self.name} is no thin pool; rename it, or set lvm_type to "
            "default"
        )


class PoolIsBroken(DriverFailed):
    """The thin pool takes no writes, since it could not write down what it knows."""

    code = "pool_broken"

    def __init__(self, pool: str, metadata: float | None) -> None:
        """Tell how full its metadata is, if that is known."""
        super().__init__(pool, metadata)
        self.pool = pool
        self.metadata_is_full = metadata is not None and metadata >= FULL

    def __str__(self) -> str:
        advice = "see in the kernel log which disk fails"
        if self.metadata_is_full:
            advice = f"extend it: `lvextend --poolmetadatasize +1g {self.pool}`"
        return (
            f"thin pool {self.pool} takes no writes, for it could not write its "
            f"metadata; {advice}; Holdfast switches it off and on once that is mended"
        )


@dataclass(eq=False)
class PoolIsFull(DriverFailed):
    """The thin pool is so full that no new volume is begun in it."""

    code = "pool_full"

    pool: str
    data_percent: float
    metadata_percent: float

    def __str__(self) -> str:
        return (
            f"thin pool {self.pool} has {self.data_percent:.1f} % of its data and "
            f"{self.metadata_percent:.1f} % of its metadata in use, so no new volume "
            "is begun in it; extend it, or delete what is not needed"
        )


@dataclass(eq=False)
class Gone(DriverFailed):
    """The volume's logical volume is not there."""

    volume_id: UUID
    path: str

    def __str__(self) -> str:
        return f"volume {self.volume_id} is gone: there is no {self.path}"


@dataclass(eq=False)
class AnothersToo(DriverFailed):
    """A logical volume says that it is a volume, and another one besides."""

    path: str
    volume_id: UUID
    other: UUID

    def __str__(self) -> str:
        return (
            f"{self.path} has the tag of volume {self.volume_id}, and the name or the "
            f"tag of volume {self.other}, so nobody is let in; take away the tag that "
            "is wrong (`lvchange --deltag`)"
        )


@dataclass(eq=False)
class CutShort(DriverFailed):
    """The logical volume of a volume or a snapshot has lost its end."""

    path: str
    found_bytes: int
    expected_bytes: int

    def __str__(self) -> str:
        return (
            f"{self.path} is cut short, so nothing was made of it: it has "
            f"{self.found_bytes} bytes, and {self.expected_bytes} are expected; have "
            "it back from a copy, or use another"
        )


@dataclass(eq=False)
class SnapshotGone(DriverFailed):
    """The snapshot's logical volume is not there, or no snapshot."""

    snapshot_id: UUID
    path: str

    def __str__(self) -> str:
        return f"snapshot {self.snapshot_id} is gone: {self.path} holds none"


@dataclass(eq=False)
class Unexplained(DriverFailed):
    """Something of the volume's name is there, and nothing says what made it."""

    path: str

    def __str__(self) -> str:
        return (
            f"{self.path} is in the way: it has no tag that says which event made it, "
            "so it is left alone; look at it, and rename it"
        )


@dataclass(eq=False)
class MadeForAnother(AlreadyManaged):
    """A volume of that name is there, made for another event."""

    path: str
    cause: Cause

    def __str__(self) -> str:
        return (
            f"{self.path} was made for the event at position {self.cause.position} "
            f"({self.cause.at}), not for this one, so it is left alone; is the volume "
            "group used by another Holdfast, or older than its log?"
        )


@dataclass(eq=False)
class HalfReverted(ports.HalfReverted):
    """The volume holds a mixture; what it held before is kept."""

    volume_id: UUID
    path: str

    def __str__(self) -> str:
        return (
            f"volume {self.volume_id} is reverted in part, so nobody gets it: what it "
            f"held is in {self.path}; see in the kernel log which disk fails, and ask "
            "for the reversion again"
        )


@dataclass(eq=False)
class HalfRemoved(DriverFailed):
    """What a logical volume held is cleared in part, and something uses it."""

    code = "half_removed"

    path: str

    def __str__(self) -> str:
        return (
            f"{self.path} is cleared in part, so what it held is gone, and something "
            "has it open; end that, and delete it again"
        )


@dataclass(eq=False)
class StillOpen(VolumeIsBusy):
    """Something has the volume's device open."""

    volume_id: UUID
    device: str

    def __str__(self) -> str:
        return f"volume {self.volume_id} is in use: something has {self.device} open"


@dataclass(eq=False)
class HasSnapshots(VolumeIsBusy):
    """The volume has snapshots."""

    volume_id: UUID

    def __str__(self) -> str:
        return f"volume {self.volume_id} has snapshots; delete them first"


@dataclass(eq=False)
class HasUnmanaged(VolumeIsBusy):
    """The volume has snapshots that are somebody's, by these names."""

    volume_id: UUID
    names: Sequence[str]

    def __str__(self) -> str:
        return (
            f"volume {self.volume_id} has snapshots that are not managed: "
            f"{', '.join(self.names)}; remove them with `lvremove`, or, unless the "
            "volume is deleted, take them over (`holdfast snapshot manage`)"
        )


@dataclass(eq=False)
class NotThere(UnknownReference):
    """No logical volume of that name could become a volume."""

    group: str
    name: str
    why: str

    def __str__(self) -> str:
        return (
            f"{self.group} has no logical volume {self.name!r} that could become a "
            f"volume: {self.why}; see what `holdfast volume manageable` lists"
        )


@dataclass(eq=False)
class NoSnapshot(UnknownReference):
    """No logical volume of that name could become the volume's snapshot."""

    group: str
    name: str
    why: str

    def __str__(self) -> str:
        return (
            f"{self.group} has no logical volume {self.name!r} that could become a "
            f"snapshot of that volume: {self.why}; see what "
            "`holdfast snapshot manageable` lists"
        )


@dataclass(eq=False)
class Taken(AlreadyManaged):
    """The logical volume is a volume or a snapshot already."""

    path: str

    def __str__(self) -> str:
        return f"already managed: {self.path} is a volume's or a snapshot's"


@dataclass(eq=False)
class InUse(VolumeIsBusy):
    """Something has a logical volume open that nobody may have open now."""

    path: str

    def __str__(self) -> str:
        return f"something has {self.path} open; end that first"
