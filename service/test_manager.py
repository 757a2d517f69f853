"""Opening a log."""

from __future__ import annotations

import os
from signal import SIGCONT, SIGSTOP
from threading import Timer

import pytest
from eventsourcing.persistence import PersistenceError

from adapters.embedded.postgres import PostgresServer
from service.manager import VolumeManager
from service.serve import no_database
from service.settings import load

PATIENCE = int(str(VolumeManager.env["POSTGRES_CONNECT_TIMEOUT"]))  # of a reader


def test_a_slow_machines_first_connection_is_waited_for(
    postgres: PostgresServer,
) -> None:
    assert postgres.pid
    os.kill(postgres.pid, SIGSTOP)
    Timer(PATIENCE + 1, os.kill, [postgres.pid, SIGCONT]).start()

    with VolumeManager(postgres.settings) as manager:
        assert manager.recorder.max_notification_id() is None


def test_a_schema_that_is_missing_is_not_told_as_a_database_that_is(
    settings: dict[str, str],
) -> None:
    with pytest.raises(PersistenceError) as refused:
        VolumeManager(settings | {"POSTGRES_SCHEMA": "nowhere"})

    said = no_database(load(None, {}), refused.value)

    assert said.startswith('PostgreSQL cannot be used: schema "nowhere" does not exist')
    assert "[database]" in said
    assert "answers" not in said
