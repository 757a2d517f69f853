"""The log in PostgreSQL: appended in batches, in one order, each row chained.

The library's recorder keeps the order by a table lock, and so does this one:
position n is never visible before n - 1. It differs in that rows arrive by
COPY, that the chain is continued, and that one transaction can also confirm
what its decisions were based on and keep the answers that callers were given.
Never set POSTGRES_ENABLE_DB_FUNCTIONS: it silently drops the lock, and readers
that follow the log then miss events.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple, cast
from uuid import UUID

import psycopg
from eventsourcing.persistence import (
    IntegrityError,
    OperationalError,
    StoredEvent,
)
from eventsourcing.postgres import PostgresApplicationRecorder, PostgresDatastore
from psycopg import ClientCursor, Cursor
from psycopg.rows import DictRow, dict_row
from psycopg.sql import SQL, Identifier

from adapters.postgres.copying import END, SIGNATURE, hashed_fields, log_row, row
from domain.chain import GENESIS, link

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
LOCK = """
    BEGIN; SET LOCAL lock_timeout = '5s';
    LOCK TABLE {log} IN EXCLUSIVE MODE; NOTIFY {channel};
    SELECT notification_id, chain FROM {log} ORDER BY notification_id DESC LIMIT 1
"""
MOVED_ON = """
    SELECT id
    FROM unnest(%(ids)s::uuid[], %(versions)s::bigint[]) AS decided (id, version)
    WHERE version <> coalesce(
        (SELECT max(originator_version) FROM {log} WHERE originator_id = id), 0)
"""
KEYS_USED = """
    SELECT request_id, fingerprint, aggregate_id, version, part_id, position
    FROM {keys} WHERE request_id = ANY (%(request_ids)s)
"""
IDS_TAKEN = """
    SELECT part_id AS id FROM {parts} WHERE part_id = ANY (%(new_ids)s::uuid[])
    UNION ALL
    SELECT originator_id FROM {log}
    WHERE originator_id = ANY (%(part_ids)s::uuid[]) AND originator_version = 1
"""
COPY_LOG = """
    COPY {log} (originator_id, originator_version, topic, state, notification_id, chain)
    FROM STDIN (FORMAT BINARY)
"""
COPY_KEYS = """
    COPY {keys} (request_id, fingerprint, aggregate_id, version, part_id, position)
    FROM STDIN (FORMAT BINARY)
"""
COPY_PARTS = "COPY {parts} (part_id, whole_id) FROM STDIN (FORMAT BINARY)"
ALLOCATE = """
    INSERT INTO {allocations} AS known (backend, gib)
    SELECT * FROM unnest(%s::text[], %s::bigint[])
    ON CONFLICT (backend) DO UPDATE SET gib = known.gib + excluded.gib
    RETURNING backend, gib
"""
ALLOCATED = "SELECT backend, gib FROM {allocations}"
GIVEN_BACK = """
    SELECT known.backend, known.gib FROM {allocations} AS known
    JOIN unnest(%(backends)s::text[], %(seen)s::bigint[]) AS seen (backend, gib)
    ON known.backend = seen.backend AND known.gib < seen.gib
"""
HOLDS = "SELECT 1 FROM {log} WHERE notification_id = %s AND chain = %s"
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


@dataclass(frozen=True)
class Kept:
    """What the first answer to a request showed, kept for when it is repeated.

    An answer is an aggregate, or a part of it, as it was at a version. So it is
    not stored but given again from the log.
    """

    request_id: str
    fingerprint: bytes
    aggregate_id: UUID
    version: int
    part_id: UUID | None = None
    position: int = 0


class Written(NamedTuple):
    """An event as the log has it."""

    topic: str
    state: bytes
    position: int


@dataclass(frozen=True)
class Batch:
    """What is stored together, or not at all.

    `based_on` is the version of every aggregate that was looked at, `asked`
    every request id. A key is kept with the index of its command's last event,
    -1 for none. `parts` are new parts and what they are parts of. `taken` is
    how many GiB of each backend the events take more, or less; where that is
    more, what is taken in all must stay within `limits`. `seen` is how many GiB
    were thought to be taken where something was refused.
    """

    events: Sequence[StoredEvent] = ()
    based_on: Mapping[UUID, int] = field(default_factory=dict)
    kept: Sequence[tuple[Kept, int]] = ()
    asked: Sequence[str] = ()
    parts: Mapping[UUID, UUID] = field(default_factory=dict)
    taken: Mapping[str, int] = field(default_factory=dict)
    limits: Mapping[str, int] = field(default_factory=dict)
    seen: Mapping[str, int] = field(default_factory=dict)

    @property
    def new_ids(self) -> list[UUID]:
        """The ids that must not be anything's: of new aggregates and new parts."""
        begun = [e.originator_id for e in self.events if e.originator_version == 1]
        return [*self.parts, *cast("list[UUID]", begun)]


