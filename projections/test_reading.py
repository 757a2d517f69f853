"""However the log is cut into pages, the same rows come of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain, zip_longest
from typing import Any
from uuid import UUID, uuid4

import pytest

from domain.aggregate import Aggregate, Done, Event
from domain.backend import Backend
from domain.snapshot import Snapshot
from domain.volume import Volume
from projections.attachment_status import ATTACHMENTS
from projections.capabilities import BACKENDS
from projections.exports import EXPORTS
from projections.in_flight import IN_FLIGHT
from projections.reading import Fold, Row
from projections.snapshots import SNAPSHOTS
from projections.volumes import VOLUMES

MODELS = (VOLUMES, SNAPSHOTS, ATTACHMENTS, BACKENDS, IN_FLIGHT, EXPORTS)
DONE = Done(location="/volumes/db", connection={"data": {}})
Log = list[tuple[Event, int]]


def volumes() -> Iterator[Volume]:
    """Yield volumes: one that nobody is to reach, one that a host is, and between."""
    for then in ("", "export", "export, unexport", "unexported"):
        volume = Volume.create(uuid4(), size_gib=1, backend="files", name=then)
        volume.report(1, DONE)
        for host in ("node-1", "node-2"):
            volume.hold(attachment := uuid4(), host=host)
            volume.connect(attachment, {"host": host})
            volume.report(volume.version, DONE)
            volume.detach(attachment)
            volume.report(volume.version, DONE)
        if then:
            volume.export({"host": "node-3"})
            volume.report(volume.version, DONE)
        if "un" in then:
            volume.unexport()
        if then == "unexported":
            volume.report(volume.version, DONE)
        volume.hold(uuid4(), host="node-4")
        yield volume


def things() -> list[Aggregate]:
    of, *others = volumes()
    snapshot = Snapshot.create(uuid4(), volume_id=of.id, size_gib=1, backend="files")
    snapshot.report(1, DONE)
    backend = Backend.taken_over("files", 1, "a holder", "node-1")
    return [of, *others, snapshot, backend]


def written(aggregates: list[Aggregate]) -> Log:
    """Return a log in which all of them happened at once."""
    turns = zip_longest(*(each.collect_events() for each in aggregates))
    events = filter(None, chain.from_iterable(turns))
    return [(event, position) for position, event in enumerate(events, 1)]


def fold_of(log: Log, most: int, asked: list[UUID]) -> Fold:
    """Return a fold that may have so many in memory, and what it asks the log for."""

    def load(ids: list[UUID], until: int) -> Mapping[UUID, Aggregate]:
        asked.extend(ids)
        found: dict[UUID, Any] = {}
        for event, position in log:
            if event.originator_id in ids and position <= until:
                before = found.get(event.originator_id)
                found[event.originator_id] = event.mutate(before)
        return found

    return Fold(load, most)


def kept(log: Log, size: int, most: int) -> dict[str, dict[str, Row]]:
    """Return the rows of all read models, as pages of a size come to them."""
    fold = fold_of(log, most, [])
    tables: dict[str, dict[str, Row]] = {model.name: {} for model in MODELS}
    for start in range(0, len(log), size):
        touched = fold.page(log[start : start + size])
        for model in MODELS:
            table = tables[model.name]
            for row in chain.from_iterable(map(model.rows, touched)):
                first = table.get(row.key, row).created
                table[row.key] = row._replace(created=first)
            for key in chain.from_iterable(map(model.ended, touched)):
                table.pop(key, None)
    # A row that comes again has the place of the page that brings it.
    again = {key: row._replace(created=0) for key, row in tables["exports"].items()}
    return tables | {"exports": again}


@pytest.mark.parametrize("most", [0, 1, 1000])
@pytest.mark.parametrize("size", [1, 2, 7])
def test_pages_of_any_size_come_to_the_same_rows(size: int, most: int) -> None:
    log = written(things())

    assert kept(log, size, most) == kept(log, len(log), 1000)


@pytest.mark.parametrize("size", [1, 1000])
def test_what_is_over_has_no_row_any_more(size: int) -> None:
    aggregates = things()
    rows = kept(written(aggregates), size, 1000)

    in_flight = {f"{each.id}/{v}" for each in aggregates for v in each.in_flight}
    reached = {str(each.id) for each in aggregates if getattr(each, "connectors", ())}
    assert len(in_flight) == 1
    assert len(reached) == 2
    assert rows["in_flight"].keys() == in_flight
    assert rows["exports"].keys() == reached


@pytest.mark.parametrize("size", [2, 1000])
def test_what_is_in_memory_is_not_loaded(size: int) -> None:
    aggregates, asked = things(), list[UUID]()
    log = written(aggregates)
    fold = fold_of(log, len(aggregates), asked)

    for start in range(0, len(log), size):
        fold.page(log[start : start + size])

    assert asked == []


def test_what_was_not_used_for_longest_is_forgotten_and_loaded_again() -> None:
    asked: list[UUID] = []
    one, two, three, *_ = volumes()
    log = written([one, two, three])
    fold = fold_of(log, 2, asked)

    for turn in (0, 1, 3, 2):  # of the first two, the first goes on
        fold.page([log[turn]])
    fold.page([log[4]])

    assert asked == [two.id]
