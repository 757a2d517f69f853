"""More than a thousand ways to tamper with the log, all of them found, and where."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from random import Random
from typing import Any, cast
from uuid import UUID, uuid4

import pytest
from psycopg import Cursor
from psycopg.errors import DataError, UniqueViolation

from adapters.postgres.arrays import bigints, blobs
from adapters.postgres.batch import Batch
from adapters.postgres.mapper import LogMapper
from adapters.postgres.reading import PAGES, confirm, verified, verify
from adapters.postgres.recorder import LogRecorder
from domain.aggregate import Done
from domain.chain import GENESIS, link
from domain.checkpoint import Checkpoint, Contradicted
from domain.tree import head_of, leaf
from domain.volume import Volume
from service.manager import VolumeManager

VOLUMES = 50
END = 2 * VOLUMES
EVERY = 10  # events from one checkpoint to the next
TIMES = 250  # of each kind
COLUMNS = (
    "originator_id",
    "originator_version",
    "topic",
    "state",
    "notification_id",
    "chain",
)
ASIDE = -1  # where a row is while two are exchanged


# Does it to a log, and returns the first position that is not as it was.
Tampering = Callable[["Tampered", Random], int]


class Tampered:
    """A recorder that sees what is done to the log and never committed."""

    def __init__(self, recorder: LogRecorder, cursor: Cursor[Any]) -> None:
        self.datastore, self.sql, self._cursor = self, recorder.sql, cursor

    @contextmanager
    def cursor(self) -> Iterator[Cursor[Any]]:
        yield self._cursor

    def do(self, statement: str, *given: Any) -> None:
        self._cursor.execute(self.sql(statement), given)

    def get(self, column: str, position: int) -> Any:
        asked = f"SELECT {column} AS it FROM {{log}} WHERE notification_id = %s"
        self._cursor.execute(self.sql(asked), (position,), binary=True)
        [row] = self._cursor
        return row["it"]

    def put(self, column: str, position: int, value: Any) -> None:
        change = f"UPDATE {{log}} SET {column} = %s WHERE notification_id = %s"
        self.do(change, value, position)

    def delete(self, first: int, last: int) -> None:
        self.do(
            "DELETE FROM {log} WHERE notification_id BETWEEN %s AND %s", first, last
        )

    def close_gap(self, position: int) -> None:
        """Give what follows a position that is free the number before its own."""
        for step in ("-notification_id", "-notification_id - 1"):
            change = f"UPDATE {{log}} SET notification_id = {step}"
            self.do(
                f"{change} WHERE notification_id < 0 OR notification_id > %s", position
            )


def flip(log: Tampered, random: Random) -> int:
    """Change one bit of one row."""
    position = random.randint(1, END)
    column = random.choice(COLUMNS)
    value = log.get(column, position)
    data = bytearray(as_bytes(value))
    bit = random.randrange(len(data) * 8)
    data[bit // 8] ^= 1 << bit % 8
    log.put(column, position, like(value, bytes(data)))
    return position


def swap(log: Tampered, random: Random) -> int:
    """Exchange two rows, or what they have in one column."""
    first, second = sorted(random.sample(range(1, END + 1), 2))
    column = random.choice(["state", "chain", "notification_id", "all but the chain"])
    if column in ("state", "chain"):
        exchange(log, column, first, second)
        return first
    for here, there in ((first, ASIDE), (second, first), (ASIDE, second)):
        log.put("notification_id", here, there)
    if column != "notification_id":
        exchange(log, "chain", first, second)
    return first


def exchange(log: Tampered, column: str, first: int, second: int) -> None:
    one, other = log.get(column, first), log.get(column, second)
    log.put(column, first, other)
    log.put(column, second, one)


def delete(log: Tampered, random: Random) -> int:
    """Remove a row, and have the others close up or not."""
    position = random.randint(1, END - 1)
    log.delete(position, position)
    if random.random() < 0.5:
        log.close_gap(position)
    return position


def truncate(log: Tampered, random: Random) -> int:
    """Remove the end."""
    position = random.randint(1, END)
    log.delete(position, END)
    return position


def rewrite(log: Tampered, random: Random) -> int:
    """Change or remove a row, and make all links anew as we would."""
    position = random.randint(1, END - 1)
    if random.random() < 0.5:
        log.delete(position, position)
        log.close_gap(position)
    else:
        state: bytes = log.get("state", position)
        log.put("state", position, state.replace(b"test", b"evil"))
    chain, positions, links = GENESIS, [], []
    for row in packed(log):
        chain = link(chain, row)
        links.append(chain)
        positions.append(len(links))
    log.do(
        "UPDATE {log} SET chain = made.chain FROM unnest(%s, %s) AS made (at, chain)"
        " WHERE notification_id = made.at",
        bigints(positions),
        blobs(links),
    )
    return position


def packed(log: Tampered) -> list[bytes]:
    with log.cursor() as cursor:
        cursor.execute(log.sql(PAGES), {"first": 1, "last": END}, binary=True)
        return [hashed for page in cursor.fetchall() for hashed in page["hashed"] or ()]


def as_bytes(value: Any) -> bytes:
    if isinstance(value, UUID):
        return value.bytes
    if isinstance(value, int):
        return value.to_bytes(8, signed=True)
    return value.encode() if isinstance(value, str) else bytes(value)


def like(value: Any, data: bytes) -> Any:
    """Return bytes as the kind of value that another one is."""
    if isinstance(value, UUID):
        return UUID(bytes=data)
    if isinstance(value, int):
        return int.from_bytes(data, signed=True)
    return data.decode() if isinstance(value, str) else data


@pytest.fixture
def recorder(manager: VolumeManager) -> LogRecorder:
    """A log with a hundred events."""
    volumes = [Volume.create(uuid4(), size_gib=1, backend="f") for _ in range(VOLUMES)]
    for volume in volumes:
        volume.report(1, Done(location="/volumes/db"))
    events = [event for volume in volumes for event in volume.collect_events()]
    manager.recorder.append(Batch(list(map(LogMapper().to_stored_event, events)), {}))
    return manager.recorder


@pytest.fixture
def checkpoints(recorder: LogRecorder) -> list[Checkpoint]:
    """What was signed while it grew."""
    rows, now = list(verified(recorder)), datetime.now(UTC)
    leaves = [leaf(row.hashed) for row in rows]
    return [
        Checkpoint("test", size, head_of(leaves[:size]), rows[size - 1].chain, now)
        for size in range(EVERY, END + 1, EVERY)
    ]


def each_time(
    recorder: LogRecorder, tampering: Tampering
) -> Iterator[tuple[LogRecorder, int]]:
    """Tamper again and again; yield the log, and where it is not as it was."""
    random, done = Random(tampering.__name__), 0
    with recorder.datastore.transaction() as cursor:
        while done < TIMES:
            # What the database or its encoding does not take is no tampering.
            with (
                suppress(UniqueViolation, DataError, ValueError),
                cursor.connection.transaction(force_rollback=True),
            ):
                log = Tampered(recorder, cursor)
                position = tampering(log, random)
                done += 1
                yield cast("LogRecorder", log), position


def contradicted(log: LogRecorder, checkpoints: list[Checkpoint]) -> list[int]:
    """Return the sizes at which a log is not what was signed."""
    found = []
    for checkpoint in checkpoints:
        try:
            confirm(log, checkpoint)
        except Contradicted:
            found.append(checkpoint.size)
    return found


@pytest.mark.parametrize("tampering", [flip, swap, delete])
def test_what_was_changed_is_found_where_it_was(
    recorder: LogRecorder, tampering: Tampering
) -> None:
    found = [
        (position, verify(log, 1, None).first_bad)
        for log, position in each_time(recorder, tampering)
    ]

    assert [(was, said) for was, said in found if was != said] == []
    assert len(found) == TIMES


def test_a_lost_end_is_shown_by_every_checkpoint_beyond_it(
    recorder: LogRecorder, checkpoints: list[Checkpoint]
) -> None:
    for log, position in each_time(recorder, truncate):
        assert verify(log, 1, None).first_bad is None  # alone it cannot tell
        assert contradicted(log, checkpoints) == [
            each.size for each in checkpoints if each.size >= position
        ]


def test_a_rewritten_log_is_shown_by_every_checkpoint_since(
    recorder: LogRecorder, checkpoints: list[Checkpoint]
) -> None:
    for log, position in each_time(recorder, rewrite):
        assert verify(log, 1, None).first_bad is None  # alone it cannot tell
        assert contradicted(log, checkpoints) == [
            each.size for each in checkpoints if each.size >= position
        ]


def test_a_log_that_nobody_touched_is_what_was_signed(
    recorder: LogRecorder, checkpoints: list[Checkpoint]
) -> None:
    assert verify(recorder, 1, None).first_bad is None
    assert contradicted(recorder, checkpoints) == []


def test_the_last_row_under_another_number_is_found(recorder: LogRecorder) -> None:
    with recorder.datastore.transaction() as cursor:
        log = Tampered(recorder, cursor)
        log.put("notification_id", END, END + 1)

        assert verify(cast("LogRecorder", log), 1, None).first_bad == END
