"""Histories, and things as they were: what the log alone tells."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
from eventsourcing.persistence import StoredEvent

from adapters.postgres.looking_back import position_at
from adapters.postgres.recorder import LogRecorder
from domain import log as language
from domain.aggregate import Aggregate
from domain.provenance import MOMENT, Moment, Provenance
from domain.volume import Volume
from service.audit import history
from service.audit.history import Subject, Wanted
from service.manager import VolumeManager

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def seconds(number: float) -> datetime:
    """Return a moment so many seconds after noon."""
    return NOON + timedelta(seconds=number)


def store(recorder: LogRecorder, *aggregates: Aggregate) -> None:
    """Put what was recorded into the log, one's after another's."""
    events = [event for each in aggregates for event in each.collect_events()]
    recorder.insert_events(
        [
            StoredEvent(
                event.originator_id,
                event.originator_version,
                event.TOPIC,
                language.encode(event),
            )
            for event in events
        ]
    )


def renamed(times: int) -> Volume:
    """Return a volume that has got a new name so often."""
    volume = Volume.create(uuid4(), size_gib=1, backend="files", name="0")
    for number in range(1, times + 1):
        volume.update(name=str(number))
    return volume


def created_at(*times: float) -> list[Volume]:
    """Return volumes that were asked for so many seconds after noon."""
    volumes = []
    for number in times:
        MOMENT.set(Moment(seconds(number), Provenance()))
        volumes.append(Volume.create(uuid4(), size_gib=1, backend="files"))
    return volumes


def page(
    recorder: LogRecorder, volume_id: UUID, limit: int = 100, after: int = 0
) -> dict[str, Any]:
    found = history.lines(recorder, Subject(volume_id), Wanted(), after)
    return history.page(found, limit, after)


def cheapest(what: Any, *args: Any) -> float:
    """Return the least of the processor that it took, whatever else goes on here."""
    took = []
    for _ in range(10):
        began = time.thread_time()
        what(*args)
        took.append(time.thread_time() - began)
    return min(took)


def test_the_first_page_of_a_long_history_costs_as_much_as_that_of_a_short_one(
    manager: VolumeManager,
) -> None:
    short, long = renamed(200), renamed(10_000)
    store(manager.recorder, short, long)

    of_short = cheapest(page, manager.recorder, short.id)
    of_long = cheapest(page, manager.recorder, long.id)

    assert of_long < 4 * of_short


def test_a_history_is_told_in_pages_of_any_length(manager: VolumeManager) -> None:
    volume = renamed(600)
    store(manager.recorder, volume)
    whole = [
        msgspec.json.decode(line)
        for _, line in history.lines(manager.recorder, Subject(volume.id), Wanted(), 0)
    ]

    told: list[Any] = []
    after: str | None = None
    while after or not told:
        at = history.position_of(after)
        found = page(manager.recorder, volume.id, 257, at)
        told += map(msgspec.json.decode, found["items"])
        after = found["next"]

    assert told == whole
    assert [item["version"] for item in told] == list(range(1, 602))
    assert told[-1]["changed"] == {"name": {"before": "599", "after": "600"}}


@pytest.mark.parametrize(
    ("moment", "position"),
    [(-1, 0), (0, 1), (1.5, 2), (2, 3), (9, 3)],
    ids=["before all", "the first", "in between", "the last", "after all"],
)
def test_a_time_stands_for_the_last_position_that_is_not_later(
    manager: VolumeManager, moment: float, position: int
) -> None:
    store(manager.recorder, *created_at(0, 1.000001, 2))

    assert position_at(manager.recorder, seconds(moment)) == position


def test_an_event_behind_a_later_one_counts_as_later(manager: VolumeManager) -> None:
    store(manager.recorder, *created_at(0, 5, 1, 2, 6, 7, 3, 8))

    assert position_at(manager.recorder, seconds(4)) == 1
    assert position_at(manager.recorder, seconds(5)) == 4
    assert position_at(manager.recorder, seconds(6)) == 5


def test_in_an_empty_log_any_time_is_before_all(manager: VolumeManager) -> None:
    assert position_at(manager.recorder, NOON) == 0