class Stored(NamedTuple):
    """The positions of a batch's events, and what is now taken of its backends."""

    positions: range
    allocated: dict[str, int]


class Conflict(IntegrityError):
    """Others have changed aggregates, used keys or parts, or taken room meanwhile."""

    def __init__(
        self,
        moved_on: set[UUID],
        answered: Sequence[Kept] = (),
        allocated: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__(moved_on, answered, allocated)
        self.moved_on = moved_on
        self.answered = {kept.request_id: kept for kept in answered}
        self.allocated = dict(allocated or {})


class CommitUnknown(OperationalError):
    """The connection was lost in COMMIT; only the log knows what became of it."""

    def __init__(self, stored: Stored, chain: bytes) -> None:
        super().__init__("the connection was lost while committing")
        self.stored = stored
        self.chain = chain


class LogRecorder(PostgresApplicationRecorder):
    """Appends batches to the log, from any number of processes."""

    def __init__(self, datastore: PostgresDatastore, **kwargs: Any) -> None:
        super().__init__(datastore, **kwargs)
        # By default the pool tries after 1, 2, 4, 8 … seconds: a database that was
        # away for half a minute would be found half a minute after it came back.
        datastore.pool.reconnect_timeout = 1.0
        self._names = {
            "log": Identifier(datastore.schema, self.events_table_name),
            **{
                name: Identifier(datastore.schema, f"{self.events_table_name}_{name}")
                for name in ("keys", "parts", "allocations")
            },
            "channel": Identifier(self.channel_name),
        }
        # Naming costs more than sending, so each statement is named once.
        self.sql = cache(self._named)
        create = self.sql_create_statements
        create[self.create_table_statement_index] = CREATE_LOG.format(**self._names)
        create += [
            table.format(**self._names)
            for table in (CREATE_KEYS, CREATE_PARTS, CREATE_ALLOCATIONS)
        ]

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

        Raises `Conflict` or `OperationalError`, and nothing was stored; or
        `CommitUnknown`, and `holds` will tell.
        """
        if not (batch.events or batch.kept or batch.asked):
            return self._confirm(batch)
        try:
            return self._store(batch)
        except Conflict:
            raise
        except IntegrityError:
            # The primary key refused an event; the query says whose.
            self._confirm(batch)
            raise

    def holds(self, unknown: CommitUnknown) -> bool:
        """Tell whether a commit of which nothing was heard has happened.

        The lock waits for the lost transaction, which may still be committing.
        """
        position = unknown.stored.positions[-1]
        with self.datastore.transaction(commit=False) as cursor:
            self._lock_table(cursor)
            cursor.execute(self.sql(HOLDS), (position, unknown.chain))
            return cursor.fetchone() is not None

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

    def _store(self, batch: Batch) -> Stored:
        with self.datastore.cursor() as cursor:
            last, chain = self._begin(cursor, batch)
            chain = self._copy_events(cursor, batch.events, last, chain)
            self._copy(cursor, COPY_KEYS, key_rows(batch.kept, last))
            self._copy(cursor, COPY_PARTS, part_rows(batch.parts))
            allocated = self._allocate(cursor, batch)
            positions = range(last + 1, last + 1 + len(batch.events))
            stored = Stored(positions, allocated)
            self._commit(cursor, stored, chain)
        return stored

    def _begin(self, cursor: Cursor[DictRow], batch: Batch) -> tuple[int, bytes]:
        """Become the only writer and return the last position and its link.

        Raises `Conflict` unless the batch was decided on the newest state.
        """
        # One round trip: under the lock each statement sees what others stored.
        # What the batch writes needs no question, the primary key answers it.
        written = {stored.originator_id for stored in batch.events}
        looked_at = {i: v for i, v in batch.based_on.items() if i not in written}
        asked = [
            LOCK,
            *[MOVED_ON] * bool(looked_at),
            *[KEYS_USED] * bool(batch.asked),
            *[IDS_TAKEN] * bool(batch.new_ids),
            *[GIVEN_BACK] * bool(batch.seen),
        ]
        answers = ClientCursor(cursor.connection, row_factory=dict_row)
        answers.execute(b";".join(map(self.sql, asked)), parameters(batch, looked_at))
        found = dict(zip(asked, results(answers), strict=True))
        moved_on = {row["id"] for row in found.get(MOVED_ON, ())}
        moved_on |= {row["id"] for row in found.get(IDS_TAKEN, ())}
        used = [Kept(**row) for row in found.get(KEYS_USED, ())]
        given_back = {row["backend"]: row["gib"] for row in found.get(GIVEN_BACK, ())}
        if moved_on or used or given_back:
            raise Conflict(moved_on, used, given_back)
        for last in found[LOCK]:
            return last["notification_id"], last["chain"]
        return 0, GENESIS

    def _copy_events(
        self,
        cursor: Cursor[DictRow],
        events: Sequence[StoredEvent],
        last: int,
        chain: bytes,
    ) -> bytes:
        """Continue the log after `last`, and return the new last link."""
        rows = []
        for position, stored in enumerate(events, start=last + 1):
            hashed = hashed_fields(stored)
            chain = link(chain, hashed)
            rows.append(log_row(hashed, position, chain))
        self._copy(cursor, COPY_LOG, rows)
        return chain

    def _copy(
        self, cursor: Cursor[DictRow], statement: str, rows: Sequence[bytes]
    ) -> None:
        if rows:
            with cursor.copy(self.sql(statement)) as copy:
                copy.write(b"".join((SIGNATURE, *rows, END)))

    def _allocate(self, cursor: Cursor[DictRow], batch: Batch) -> dict[str, int]:
        """Take room of backends, or raise `Conflict` where others were first."""
        taken = {backend: gib for backend, gib in batch.taken.items() if gib}
        if not taken:
            return {}
        cursor.execute(self.sql(ALLOCATE), (list(taken), list(taken.values())))
        allocated = {row["backend"]: row["gib"] for row in cursor.fetchall()}
        over = [
            backend
            for backend, gib in taken.items()
            if gib > 0 and allocated[backend] > batch.limits.get(backend, 2**62)
        ]
        if over:
            before = {
                backend: allocated[backend] - gib for backend, gib in taken.items()
            }
            raise Conflict(set(), (), before)
        return allocated

    def _confirm(self, batch: Batch) -> Stored:
        """Raise `Conflict` unless a batch that stores nothing saw the newest state."""
        asked = parameters(batch, batch.based_on)
        with self.datastore.cursor() as cursor:
            cursor.execute(self.sql(MOVED_ON), asked)
            moved_on = {row["id"] for row in cursor.fetchall()}
            if batch.seen:
                cursor.execute(self.sql(GIVEN_BACK), asked)
            given_back = {r["backend"]: r["gib"] for r in cursor} if batch.seen else {}
            if moved_on or given_back:
                raise Conflict(moved_on, (), given_back)
        return Stored(range(0), {})

    def _commit(self, cursor: Cursor[DictRow], stored: Stored, chain: bytes) -> None:
        try:
            cursor.execute("COMMIT")
        except (psycopg.OperationalError, psycopg.InterfaceError) as lost:
            # It may have happened. Trying again could store everything twice;
            # the log knows.
            cursor.connection.close()
            if stored.positions:
                raise CommitUnknown(stored, chain) from lost
            raise

    def _named(self, statement: str) -> bytes:
        """Name the tables of this log in a statement."""
        names = {name: table.as_string(None) for name, table in self._names.items()}
        return statement.format(**names).encode()


def parameters(batch: Batch, looked_at: Mapping[UUID, int]) -> dict[str, Any]:
    """Return what the statements that confirm a batch ask about."""
    return {
        # Text: quoting a list of 512 UUIDs one by one would cost more than COPY.
        "ids": f"{{{','.join(key.hex for key in looked_at)}}}",
        "versions": f"{{{','.join(map(str, looked_at.values()))}}}",
        "request_ids": list(batch.asked),
        "part_ids": f"{{{','.join(key.hex for key in batch.parts)}}}",
        "new_ids": f"{{{','.join(key.hex for key in batch.new_ids)}}}",
        "backends": list(batch.seen),
        "seen": list(batch.seen.values()),
    }


def key_rows(keys: Sequence[tuple[Kept, int]], last: int) -> list[bytes]:
    """Return the rows of keys, given the last position before their batch."""
    return [
        row(
            kept.request_id.encode(),
            kept.fingerprint,
            kept.aggregate_id.bytes,
            kept.version.to_bytes(8),
            kept.part_id.bytes if kept.part_id else None,
            (last + 1 + index if index >= 0 else kept.position).to_bytes(8),
        )
        for kept, index in keys
    ]


def part_rows(parts: Mapping[UUID, UUID]) -> list[bytes]:
    """Return the rows of new parts."""
    return [row(part.bytes, whole.bytes) for part, whole in parts.items()]


def results(cursor: Cursor[DictRow]) -> Iterator[list[DictRow]]:
    """Yield the rows of each statement of several that returns any."""
    more: bool | None = True
    while more:
        if cursor.description:
            yield cursor.fetchall()
        more = cursor.nextset()
