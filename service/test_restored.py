"""What was restored from an old copy, and what begins with it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg

from adapters.embedded.nats_server import NatsServer
from service.manager import VolumeManager
from service.testing.callers import caller
from service.testing.loads import has_room, published
from service.testing.programs import AGENT, ROOT, SERVE, configuration, program

WANTED: dict[str, Any] = {"size_gib": 1, "backend": "files"}


def emptied(database: dict[str, str]) -> dict[str, str]:
    """Return the way to a log of nothing, which is the oldest copy of all."""
    schema = f"test_{uuid4().hex}"
    with psycopg.connect(
        host=database["POSTGRES_HOST"],
        port=database["POSTGRES_PORT"],
        user="postgres",
        autocommit=True,
    ) as connection:
        connection.execute(f'CREATE SCHEMA "{schema}"'.encode())
    return database | {"POSTGRES_SCHEMA": schema}


def served(config: Path) -> subprocess.CompletedProcess[str]:
    """Return what came of serving, which ends by itself."""
    return subprocess.run(
        [sys.executable, "-c", SERVE, str(config)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_a_log_that_is_older_than_its_stream_is_not_served_nor_added_to(
    tmp_path: Path, broker: NatsServer, settings: dict[str, str]
) -> None:
    async def lived() -> None:
        async with caller(broker.url) as asker:
            await has_room(asker)
            made = await asker.insist("volume.create", **WANTED)
            await published(asker.client, made["position"])

    config = configuration(tmp_path, broker.url, settings)
    with program(AGENT, config):
        with program(SERVE, config):
            asyncio.run(lived())
        old = emptied(settings)
        config = configuration(tmp_path, broker.url, old)

        begun = served(config)

    assert "the log was restored from an old copy" in begun.stderr
    assert begun.stdout == ""
    with VolumeManager(old) as manager:
        assert manager.recorder.max_notification_id() is None
