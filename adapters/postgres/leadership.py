"""Being the one of several processes that does what only one should do."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from logging import getLogger
from typing import Any

from psycopg import AsyncConnection, Error

from adapters.tasks import undisturbed

LEADER = 7103  # the advisory lock's number
LOOK_EVERY = 0.5  # seconds between two looks at the lock, held or not
SILENT = 2.5  # seconds without one after which a leader leads no longer
OBTAIN = "SELECT pg_try_advisory_lock(%s, hashtext(%s))"
# A leader that is frozen, or whose host is gone, keeps its connection and so the
# lock: it says no goodbye. But it does not look any more, and that is seen. What it
# did at a time to come, it did before the clock was set back.
END_SILENT = """
    SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_stat_activity USING (pid)
    WHERE locktype = 'advisory' AND granted AND datname = current_database()
        AND classid = %s AND objid = hashtext(%s)::oid
        AND abs(extract(epoch FROM clock_timestamp() - state_change)) > %s
"""

logger = getLogger(__name__)


class NoLonger(Exception):
    """Another process may lead: the connection that held the lock is gone."""


@asynccontextmanager
async def leading(
    database: Mapping[str, str],
) -> AsyncIterator[AsyncConnection[Any]]:
    """Wait until we lead, and lead until left; `hold` tells when that is over.

    The lock is a connection's, so a leader that dies is followed within `LOOK_EVERY`
    seconds, and one that is silent after `SILENT` seconds. That one may wake, and go
    on for a moment: what a leader does must be right though another has done it.
    """
    connection = await obtained(database)
    try:
        yield connection
    finally:
        await undisturbed(connection.close())


async def hold(connection: AsyncConnection[Any]) -> None:
    """Raise `NoLonger` when the lock may be another's; before that, do not return."""
    while True:
        await asyncio.sleep(LOOK_EVERY)
        try:
            async with asyncio.timeout(SILENT):
                await connection.execute("SELECT 1")
        except (Error, TimeoutError) as lost:
            raise NoLonger from lost


async def obtained(database: Mapping[str, str]) -> AsyncConnection[Any]:
    """Return the connection that has the lock, once it has."""
    while True:
        try:
            connection = await connected(database)
            try:
                while not await locked(connection, database):  # noqa: ASYNC110
                    await asyncio.sleep(LOOK_EVERY)
            except BaseException:
                await connection.close()
                raise
            else:
                return connection
        except Error:
            logger.debug("the database is away", exc_info=True)
            await asyncio.sleep(LOOK_EVERY)


async def connected(database: Mapping[str, str]) -> AsyncConnection[Any]:
    """Return a connection that says whose it is."""
    names = ("dbname", "host", "port", "user", "password")
    told: dict[str, Any] = {n: database[f"POSTGRES_{n.upper()}"] for n in names}
    return await AsyncConnection.connect(
        **told,
        autocommit=True,
        connect_timeout=5,
        application_name=f"holdfast keeper {os.getpid()}",
    )


async def locked(connection: AsyncConnection[Any], database: Mapping[str, str]) -> bool:
    """Tell whether the connection has got the lock of its schema."""
    lock = LEADER, database.get("POSTGRES_SCHEMA", "public")
    found = await (await connection.execute(OBTAIN, lock)).fetchone()
    if found and found[0]:
        return True
    if (await connection.execute(END_SILENT, (*lock, SILENT))).rowcount:
        logger.warning("the leader was silent for %s s; it leads no longer", SILENT)
    return False
