"""Read models in PostgreSQL: a table each, all of a page in one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import msgspec
from eventsourcing.postgres import PostgresDatastore
from psycopg import Cursor
from psycopg.sql import SQL, Composable, Identifier, Placeholder

from adapters.postgres.arrays import Array, bigints, blobs, booleans, texts
from projections.reading import ReadModel, Row, Touched

CREATE_KEPT = SQL("""
    CREATE TABLE IF NOT EXISTS {kept} (
        name       text   NOT NULL,
        generation bigint NOT NULL,
        position   bigint NOT NULL,
        failure    bytea,
        PRIMARY KEY (name, generation)
    )
""")
CREATE_MEASURED = SQL("""
    CREATE TABLE IF NOT EXISTS {measured} (name text PRIMARY KEY, body bytea NOT NULL)
""")
# By which edition of its model a table is made; where nothing is said, by the first.
# No column of the other, for versions that run beside ours have asked for all it has.
CREATE_EDITIONS = SQL("""
    CREATE TABLE IF NOT EXISTS {editions} (
        name       text   NOT NULL,
        generation bigint NOT NULL,
        edition    bigint NOT NULL,
        PRIMARY KEY (name, generation)
    )
""")
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
CREATE_ORDER = SQL("CREATE INDEX IF NOT EXISTS {order} ON {table} (created, key)")
CREATE_AGING = SQL("CREATE INDEX IF NOT EXISTS {by_age} ON {table} ({aging}, since)")
# Two who begin at once would both make the same table: until the other's is there,
# its row cannot be seen, nor waited for.
ALONE = SQL("SELECT pg_advisory_xact_lock(7102)")
BEGIN = SQL("INSERT INTO {kept} VALUES (%s, %s, %s)")
MADE_BY = SQL("INSERT INTO {editions} VALUES (%s, %s, %s)")
# Readers ask by the model's name for whatever table there is of it.
SHOW = SQL("CREATE VIEW {view} AS SELECT * FROM {table}")
# Somebody may have dropped it, or the table, which takes it along.
HIDE = SQL("DROP VIEW IF EXISTS {view}")
# Version 0.1.0 had one table a model, and one position for all.
OLD = SQL("SELECT to_regclass({name}) IS NOT NULL AS there")
OLD_POSITION = SQL("SELECT position FROM {position}")
DROP_OLD = SQL("DROP TABLE {position}")
RENAME = SQL("ALTER TABLE {view} RENAME TO {renamed}")
RENAME_ORDER = SQL("ALTER INDEX {old_order} RENAME TO {order}")

KEPT = SQL("SELECT * FROM {kept} ORDER BY name, generation")
GENERATIONS = SQL("SELECT * FROM {kept} WHERE name = %s ORDER BY generation FOR UPDATE")
NEWEST_EDITION = SQL("""
    SELECT max(coalesce(edition, 1)) AS edition
    FROM {kept} LEFT JOIN {editions} USING (name, generation) WHERE name = %s
""")
GO_ON_AS = SQL("UPDATE {editions} SET edition = %s WHERE name = %s AND edition > %s")
REACHED = SQL("SELECT coalesce(max(position), 0) AS position FROM {kept}")
# Losing the last moments of a read model only repeats them, so nothing waits for
# the disk. A model that is not where it was thought to be keeps nothing.
STORE = SQL("""
    WITH moved AS (
        UPDATE {kept} SET position = %s, failure = NULL
        WHERE position = %s AND (name, generation) IN ({models})
        RETURNING name, generation
    ){changes}
    SELECT count(*) AS moved, set_config('synchronous_commit', 'off', true) FROM moved
""")
# What a row is made of only grows, so the newer of two is the right one.
KEEP = SQL(""", {change} AS (
    INSERT INTO {table} AS known (key, created, version, hidden, body, {names})
    SELECT * FROM unnest(%s, %s, %s, %s, %s, {values}) WHERE {moved}
    ON CONFLICT (key) DO UPDATE SET (version, hidden, body, {names})
        = (excluded.version, excluded.hidden, excluded.body, {new})
    WHERE excluded.version >= known.version
)""")
DROP = SQL(", {change} AS (DELETE FROM {table} WHERE key = ANY (%s) AND {moved})")
CHANGES = {"keep": KEEP, "drop": DROP}
MOVED = SQL(
    "EXISTS (SELECT FROM moved WHERE (name, generation) = ({name}, {generation}))"
)
STOP = SQL("""
    UPDATE {kept} SET failure = %s
    WHERE name = %s AND generation = %s AND position = %s
