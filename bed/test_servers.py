"""In a guest: what tests and users start runs there as well."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from service.manager import VolumeManager

pytestmark = pytest.mark.lvm

SECONDS = 300


def test_the_log_is_kept_in_a_database_of_the_guests_own(
    manager: VolumeManager, database: dict[str, str]
) -> None:
    assert Path("/run/bed").is_mount()
    assert Path(database["POSTGRES_HOST"]).is_relative_to("/run")
    assert manager.recorder.max_notification_id() is None


def test_a_broker_answers(nats_url: str) -> None:
    assert nats_url.startswith("nats://127.0.0.1:")


def test_the_whole_service_runs() -> None:
    demo = Path(sys.executable).with_name("holdfast")

    told = subprocess.run(
        [demo, "demo"], capture_output=True, text=True, timeout=SECONDS, check=False
    )

    assert told.returncode == 0, told.stderr
    assert "The service is stopped." in told.stdout
