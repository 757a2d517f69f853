"""Reading the whole log: fast, in order, and only if nobody changed it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple
from uuid import UUID

from psycopg import Cursor
from psycopg.rows import DictRow
from psycopg.sql import SQL

from adapters.postgres.arrays import bigints, texts
from adapters.postgres.copying import Row, log_rows
from adapters.postgres.recorder import LogRecorder, Written
from domain import log
from domain.chain import GENESIS, Broken, link
from domain.checkpoint import Checkpoint, Contradicted
from domain.drift import Explanation

COPY_OUT = """
    COPY (SELECT originator_id, originator_version, topic, state, notification_id, chain
          FROM {log} WHERE notification_id BETWEEN %s AND %s
          ORDER BY notification_id) TO STDOUT (FORMAT BINARY)
"""
# What `verified` finds out, by the database itself.
FIRST_BROKEN = """
    SELECT min(before + 1) AS position FROM (
        SELECT notification_id, chain,
            lag(notification_id, 1, 0::bigint) OVER log AS before,
            sha256(lag(chain, 1, decode(repeat('00', 32), 'hex')) OVER log
                || int4send(16) || uuid_send(originator_id)
                || int4send(8) || int8send(originator_version)
                || int4send(octet_length(topic)) || convert_to(topic, 'UTF8')
                || int4send(octet_length(state)) || state) AS link
        FROM {log} WINDOW log AS (ORDER BY notification_id)) AS rows
    WHERE chain IS DISTINCT FROM link OR notification_id <> before + 1
"""
LINK_BEFORE = "SELECT chain FROM {log} WHERE notification_id = %s"
REPEATABLE = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"
WRITTEN = """
    SELECT topic, state, notification_id FROM {log} WHERE notification_id = ANY (%s)
    ORDER BY notification_id
"""
WRITTEN_AS = """
    SELECT topic, state, notification_id FROM {log}
    WHERE topic = ANY (%s) AND notification_id > %s ORDER BY notification_id
"""
LAST_OF_EACH = """
    SELECT DISTINCT ON (originator_id, topic)
        notification_id, topic, originator_id, originator_version
    FROM {log} WHERE originator_id = ANY (%s)
    ORDER BY originator_id, topic, originator_version DESC
