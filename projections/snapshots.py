"""Which snapshots are there, and of which volumes?"""

from __future__ import annotations

from collections.abc import Iterable

from domain.snapshot import Snapshot, SnapshotStatus
from projections import resources
from projections.reading import ReadModel, Row, Touched


def rows(touched: Touched) -> Iterable[Row]:
    """Return the snapshot's row."""
    snapshot = touched.aggregate
    if isinstance(snapshot, Snapshot):
        in_group = snapshot.group_snapshot_id
        yield Row(
            touched.key,
            touched.events[0][1],
            snapshot.version,
            {
                "status": snapshot.status,
                "backend": snapshot.backend,
                "name": snapshot.name,
                "volume_id": str(snapshot.volume_id),
                "group_snapshot_id": in_group and str(in_group),
            },
            snapshot.status == SnapshotStatus.DELETED,
            resources.snapshot(snapshot),
        )


SNAPSHOTS = ReadModel(
    "snapshots",
    ("status", "backend", "name", "volume_id", "group_snapshot_id"),
    rows,
    nouns=frozenset({"snapshot"}),
)
