"""What most tests of running programs begin with."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters.embedded.nats_server import NatsServer
from service.testing.house import Run, lived
from service.testing.programs import configuration


@pytest.fixture
def config(tmp_path: Path, broker: NatsServer, settings: dict[str, str]) -> Path:
    return configuration(tmp_path, broker.url, settings)


@pytest.fixture
def run(tmp_path: Path, broker: NatsServer, settings: dict[str, str]) -> Run:
    """Run a scenario in a house whose agent works."""
    return lived(tmp_path, broker.url, settings)
