"""One line a request and one an operation, and no secret in any."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from adapters.embedded.nats_server import NatsServer
from service.settings import load
from service.telemetry.testing import told
from service.testing.callers import caller
from service.testing.loads import has_room
from service.testing.programs import AGENT, SERVE, program

SECRET = "correct-horse-battery"
NESTED = b'{"metadata":' * 5_000
FORGED = '4f7d" level=error\nforged'


async def work(url: str) -> str:
    """Let a volume be made, connected and asked for what is refused; return its id."""
    async with asyncio.timeout(60), caller(url) as asker:
        await has_room(asker)
        made = await asker.insist("volume.create", "first", size_gib=1)
        await asker.until(
            "volume.show", lambda v: v["status"] == "available", id=made["id"]
        )
        connector = {"host": "node-1", "auth_password": SECRET}
        held = await asker.insist(
            "attachment.create", volume_id=made["id"], host="node-1"
        )
        await asker.insist("attachment.update", id=held["id"], connector=connector)
        await asker.ask("volume.delete", id=made["id"])
        await asker.ask("volume.show", id=FORGED)
        await asker.client.request("holdfast.v1.volume.show", NESTED, timeout=10)
        return str(made["id"])


@pytest.mark.parametrize("form", ["logfmt", "json"])
def test_every_request_and_operation_leaves_a_line_without_secrets(
    broker: NatsServer,
    config: Path,
    form: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("HOLDFAST_LOG_LEVEL", "INFO")
    as_told = told(config, form, log_format=form)

    with program(SERVE, as_told), program(AGENT, as_told):
        volume_id = asyncio.run(work(broker.url))
    said = capfd.readouterr().err

    lines = [read(line, form) for line in said.splitlines()]
    [created] = [each for each in lines if each.get("subject") == "volume.create"]
    [deleted] = [each for each in lines if each.get("subject") == "volume.delete"]
    [made] = [each for each in lines if each.get("operation") == "create"]
    assert created["id"] == deleted["id"] == made["id"] == volume_id
    assert (created["request_id"], created["outcome"]) == ("first", "ok")
    assert float(created["duration_ms"]) > 0
    assert (str(created["version"]), deleted["outcome"]) == ("1", "refused")
    assert (made["backend"], made["outcome"]) == ("files", "done")
    assert str(made["cause"]) == str(created["position"])
    assert {each["level"] for each in lines} <= {"info", "warning"}
    assert SECRET not in said
    assert load(config, {}).agent_key not in said


def read(line: str, form: str) -> dict[str, Any]:
    """Return what a line says; nothing it quotes is asked for here."""
    if form == "json":
        return dict(json.loads(line))
    return dict(pair.partition("=")[::2] for pair in line.split())


def test_nothing_is_written_where_nobody_wants_to_know(
    broker: NatsServer, config: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with program(SERVE, config), program(AGENT, config):
        asyncio.run(work(broker.url))

    assert "answered" not in capfd.readouterr().err
