"""Of all replicas' keepers one works, and the next one when that is gone."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIGKILL

import msgspec
import pytest

from adapters.embedded.nats_server import nats_server
from adapters.embedded.process import free_port
from adapters.embedded.table import children_of
from service.keeper import Order, started, stopped
from service.manager import VolumeManager
from service.settings import database_of, load
from service.testing import (
    AGENT,
    SERVE,
    caller,
    configuration,
    eventually,
    has_room,
    program,
    published,
)

TAKEN_OVER = 5.0  # seconds
LEADERS = b"""
    SELECT application_name AS leader FROM pg_locks JOIN pg_stat_activity USING (pid)
    WHERE locktype = 'advisory' AND classid = 7103 AND granted
"""

Replicas = list[subprocess.Popen[str]]


@pytest.fixture
def url(tmp_path: Path, settings: dict[str, str]) -> Iterator[str]:
    with nats_server(tmp_path / "nats") as url:
        configuration(tmp_path, url, settings)
        yield url


@contextmanager
def replicas(folder: Path) -> Iterator[Replicas]:
    """Run two replicas and an agent."""
    config = folder / "holdfast.toml"
    with (
        program(SERVE, config) as one,
        program(SERVE, config) as two,
        program(AGENT, config),
    ):
        yield [one, two]


def leaders(manager: VolumeManager, among: Replicas) -> list[int]:
    """Return which keepers of these replicas lead."""
    keepers = {pid for replica in among for pid in children_of(replica.pid)}
    with manager.recorder.datastore.cursor() as cursor:
        cursor.execute(LEADERS)
        found = {int(row["leader"].split()[-1]) for row in cursor.fetchall()}
    return sorted(keepers & found)


async def one_leads(manager: VolumeManager, among: Replicas) -> int:
    async def is_so() -> bool:
        return len(leaders(manager, among)) == 1

    await eventually(is_so)
    return leaders(manager, among)[0]


@pytest.mark.parametrize("whole", [False, True], ids=["keeper", "replica"])
def test_the_next_keeper_takes_over(
    tmp_path: Path, url: str, manager: VolumeManager, *, whole: bool
) -> None:
    async def scenario(running: Replicas) -> tuple[float, list[int]]:
        async with asyncio.timeout(40), caller(url) as asker:
            await has_room(asker)
            await asker.insist("volume.create", size_gib=1)
            leader = await one_leads(manager, running)
            replica = next(r for r in running if leader in children_of(r.pid))
            os.kill(replica.pid if whole else leader, SIGKILL)
            began = time.monotonic()
            made = await asker.insist("volume.create", "second", size_gib=1)
            await asker.insist("volume.list", min_position=made["position"])
            positions = await published(asker.client, made["position"])
            took = time.monotonic() - began
            assert await one_leads(manager, running) != leader
            return took, positions

    with replicas(tmp_path) as running:
        took, positions = asyncio.run(scenario(running))

    assert took < TAKEN_OVER
    assert positions == list(range(1, len(positions) + 1))


def test_a_keeper_ends_with_its_replica_though_no_broker_answers(
    tmp_path: Path, settings: dict[str, str]
) -> None:
    nowhere = f"nats://127.0.0.1:{free_port()}"
    configured = load(configuration(tmp_path, nowhere, settings), {})

    async def scenario() -> int | None:
        process = await started()
        assert process.stdin
        order = msgspec.json.encode(Order(configured, database_of(configured)))
        process.stdin.write(order + b"\n")
        await stopped(process)
        return process.returncode

    assert asyncio.run(scenario()) == 0
