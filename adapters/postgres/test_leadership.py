"""Of several who would lead one does, and who is silent is followed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest

from adapters.postgres import leadership
from adapters.postgres.leadership import SILENT, leading

# A database whose clock was set back by an hour since everybody connected.
SET_BACK = """
    CREATE SCHEMA shifted;
    CREATE FUNCTION shifted.clock_timestamp() RETURNS timestamptz LANGUAGE sql
        AS $$ SELECT pg_catalog.clock_timestamp() - interval '1 hour' $$;
"""


@pytest.fixture
def set_back(database: dict[str, str]) -> Iterator[dict[str, str]]:
    name = f"test_{uuid4().hex}"
    where = f"host={database['POSTGRES_HOST']} port={database['POSTGRES_PORT']}"
    with psycopg.connect(f"{where} user=postgres", autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"'.encode())
        path = f'ALTER DATABASE "{name}" SET search_path = shifted, public, pg_catalog'
        connection.execute(path.encode())
        with psycopg.connect(f"{where} user=postgres dbname={name}") as new:
            new.execute(SET_BACK)
        yield database | {"POSTGRES_DBNAME": name}
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())


def test_who_was_silent_before_the_clock_was_set_back_is_followed(
    set_back: dict[str, str],
) -> None:
    async def scenario() -> None:
        async with leading(set_back), asyncio.timeout(SILENT + 3), leading(set_back):
            pass

    asyncio.run(scenario())


def test_a_database_that_refuses_the_lock_is_asked_again_after_a_pause(
    database: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one does that has no room for locks, or does not let us end who is silent."""
    asked = 0

    async def refused(*_: object) -> bool:
        nonlocal asked
        asked += 1
        raise psycopg.errors.OutOfMemory

    monkeypatch.setattr(leadership, "locked", refused)

    async def scenario() -> None:
        async with asyncio.timeout(2.5 * leadership.LOOK_EVERY):
            await leadership.obtained(database)

    with pytest.raises(TimeoutError):
        asyncio.run(scenario())
    assert 1 <= asked <= 3
