"""The log in PostgreSQL: appended in batches, in one order, each row chained.

The library's recorder keeps the order by a table lock, this one by a lock of its
own: position n is never visible before n - 1. It differs in that a batch is one call
of a function, that the chain is continued, and that the same transaction confirms
what its decisions were based on and keeps the answers that callers were given.
Never set POSTGRES_ENABLE_DB_FUNCTIONS: it silently drops the library's lock, and
readers that follow the log then miss events.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any, NamedTuple, cast
from uuid import UUID
from weakref import WeakSet

import psycopg
from eventsourcing.persistence import (
    IntegrityError,
    PersistenceError,
    StoredEvent,
)
from eventsourcing.postgres import PostgresApplicationRecorder, PostgresDatastore
from psycopg import Connection, Cursor
from psycopg.pq import ExecStatus, Format
from psycopg.pq.abc import PGresult
from psycopg.rows import DictRow
from psycopg.sql import SQL, Identifier, Literal

from adapters.postgres.arrays import Array, bigints, texts, uuids
from adapters.postgres.batch import (
    WORK,
    Batch,
    CommitUnknown,
    Conflict,
    Stored,
    arrays,
    stored_of,
)
from adapters.postgres.writable import Full, ReadOnly

CREATE_LOG = SQL("""
    CREATE TABLE IF NOT EXISTS {log} (
        originator_id      uuid   NOT NULL,
        originator_version bigint NOT NULL,
        topic              text   NOT NULL,
        state              bytea  NOT NULL,
        notification_id    bigint NOT NULL,
        chain              bytea  NOT NULL,
        PRIMARY KEY (originator_id, originator_version)
    )
""")
CREATE_KEYS = SQL("""
    CREATE TABLE IF NOT EXISTS {keys} (
        request_id   text   PRIMARY KEY,
        fingerprint  bytea  NOT NULL,
        aggregate_id uuid   NOT NULL,
        version      bigint NOT NULL,
        part_id      uuid,
        position     bigint NOT NULL
    )
""")
CREATE_PARTS = SQL("""
    CREATE TABLE IF NOT EXISTS {parts} (
        part_id  uuid PRIMARY KEY,
        whole_id uuid NOT NULL
    )
""")
CREATE_ALLOCATIONS = SQL("""
    CREATE TABLE IF NOT EXISTS {allocations} (
        backend text   PRIMARY KEY,
        gib     bigint NOT NULL
    )
""")
MOVED_ON = """
    SELECT id FROM unnest(%s, %s) AS decided (id, version)
    WHERE version <> coalesce(
        (SELECT max(originator_version) FROM {log} WHERE originator_id = id), 0)
