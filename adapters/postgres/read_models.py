"""Read models in PostgreSQL: a table each, all of a page in one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from eventsourcing.postgres import PostgresDatastore
from psycopg.sql import SQL, Composable, Composed, Identifier, Placeholder

from adapters.postgres.arrays import Array, bigints, blobs, booleans, texts
from projections.reading import ReadModel, Row, Touched

CREATE = SQL("""
    CREATE TABLE IF NOT EXISTS {table} (
        key     text   PRIMARY KEY,
        created bigint NOT NULL,
        version bigint NOT NULL,
        hidden  bool   NOT NULL,
        body    bytea  NOT NULL,
        {columns}
    )
""")
CREATE_ORDER = SQL("CREATE INDEX IF NOT EXISTS {index} ON {table} (created, key)")
CREATE_AGGREGATE = SQL("CREATE INDEX IF NOT EXISTS {index} ON {table} (aggregate_id)")
CREATE_POSITION = SQL("""
    CREATE TABLE IF NOT EXISTS {position} (
        one bool PRIMARY KEY, position bigint NOT NULL
    )
""")
FIRST_POSITION = SQL("INSERT INTO {position} VALUES (true, 0) ON CONFLICT DO NOTHING")
LOCK = SQL("SELECT position FROM {position} FOR UPDATE")
REACHED = SQL("SELECT position FROM {position}")
REACH = SQL("UPDATE {position} SET position = %s")
# What a row is made of only grows, so the newer of two is the right one.
KEEP = SQL("""
    INSERT INTO {table} AS known (key, created, version, hidden, body, {names})
    SELECT * FROM unnest(%s, %s, %s, %s, %s, {values})
    ON CONFLICT (key) DO UPDATE SET (version, hidden, body, {names})
        = (excluded.version, excluded.hidden, excluded.body, {new})
    WHERE excluded.version >= known.version
""")
# An intent keeps its place in the log: the row that is replaced knows it.
DROP = SQL("DELETE FROM {table} WHERE aggregate_id = ANY (%s) AND NOT key = ANY (%s)")
FIND = SQL("""
    SELECT * FROM {table}
    WHERE (created, key) > (%(after)s, %(after_key)s) {conditions}
    ORDER BY created, key LIMIT %(limit)s
""")
OVERDUE = SQL("""
    SELECT * FROM {table}
    WHERE {column} = %s AND since < %s ORDER BY created LIMIT 1000
""")
CREATE_MEASURED = SQL("""
    CREATE TABLE IF NOT EXISTS {measured} (name text PRIMARY KEY, body bytea NOT NULL)
""")
MEASURE = SQL("""
    INSERT INTO {measured} VALUES (%s, %s)
    ON CONFLICT (name) DO UPDATE SET body = excluded.body
