"""What a volume group has, and what each logical volume says of itself.

One that says nothing is taken for what its name says: so it was called by us, by
Cinder, or by whoever took its tags away.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple
from uuid import UUID

from adapters.lvm import snapshots, volumes
from adapters.lvm.report import Lv
from domain import reference
from domain.ports import Object

VOLUME, SNAPSHOT = "volume", "snapshot"
ACTIVE = "a"


class Claim(NamedTuple):
    """What a logical volume is."""

    noun: str
    id: UUID


def objects(lvs: Mapping[str, Lv], pool: str) -> list[Object]:
    """Tell of all but the pool, and of what there is only for a while.

    Of several that say they are the same, the one that is served comes first.
    """
    told = [lv for lv in lvs.values() if lv.name != pool and not helps(lvs, lv)]
    served = {id(lv) for claim in map(claimed, told) if (lv := server(lvs, claim))}
    told.sort(key=lambda lv: (id(lv) not in served, lv.name))
    return [described(lvs, lv) for lv in told]


def helps(lvs: Mapping[str, Lv], lv: Lv) -> bool:
    """Tell whether it helps a volume that is there."""
    return any(volumes.of(lvs, each) for each in volumes.named(lv, volumes.FOR))


def claimed(lv: Lv) -> Claim | None:
    """Return what it says that it is, or else what its name does."""
    if volumes.is_helper(lv):
        return None
    said = [
        Claim(noun, UUID(found[1]))
        for noun, pattern in ((VOLUME, volumes.VOLUME), (SNAPSHOT, snapshots.IT_IS))
        for found in map(pattern.fullmatch, lv.tags)
        if found and volumes.is_id(found[1])
    ]
    if said:
        return said[0]
    if volume_id := reference.volume_of(lv.name):
        return Claim(VOLUME, volume_id)
    if snapshot_id := reference.snapshot_of(lv.name):
        return Claim(SNAPSHOT, snapshot_id)
    return None


def server(lvs: Mapping[str, Lv], claim: Claim | None) -> Lv | None:
    """Return what is served as that."""
    if claim is None:
        return None
    served = volumes.of if claim.noun == VOLUME else snapshots.of
    return served(lvs, claim.id)


def marked(lvs: Mapping[str, Lv], claim: Claim) -> Lv | None:
    """Return the one that is that, or would be if it had its tags."""
    named = (lv for lv in lvs.values() if claimed(lv) == claim)
    return server(lvs, claim) or next(named, None)


def described(lvs: Mapping[str, Lv], lv: Lv) -> Object:
    """Return what there is to tell of one."""
    claim, cause = claimed(lv), volumes.cause(lv)
    return Object(
        name=lv.name,
        size_bytes=0 if snapshots.has_overflowed(lv) else lv.reads_bytes,
        noun=claim and claim.noun,
        id=claim and claim.id,
        made_at=cause.at if cause else None,
        of=parent(lvs, lv) if claim and claim.noun == SNAPSHOT else None,
        lacks=tuple(lacking(lv, claim)) if claim else (),
        active=lv.attr[4] == ACTIVE,
    )


def lacking(lv: Lv, claim: Claim) -> Iterator[str]:
    """Tell which tags it should have."""
    if (said := f"{volumes.OURS}{claim.noun}={claim.id}") not in lv.tags:
        yield said
    if not volumes.cause(lv):
        yield f"{volumes.OURS}made-by"
    if claim.noun == SNAPSHOT and not snapshots.said_of(lv):
        yield f"{volumes.OURS}of"


def parent(lvs: Mapping[str, Lv], snapshot: Lv) -> UUID | None:
    """Return which volume a snapshot is of: as LVM knows, or else as it says."""
    return taken_of(lvs, snapshot) or snapshots.said_of(snapshot)


def parents(lvs: Mapping[str, Lv], snapshot: Lv) -> set[UUID]:
    """Return all volumes that LVM or itself says it is of; it should be one at most."""
    known, said = taken_of(lvs, snapshot), volumes.named(snapshot, snapshots.OF)
    return {*said, *filter(None, [known])}


def taken_of(lvs: Mapping[str, Lv], snapshot: Lv) -> UUID | None:
    """Return which volume a snapshot is of, as far as LVM knows."""
    origin = lvs.get(snapshot.origin)
    claim = claimed(origin) if origin else None
    return claim.id if claim and claim.noun == VOLUME else None
