"""Real servers for every test that wants one, started once a worker."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import psycopg
import pytest
from hypothesis import settings as examples

from adapters.embedded import postgres as embedded
from adapters.embedded.nats_server import NatsServer, nats_server
from adapters.embedded.postgres import PostgresServer
from domain.provenance import MOMENT, Moment, Provenance
from service.interpreter import meet_structs
from service.manager import VolumeManager

pytest_plugins = ["bed.plugin"]

# Hundreds of programs are started, in guests as well. Where nothing may be kept, each
# compiles all that it imports.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# How long an example takes is the machine's affair.
examples.register_profile("untimed", deadline=None)
examples.load_profile("untimed")


def pytest_collection_finish() -> None:
    """Meet every struct before a test has threads, as programs do."""
    meet_structs()


@pytest.fixture(scope="session")
def database() -> Iterator[dict[str, str]]:
    with (
        TemporaryDirectory() as folder,
        embedded.postgres(Path(folder) / "pg") as settings,
    ):
        yield settings


@pytest.fixture(scope="session")
def nats_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with nats_server(tmp_path_factory.mktemp("nats")) as url:
        yield url


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[NatsServer]:
    """A broker of one's own, to be killed."""
    server = NatsServer(tmp_path / "nats")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[PostgresServer]:
    """A database server of one's own, to be killed."""
    server = PostgresServer(tmp_path / "pg")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def settings(database: dict[str, str]) -> dict[str, str]:
    """A log of one's own: the settings of an empty schema."""
    schema = f"test_{uuid4().hex}"
    host, port = database["POSTGRES_HOST"], database["POSTGRES_PORT"]
    with psycopg.connect(
        host=host, port=port, user="postgres", autocommit=True
    ) as connection:
        connection.execute(f'CREATE SCHEMA "{schema}"'.encode())
    return database | {"POSTGRES_SCHEMA": schema}


@pytest.fixture
def manager(settings: dict[str, str]) -> Iterator[VolumeManager]:
    with VolumeManager(settings) as manager:
        yield manager


@pytest.fixture(autouse=True)
def moment() -> Moment:
    """Somebody asks, now."""
    moment = Moment(datetime.now(UTC), Provenance(actor="test"))
    MOMENT.set(moment)
    return moment