"""
# The whole of a batch in one round trip: a transaction never waits for a client.
# Its dozen statements are planned once, for anew for each batch takes as long as they
# do; by index, for the tables grow after that.
# The lock is not the table's, whose every mode that shuts out another writer shuts out
# autovacuum too: batches waited a second for it to be cancelled, again and again.
# Under the lock each statement sees what others have stored. What the batch writes
# needs no question, the primary key answers it.
CREATE_APPEND = SQL("""
    CREATE OR REPLACE FUNCTION {append}(
        looked_at uuid[], looked_versions bigint[],
        asked text[], new_ids uuid[], new_parts uuid[], wholes uuid[],
        seen_backends text[], seen_gib bigint[],
        ids uuid[], versions bigint[], topics text[], states bytea[],
        kept text[], fingerprints bytea[], shown uuid[], shown_versions bigint[],
        shown_parts uuid[], key_events bigint[], key_positions bigint[],
        backends text[], taken_gib bigint[], limits bigint[], words text[],
        OUT conflict jsonb, OUT last bigint, OUT allocated jsonb
    ) LANGUAGE plpgsql
        SET lock_timeout = '5s'
        SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $append$
    DECLARE
        link bytea; links bytea[]; moved_on uuid[]; used jsonb; taken jsonb;
    BEGIN
        PERFORM pg_advisory_xact_lock('{log}'::regclass::oid::bigint);
        moved_on := array(
            SELECT id FROM unnest(looked_at, looked_versions) AS decided (id, version)
            WHERE version <> coalesce(
                (SELECT max(originator_version) FROM {log} WHERE originator_id = id), 0)
            UNION ALL
            SELECT part_id FROM {parts} WHERE part_id = ANY (new_ids)
            UNION ALL
            SELECT originator_id FROM {log}
            WHERE originator_id = ANY (new_parts) AND originator_version = 1);
        IF asked <> '{{}}' THEN
            SELECT jsonb_agg(known) INTO used FROM {keys} AS known
            WHERE request_id = ANY (asked);
        END IF;
        SELECT jsonb_object_agg(backend, gib) INTO taken FROM (
            SELECT known.backend, known.gib FROM {allocations} AS known
            JOIN unnest(seen_backends, seen_gib) AS seen (backend, gib)
                ON known.backend = seen.backend AND known.gib < seen.gib
            UNION
            SELECT more.backend, coalesce(known.gib, 0)
            FROM unnest(backends, taken_gib, limits) AS more (backend, gib, most)
            LEFT JOIN {allocations} AS known ON known.backend = more.backend
            WHERE coalesce(known.gib, 0) + more.gib > more.most
        ) AS wrong;
        IF moved_on <> '{{}}' OR used IS NOT NULL OR taken IS NOT NULL THEN
            conflict := jsonb_build_object(
                'moved_on', moved_on, 'used', coalesce(used, '[]'),
                'allocated', coalesce(taken, '{{}}'));
            RETURN;
        END IF;
        SELECT notification_id, chain INTO last, link FROM {log}
        ORDER BY notification_id DESC LIMIT 1;
        last := coalesce(last, 0);
        link := coalesce(link, decode(repeat('00', 32), 'hex'));
        FOR i IN 1 .. cardinality(ids) LOOP
            link := sha256(link
                || int4send(16) || uuid_send(ids[i])
                || int4send(8) || int8send(versions[i])
                || int4send(octet_length(topics[i])) || convert_to(topics[i], 'UTF8')
                || int4send(octet_length(states[i])) || states[i]);
            links[i] := link;
        END LOOP;
        INSERT INTO {log}
            (originator_id, originator_version, topic, state, notification_id, chain)
        SELECT id, version, topic, state, last + n, chain
        FROM unnest(ids, versions, topics, states, links)
            WITH ORDINALITY AS e (id, version, topic, state, chain, n)
        ORDER BY n;
        INSERT INTO {keys}
            (request_id, fingerprint, aggregate_id, version, part_id, position)
        SELECT id, print, aggregate, version, part,
            CASE WHEN event > 0 THEN last + event ELSE position END
        FROM unnest(kept, fingerprints, shown, shown_versions, shown_parts,
                    key_events, key_positions)
            AS k (id, print, aggregate, version, part, event, position);
        INSERT INTO {parts} (part_id, whole_id) SELECT * FROM unnest(new_parts, wholes);
        WITH now AS (
            INSERT INTO {allocations} AS known (backend, gib)
            SELECT * FROM unnest(backends, taken_gib)
            ON CONFLICT (backend) DO UPDATE SET gib = known.gib + excluded.gib
            RETURNING backend, gib)
        SELECT coalesce(jsonb_object_agg(backend, gib), '{{}}') INTO allocated FROM now;
        PERFORM pg_notify({channel}, word) FROM unnest(words) AS word;
    END $append$
""")
APPEND = "SELECT * FROM {append}(" + ", ".join(f"${n}" for n in range(1, 24)) + ")"
NAME = b"append"  # of that statement, on a connection that has it prepared
LOCK = "SELECT pg_advisory_xact_lock('{log}'::regclass::oid::bigint)"
ALLOCATED = "SELECT backend, gib FROM {allocations}"
GIVEN_BACK = """
    SELECT known.backend, known.gib FROM {allocations} AS known
    JOIN unnest(%s, %s) AS seen (backend, gib)
    ON known.backend = seen.backend AND known.gib < seen.gib
"""
HOLDS = """
    SELECT notification_id FROM {log}
    WHERE originator_id = %s AND originator_version = %s AND state = %s
"""
HISTORIES = """
    SELECT topic, state, notification_id FROM {log} WHERE originator_id = ANY (%s)
    ORDER BY originator_id, originator_version
"""
HISTORY = """
    SELECT topic, state, notification_id FROM {log}
    WHERE originator_id = %s AND originator_version BETWEEN %s AND %s
    ORDER BY originator_version
