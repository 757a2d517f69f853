"""Which volumes are hosts to reach, and which hosts?

Volumes that nobody is to reach have no row, so what a sweep costs does not grow
with them.
"""

from __future__ import annotations

from collections.abc import Iterable

from domain.volume import Volume
from projections.reading import ReadModel, Row, Touched

# What may leave a volume without anybody who is to reach it.
ENDING = (
    Volume.CascadeStarted,
    Volume.ConnectionFailed,
    Volume.DeletionFailed,
    Volume.DeletionStarted,
    Volume.DisconnectionFinished,
    Volume.ExportRemovalFinished,
    Volume.Released,
    Volume.SessionMissing,
)


def rows(touched: Touched) -> Iterable[Row]:
    """Return the row of a volume that hosts are to reach."""
    volume = touched.aggregate
    if isinstance(volume, Volume) and volume.connectors:
        yield Row(
            touched.key,
            touched.events[0][1],
            volume.version,
            {"backend": volume.backend},
            hidden=False,
            body=volume.connectors,
        )


def ended(touched: Touched) -> Iterable[str]:
    """Return the key of a volume that nobody is to reach any more."""
    volume = touched.aggregate
    left = any(isinstance(event, ENDING) for event, _ in touched.events)
    if left and isinstance(volume, Volume) and not volume.connectors:
        yield touched.key


EXPORTS = ReadModel(
    "exports", ("backend",), rows, nouns=frozenset({"volume"}), ended=ended
)
