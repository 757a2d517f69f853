"""Who serves which backend, and when that was last heard of, by the database's clock.

A lease is another's when it was given back, was not renewed for longer than its
term, or is asked for by the same holder, who proves that the one before is dead.
Each time its number grows, also when nothing comes of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from eventsourcing.postgres import PostgresDatastore
from psycopg import Cursor
from psycopg.rows import DictRow
from psycopg.sql import SQL, Identifier

TERM = 10.0  # seconds that a lease is good, unless it is renewed
MARGIN = 2.0  # seconds beyond it, for clocks that differ and for what is under way

CREATE = SQL("""
    CREATE TABLE IF NOT EXISTS {leases} (
        backend    text        PRIMARY KEY,
        number     bigint      NOT NULL,
        holder     text        NOT NULL,
        host       text        NOT NULL,
        renewed_at timestamptz
    );
    ALTER TABLE {leases} ADD COLUMN IF NOT EXISTS given_back_at timestamptz
""")
# `clock_timestamp`, for a statement may have waited for the row since it began.
TAKE = SQL("""
    INSERT INTO {leases} AS known (backend, number, holder, host, renewed_at)
    VALUES (%(backend)s, %(last)s + 1, %(holder)s, %(host)s, clock_timestamp())
    ON CONFLICT (backend) DO UPDATE SET
        (number, holder, host, renewed_at, given_back_at) = (
            greatest(known.number + 1, excluded.number),
            excluded.holder, excluded.host, clock_timestamp(), NULL)
    WHERE known.holder = excluded.holder OR known.renewed_at IS NULL
        OR known.renewed_at < clock_timestamp() - make_interval(secs => %(silent)s)
    RETURNING number
""")
# Or whoever died before the clock was set back would be waited for until it is as late.
NOT_YET = SQL("""
    UPDATE {leases} SET renewed_at = clock_timestamp()
    WHERE backend = %s AND renewed_at > clock_timestamp()
""")
RENEW = SQL("""
    UPDATE {leases} SET renewed_at = clock_timestamp()
    WHERE backend = %s AND number = %s AND renewed_at IS NOT NULL RETURNING number
""")
RELEASE = SQL("""
    UPDATE {leases} SET renewed_at = NULL, given_back_at = clock_timestamp()
    WHERE backend = %s AND number = %s AND renewed_at IS NOT NULL
""")
HEARD_OF = SQL("""
    SELECT coalesce(renewed_at, given_back_at) AS at FROM {leases} WHERE backend = %s
""")
HELD = SQL("SELECT number, host FROM {leases} WHERE backend = %s")


@dataclass(eq=False)
class LeaseHeld(Exception):
    """Another agent serves the backend."""

    backend: str
    number: int
    host: str

    def __str__(self) -> str:
        return (
            f"backend {self.backend} is served by an agent on {self.host} "
            f"(lease {self.number})"
        )


class Leases:
    """The leases of all backends; each answer follows its commit."""

    def __init__(self, datastore: PostgresDatastore) -> None:
        self._datastore = datastore
        self._name = Identifier(datastore.schema, "agent_leases")

    def create_table(self) -> None:
        """Make it if it is missing."""
        with self._datastore.transaction(commit=True) as cursor:
            # Two replicas that start at once would both make the same table.
            cursor.execute("SELECT pg_advisory_xact_lock(7102)")
            cursor.execute(CREATE.format(leases=self._name))

    def take(self, backend: str, holder: str, host: str, last: int) -> int:
        """Return the number of a new lease, above all before and above `last`.

        Raises `LeaseHeld`.
        """
        asked = {"backend": backend, "holder": holder, "host": host, "last": last}
        asked |= {"silent": TERM + MARGIN}
        with self._datastore.transaction(commit=True) as cursor:
            cursor.execute(TAKE.format(leases=self._name), asked)
            if taken := cursor.fetchone():
                return int(taken["number"])
            cursor.execute(NOT_YET.format(leases=self._name), (backend,))
            number, host = self._held(cursor, backend)
        raise LeaseHeld(backend, number, host)

    def renew(self, backend: str, number: int) -> None:
        """Have it for another term, or raise `LeaseHeld`."""
        with self._datastore.transaction(commit=True) as cursor:
            cursor.execute(RENEW.format(leases=self._name), (backend, number))
            if cursor.fetchone():
                return
            held, host = self._held(cursor, backend)
        raise LeaseHeld(backend, held, host)

    def release(self, backend: str, number: int) -> None:
        """Let anybody have it, if it is still that one."""
        with self._datastore.transaction(commit=True) as cursor:
            cursor.execute(RELEASE.format(leases=self._name), (backend, number))

    def last_heard_of(self, backend: str) -> datetime | None:
        """Return when the lease was last taken, renewed or given back, if ever."""
        with self._datastore.transaction(commit=False) as cursor:
            cursor.execute(HEARD_OF.format(leases=self._name), (backend,))
            found = cursor.fetchone()
        return found["at"] if found else None

    def _held(self, cursor: Cursor[DictRow], backend: str) -> tuple[int, str]:
        cursor.execute(HELD.format(leases=self._name), (backend,))
        row = cursor.fetchone() or {"number": 0, "host": "no host"}
        return int(row["number"]), str(row["host"])
