"""A volume as a logical volume: its name, and the tags that say whose it is."""

from __future__ import annotations

import re
from uuid import UUID

from adapters.lvm.report import Lv
from domain.ports import Cause

MADE_BY = re.compile(r"holdfast\.made-by=(\d+)/(.+)")
CLEARED = re.compile(r"holdfast\.cleared=(\d+)")


def name(volume_id: UUID) -> str:
    """Return what Cinder calls a volume's logical volume."""
    return f"volume-{volume_id}"


def is_volume(lv: Lv) -> bool:
    """Tell whether it is named as volumes are."""
    return lv.name.startswith("volume-")


def tags(volume_id: UUID, cause: Cause) -> frozenset[str]:
    """Return the tags of a volume that was made for a cause."""
    made_by = f"holdfast.made-by={cause.position}/{cause.at}"
    return frozenset({f"holdfast.volume={volume_id}", made_by})


def cause(lv: Lv) -> Cause | None:
    """Return what a volume was made for, as it says itself."""
    for found in filter(None, map(MADE_BY.fullmatch, lv.tags)):
        return Cause(int(found[1]), found[2])
    return None


def cleared(lv: Lv) -> int:
    """Return how many of its bytes were cleared before."""
    return max((int(m[1]) for t in lv.tags if (m := CLEARED.fullmatch(t))), default=0)


def with_cleared(lv: Lv, done: int) -> frozenset[str]:
    """Return its tags when so many bytes are cleared."""
    others = {tag for tag in lv.tags if not CLEARED.fullmatch(tag)}
    return frozenset(others | {f"holdfast.cleared={done}"})
