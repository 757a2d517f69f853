"""A volume as a logical volume: its name, and the tags that say whose it is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from uuid import UUID

from adapters.lvm.failures import GIB
from adapters.lvm.report import Lv
from domain import reference
from domain.ports import Cause, Manageable

OURS = "holdfast."
VOLUME = re.compile(r"holdfast\.volume=(.+)")
MADE_BY = re.compile(r"holdfast\.made-by=(\d+)/(.+)")
FOR = f"{OURS}for="  # which volume it helps for a while; it is none itself
# How many bytes of it are done from the beginning.
CLEARED, COPIED = f"{OURS}cleared=", f"{OURS}copied="
MENDED = f"{OURS}mended="
REVERTED = "_reverted-"  # what the copy is called that is to be a reverted volume

# What can become a volume: linear, thin, mirrored, raid, cached, with thick snapshots.
FIT = frozenset("-VmMrRCo")
READ_ONLY = frozenset("rR")
SNAPSHOT = "_snapshot-"  # what Cinder's names begin with


def name(volume_id: UUID) -> str:
    """Return what Cinder calls a volume's logical volume."""
    return reference.name_of(volume_id)


def of(lvs: Mapping[str, Lv], volume_id: UUID) -> Lv | None:
    """Return the logical volume that says it is this volume, whatever its name."""
    return said_by(lvs, f"{OURS}volume={volume_id}", name(volume_id))


def said_by(lvs: Mapping[str, Lv], said: str, name: str) -> Lv | None:
    """Return who says it, the one of that name first, and no helper."""
    named = lvs.get(name)
    if named and said in named.tags and not is_helper(named):
        return named
    those = (lv for lv in lvs.values() if said in lv.tags)
    return next((lv for lv in those if not is_helper(lv)), None)


def tags(volume_id: UUID, cause: Cause) -> frozenset[str]:
    """Return the tags of a volume that was made for a cause."""
    return frozenset({f"{OURS}volume={volume_id}", made_by(cause)})


def made_by(cause: Cause) -> str:
    """Return the tag of what was made for a cause."""
    return f"{OURS}made-by={cause.position}/{cause.at}"


def helping(volume_id: UUID) -> str:
    """Return the tag of what a volume needs for a while."""
    return f"{FOR}{volume_id}"


def helpers(lvs: Mapping[str, Lv], volume_id: UUID) -> list[Lv]:
    """Return what is there for a volume for a while.

    What a reversion has left may say that it is the volume. What else says so is not
    ours to remove: it may be another volume, and its tag a mistake.
    """
    helps, left = helping(volume_id), f"{REVERTED}{volume_id}"
    it_is, it = f"{OURS}volume={volume_id}", of(lvs, volume_id)
    others = (lv for lv in lvs.values() if lv is not it)
    return [
        lv
        for lv in others
        if helps in lv.tags or (lv.name == left and it_is in lv.tags)
    ]


def is_helper(lv: Lv) -> bool:
    """Tell whether it is only there to help a volume for a while."""
    return says(lv, FOR)


def whose_else(lv: Lv, volume_id: UUID) -> UUID | None:
    """Return the other volume whose name or tag it has, if there is one."""
    named = reference.volume_of(lv.name)
    return next(iter({*tagged(lv), named} - {None, volume_id}), None)


def tagged(lv: Lv) -> set[UUID]:
    """Return the volumes that it says it is; it should be one at most."""
    those = (m[1] for m in map(VOLUME.fullmatch, lv.tags) if m)
    return set(map(UUID, filter(is_id, those)))


def named(lv: Lv, what: str) -> list[UUID]:
    """Return the volumes that its tags name which begin so."""
    those = (tag.removeprefix(what) for tag in lv.tags if tag.startswith(what))
    return [UUID(each) for each in those if is_id(each)]


def let_go(lv: Lv) -> Lv:
    """Return it without what says that it is a volume."""
    return without(lv, OURS)


def offered(lv: Lv) -> Manageable:
    """Return what can be said of it to those who look for storage to take over."""
    told, size_gib = reference.to(lv.name), whole_gib(lv.reads_bytes)
    for whose in () if is_helper(lv) else tagged(lv):
        return Manageable(told, size_gib, False, "already managed", whose)  # noqa: FBT003
    why = unfit(lv) or ("something has it open" if lv.is_open else None)
    return Manageable(told, size_gib, not why, why)


def unfit(lv: Lv) -> str | None:
    """Return why it can be no volume, whoever has it open."""
    if is_helper(lv):
        return "a volume needs it for a while"
    if is_snapshot(lv):
        return "it is a snapshot"
    if lv.attr[0] not in FIT:
        return "it is what volumes are made of, as a pool is"
    if lv.attr[1] in READ_ONLY:
        return "it is read-only in LVM; `lvchange -prw` makes it writable"
    return None


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


def is_id(text: str) -> bool:
    """Tell whether a tag holds one of our ids; others may have written it."""
    return reference.volume_of(f"volume-{text}") is not None


def is_ours(lv: Lv) -> bool:
    """Tell whether it is a volume."""
    return not is_helper(lv) and any(map(VOLUME.fullmatch, lv.tags))


def mended(pool: Lv, at: str) -> Lv:
    """Return a pool as it is when its mending begins at that time."""
    return replace(pool, tags=without(pool, MENDED).tags | {f"{MENDED}{at}"})


def says(lv: Lv, what: str) -> bool:
    """Tell whether it has a tag that begins so."""
    return any(tag.startswith(what) for tag in lv.tags)


def kept(lv: Lv, what: str) -> int:
    """Return how many of its bytes it says are done, `CLEARED` or so.

    None are where it says no number: somebody has written that by hand.
    """
    those = (tag.removeprefix(what) for tag in lv.tags if tag.startswith(what))
    return max(map(int, filter(str.isdecimal, those)), default=0)


def is_unfilled(lv: Lv) -> bool:
    """Tell whether what it is to hold has not been copied into it."""
    return says(lv, COPIED)


def is_cleared(lv: Lv) -> bool:
    """Tell whether some of it may be cleared, before it is removed."""
    return says(lv, CLEARED)


def with_kept(lv: Lv, what: str, done: int) -> Lv:
    """Return it as it is when so many bytes are done."""
    return replace(lv, tags=without(lv, what).tags | {f"{what}{done}"})


def without(lv: Lv, what: str) -> Lv:
    """Return it without the tags that begin so."""
    others = frozenset(tag for tag in lv.tags if not tag.startswith(what))
    return replace(lv, tags=others)
