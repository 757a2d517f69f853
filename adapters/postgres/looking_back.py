"""Reading what the log had at an earlier position, never more of it than is asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

from adapters.postgres.recorder import LogRecorder, Written

NOW = 2**62  # as a position: behind all that there is
STRETCH = 256  # events of a history that are in memory at once
DISORDER = 5_000  # positions that an event may stand behind a later one
MOST_SKIPPED = 50_000  # positions that one question about changes goes through

NEXT_STRETCH = """
    SELECT topic, state, notification_id FROM {log}
    WHERE originator_id = %s AND originator_version > %s AND notification_id <= %s
    ORDER BY originator_version LIMIT %s
"""
HISTORIES = """
    SELECT topic, state, notification_id FROM {log}
    WHERE originator_id = ANY (%s) AND notification_id <= %s
    ORDER BY originator_id, originator_version
"""
# An event's time comes before anything that a caller has written. Without its Z, it
# sorts as text does; microseconds that are none are left out.
HAPPENED = """
    split_part(convert_from(substring(
        state FROM position('"timestamp":"'::bytea IN state) + 13 FOR 26), 'UTF8'),
        'Z', 1) COLLATE "C"
"""
# The log is halved until an event that is not later and the next, which is, are left.
HALVED = f"""
    WITH RECURSIVE halves (low, high) AS (
        SELECT 0::bigint, (SELECT coalesce(max(notification_id), 0) + 1 FROM {{log}})
        UNION ALL
        SELECT CASE WHEN later THEN low ELSE middle END,
               CASE WHEN later THEN middle ELSE high END
        FROM halves, LATERAL (
            SELECT notification_id AS middle, {HAPPENED} > %s AS later
            FROM {{log}} WHERE notification_id = (low + high) / 2 AND high - low > 1
        ) AS half
    )
    SELECT max(low) AS low FROM halves
"""
FIRST_LATER = f"""
    SELECT min(notification_id) AS position FROM {{log}}
    WHERE notification_id BETWEEN %s AND %s AND {HAPPENED} > %s
"""
# Each aggregate once, at the first of its events between the two.
TOUCHED = """
    SELECT originator_id AS id, notification_id AS position FROM {log} AS event
    WHERE notification_id > %(after)s AND notification_id <= %(until)s
    AND (originator_version = 1 OR EXISTS (
        SELECT FROM {log} AS earlier
        WHERE earlier.originator_id = event.originator_id
        AND earlier.originator_version = event.originator_version - 1
        AND earlier.notification_id <= %(since)s))
    ORDER BY notification_id LIMIT %(limit)s
"""
# What a caller has written may look alike: who asks looks again.
CAUSED = """
    SELECT topic, state, notification_id FROM {log}
    WHERE originator_id = %s AND originator_version > %s
    AND (position(%s IN state) > 0 OR position(%s IN state) > 0)
    ORDER BY originator_version LIMIT %s
"""
AROUND = """
    SELECT topic, state, notification_id FROM {log}
    WHERE notification_id BETWEEN %s AND %s ORDER BY notification_id
"""
ANSWERED = "SELECT position FROM {keys} WHERE request_id = %s"


class Touched(NamedTuple):
    """An aggregate, and the position at which something first happened to it."""

    id: UUID
    position: int


def history(
    recorder: LogRecorder, aggregate_id: UUID, until: int = NOW
) -> Iterator[Written]:
    """Yield an aggregate's events up to a position, oldest first."""
    version, full = 0, True
    while full:
        asked = aggregate_id, version, until, STRETCH
        found = _written(recorder, NEXT_STRETCH, *asked)
        yield from found
        version, full = version + len(found), len(found) == STRETCH


def histories(
    recorder: LogRecorder, ids: Sequence[UUID], until: int = NOW
) -> Iterator[Written]:
    """Yield the events of many aggregates up to a position, one's after another's."""
    asked = list(ids), until
    with recorder.datastore.cursor() as cursor:
        for row in cursor.stream(recorder.sql(HISTORIES), asked, binary=True, size=100):
            yield Written(*row.values())


def position_at(recorder: LogRecorder, time: datetime) -> int:
    """Return the position that a time stands for: before the first later event.

    Replicas have clocks of their own, and an event gets its time before its
    position; so one behind a later event counts as later too. What is found stays
    so, whatever is stored afterwards. It is right as long as no event stands more
    than `DISORDER` positions behind a later one.
    """
    said = sortable(time)
    with recorder.datastore.cursor() as cursor:
        cursor.execute(recorder.sql(HALVED), (said,))
        [halved] = cursor.fetchall()
        low = int(halved["low"])
        cursor.execute(recorder.sql(FIRST_LATER), (low - DISORDER, low, said))
        [later] = cursor.fetchall()
        return low if later["position"] is None else int(later["position"]) - 1


def touched(
    recorder: LogRecorder, since: int, until: int, after: int, limit: int
) -> tuple[list[Touched], int]:
    """Return aggregates that something happened to between two positions.

    It goes on behind `after`, and returns how far it has come.
    """
    reached = min(until, max(after, since) + MOST_SKIPPED)
    asked = {"since": since, "until": reached, "after": max(after, since)}
    with recorder.datastore.cursor() as cursor:
        cursor.execute(recorder.sql(TOUCHED), asked | {"limit": limit})
        found = [Touched(row["id"], row["position"]) for row in cursor.fetchall()]
    return found, found[-1].position if len(found) == limit else reached


def caused(
    recorder: LogRecorder, aggregate_id: UUID, version: int, position: int, limit: int
) -> list[Written]:
    """Return an aggregate's events that may name an earlier one as their cause."""
    named = f'"causation_id":"{position}"'.encode(), f'"intent":{version}'.encode()
    return _written(recorder, CAUSED, aggregate_id, version, *named, limit)


def between(recorder: LogRecorder, first: int, last: int) -> list[Written]:
    """Return the events from one position to another."""
    return _written(recorder, AROUND, first, last)


def answered(recorder: LogRecorder, request_id: str) -> int | None:
    """Return the position that the answer to a request told, if it is known."""
    with recorder.datastore.cursor() as cursor:
        cursor.execute(recorder.sql(ANSWERED), (request_id,))
        return next((int(row["position"]) for row in cursor), None)


def _written(recorder: LogRecorder, statement: str, *asked: Any) -> list[Written]:
    with recorder.datastore.cursor() as cursor:
        cursor.execute(recorder.sql(statement), asked, binary=True)
        return [Written(*row.values()) for row in cursor.fetchall()]


def sortable(time: datetime) -> str:
    """Return a time as events have it, without its Z."""
    return time.astimezone(UTC).isoformat().removesuffix("+00:00")
