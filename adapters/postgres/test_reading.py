"""The whole log is read as it was written."""

from __future__ import annotations

from uuid import UUID

import pytest
from eventsourcing.persistence import StoredEvent

from adapters.postgres.batch import Batch
from adapters.postgres.reading import rebuilt, verified, verify
from domain.chain import Broken
from service.manager import VolumeManager


def test_what_was_appended_is_read(manager: VolumeManager) -> None:
    written = [
        StoredEvent(UUID(int=1), 1, "volume.created", b"{}"),
        StoredEvent(UUID(int=2**128 - 1), 2**63 - 1, "", b"\0\xff" * 70_000),
        StoredEvent(UUID(int=2), 7, "größer", b""),
    ]
    manager.recorder.append(Batch(written))

    read = list(verified(manager.recorder))

    assert [(r.topic, r.state, r.position) for r in read] == [
        (event.topic, event.state, position)
        for position, event in enumerate(written, start=1)
    ]


def test_of_an_empty_log_there_is_nothing_to_read(manager: VolumeManager) -> None:
    assert list(verified(manager.recorder)) == []
    assert rebuilt(manager.recorder) == {}
    assert verify(manager.recorder, 1, None).detail is None
    assert verify(manager.recorder, 1, 1).first_bad == 1


@pytest.fixture
def long(manager: VolumeManager) -> VolumeManager:
    """A log of more pages than one."""
    events = [StoredEvent(UUID(int=n), 1, "x", b"{}") for n in range(1, 351)]
    manager.recorder.append(Batch(events))
    return manager


@pytest.mark.parametrize(
    ("first", "last"), [(1, 350), (1, 2**62), (100, 101), (201, 300), (350, 351)]
)
def test_a_stretch_is_read_from_end_to_end(
    long: VolumeManager, first: int, last: int
) -> None:
    read = verified(long.recorder, first, last)

    assert [row.position for row in read] == [*range(first, min(last, 350) + 1)]


@pytest.mark.parametrize("moved", [350, 200])
def test_a_row_that_was_moved_far_away_is_found_at_once(
    long: VolumeManager, moved: int
) -> None:
    recorder = long.recorder
    with recorder.datastore.transaction(commit=True) as cursor:
        cursor.execute(
            recorder.sql(
                "UPDATE {log} SET notification_id = notification_id + (1::bigint << 61)"
                " WHERE notification_id >= %s"
            ),
            (moved,),
        )

    with pytest.raises(Broken) as found:
        list(verified(recorder))

    assert found.value.position == moved
    assert verify(recorder, 1, None).first_bad == moved


def test_the_database_is_free_again_when_reading_was_broken_off(
    long: VolumeManager,
) -> None:
    with long.recorder.datastore.cursor() as cursor:
        for _ in range(20):
            next(verified(long.recorder))
        assert cursor.execute(b"SELECT 1 AS one").fetchall() == [{"one": 1}]
