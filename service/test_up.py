"""The whole service on one machine, when parts of it are killed."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import nats
import pytest
from nats.errors import Error

from adapters.embedded.nats_server import NatsServer
from adapters.embedded.postgres import PostgresServer
from adapters.tasks import ended
from service import settings as settings_of
from service.audit.exporting import signed_of
from service.up import DESCRIPTION, describe, kept_running, kept_secret, up, with_files

LOADED: Any = settings_of.load(None, {})


def servers(name: str, folder: Path) -> list[int]:
    """Return the processes of that name that work on a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            program, *arguments = (process / "cmdline").read_text().split("\0")
            if Path(program).name == name and str(folder) in " ".join(arguments):
                found.append(int(process.name))
    return found


@pytest.mark.parametrize("server", ["nats-server", "postgres"])
def test_a_server_that_was_killed_is_started_again(tmp_path: Path, server: str) -> None:
    async def created(client: Any) -> dict[str, Any]:
        """Create a volume, again and again until somebody answers."""
        headers = {"Holdfast-Request-Id": "one", "Holdfast-Wait": "10"}
        while True:
            with suppress(Error, TimeoutError):
                answer = await client.request(
                    "holdfast.v1.volume.create",
                    b'{"size_gib": 1}',
                    timeout=2,
                    headers=headers,
                )
                found: dict[str, Any] = json.loads(answer.data)
                if "id" in found:
                    return found
            await asyncio.sleep(0.05)

    async def scenario() -> str:
        settings = settings_of.load(None, {})
        async with asyncio.timeout(30), up(tmp_path, settings, 0) as running:
            client = await nats.connect(
                running.url, max_reconnect_attempts=-1, reconnect_time_wait=0.05
            )
            for pid in servers(server, tmp_path):
                os.kill(pid, signal.SIGKILL)
            made = await created(client)
            await client.close()
            return str(made["status"])

    assert asyncio.run(scenario()) == "available"
    assert not servers(server, tmp_path)


def test_a_service_goes_on_though_its_servers_cannot_be_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    full = OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    looked: list[str] = []

    def stuck(_: NatsServer) -> bool:
        looked.append("broker")
        raise full

    def pid(_: PostgresServer) -> int:
        looked.append("database")
        return os.getpid()

    monkeypatch.setattr("service.up.LOOK_EVERY", 0.0)
    monkeypatch.setattr(NatsServer, "stuck", property(stuck))
    monkeypatch.setattr(PostgresServer, "pid", property(pid))

    async def scenario() -> None:
        servers = NatsServer(tmp_path), PostgresServer(tmp_path)
        keeping = asyncio.ensure_future(kept_running(*servers))
        while not keeping.done() and len(looked) < 4:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0)
        await ended(keeping)
        assert keeping.cancelled(), keeping.exception()

    asyncio.run(scenario())

    assert looked[:4] == ["broker", "database"] * 2
    assert "Too many open files" in caplog.text


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["files", "volumes"], "backend volumes: .*/volumes is .* of backend files; "),
        (["volumes", "files"], "backend files: .*/volumes is .* of backend volumes; "),
        (["nats"], "backend nats: .*/nats is the folder of the service; "),
        (["postgres"], "backend postgres: .*/postgres is the folder of the service; "),
        (["checkpoints"], "backend checkpoints: "),
        (["lock"], "backend lock: "),
    ],
)
def test_no_backend_has_a_folder_that_another_has(
    tmp_path: Path, names: list[str], said: str
) -> None:
    told = settings_of.load(None, {})
    backends = tuple(settings_of.BackendSettings(name, "") for name in names)

    with pytest.raises(settings_of.Unusable, match=said):
        with_files(replace(told, backends=backends), tmp_path)


def test_a_backend_of_any_name_may_have_a_folder_of_its_own(tmp_path: Path) -> None:
    elsewhere = {"folder": str(tmp_path / "elsewhere")}
    named = settings_of.BackendSettings("nats", "", options=elsewhere)
    told = replace(settings_of.load(None, {}), backends=(named,))

    [backend] = with_files(told, tmp_path).backends

    assert backend.options == elsewhere


def test_what_up_has_signed_elsewhere_is_exported(tmp_path: Path) -> None:
    data, signed = tmp_path / "data", tmp_path / "signed"

    async def scenario() -> list[str]:
        own = {"checkpoint_file": str(signed), "checkpoint_seconds": 1}
        async with asyncio.timeout(30), up(data, replace(LOADED, **own), 0):
            while not signed.exists():  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.05)
            return await asyncio.to_thread(signed_of, None, data)

    assert asyncio.run(scenario())


@pytest.mark.parametrize(
    ("name", "keep"),
    [
        (DESCRIPTION, lambda path: describe(path.parent, {"format": 2})),
        ("agent.key", kept_secret),
    ],
)
def test_what_up_keeps_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    keep: Callable[[Path], object],
) -> None:
    path, fsync = tmp_path / name, os.fsync
    on_disk: list[int] = []

    def noted(file: int) -> None:
        fsync(file)
        if not path.exists():
            on_disk.append(os.fstat(file).st_ino)

    monkeypatch.setattr(os, "fsync", noted)
    keep(path)

    assert path.stat().st_ino in on_disk
