"""The whole log, from its database: as lines, or what a share of it comes to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any, NamedTuple, cast

import psycopg
from eventsourcing.persistence import OperationalError
from psycopg import Connection
from psycopg.sql import SQL, Identifier

from adapters.postgres.recorder import LogRecorder
from projections.replaying import Came, Cut, Lines, Share, Told, replayed

# Many lines as one row: a row of its own would cost a line as much again.
LINES_OUT = SQL("""
    SELECT page.*
    FROM (SELECT generate_series(1, {last}, {rows}) AS start) AS starts, LATERAL (
        SELECT string_agg(
            convert_to('{{"link":"' || encode(chain, 'hex')
                || '","id":"' || originator_id || '","position":' || notification_id
                || ',"version":' || originator_version || ',"topic":"' || topic
                || '","state":', 'UTF8') || state || convert_to(E'}}\n', 'UTF8'),
            '' ORDER BY notification_id) AS lines, count(*) AS number
        FROM {log}
        WHERE notification_id BETWEEN start AND least(start + {rows} - 1, {last})
    ) AS page
""")
LAST = SQL("""
    SELECT coalesce(max(notification_id), 0) FROM {log} WHERE notification_id <= {last}
""")
WAY = ("dbname", "host", "port", "user", "password")
ROWS = 100  # in a piece, which a processor's cache holds
PATIENCE = 10  # seconds for a database to answer


class Stored(NamedTuple):
    """A log in a database, up to a position; `way` is libpq's to get there."""

    way: dict[str, Any]
    table: tuple[str, ...]
    events: int = 0

    def came(self, share: Share, told: Told = lambda _: None) -> Came:
        """Return what a share of it comes to. Raises `NotALog`."""
        with self.sent() as pieces:
            return replayed(Lines(pieces), self.events, share, {}, told)

    @contextmanager
    def sent(self) -> Iterator[Iterator[bytes]]:
        """Connect; what is sent are lines, `ROWS` in a piece."""
        with closing(psycopg.connect(**self.way)) as connection:
            yield self._pieces(connection)

    def _pieces(self, connection: Connection[Any]) -> Iterator[bytes]:
        """Yield the lines; raise `Cut` where they cannot be read."""
        query = LINES_OUT.format(
            log=Identifier(*self.table), last=self.events, rows=ROWS
        )
        sent = 0
        try:
            for lines, number in connection.cursor().stream(query, binary=True):
                if lines is None:
                    break
                yield lines
                sent += number
        except psycopg.Error as error:
            raise Cut(f"the database cannot send it: {error}") from error
        if sent < self.events:
            raise Cut("the database has not as many events as their positions tell")


def stored(database: Mapping[str, str], name: str) -> Stored:
    """Return the log of a manager of that name; `OperationalError` if it is away."""
    told = {key: database.get(f"POSTGRES_{key.upper()}") for key in WAY}
    way = {key: value for key, value in told.items() if value}
    table = database.get("POSTGRES_SCHEMA", "public"), f"{name}_events"
    return up_to(Stored(way, table), None)


def of_recorder(recorder: LogRecorder, last: int | None) -> Stored:
    """Return the log that a recorder writes, to its end or to a position."""
    store = recorder.datastore
    known = cast("dict[str, Any]", store.pool.kwargs)
    way = {key: known[key] for key in WAY}
    return up_to(Stored(way, (store.schema, recorder.events_table_name)), last)


def up_to(log: Stored, last: int | None) -> Stored:
    """Return a log to its end, or to a position before that."""
    log = log._replace(way=log.way | {"connect_timeout": PATIENCE})
    newest = 2**62 if last is None else last
    query = LAST.format(log=Identifier(*log.table), last=newest)
    try:
        with closing(psycopg.connect(**log.way)) as connection:
            [(events,)] = connection.execute(query)
    except psycopg.Error as error:
        raise OperationalError(str(error)) from error
    return log._replace(events=events)
