"""Since when work in flight has waited, as its deadline counts it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

from domain.aggregate import Done
from domain.provenance import MOMENT, Moment, Provenance
from domain.volume import Volume
from projections.in_flight import rows
from projections.reading import Fold

THEN = datetime(2026, 1, 31, 12, tzinfo=UTC)


def at(minutes: int) -> None:
    MOMENT.set(Moment(THEN + timedelta(minutes=minutes), Provenance(actor="test")))


def test_what_goes_on_has_all_that_is_in_flight_wait_since_then() -> None:
    """A row is not given up whose `since` is not the aggregate's."""
    at(0)
    volume, snapshot = Volume.create(uuid4(), size_gib=1, backend="files"), uuid4()
    volume.report(1, Done(location="/volumes/db"))
    volume.unexport()
    volume.add_snapshot(snapshot, force=False)
    volume.revert(snapshot, THEN, 1)
    before = [(event, n) for n, event in enumerate(volume.collect_events(), 1)]
    at(1)
    volume.progress(volume.version, 7)
    [goes_on] = volume.collect_events()
    fold = Fold(lambda *_: {})
    fold.page(before)

    [touched] = fold.page([(goes_on, len(before) + 1)])

    kept = {row.key: row.filters["since"] for row in rows(touched)}
    waiting = volume.in_flight.items()
    assert len(waiting) == 2
    assert kept == {
        f"{volume.id}/{version}": volume.waited_for(intent).isoformat()
        for version, intent in waiting
    }
