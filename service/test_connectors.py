"""A connector that no target can use is refused before anybody is asked."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec.structs import replace

from service.deciding.log import Log
from service.deciding.room import Measured
from service.endpoints import attachments, volumes
from service.endpoints.endpoint import Endpoint
from service.manager import VolumeManager
from service.testing.deciding import WORKING, ask, available, capabilities, live
from service.testing.programs import BACKEND

HOST = {"host": "node-1"}
INITIATOR = {"initiator": "iqn.2026-01.example:node-1"}


def reached_by(log: Log, protocol: str) -> None:
    """Let the backend be one whose volumes are reached so."""
    told = replace(capabilities(100), storage_protocol=protocol)
    log.room.know(BACKEND, Measured(told, *WORKING, datetime.now(UTC)))


async def asked(log: Log, volume_id: str, connector: dict[str, str]) -> list[Any]:
    """Return what each subject that takes a connector answers."""
    held = await ask(log, attachments.create, volume_id=volume_id, host="node-1")
    about: list[tuple[Endpoint, dict[str, str]]] = [
        (volumes.initialize_connection, {"id": volume_id}),
        (attachments.create, {"volume_id": volume_id, "host": "node-2"}),
        (attachments.update, {"id": held["id"]}),
    ]
    return [await ask(log, each, connector=connector, **more) for each, more in about]


@pytest.mark.parametrize(
    ("protocol", "connector", "needed"),
    [("iSCSI", HOST, "initiator"), ("nbd", INITIATOR, "host")],
)
def test_a_connector_without_what_its_target_needs_is_invalid(
    manager: VolumeManager, protocol: str, connector: dict[str, str], needed: str
) -> None:
    async def scenario() -> tuple[list[Any], int]:
        async with live(manager.recorder) as log:
            volume_id = await available(log, multiattach=True)
            reached_by(log, protocol)
            answers = await asked(log, volume_id, connector)
            seen = await ask(log, volumes.show, id=volume_id)
            return answers, seen["version"]

    answers, version = asyncio.run(scenario())

    assert [answer["type"] for answer in answers] == ["invalid"] * 3
    for answer in answers:
        [why] = answer["errors"]["connector"]
        assert f"Must name its {needed}" in why
    assert version == 3  # created, made, reserved


@pytest.mark.parametrize(
    ("protocol", "connector"),
    [("iSCSI", INITIATOR), ("nbd", HOST), ("local", HOST), ("FC", HOST)],
)
def test_what_its_target_may_know_is_enough(
    manager: VolumeManager, protocol: str, connector: dict[str, str]
) -> None:
    async def scenario() -> Any:
        async with live(manager.recorder) as log:
            volume_id = await available(log)
            reached_by(log, protocol)
            about: dict[str, Any] = {"id": volume_id, "connector": connector}
            return await ask(log, volumes.initialize_connection, **about)

    assert "type" not in asyncio.run(scenario())
