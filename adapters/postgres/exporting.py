"""The log as lines, which the database writes: see `projections.replaying`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any, NamedTuple, cast

import psycopg
from eventsourcing.persistence import OperationalError
from psycopg import Connection
from psycopg.sql import SQL, Identifier

from adapters.postgres.recorder import LogRecorder
from projections.replaying import WHOLE, Cut, Lines, Share

# By CSV whose quote and delimiter are in no event, for JSON spells out control
# characters: so a line is sent as it is. Of a share that others take it is enough
# whose a line is, and its link.
LINES_OUT = SQL("""
    COPY (SELECT '{{"link":"' || encode(chain, 'hex') || '","id":"' || originator_id
              || CASE WHEN get_byte(uuid_send(originator_id), 15) % {of} = {share}
                 THEN '","position":' || notification_id
                   || ',"version":' || originator_version
                   || ',"topic":"' || topic
                   || '","state":' || convert_from(state, 'UTF8') || '}}'
                 ELSE '' END
          FROM {log} WHERE notification_id BETWEEN 1 AND {last}
          ORDER BY notification_id)
    TO STDOUT (FORMAT CSV, QUOTE E'\\x01', DELIMITER E'\\x02')
""")
LAST = SQL("SELECT coalesce(max(notification_id), 0) FROM {log}")
WAY = ("dbname", "host", "port", "user", "password")
ROWS = 1000  # in a piece


class Stored(NamedTuple):
    """A log in a database, up to a position; `way` is libpq's to get there."""

    way: dict[str, Any]
    table: tuple[str, ...]
    events: int = 0
    vouched: Mapping[int, str] = {}

    @contextmanager
    def lines(self, share: Share = WHOLE) -> Iterator[Lines]:
        """Connect; the next line is the first event's."""
        with self.sent(share) as pieces:
            yield Lines(pieces)

    @contextmanager
    def sent(self, share: Share = WHOLE) -> Iterator[Iterator[bytes]]:
        """Connect; what is sent are lines, `ROWS` in a piece."""
        with closing(psycopg.connect(**self.way)) as connection:
            yield self._pieces(connection, share)

    def check_end(self, lines: Lines, link: str) -> None:
        """Read to the end, where the database says whether it has sent everything."""
        lines.page(1)

    def _pieces(self, connection: Connection[Any], share: Share) -> Iterator[bytes]:
        """Yield the lines; raise `Cut` where they cannot be read."""
        query = LINES_OUT.format(
            log=Identifier(*self.table),
            last=self.events,
            share=share.number,
            of=share.of,
        )
        rows: list[Any] = []
        sent = 0
        try:
            with connection.cursor().copy(query) as copy:
                for row in copy:
                    rows.append(row)
                    if len(rows) == ROWS:
                        yield b"".join(rows)
                        sent += ROWS
                        rows.clear()
        except psycopg.Error as error:
            raise Cut(f"the database cannot send it: {error}") from error
        if rows:
            yield b"".join(rows)
        if sent + len(rows) < self.events:
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
    query = LAST.format(log=Identifier(*log.table))
    try:
        with closing(psycopg.connect(**log.way)) as connection:
            [newest] = connection.execute(query).fetchone() or [0]
    except psycopg.Error as error:
        raise OperationalError(str(error)) from error
    return log._replace(events=newest if last is None else min(newest, last))
