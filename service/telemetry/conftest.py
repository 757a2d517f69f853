"""A broker and a database of one's own, to be killed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.embedded.nats_server import NatsServer
from adapters.embedded.postgres import PostgresServer
from service.testing import configuration


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[NatsServer]:
    server = NatsServer(tmp_path / "nats")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[PostgresServer]:
    server = PostgresServer(tmp_path / "pg")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def config(tmp_path: Path, broker: NatsServer, settings: dict[str, str]) -> Path:
    return configuration(tmp_path, broker.url, settings)