"""
PARTS = "SELECT part_id, whole_id FROM {parts} WHERE part_id = ANY (%s)"

HURRY = "SELECT pg_notify({channel}, %s)"

FIRST_SECONDS = 4.0
# A host that is gone says no goodbye: what waits for it would wait for a quarter of an
# hour or two, though another has taken its place. One that is frozen still answers.
GONE_AFTER = {
    "tcp_user_timeout": 10_000,  # milliseconds
    "keepalives_idle": 5,  # seconds, as the next
    "keepalives_interval": 2,
    "keepalives_count": 3,
}
# Otherwise what a database, a user or the environment has set says what text we send,
# and with SQL_ASCII all text comes back as bytes.
TEXT = {"client_encoding": "UTF8"}
ENCODING = SQL("SHOW server_encoding")
# A connection waits for as long as nobody asks anything, whatever a database or a user
# has set: the first command after a quiet time would be told that it is lost.
PATIENT = SQL("SET idle_session_timeout = 0")


Configure = Callable[[Connection[Any]], None]


class Written(NamedTuple):
    """An event as the log has it."""

    topic: str
    state: bytes
    position: int


class NotUnicode(PersistenceError):
    """The database cannot keep all text, as it was made for an encoding of its own."""

    def __init__(self, encoding: str) -> None:
        super().__init__(encoding)
        self.encoding = encoding

    def __str__(self) -> str:
        return (
            f"the database's encoding is {self.encoding}, not UTF8; make one with "
            "`createdb --encoding UTF8 --template template0`"
        )


class LogRecorder(PostgresApplicationRecorder):
    """Appends batches to the log, from any number of processes."""

    def __init__(self, datastore: PostgresDatastore, **kwargs: Any) -> None:
        # A slow machine takes longer for its first connection than a reader may wait.
        pool = datastore.pool
        pool.kwargs = {**cast("dict[str, Any]", pool.kwargs), **GONE_AFTER, **TEXT}
        pool._configure = patient(pool._configure)  # noqa: SLF001 - only told when made
        pool.timeout, reader = FIRST_SECONDS, pool.timeout
        try:
            super().__init__(datastore, **kwargs)
        finally:
            pool.timeout = reader
        # By default the pool tries after 1, 2, 4, 8 … seconds: a database that was
        # away for half a minute would be found half a minute after it came back.
        pool.reconnect_timeout = 1.0
        self._names = {
            "log": Identifier(datastore.schema, self.events_table_name),
            **{
                name: Identifier(datastore.schema, f"{self.events_table_name}_{name}")
                for name in ("keys", "parts", "allocations", "append")
            },
            "channel": Literal(self.channel_name),
        }
        # Naming costs more than sending, so each statement is named once.
        self.sql = cache(self._named)
        self._prepared: WeakSet[Connection[Any]] = WeakSet()
        create = self.sql_create_statements
        create[self.create_table_statement_index] = CREATE_LOG.format(**self._names)
        # Two replicas that start at once would both make the same function.
        create.insert(0, SQL("SELECT pg_advisory_xact_lock(7101)").format())
        create += [
            table.format(**self._names)
            for table in (CREATE_KEYS, CREATE_PARTS, CREATE_ALLOCATIONS, CREATE_APPEND)
        ]

    def create_table(self) -> None:
        """Make what is missing. Raises `NotUnicode`."""
        with self.datastore.transaction(commit=False) as cursor:
            cursor.execute(ENCODING)
            [encoding] = cast("dict[str, str]", cursor.fetchone()).values()
        if encoding != "UTF8":
            raise NotUnicode(encoding)
        super().create_table()

    def insert_events(
        self, stored_events: Sequence[StoredEvent], **_: Any
    ) -> Sequence[int]:
        """Append as the library asks: each event must follow the one before it."""
        based_on: dict[UUID, int] = {}
        for stored in stored_events:
            based_on.setdefault(
                UUID(str(stored.originator_id)), stored.originator_version - 1
            )
        return self.append(Batch(stored_events, based_on)).positions

    def append(self, batch: Batch) -> Stored:
        """Store the batch and return the positions of its events.

        Raises `Conflict`, `Unwritable` or `OperationalError`, and nothing was stored;
        or `CommitUnknown`, and `holds` will tell.
        """
        if not (batch.events or batch.kept or batch.asked):
            return self._confirm(batch)
        try:
            with self.datastore.cursor() as cursor:
                return self.append_with(cursor, batch)
        except Conflict:
            raise
        except IntegrityError:
            # The primary key refused an event; the query says whose.
            self._confirm(batch)
            raise

    def append_with(self, cursor: Cursor[DictRow], batch: Batch) -> Stored:
        """Store the batch in the transaction of a cursor, or in one of its own."""
        connection = cursor.connection
        with certain(connection, batch):
            return stored_of(batch, self.call(connection, arrays(batch)))

    def call(self, connection: Connection[Any], values: Sequence[Array]) -> PGresult:
        """Return what the function that appends tells, as text.

        By libpq itself: psycopg takes twice as long over a batch of one.
        """
        if connection not in self._prepared:
            self.prepare(connection)
        try:
            return self._execute(connection, values)
        except psycopg.errors.InvalidSqlStatementName:
            # psycopg forgets for all what it has prepared for one, after a rollback.
            self.prepare(connection)
            return self._execute(connection, values)

    def prepare(self, connection: Connection[Any]) -> None:
        """Let a connection know the function that appends, if it does not."""
        types = [value.OID for value in arrays(Batch())]
        with suppress(psycopg.errors.DuplicatePreparedStatement):
            checked(connection.pgconn.prepare(NAME, self.sql(APPEND), types))
        self._prepared.add(connection)

    def _execute(
        self, connection: Connection[Any], values: Sequence[Array]
    ) -> PGresult:
        formats = [Format.BINARY] * len(values)
        return checked(connection.pgconn.exec_prepared(NAME, values, formats))

    def holds(self, unknown: CommitUnknown) -> Stored | None:
        """Return what came of a commit of which nothing was heard, None if nothing.

        The lock waits for the lost transaction, which may still be committing.
        """
        last = unknown.events[-1]
        sought = last.originator_id, last.originator_version, last.state
        with self.datastore.transaction(commit=False) as cursor:
            cursor.execute(self.sql(LOCK))
            cursor.execute(self.sql(HOLDS), sought)
            for found in cursor.fetchall():
                end = found["notification_id"] + 1
                cursor.execute(self.sql(ALLOCATED))
                allocated = {row["backend"]: row["gib"] for row in cursor}
                return Stored(range(end - len(unknown.events), end), allocated)
        return None

    def histories(self, ids: Sequence[UUID]) -> list[Written]:
        """Return the aggregates' events, oldest first."""
        with self.datastore.cursor() as cursor:
            cursor.execute(self.sql(HISTORIES), (list(ids),), binary=True)
            return [Written(*row.values()) for row in cursor.fetchall()]

    def history(
        self, aggregate_id: UUID, first: int = 1, last: int = 2**62
    ) -> list[Written]:
        """Return one aggregate's events between two versions, oldest first."""
        with self.datastore.cursor() as cursor:
            cursor.execute(self.sql(HISTORY), (aggregate_id, first, last), binary=True)
            return [Written(*row.values()) for row in cursor.fetchall()]

    def wholes(self, ids: Sequence[UUID]) -> dict[UUID, UUID]:
        """Return what the ids that are known as parts are parts of."""
        with self.datastore.cursor() as cursor:
            cursor.execute(self.sql(PARTS), (list(ids),))
            return {row["part_id"]: row["whole_id"] for row in cursor.fetchall()}

    def allocated(self) -> dict[str, int]:
        """Return how many GiB of each backend are taken."""
        with self.datastore.cursor() as cursor:
            cursor.execute(self.sql(ALLOCATED))
            return {row["backend"]: row["gib"] for row in cursor.fetchall()}

    def hurry(self) -> None:
        """Have whoever follows the log look at it now."""
        with self.datastore.cursor() as cursor:
            cursor.execute(self.sql(HURRY), (WORK,))

    def _confirm(self, batch: Batch) -> Stored:
        """Raise `Conflict` unless a batch that stores nothing saw the newest state."""
        looked_at, seen = batch.based_on, batch.seen
        with self.datastore.cursor() as cursor:
            looked = uuids(looked_at), bigints(looked_at.values())
            cursor.execute(self.sql(MOVED_ON), looked)
            moved_on = {row["id"] for row in cursor.fetchall()}
            given_back = {}
            if seen:
                thought = texts(seen), bigints(seen.values())
                cursor.execute(self.sql(GIVEN_BACK), thought)
                given_back = {row["backend"]: row["gib"] for row in cursor}
            if moved_on or given_back:
                raise Conflict(moved_on, (), given_back)
        return Stored(range(0), {})

    def _named(self, statement: str) -> bytes:
        """Name the tables of this log in a statement."""
        names = {name: table.as_string(None) for name, table in self._names.items()}
        return statement.format(**names).encode()


def patient(configure: Configure | None) -> Configure:
    """Return what also lets a connection that is made be quiet for long."""

    def configured(connection: Connection[Any]) -> None:
        if configure:
            configure(connection)
        with suppress(psycopg.errors.UndefinedObject):  # none is lost before version 14
            connection.execute(PATIENT)

    return configured


@contextmanager
def certain(connection: Connection[Any], batch: Batch) -> Iterator[None]:
    """Say of an error whether the batch may have been stored."""
    # A connection that was lost before we ask leaves no doubt: nothing happens.
    connection.pgconn.consume_input()
    try:
        yield
    except psycopg.errors.DiskFull as full:
        raise Full(*full.args) from full
    except psycopg.errors.ReadOnlySqlTransaction as read_only:
        raise ReadOnly(*read_only.args) from read_only
    except psycopg.Error as lost:
        # It may have happened. Trying again could store everything twice;
        # the log knows.
        if batch.events and connection.closed:
            raise CommitUnknown(batch.events) from lost
        raise


def checked(result: PGresult) -> PGresult:
    """Return a result, or raise the error that it is."""
    if result.status in (ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK):
        return result
    raise psycopg.errors.error_from_result(result)