"""
LAST = "SELECT coalesce(max(notification_id), 0) AS last FROM {log}"


class Verdict(NamedTuple):
    """What verifying a stretch of the log has found."""

    first: int
    last: int
    events: int
    before: bytes
    chain: bytes
    first_bad: int | None
    detail: str | None


def verified(
    recorder: LogRecorder,
    first: int = 1,
    last: int = 2**62,
    after: bytes | None = None,
) -> Iterator[Row]:
    """Yield the rows of the log between two positions, oldest first.

    Raises `Broken` at the first row that is not what was written there. The link
    before `first` is taken on trust, unless it is known what to find `after`.
    """
    with recorder.datastore.cursor() as cursor:
        expected, chain = first - 1, link_before(cursor, recorder, first)
        if after not in (None, chain):
            raise Broken(expected)
        with cursor.copy(recorder.sql(COPY_OUT), (first, last)) as rows:
            for row in log_rows(rows):
                expected += 1
                chain = link(chain, row.hashed)
                if row.chain != chain or row.position != expected:
                    raise Broken(expected)
                yield row


def verify(recorder: LogRecorder, first: int, last: int | None) -> Verdict:
    """Verify a stretch of the log; a row that is gone at its end shows as well."""
    with recorder.datastore.cursor() as cursor:
        cursor.execute(recorder.sql(LAST))
        newest = (cursor.fetchone() or {"last": 0})["last"]
    end = newest if last is None else last
    if first > max(newest, 1):
        said = f"the log ends at {newest}"
        return Verdict(first, end, 0, GENESIS, GENESIS, first, said)
    before = chain = GENESIS
    events = 0
    try:
        before = link_at(recorder, first - 1)
        for row in verified(recorder, first, end, before):
            chain, events = row.chain, events + 1
    except Broken as broken:
        bad = broken.position
        return Verdict(first, end, events, before, chain, bad, str(broken))
    if events < end - first + 1:
        missing = first + events
        said = f"the log has no position {missing}; it ends at {newest}"
        return Verdict(first, end, events, before, chain, missing, said)
    return Verdict(first, end, events, before, chain, None, None)


def link_before(cursor: Any, recorder: LogRecorder, first: int) -> bytes:
    """Return the link that the row at `first` continues."""
    if first == 1:
        return GENESIS
    cursor.execute(recorder.sql(LINK_BEFORE), (first - 1,), binary=True)
    found = cursor.fetchone()
    if not found:
        raise Broken(first - 1)
    chain: bytes = found["chain"]
    return chain


def link_at(recorder: LogRecorder, position: int) -> bytes:
    """Return the link of a row, position 0 before all; `Broken` if there is none."""
    with recorder.datastore.cursor() as cursor:
        return link_before(cursor, recorder, position + 1)


def confirm(recorder: LogRecorder, checkpoint: Checkpoint) -> None:
    """Raise `Contradicted` unless the log has the link that was signed there."""
    try:
        found = link_at(recorder, checkpoint.size)
    except Broken:
        why = f"it has no position {checkpoint.size}"
        raise Contradicted(checkpoint, why) from None
    if found != checkpoint.link:
        raise Contradicted(checkpoint, "it was rewritten")


def written_at(recorder: LogRecorder, positions: Sequence[int]) -> list[Written]:
    """Return the events at these positions, as far as there are any."""
    with recorder.datastore.cursor() as cursor:
        cursor.execute(recorder.sql(WRITTEN), (bigints(positions),), binary=True)
        return [Written(*row.values()) for row in cursor.fetchall()]


def written_as(
    recorder: LogRecorder, topics: Iterable[str], after: int
) -> list[Written]:
    """Return the events behind a position that have one of these topics."""
    with recorder.datastore.cursor() as cursor:
        cursor.execute(recorder.sql(WRITTEN_AS), (texts(topics), after), binary=True)
        return [Written(*row.values()) for row in cursor.fetchall()]


def last_of_each(
    recorder: LogRecorder, ids: Iterable[UUID]
) -> dict[UUID, list[Explanation]]:
    """Return the last event of each topic that each of these aggregates has."""
    found: dict[UUID, list[Explanation]] = {}
    with recorder.datastore.cursor() as cursor:
        cursor.execute(recorder.sql(LAST_OF_EACH), (list(ids),), binary=True)
        for row in cursor.fetchall():
            last = Explanation(*row.values())
            found.setdefault(last.id, []).append(last)
    return found


def rebuilt(recorder: LogRecorder) -> dict[UUID, Any]:
    """Return every aggregate of a verified log, or raise `Broken`.

    The database works the chain out meanwhile, on a processor that we do not use.
    """
    # By number: a UUID works out its hash whenever it is looked for.
    aggregates: dict[int, Any] = {}
    with (
        recorder.datastore.transaction() as cursor,
        ThreadPoolExecutor(1) as beside,
    ):
        chain = beside.submit(check_chain, recorder, shared_snapshot(cursor))
        try:
            with cursor.copy(recorder.sql(COPY_OUT), (1, 2**62)) as rows:
                for row in log_rows(rows):
                    event = log.decode(row.topic, row.state)
                    key = event.originator_id.int
                    aggregates[key] = event.mutate(aggregates.get(key))
        finally:  # what cannot be read was changed
            chain.result()
    return {aggregate.id: aggregate for aggregate in aggregates.values()}


def check_chain(recorder: LogRecorder, snapshot: str) -> None:
    """Have the database check the whole chain, as a transaction sees it."""
    with recorder.datastore.transaction() as cursor:
        cursor.execute(REPEATABLE)
        cursor.execute(SQL("SET TRANSACTION SNAPSHOT {}").format(snapshot))
        cursor.execute(recorder.sql(FIRST_BROKEN))
        for found in cursor:
            if position := found["position"]:
                raise Broken(position)


def shared_snapshot(cursor: Cursor[DictRow]) -> str:
    """Return the name by which others see what this new transaction sees."""
    cursor.execute(REPEATABLE)
    cursor.execute("SELECT pg_export_snapshot() AS name")
    [found] = cursor
    return str(found["name"])
