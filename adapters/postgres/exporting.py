"""The log as lines, which the database writes: see `projections.replaying`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any, NamedTuple

import psycopg
from psycopg import Connection
from psycopg.sql import SQL, Identifier

from domain.chain import Broken
from projections.replaying import Lines

# By CSV whose quote and delimiter are in no event, for JSON spells out control
# characters: so a line is sent as it is.
LINES_OUT = SQL("""
    COPY (SELECT '{{"link":"' || encode(chain, 'hex')
              || '","id":"' || originator_id
              || '","position":' || notification_id
              || ',"version":' || originator_version
              || ',"topic":"' || topic
              || '","state":' || convert_from(state, 'UTF8') || '}}'
          FROM {log} WHERE notification_id BETWEEN 1 AND {last}
          ORDER BY notification_id)
    TO STDOUT (FORMAT CSV, QUOTE E'\\x01', DELIMITER E'\\x02')
""")
LAST = SQL("SELECT coalesce(max(notification_id), 0) FROM {log}")
ROWS = 1000  # in a piece


class Stored(NamedTuple):
    """A log in a database, up to a position."""

    database: Mapping[str, str]
    name: str
    events: int
    vouched: dict[int, str]

    @contextmanager
    def lines(self) -> Iterator[Lines]:
        """Connect; the next line is the first event's."""
        with closing(connected(self.database)) as connection:
            yield Lines(self.pieces(connection))

    def check_end(self, lines: Lines, link: str) -> None:
        """Read to the end, where the database says whether it has sent everything."""
        lines.page(1)

    def pieces(self, connection: Connection[Any]) -> Iterator[bytes]:
        """Yield the lines, many at a time; raise `Broken` where one is missing."""
        query = LINES_OUT.format(log=self.table, last=self.events)
        rows: list[bytes | memoryview] = []
        sent = 0
        with connection.cursor().copy(query) as copy:
            for row in copy:
                rows.append(row)
                if len(rows) == ROWS:
                    sent += ROWS
                    yield b"".join(rows)
                    rows.clear()
        if rows:
            yield b"".join(rows)
        if sent + len(rows) < self.events:
            raise Broken(self.events)

    @property
    def table(self) -> Identifier:
        """Where the log is."""
        return Identifier(self.database["POSTGRES_SCHEMA"], f"{self.name}_events")


def stored(database: Mapping[str, str], name: str, last: int | None = None) -> Stored:
    """Return the log of a manager of that name, to its end or to a position."""
    database = {"POSTGRES_SCHEMA": "public"} | dict(database)
    log = Stored(database, name, 0, {})
    with closing(connected(database)) as connection:
        [newest] = connection.execute(LAST.format(log=log.table)).fetchone() or [0]
    return log._replace(events=min(newest, newest if last is None else last))


def connected(database: Mapping[str, str]) -> Connection[Any]:
    """Return a connection of its own, whose end ends whatever it was sending."""
    told = {key: database.get(f"POSTGRES_{key.upper()}") for key in KEYS}
    return psycopg.connect(**{key: value for key, value in told.items() if value})


KEYS = ("dbname", "host", "port", "user", "password")
