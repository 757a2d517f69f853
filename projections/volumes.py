"""Which volumes are there?"""

from __future__ import annotations

from collections.abc import Iterable

from domain.volume import Volume
from domain.volume_status import Status
from projections import resources
from projections.reading import ReadModel, Row, Touched


def rows(touched: Touched) -> Iterable[Row]:
    """Return the volume's row."""
    volume = touched.aggregate
    if isinstance(volume, Volume):
        yield Row(
            touched.key,
            touched.events[0][1],
            volume.version,
            {
                "status": volume.status,
                "backend": volume.backend,
                "project": volume.project,
                "name": volume.name,
                "group_id": volume.group_id and str(volume.group_id),
            },
            volume.status == Status.DELETED,
            resources.volume(volume),
        )


VOLUMES = ReadModel(
    "volumes",
    ("status", "backend", "project", "name", "group_id"),
    rows,
    nouns=frozenset({"volume"}),
)
