"""Rows are read as they were packed, by us and by PostgreSQL."""

from __future__ import annotations

from uuid import UUID

from eventsourcing.persistence import StoredEvent
from hypothesis import given
from hypothesis import strategies as st

from adapters.postgres.copying import (
    END,
    SIGNATURE,
    Row,
    hashed_fields,
    log_row,
    log_rows,
    row,
)
from service.manager import VolumeManager

BIGINT = st.integers(1, 2**63 - 1)
TEXT = st.text(st.characters(exclude_characters="\0", codec="utf-8"))
EVENTS = st.builds(StoredEvent, st.uuids(), BIGINT, TEXT, st.binary())
LINK = st.binary(min_size=32, max_size=32)


@given(st.lists(st.tuples(EVENTS, BIGINT, LINK), min_size=1))
def test_rows_are_read_as_they_were_packed(
    written: list[tuple[StoredEvent, int, bytes]],
) -> None:
    rows = [log_row(hashed_fields(e), position, at) for e, position, at in written]

    read = list(log_rows([SIGNATURE + rows[0], *rows[1:], END]))

    assert read == [
        Row(event.topic, event.state, position, at, hashed_fields(event))
        for event, position, at in written
    ]


def test_no_rows_are_none() -> None:
    assert list(log_rows([SIGNATURE + END])) == []


def test_postgresql_reads_what_was_packed_and_sends_it_alike(
    manager: VolumeManager,
) -> None:
    written = [
        StoredEvent(UUID(int=1), 1, "volume.created", b"{}"),
        StoredEvent(UUID(int=2**128 - 1), 2**63 - 1, "", b"\0\xff" * 70_000),
        StoredEvent(UUID(int=2), 7, "größer", b""),
    ]
    rows = [
        log_row(hashed_fields(event), position, bytes([position]) * 32)
        for position, event in enumerate(written, start=1)
    ]
    table = f'"{manager.recorder.datastore.schema}".holdfast_events'

    with manager.recorder.datastore.cursor() as cursor:
        with cursor.copy(f"COPY {table} FROM STDIN (FORMAT BINARY)".encode()) as copy:
            copy.write(b"".join((SIGNATURE, *rows, END)))
        with cursor.copy(f"COPY {table} TO STDOUT (FORMAT BINARY)".encode()) as copy:
            read = list(log_rows(copy))

    assert [(r.topic, r.state, r.position) for r in read] == [
        (event.topic, event.state, position)
        for position, event in enumerate(written, start=1)
    ]
    assert [r.hashed for r in read] == list(map(hashed_fields, written))


def test_a_row_of_another_table_may_have_nothing_in_a_field(
    manager: VolumeManager,
) -> None:
    with manager.recorder.datastore.get_connection() as connection:
        connection.execute(b"CREATE TEMPORARY TABLE other (a text, b bigint, c bytea)")
        with connection.cursor().copy(b"COPY other FROM STDIN (FORMAT BINARY)") as copy:
            packed = row("ä".encode(), (5).to_bytes(8), None), row(None, None, b"")
            copy.write(b"".join((SIGNATURE, *packed, END)))
        found = connection.execute(b"SELECT * FROM other").fetchall()

    assert [tuple(row.values()) for row in found] == [
        ("ä", 5, None),
        (None, None, b""),
    ]
