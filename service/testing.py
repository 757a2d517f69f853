"""What the tests of the running service share."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from adapters.postgres.recorder import LogRecorder
from domain.ports import Capabilities
from domain.provenance import Provenance
from service.endpoint import Endpoint
from service.endpoints.agents import announce, done
from service.endpoints.volumes import create
from service.headers import NOTHING, Headers
from service.log import Log
from service.room import Measured

BACKEND = "files"


def capabilities(total_gib: float) -> Capabilities:
    """Return what an agent tells of a thick storage of that size."""
    return Capabilities(
        volume_backend_name=BACKEND,
        vendor_name="Holdfast",
        driver_version="1",
        storage_protocol="local",
        total_capacity_gb=total_gib,
        free_capacity_gb=total_gib,
        provisioned_capacity_gb=0,
        total_volumes=0,
        thin_provisioning_support=False,
        thick_provisioning_support=True,
        reserved_percentage=0,
        max_over_subscription_ratio=1.0,
    )


@asynccontextmanager
async def live(
    recorder: LogRecorder, total_gib: float = 10_000, **bounds: Any
) -> AsyncIterator[Log]:
    """Run a live log that knows a backend."""
    async with Log(recorder, **bounds).running() as log:
        told = Measured(capabilities(total_gib), True, None, datetime.now(UTC))
        log.room.know(BACKEND, told)
        about = {"host": "node-1", "driver": "Shelf", "storage_protocol": "local"}
        await ask(log, announce, name=BACKEND, **about)
        yield log


async def ask(log: Log, endpoint: Endpoint, key: str = "", **message: Any) -> Any:
    """Return the answer's JSON."""
    return await send(log, endpoint, json.dumps(message).encode(), key)


async def send(log: Log, endpoint: Endpoint, body: bytes, key: str = "") -> Any:
    """Return what is answered to a body as it was sent."""
    headers = Headers(Provenance(request_id=key), 0.0) if key else NOTHING
    reply = await log.submit(endpoint.command(body, headers, log.room))
    return json.loads(reply.body)


async def available(log: Log, **described: Any) -> str:
    """Return the id of a volume that its backend has made."""
    made = await ask(log, create, **{"size_gib": 1} | described)
    await report(log, made["id"], 1, location="/volumes/db")
    volume_id: str = made["id"]
    return volume_id


async def report(log: Log, volume_id: str, intent: int, **told: Any) -> Any:
    """Let the backend report that it did what it was asked."""
    return await ask(log, done, noun="volume", id=volume_id, intent=intent, **told)
