"""Which volumes are hosts to reach: these have a row, and no others."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from domain.aggregate import Done, NotDone
from domain.volume import Volume
from projections.exports import ended, rows
from projections.reading import Fold

HOST = {"host": "node-1"}
BUSY = NotDone("busy", "somebody has it open", busy=True)


def test_a_volume_that_is_going_with_its_snapshots_has_no_row_unless_it_stays() -> None:
    volume = Volume.create(uuid4(), size_gib=1, backend="files")
    volume.report(1, Done(location="/volumes/db"))
    volume.export(HOST)
    volume.report(volume.version, Done(connection={"data": {}}))
    for result in (BUSY, Done()):
        volume.cascade(force=True)
        volume.report(volume.version, result)
    kept: dict[str, Any] = {}
    had: list[tuple[str, bool]] = []

    fold = Fold(lambda *_: {})
    for position, event in enumerate(volume.collect_events(), 1):
        [touched] = fold.page([(event, position)])
        kept |= {row.key: row.body for row in rows(touched)}
        for key in ended(touched):
            kept.pop(key, None)
        had.append((event.TOPIC, bool(kept)))

    assert had[3:] == [
        ("volume.export_finished", True),
        ("volume.cascade_started", False),
        ("volume.cascade_put_off", True),
        ("volume.cascade_started", False),
        ("volume.cascade_looked_at", False),
    ]