""")
IMPATIENT = SQL("SET LOCAL lock_timeout = '2s'")
DROP_TABLE = SQL("DROP TABLE IF EXISTS {table}")
FORGET = SQL("DELETE FROM {kept} WHERE name = %s AND generation = %s")
FORGET_EDITION = SQL("DELETE FROM {editions} WHERE name = %s AND generation = %s")
FIND = SQL("""
    WITH live AS (
        SELECT position, failure, generation FROM {kept} WHERE name = {model}
        ORDER BY generation LIMIT 1
    )
    SELECT * FROM live LEFT JOIN (
        SELECT * FROM {view}
        WHERE (created, key) > (%(after)s, %(after_key)s) {conditions}
        ORDER BY created, key LIMIT %(limit)s
    ) AS found ON true ORDER BY created, key
""")
OVERDUE = SQL("""
    SELECT found.* FROM unnest(%s, %s) AS due (value, before) CROSS JOIN LATERAL (
        SELECT * FROM {view} WHERE {aging} = value AND since < before
        ORDER BY since LIMIT 1000
    ) AS found
""")
OLDEST = SQL("""
    SELECT value, (SELECT min(since) FROM {view} WHERE {aging} = value) AS since
    FROM unnest(%s) AS asked (value)
""")
MEASURE = SQL("""
    INSERT INTO {measured} VALUES (%s, %s)
    ON CONFLICT (name) DO UPDATE SET body = excluded.body
