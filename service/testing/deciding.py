"""Deciding within a test, on a live log with a measured backend."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from datetime import UTC, datetime
from threading import Event as Flag
from threading import Thread
from typing import Any
from uuid import UUID

import psycopg
import pytest

from adapters.jetstream.reporting import Report
from adapters.postgres.appending import Appender
from adapters.postgres.follower import Follower
from adapters.postgres.recorder import LogRecorder
from domain.aggregate import Done, NotDone
from domain.capabilities import Capabilities
from domain.provenance import Provenance
from service.deciding.log import Log
from service.deciding.room import Measured
from service.endpoints.agents import from_agent, reporting, take_over
from service.endpoints.endpoint import Endpoint
from service.endpoints.volumes import create
from service.messages.headers import NOTHING, Headers
from service.testing.programs import BACKEND

LEASE = 1
WORKING = True, None


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
    recorder: LogRecorder,
    total_gib: float = 10_000,
    backend: str = BACKEND,
    **bounds: Any,
) -> AsyncIterator[Log]:
    """Run a live log that knows a backend."""
    async with Log(recorder, **bounds).running() as log:
        told = Measured(capabilities(total_gib), *WORKING, datetime.now(UTC))
        log.room.know(backend, told)
        lease = backend, LEASE, "shelf 1 of node-1", "node-1"
        await log.submit(from_agent(backend, lambda seen: take_over(seen, *lease)))
        yield log


@asynccontextmanager
async def lives(
    recorder: LogRecorder, number: int, **bounds: Any
) -> AsyncIterator[list[Log]]:
    """Run several, as many replicas do."""
    async with AsyncExitStack() as running:
        enter = running.enter_async_context
        yield [await enter(live(recorder, **bounds)) for _ in range(number)]


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


async def report(
    log: Log,
    volume_id: str,
    intent: int,
    not_done: NotDone | None = None,
    backend: str = BACKEND,
    noun: str = "volume",
    **told: Any,
) -> None:
    """Let the backend report that it did what it was asked, or why not."""
    done = None if not_done else Done(**told)
    told_of = noun, UUID(volume_id), intent
    it = Report(*told_of, causation_id="", done=done, not_done=not_done)
    await log.submit(reporting(backend, LEASE, it))


def newest(log: Log, aggregate_id: str) -> int:
    """Return the version of what the backend was asked last."""
    known: Any = log.memory.live[UUID(aggregate_id)]
    return int(max(known.in_flight))


def by_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every batch be stored by the writer's thread, which can be held up."""
    monkeypatch.setattr(Appender, "takes", lambda *_: False)


def lose_commit(monkeypatch: pytest.MonkeyPatch, *, committed: bool) -> None:
    """Close the connection at the next batch, after it was committed or before."""
    by_thread(monkeypatch)
    call = LogRecorder.call

    def lose(recorder: LogRecorder, connection: Any, values: Any) -> Any:
        monkeypatch.undo()
        if committed:
            call(recorder, connection, values)
        connection.close()
        raise psycopg.OperationalError("connection lost")

    monkeypatch.setattr(LogRecorder, "call", lose)


@contextmanager
def following(recorder: LogRecorder) -> Iterator[list[int]]:
    """Yield the positions that a follower sees; left, they go to the log's end."""
    seen: list[int] = []
    follower, over = Follower(recorder, 0), Flag()

    def follow() -> None:
        while not (over.is_set() and len(seen) >= recorder.max_notification_id()):
            page = follower.after(seen[-1] if seen else 0, 0.1)
            seen.extend(event.position for event in page)

    following = Thread(target=follow, daemon=True)
    follower.start()
    following.start()
    try:
        yield seen
    finally:
        over.set()
        following.join(30)
        follower.stop()
