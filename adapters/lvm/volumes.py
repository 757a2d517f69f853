"""A volume as a logical volume: its name, and the tags that say whose it is."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping
from dataclasses import replace
from uuid import UUID

from adapters.lvm.failures import GIB
from adapters.lvm.report import Lv
from domain import reference
from domain.ports import Cause, Manageable

OURS = "holdfast."
VOLUME = re.compile(r"holdfast\.volume=(.+)")
MADE_BY = re.compile(r"holdfast\.made-by=(\d+)/(.+)")
CLEARED = re.compile(r"holdfast\.cleared=(\d+)")
MENDED = f"{OURS}mended="

# What can become a volume: linear, thin, mirrored, raid, cached.
FIT = frozenset("-VmMrRC")
SNAPSHOT = "_snapshot-"  # what Cinder's names begin with


def name(volume_id: UUID) -> str:
    """Return what Cinder calls a volume's logical volume."""
    return reference.name_of(volume_id)


def of(lvs: Mapping[str, Lv], volume_id: UUID) -> Lv | None:
    """Return the logical volume that says it is this volume, whatever its name."""
    said = f"{OURS}volume={volume_id}"
    named = lvs.get(name(volume_id))
    if named and said in named.tags:
        return named
    return next((lv for lv in lvs.values() if said in lv.tags), None)


def tags(volume_id: UUID, cause: Cause) -> frozenset[str]:
    """Return the tags of a volume that was made for a cause."""
    made_by = f"{OURS}made-by={cause.position}/{cause.at}"
    return frozenset({f"{OURS}volume={volume_id}", made_by})


def let_go(lv: Lv) -> Lv:
    """Return it without what says that it is a volume."""
    return replace(lv, tags=frozenset(t for t in lv.tags if not t.startswith(OURS)))


def offered(lv: Lv, copied: Container[str]) -> Manageable:
    """Return what can be said of it to those who look for storage to take over."""
    told, size_gib = reference.to(lv.name), whole_gib(lv.size_bytes)
    for said in filter(None, map(VOLUME.fullmatch, lv.tags)):
        whose = UUID(said[1])
        return Manageable(told, size_gib, False, "already managed", whose)  # noqa: FBT003
    why = unfit(lv, copied) or ("something has it open" if lv.is_open else None)
    return Manageable(told, size_gib, not why, why)


def unfit(lv: Lv, copied: Container[str]) -> str | None:
    """Return why it can be no volume, whoever has it open."""
    if is_snapshot(lv):
        return "it is a snapshot"
    if lv.name in copied:
        return "it has snapshots; delete them first"
    if lv.attr[0] not in FIT:
        return "it is what volumes are made of, as a pool is"
    return None


def copied(lvs: Iterable[Lv]) -> frozenset[str]:
    """Return the names of those that have snapshots."""
    return frozenset(lv.origin for lv in lvs if is_snapshot(lv))


def is_snapshot(lv: Lv) -> bool:
    """Tell whether it is a thick snapshot, or one of Cinder's thin ones.

    Cinder's clones are thin snapshots, too, and volumes.
    """
    return lv.attr[0] in "sS" or lv.name.startswith(SNAPSHOT)


def whole_gib(size_bytes: int) -> int:
    """Return how many whole GiB hold so much, one at least."""
    return max(-(-size_bytes // GIB), 1)


def cause(lv: Lv) -> Cause | None:
    """Return what a volume was made for, as it says itself."""
    for found in filter(None, map(MADE_BY.fullmatch, lv.tags)):
        return Cause(int(found[1]), found[2])
    return None


def is_ours(lv: Lv) -> bool:
    """Tell whether it is a volume."""
    return cause(lv) is not None


def mended(pool: Lv, at: str) -> Lv:
    """Return a pool as it is when its mending begins at that time."""
    others = {tag for tag in pool.tags if not tag.startswith(MENDED)}
    return replace(pool, tags=frozenset(others | {f"{MENDED}{at}"}))


def cleared(lv: Lv) -> int:
    """Return how many of its bytes were cleared before."""
    return max((int(m[1]) for t in lv.tags if (m := CLEARED.fullmatch(t))), default=0)


def with_cleared(lv: Lv, done: int) -> Lv:
    """Return it as it is when so many bytes are cleared."""
    others = {tag for tag in lv.tags if not CLEARED.fullmatch(tag)}
    return replace(lv, tags=frozenset(others | {f"{OURS}cleared={done}"}))
