"""What systemd hears: ready, alive while the work turns, leaving."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from signal import SIGCONT, SIGSTOP
from uuid import uuid4

import pytest
from eventsourcing.persistence import StoredEvent

from adapters.embedded.nats_server import NatsServer
from adapters.embedded.postgres import PostgresServer
from adapters.embedded.table import children_of
from service.manager import VolumeManager
from service.telemetry.systemd import Systemd
from service.testing.callers import caller
from service.testing.programs import AGENT, SERVE, configuration, program

WATCHED = 1.0  # seconds


class Heard:
    """What was said to systemd's socket."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))

    def until(self, word: str, seconds: float = 60) -> list[str]:
        """Return what was said up to a word that must be."""
        end, said = time.monotonic() + seconds, list[str]()
        while not any(word in line for line in said):
            self._socket.settimeout(end - time.monotonic())
            said += self._socket.recv(4096).decode().splitlines()
        return said

    def during(self, seconds: float) -> list[str]:
        """Return what was said in so many seconds."""
        said: list[str] = []
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._socket.settimeout(left)
            try:
                said += self._socket.recv(4096).decode().splitlines()
            except TimeoutError:
                break
        return said

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Heard]:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", str(int(WATCHED * 1e6)))
    listener = Heard(tmp_path / "notify")
    yield listener
    listener.close()


@pytest.mark.parametrize("code", [SERVE, AGENT], ids=["serve", "agent"])
def test_systemd_hears_of_a_whole_life(
    broker: NatsServer,
    config: Path,
    heard: Heard,
    monkeypatch: pytest.MonkeyPatch,
    code: str,
) -> None:
    with program(code, config) as one:
        if code is AGENT:
            monkeypatch.delenv("NOTIFY_SOCKET")
            with program(SERVE, config):
                heard.until("READY=1")
                beats = heard.during(4 * WATCHED)
                one.terminate()
                heard.until("STOPPING=1")
                assert one.wait(30) == 0
        else:
            heard.until("READY=1")
            beats = heard.during(4 * WATCHED)
            one.terminate()
            heard.until("STOPPING=1")
            assert one.wait(30) == 0

    assert beats.count("WATCHDOG=1") >= 5
    assert "READY=1" not in beats


def test_a_read_model_that_has_stopped_keeps_no_replica_from_starting(
    config: Path, manager: VolumeManager, heard: Heard
) -> None:
    with program(SERVE, config):
        unknown = StoredEvent(uuid4(), 1, "group.unheard_of", b"{}")
        manager.recorder.insert_events([unknown])
        heard.until("groups stopped before position 1")
    with program(SERVE, config):
        heard.until("READY=1")
        heard.until("groups stopped before position 1")


@pytest.mark.slow
def test_a_database_that_hangs_is_not_our_death(
    tmp_path: Path, broker: NatsServer, postgres: PostgresServer, heard: Heard
) -> None:
    config = configuration(tmp_path, broker.url, postgres.settings)

    async def ask() -> None:
        async with asyncio.timeout(60), caller(broker.url) as asker:
            asked = asker.ask("volume.create", seconds=10, size_gib=1)
            with pytest.raises(TimeoutError):  # it may be stored, nobody knows
                await asked
            answer = await asker.ask("volume.create", seconds=10, size_gib=1)
            assert answer.body["type"] == "unavailable"

    with program(SERVE, config):
        heard.until("READY=1")
        backends = [int(postgres.pid or 0), *children_of(int(postgres.pid or 0))]
        for pid in backends:
            os.kill(pid, SIGSTOP)
        try:
            asyncio.run(ask())
            heard.during(WATCHED)
            said = heard.during(6 * WATCHED)
        finally:
            for pid in backends:
                os.kill(pid, SIGCONT)

    assert said.count("WATCHDOG=1") >= 5
    assert any(each.startswith("STATUS=database: does not answer") for each in said)


def test_a_blocked_event_loop_and_a_stuck_writer_are_silent(heard: Heard) -> None:
    turns = True

    async def scenario() -> list[list[str]]:
        nonlocal turns
        async with Systemd().watched(lambda: turns):
            await asyncio.sleep(2 * WATCHED)
            well = heard.during(0.01)
            time.sleep(3 * WATCHED)  # noqa: ASYNC251 - nothing turns now
            blocked = heard.during(0.01)
            turns = False
            await asyncio.sleep(WATCHED)
            heard.during(0.01)
            await asyncio.sleep(2 * WATCHED)
            return [well, blocked, heard.during(0.01)]

    well, blocked, stuck = asyncio.run(scenario())

    assert well.count("WATCHDOG=1") >= 3
    assert blocked == stuck == []
