"""A database that takes no writes, as one that stands by for another."""

from __future__ import annotations

from collections.abc import Mapping

import psycopg


def read_only(database: Mapping[str, str], value: str) -> None:
    """Have the database take no writes ("on"), or take them again ("off")."""
    host, port = database["POSTGRES_HOST"], database["POSTGRES_PORT"]
    setting = f"ALTER SYSTEM SET default_transaction_read_only = {value}".encode()
    with psycopg.connect(
        host=host, port=port, user="postgres", autocommit=True
    ) as connection:
        connection.execute("SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE")
        connection.execute(setting)
        connection.execute("SELECT pg_reload_conf()")