""")
MEASURED = SQL("SELECT name, body FROM {measured}")


class Found(NamedTuple):
    """One row that was asked for."""

    key: str
    created: int
    filters: Mapping[str, str]
    body: bytes


class PostgresReadModels:
    """Keeps rows; a page is stored with the position it reaches."""

    def __init__(
        self, datastore: PostgresDatastore, models: Sequence[ReadModel]
    ) -> None:
        self._datastore = datastore
        self._models = models
        self._names = {
            name: Identifier(datastore.schema, f"read_{name}")
            for name in ("position", "measured", *(model.name for model in models))
        }

    def create_tables(self) -> None:
        """Make what is missing."""
        with self._datastore.transaction(commit=True) as cursor:
            # Two replicas that start at once would both make the same table.
            cursor.execute("SELECT pg_advisory_xact_lock(7102)")
            for statement in (CREATE_POSITION, FIRST_POSITION, CREATE_MEASURED):
                cursor.execute(statement.format(**self._names))
            for model in self._models:
                columns = (SQL("{} text").format(Identifier(c)) for c in model.filters)
                table = self._names[model.name]
                cursor.execute(
                    CREATE.format(table=table, columns=SQL(", ").join(columns))
                )
                index = Identifier(f"read_{model.name}_order")
                cursor.execute(CREATE_ORDER.format(index=index, table=table))
                if model.replaces:
                    index = Identifier(f"read_{model.name}_aggregate")
                    cursor.execute(CREATE_AGGREGATE.format(index=index, table=table))

    def reached(self) -> int:
        """Return the position up to which the log has been read."""
        with self._datastore.cursor() as cursor:
            cursor.execute(REACHED.format(**self._names))
            row = cursor.fetchone()
            return int(row["position"]) if row else 0

    def store(self, touched: Sequence[Touched], position: int) -> None:
        """Store what a page has touched, unless another replica has."""
        with self._datastore.transaction(commit=True) as cursor:
            cursor.execute(LOCK.format(**self._names))
            row = cursor.fetchone()
            if row and row["position"] >= position:
                return
            for model in self._models:
                rows = [row for seen in touched for row in model.rows(seen)]
                table = self._names[model.name]
                if model.replaces and (known := [t for t in touched if not t.begun]):
                    of = texts(str(seen.aggregate.id) for seen in known)
                    kept = texts(row.key for row in rows)
                    cursor.execute(DROP.format(table=table), (of, kept))
                if rows:
                    cursor.execute(keep(model, table), columns(model, rows))
            cursor.execute(REACH.format(**self._names), (position,))

    def find(
        self,
        model: str,
        conditions: Mapping[str, Any],
        *,
        hidden: bool,
        after: tuple[int, str],
        limit: int,
    ) -> list[Found]:
        """Return rows in order, those behind `after` that meet the conditions."""
        asked: list[Composable] = [
            SQL("AND {} = {}").format(Identifier(name), Placeholder(name))
            for name in conditions
        ]
        if not hidden:
            asked.append(SQL("AND NOT hidden"))
        statement = FIND.format(
            table=self._names[model], conditions=SQL(" ").join(asked)
        )
        more = {"after": after[0], "after_key": after[1], "limit": limit}
        with self._datastore.cursor() as cursor:
            cursor.execute(statement, dict(conditions) | more)
            return list(map(found, cursor.fetchall()))

    def overdue(self, model: str, column: str, value: str, since: str) -> list[Found]:
        """Return rows that have been as they are since before a moment."""
        statement = OVERDUE.format(table=self._names[model], column=Identifier(column))
        with self._datastore.cursor() as cursor:
            cursor.execute(statement, (value, since))
            return list(map(found, cursor.fetchall()))

    def measure(self, name: str, body: bytes) -> None:
        """Keep what a backend's agent has told last."""
        with self._datastore.transaction(commit=True) as cursor:
            cursor.execute(MEASURE.format(**self._names), (name, body))

    def measured(self) -> dict[str, bytes]:
        """Return what every backend's agent has told last."""
        with self._datastore.cursor() as cursor:
            cursor.execute(MEASURED.format(**self._names))
            return {row["name"]: row["body"] for row in cursor.fetchall()}


def keep(model: ReadModel, table: Identifier) -> Composed:
    """Return the statement that keeps a row of a read model."""
    names = [Identifier(name) for name in model.filters]
    comma = SQL(", ")
    return KEEP.format(
        table=table,
        names=comma.join(names),
        values=comma.join([Placeholder()] * len(names)),
        new=comma.join(SQL("excluded.{}").format(name) for name in names),
    )


def found(row: dict[str, Any]) -> Found:
    """Return a row as those who ask want it."""
    return Found(row["key"], row["created"], row, row["body"])


def columns(model: ReadModel, rows: Sequence[Row]) -> list[Array]:
    """Return rows as their statement takes them: a list a column."""
    return [
        texts(row.key for row in rows),
        bigints(row.created for row in rows),
        bigints(row.version for row in rows),
        booleans(row.hidden for row in rows),
        blobs(msgspec.json.encode(row.body) for row in rows),
        *(texts(row.filters[name] for row in rows) for name in model.filters),
    ]
