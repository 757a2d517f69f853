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
# A leader whose host is gone says no goodbye: PostgreSQL asks after it.
PRESENCE = """
    SET tcp_keepalives_idle = 1; SET tcp_keepalives_interval = 1;
    SET tcp_keepalives_count = 3
"""
OBTAIN = "SELECT pg_try_advisory_lock(%s, hashtext(%s))"

logger = getLogger(__name__)


class NoLonger(Exception):
    """Another process may lead: the connection that held the lock is gone."""


@asynccontextmanager
async def leading(
    database: Mapping[str, str],
) -> AsyncIterator[AsyncConnection[Any]]:
    """Wait until we lead, and lead until left; `hold` tells when that is over.

    The lock is a connection's, so a leader that dies is followed within
    `LOOK_EVERY` seconds, or 4 s where its whole host is gone.
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
            async with asyncio.timeout(5 * LOOK_EVERY):
                await connection.execute("SELECT 1")
        except (Error, TimeoutError) as lost:
            raise NoLonger from lost


async def obtained(database: Mapping[str, str]) -> AsyncConnection[Any]:
    """Return the connection that has the lock, once it has."""
    while True:
        try:
            connection = await connected(database)
        except Error:
            logger.debug("the database is away", exc_info=True)
            await asyncio.sleep(LOOK_EVERY)
            continue
        try:
            while not await locked(connection, database):  # noqa: ASYNC110
                await asyncio.sleep(LOOK_EVERY)
        except Error:
            await connection.close()
        except BaseException:
            await connection.close()
            raise
        else:
            return connection


async def connected(database: Mapping[str, str]) -> AsyncConnection[Any]:
    """Return a connection that is missed soon after it is gone."""
    names = ("dbname", "host", "port", "user", "password")
    told: dict[str, Any] = {n: database[f"POSTGRES_{n.upper()}"] for n in names}
    connection = await AsyncConnection.connect(
        **told,
        autocommit=True,
        connect_timeout=5,
        application_name=f"holdfast keeper {os.getpid()}",
    )
    await connection.execute(PRESENCE)
    return connection


async def locked(connection: AsyncConnection[Any], database: Mapping[str, str]) -> bool:
    """Tell whether the connection has got the lock of its schema."""
    schema = database.get("POSTGRES_SCHEMA", "public")
    found = await (await connection.execute(OBTAIN, (LEADER, schema))).fetchone()
    return bool(found and found[0])
