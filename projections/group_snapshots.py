"""Which group snapshots are there, and of which groups?"""

from __future__ import annotations

from collections.abc import Iterable

from domain.group_snapshot import GroupSnapshot, GroupSnapshotStatus
from projections import resources
from projections.reading import ReadModel, Row, Touched


def rows(touched: Touched) -> Iterable[Row]:
    """Return the group snapshot's row."""
    taken = touched.aggregate
    if isinstance(taken, GroupSnapshot):
        yield Row(
            touched.key,
            touched.events[0][1],
            taken.version,
            {
                "status": taken.status,
                "backend": taken.backend,
                "name": taken.name,
                "group_id": str(taken.group_id),
            },
            taken.status == GroupSnapshotStatus.DELETED,
            resources.group_snapshot(taken),
        )


GROUP_SNAPSHOTS = ReadModel(
    "group_snapshots",
    ("status", "backend", "name", "group_id"),
    rows,
    nouns=frozenset({"group_snapshot"}),
)
