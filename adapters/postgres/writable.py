"""Whether the database takes writes: found out by writing what nobody keeps."""

from __future__ import annotations

from eventsourcing.persistence import OperationalError, PersistenceError
from eventsourcing.postgres import PostgresDatastore
from psycopg.errors import ReadOnlySqlTransaction

READ_ONLY = "SELECT current_setting('transaction_read_only')::bool AS read_only"
# More than memory takes goes to where the tables are, and away again.
IMPATIENT = "SET LOCAL work_mem = '64kB'"
ROOM = """
    SELECT count(*) FROM unnest(array_fill(repeat('x', 8000), ARRAY[128]))
"""
# A commit waits for the disk only where there is something to read again.
AHEAD = "SELECT pg_logical_emit_message(true, 'holdfast', 'is there room?')"


class Unwritable(OperationalError):
    """Nothing was stored, and the log can be read."""


class Full(Unwritable):
    """The disk is full, of the tables or of what is written ahead."""

    def __str__(self) -> str:
        return "the database's disk is full"


class ReadOnly(Unwritable):
    """The database is a standby, or was told to take no writes."""

    def __str__(self) -> str:
        return "the database is read-only"


def is_read_only(failure: PersistenceError) -> bool:
    """Tell whether that is what the library tells of."""
    return isinstance(failure.__cause__, ReadOnlySqlTransaction)


def try_writing(datastore: PostgresDatastore) -> None:
    """Write 1 MiB to the disk of the tables, and commit to the write-ahead log.

    Nothing of it can be seen afterwards. Raises `ReadOnly`, or `OperationalError`
    where a disk is full.
    """
    with datastore.transaction(commit=True) as cursor:
        cursor.execute(READ_ONLY)
        if (cursor.fetchone() or {})["read_only"]:
            raise ReadOnly
        for statement in (IMPATIENT, ROOM, AHEAD):
            cursor.execute(statement)