""")
MEASURED = SQL("SELECT name, body FROM {measured}")


class Failure(msgspec.Struct, frozen=True):
    """Why a read model has stopped: the event that it could not take in."""

    position: int
    topic: str
    message: str


class Kept(NamedTuple):
    """A table of a read model, the position it has come to, and why it stopped.

    Of several generations the lowest is read, and the others are being built.
    """

    name: str
    generation: int
    position: int
    failure: Failure | None


class Found(NamedTuple):
    """One row that was asked for."""

    key: str
    created: int
    filters: Mapping[str, str]
    body: bytes


class Page(NamedTuple):
    """Rows that were asked for, and how far their read model is.

    In a table of another generation rows may be in other places.
    """

    rows: list[Found]
    position: int
    failure: Failure | None
    generation: int


class PostgresReadModels:
    """Keeps rows; a page is stored with the position it reaches."""

    def __init__(
        self, datastore: PostgresDatastore, models: Sequence[ReadModel]
    ) -> None:
        self.models = {model.name: model for model in models}
        self._datastore = datastore
        self._names = {
            "kept": Identifier(datastore.schema, "read_models"),
            "editions": Identifier(datastore.schema, "read_editions"),
            "measured": Identifier(datastore.schema, "read_measured"),
            "position": Identifier(datastore.schema, "read_position"),
        }
        # Composing a statement costs as much as storing a page.
        self._storing = cache(self._store)

    def create_tables(self) -> None:
        """Make what is missing."""
        with self._datastore.transaction(commit=True) as cursor:
            cursor.execute(ALONE)
            for statement in (CREATE_KEPT, CREATE_EDITIONS, CREATE_MEASURED):
                cursor.execute(statement.format(**self._names))
            cursor.execute(KEPT.format(**self._names))
            missing = self.models.keys() - {row["name"] for row in cursor.fetchall()}
            adopted = self._adopt(cursor, missing)
            for name in missing:
                self._create(cursor, name, 1, adopted.get(name, 0))
                if name not in adopted:
                    self._is_made(cursor, name, 1)
                cursor.execute(SHOW.format(**self._named(name, 1)))

    def kept(self) -> list[Kept]:
        """Return the tables of all read models."""
        with self._datastore.cursor() as cursor:
            cursor.execute(KEPT.format(**self._names))
            return [
                kept(row) for row in cursor.fetchall() if row["name"] in self.models
            ]

    def reached(self) -> int:
        """Return the position up to which the log has been read."""
        with self._datastore.cursor() as cursor:
            cursor.execute(REACHED.format(**self._names))
            return int((cursor.fetchone() or {"position": 0})["position"])

    def store(
        self, tables: Sequence[Kept], touched: Sequence[Touched], position: int
    ) -> bool:
        """Store what a page has touched in tables that are where the page begins.

        Returns whether all of them were.
        """
        changes: list[tuple[str, Kept]] = []
        values: list[Any] = [position, tables[0].position]
        for table in tables:
            model = self.models[table.name]
            if rows := [row for seen in touched for row in model.rows(seen)]:
                changes.append(("keep", table))
                values += columns(model, rows)
            if ended := [key for seen in touched for key in model.ended(seen)]:
                changes.append(("drop", table))
                values.append(texts(ended))
        statement = self._storing(
            tuple(table[:2] for table in tables),
            tuple((change, *table[:2]) for change, table in changes),
        )
        with self._datastore.cursor() as cursor:
            cursor.execute(statement, values)
            told = cursor.fetchone()
            return bool(told and told["moved"] == len(tables))

    def stop(self, table: Kept, failure: Failure) -> None:
        """Note why a table is kept no longer."""
        told = msgspec.json.encode(failure)
        with self._datastore.transaction(commit=True) as cursor:
            cursor.execute(STOP.format(**self._names), (told, *table[:3]))

    def rebuild(self, name: str) -> Kept:
        """Return the table that is being built beside the one that is read.

        One that has stopped is begun anew.
        """
        with self._datastore.transaction(commit=True) as cursor:
            cursor.execute(ALONE)
            live, *others = self._generations(cursor, name)
            if going_on := [other for other in others if not other.failure]:
                return going_on[0]
            return self._anew(cursor, live, others)

    def renew(self) -> None:
        """Begin anew, beside it, each table that an earlier edition of its model made.

        One that a later version of ours has made is of our edition from here on, so
        that it is begun anew when that version keeps it again.
        """
        for name, model in self.models.items():
            ours = model.edition, name, model.edition
            with self._datastore.transaction(commit=True) as cursor:
                cursor.execute(ALONE)
                live, *others = self._generations(cursor, name)
                cursor.execute(GO_ON_AS.format(**self._names), ours)
                cursor.execute(NEWEST_EDITION.format(**self._names), (name,))
                made_by = (cursor.fetchone() or {"edition": 1})["edition"]
                if made_by < model.edition:
                    self._anew(cursor, live, others)

    def swap(self, built: Kept) -> None:
        """Have readers read the table that was built, and drop the one before."""
        names = self._named(built.name, built.generation)
        with self._datastore.transaction(commit=True) as cursor:
            cursor.execute(IMPATIENT)
            live, *others = self._generations(cursor, built.name)
            if any(other.generation == built.generation for other in others):
                # First the view, which waits for those who are reading.
                cursor.execute(HIDE.format(**names))
                self._drop(cursor, live)
                cursor.execute(SHOW.format(**names))

    def find(
        self,
        model: str,
        conditions: Mapping[str, Any],
        *,
        hidden: bool,
        after: tuple[int, str],
        limit: int,
    ) -> Page:
        """Return rows in order, those behind `after` that meet the conditions."""
        asked: list[Composable] = [
            SQL("AND {} = {}").format(Identifier(name), Placeholder(name))
            for name in conditions
        ]
        if not hidden:
            asked.append(SQL("AND NOT hidden"))
        statement = FIND.format(
            **self._named(model), model=model, conditions=SQL(" ").join(asked)
        )
        more = {"after": after[0], "after_key": after[1], "limit": limit}
        with self._datastore.cursor() as cursor:
            cursor.execute(statement, dict(conditions) | more)
            rows = cursor.fetchall()
        live = kept(rows[0] | {"name": model})
        there = [found(row) for row in rows if row["key"] is not None]
        return Page(there, live.position, live.failure, live.generation)

    def overdue(self, model: str, before: Mapping[str, str]) -> list[Found]:
        """Return rows that have stayed with a value since before a moment."""
        due = texts(before), texts(before.values())
        with self._datastore.cursor() as cursor:
            cursor.execute(OVERDUE.format(**self._named(model)), due)
            return list(map(found, cursor.fetchall()))

    def oldest(self, model: str, values: Iterable[str]) -> dict[str, str | None]:
        """Return since when the row has stayed with each value that did for longest."""
        with self._datastore.cursor() as cursor:
            cursor.execute(OLDEST.format(**self._named(model)), (texts(values),))
            return {row["value"]: row["since"] for row in cursor.fetchall()}

    def measure(self, name: str, body: bytes) -> None:
        """Keep what a backend's agent has told last."""
        with self._datastore.transaction(commit=True) as cursor:
            cursor.execute(MEASURE.format(**self._names), (name, body))

    def measured(self) -> dict[str, bytes]:
        """Return what every backend's agent has told last."""
        with self._datastore.cursor() as cursor:
            cursor.execute(MEASURED.format(**self._names))
            return {row["name"]: row["body"] for row in cursor.fetchall()}

    def _adopt(self, cursor: Cursor[Any], missing: Iterable[str]) -> dict[str, int]:
        """Take over the tables of version 0.1.0, and return where each is."""
        if not self._is_there(cursor, "read_position"):
            return {}
        cursor.execute(OLD_POSITION.format(**self._names))
        reached = int((cursor.fetchone() or {"position": 0})["position"])
        adopted = [name for name in missing if self._is_there(cursor, f"read_{name}")]
        for name in adopted:
            names = self._named(name, 1)
            renamed = Identifier(f"read_{name}_1")
            cursor.execute(RENAME.format(**names, renamed=renamed))
            order = Identifier(self._datastore.schema, f"read_{name}_order")
            cursor.execute(RENAME_ORDER.format(**names, old_order=order))
        cursor.execute(DROP_OLD.format(**self._names))
        return dict.fromkeys(adopted, reached)

    def _is_there(self, cursor: Cursor[Any], table: str) -> bool:
        named = f'"{self._datastore.schema}".{table}'
        cursor.execute(OLD.format(name=named))
        return bool((cursor.fetchone() or {})["there"])

    def _create(
        self, cursor: Cursor[Any], name: str, generation: int, position: int
    ) -> None:
        """Make a table of a read model and note where it is."""
        model, names = self.models[name], self._named(name, generation)
        filters = (SQL("{} text").format(Identifier(c)) for c in model.filters)
        cursor.execute(CREATE.format(**names, columns=SQL(", ").join(filters)))
        cursor.execute(CREATE_ORDER.format(**names))
        if model.aging:
            cursor.execute(CREATE_AGING.format(**names))
        cursor.execute(BEGIN.format(**names), (name, generation, position))

    def _is_made(self, cursor: Cursor[Any], name: str, generation: int) -> None:
        """Note that it is made by our edition of the model."""
        made = name, generation, self.models[name].edition
        cursor.execute(MADE_BY.format(**self._names), made)

    def _anew(self, cursor: Cursor[Any], live: Kept, others: Sequence[Kept]) -> Kept:
        """Begin a table beside the one that is read, in the place of those others."""
        for other in others:
            self._drop(cursor, other)
        name, generation = live.name, max([live, *others]).generation + 1
        self._create(cursor, name, generation, 0)
        self._is_made(cursor, name, generation)
        return Kept(name, generation, 0, None)

    def _generations(self, cursor: Cursor[Any], name: str) -> list[Kept]:
        """Return a read model's tables, and let nobody change them meanwhile."""
        cursor.execute(GENERATIONS.format(**self._names), (name,))
        return [kept(row) for row in cursor.fetchall()]

    def _drop(self, cursor: Cursor[Any], table: Kept) -> None:
        cursor.execute(DROP_TABLE.format(**self._named(*table[:2])))
        for forgotten in (FORGET, FORGET_EDITION):
            cursor.execute(forgotten.format(**self._names), table[:2])

    def _named(self, name: str, generation: int = 0) -> dict[str, Identifier]:
        """Return the names of a read model's things; other tables as ever."""
        schema, table = self._datastore.schema, f"read_{name}_{generation}"
        return self._names | {
            "view": Identifier(schema, f"read_{name}"),
            "table": Identifier(schema, table),
            "order": Identifier(f"{table}_order"),
            "by_age": Identifier(f"{table}_by_age"),
            "aging": Identifier(self.models[name].aging or ""),
        }

    def _store(
        self,
        tables: tuple[tuple[str, int], ...],
        changes: tuple[tuple[str, str, int], ...],
    ) -> bytes:
        comma, parts = SQL(", "), []
        for number, (change, name, generation) in enumerate(changes):
            filters = [Identifier(column) for column in self.models[name].filters]
            parts.append(
                CHANGES[change].format(
                    **self._named(name, generation),
                    change=Identifier(f"change_{number}"),
                    moved=MOVED.format(name=name, generation=generation),
                    names=comma.join(filters),
                    values=comma.join([Placeholder()] * len(filters)),
                    new=comma.join(SQL("excluded.{}").format(f) for f in filters),
                )
            )
        named = (SQL("({}, {})").format(*table) for table in tables)
        return STORE.format(
            **self._names, models=comma.join(named), changes=SQL("").join(parts)
        ).as_bytes(None)


def kept(row: dict[str, Any]) -> Kept:
    """Return what is noted about a table."""
    told = row["failure"]
    failure = msgspec.json.decode(told, type=Failure) if told else None
    return Kept(row["name"], row["generation"], row["position"], failure)


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
        blobs(encode(row.body) for row in rows),
        *(texts(row.filters[name] for row in rows) for name in model.filters),
    ]


encode = msgspec.json.Encoder().encode
