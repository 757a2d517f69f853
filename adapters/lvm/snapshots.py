"""A snapshot as a logical volume: its name, and the tags that say what it is of."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from uuid import UUID

from adapters.lvm import volumes
from adapters.lvm.failures import GIB
from adapters.lvm.report import Lv
from adapters.lvm.volumes import OURS
from domain import reference
from domain.ports import Cause, ManageableSnapshot, SourceReference

IT_IS = re.compile(rf"holdfast\.snapshot={reference.ID}")
OF = f"{OURS}of="
WAS_OF = f"{OURS}was-of="  # a thin one that is managed no more: LVM may forget
INVALID = "IS"  # what LVM says of a thick one that has overflowed, in use or not
CHUNK, A_METADATA_CHUNK = 4096, 256  # bytes; chunks that one more tells of


def name(snapshot_id: UUID) -> str:
    """Return what Cinder calls a snapshot's logical volume."""
    return reference.name_of_snapshot(snapshot_id)


def tags(snapshot_id: UUID, volume_id: UUID, cause: Cause) -> frozenset[str]:
    """Return the tags of a volume's snapshot that was taken for a cause."""
    it_is, of_it = f"{OURS}snapshot={snapshot_id}", f"{OF}{volume_id}"
    return frozenset({it_is, of_it, volumes.made_by(cause)})


def of(lvs: Mapping[str, Lv], snapshot_id: UUID) -> Lv | None:
    """Return the logical volume that says it is this snapshot, whatever its name."""
    return volumes.said_by(lvs, f"{OURS}snapshot={snapshot_id}", name(snapshot_id))


def of_volume(lvs: Mapping[str, Lv], volume_id: UUID) -> list[Lv]:
    """Return a volume's snapshots, thin and thick."""
    said = f"{OF}{volume_id}"
    return [lv for lv in lvs.values() if said in lv.tags]


def cows(lvs: Mapping[str, Lv], origin: Lv) -> list[Lv]:
    """Return the thick snapshots that depend on a logical volume."""
    return [lv for lv in lvs.values() if lv.is_cow and lv.origin == origin.name]


def is_whole(lv: Lv) -> bool:
    """Tell whether it is a snapshot yet, and still.

    LVM makes a thick one in two steps, and it is removed in two.
    """
    return bool(lv.pool) or lv.is_cow


def has_overflowed(lv: Lv) -> bool:
    """Tell whether it is a thick one that holds nothing any more."""
    return lv.is_cow and lv.attr[4] in INVALID


def cow_bytes(size_bytes: int) -> int:
    """Return how much a thick snapshot keeps when all of its origin has changed.

    The kernel writes before each 256 chunks where they belong, and wipes the place
    for the next ones ahead.
    """
    chunks = -(-size_bytes // CHUNK)
    return (chunks + -(-chunks // A_METADATA_CHUNK) + 2) * CHUNK


def offered(lvs: Mapping[str, Lv], lv: Lv) -> ManageableSnapshot:
    """Return what can be said of it to those who look for snapshots to take over."""
    whose = next(filter(None, map(IT_IS.fullmatch, lv.tags)), None)
    of = said_of(lv) if whose else origin(lvs, lv)
    open_ = "something has it open" if lv.is_open else None
    why = "already managed" if whose else unfit(lvs, lv) or open_
    return ManageableSnapshot(
        reference.to(lv.name),
        volumes.whole_gib(lv.reads_bytes),
        safe_to_manage=not why,
        reason_not_safe=why,
        id=UUID(whose[1]) if whose else None,
        source_reference=SourceReference(of) if of else None,
    )


def unfit(lvs: Mapping[str, Lv], lv: Lv) -> str | None:
    """Return why it can be no snapshot of what it was taken of, whoever has it open."""
    volume_id = origin(lvs, lv)
    volume = volumes.of(lvs, volume_id) if volume_id else None
    if volume is None:
        return f"it is one of {lv.origin or was_of(lv)[0]}, which is no volume"
    if has_overflowed(lv):
        return "it had no room for all that has changed, and holds nothing any more"
    if lv.reads_bytes > volume.size_bytes:
        return f"it is larger than {volume_id}"
    if lv.reads_bytes % GIB:
        return f"it has {lv.reads_bytes} bytes, no whole GiB as every volume has"
    return None


def origin(lvs: Mapping[str, Lv], lv: Lv) -> UUID | None:
    """Return the volume that it was taken of, as LVM knows or as it says itself."""
    taken_of = lvs.get(lv.origin)
    said = map(volumes.VOLUME.fullmatch, taken_of.tags if taken_of else ())
    ids = (UUID(found[1]) for found in said if found and volumes.is_id(found[1]))
    known = next((each for each in ids if volumes.of(lvs, each) is taken_of), None)
    return known or next((each for each in was_of(lv) if volumes.of(lvs, each)), None)


def was_of(lv: Lv) -> list[UUID]:
    """Return which volume it was of when it was managed, as it says."""
    return volumes.named(lv, WAS_OF)


def let_go(lv: Lv) -> Lv:
    """Return it without what says that it is a snapshot."""
    of, free = said_of(lv), volumes.let_go(lv)
    if not (lv.pool and of):
        return free
    return replace(free, tags=free.tags | {f"{WAS_OF}{of}"})


def said_of(lv: Lv) -> UUID | None:
    """Return which volume it says that it is of."""
    return next(iter(volumes.named(lv, OF)), None)


def is_managed(lv: Lv) -> bool:
    """Tell whether it says that it is a snapshot of ours."""
    return any(map(IT_IS.fullmatch, lv.tags))


def is_strange(lv: Lv) -> bool:
    """Tell whether it is neither a snapshot that is managed nor there for a while."""
    return not volumes.is_helper(lv) and not is_managed(lv)


def could_be(lv: Lv) -> bool:
    """Tell whether it is a snapshot, or could be one.

    Cinder's clones are thin snapshots, too, and volumes.
    """
    if is_managed(lv) or was_of(lv):
        return True
    ours = volumes.is_ours(lv) or volumes.is_helper(lv)
    return bool(lv.origin) and not ours and not reference.volume_of(lv.name)
