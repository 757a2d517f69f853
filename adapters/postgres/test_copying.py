"""Rows are read as PostgreSQL sends them."""

from __future__ import annotations

from uuid import UUID

from eventsourcing.persistence import StoredEvent

from adapters.postgres.copying import END, SIGNATURE, log_rows
from adapters.postgres.reading import COPY_OUT, verified
from adapters.postgres.recorder import Batch
from service.manager import VolumeManager


def test_no_rows_are_none() -> None:
    assert list(log_rows([SIGNATURE + END])) == []


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


def test_a_copy_is_read_to_its_end(manager: VolumeManager) -> None:
    manager.recorder.append(Batch([StoredEvent(UUID(int=1), 1, "x", b"{}")]))

    with manager.recorder.datastore.cursor() as cursor:
        with cursor.copy(manager.recorder.sql(COPY_OUT), (1, 9)) as copy:
            assert len(list(log_rows(copy))) == 1
        assert cursor.execute(b"SELECT 1 AS one").fetchall() == [{"one": 1}]
