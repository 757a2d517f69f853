"""Opening a log."""

from __future__ import annotations

import os
from signal import SIGCONT, SIGSTOP
from threading import Timer

from adapters.embedded.postgres import PostgresServer
from service.manager import VolumeManager

PATIENCE = int(str(VolumeManager.env["POSTGRES_CONNECT_TIMEOUT"]))  # of a reader


def test_a_slow_machines_first_connection_is_waited_for(
    postgres: PostgresServer,
) -> None:
    assert postgres.pid
    os.kill(postgres.pid, SIGSTOP)
    Timer(PATIENCE + 1, os.kill, [postgres.pid, SIGCONT]).start()

    with VolumeManager(postgres.settings) as manager:
        assert manager.recorder.max_notification_id() is None
