"""Deciding within a test, on a live log with a measured backend."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from datetime import UTC, datetime
from threading import Event as Flag
from threading import Thread
from typing import Any
from uuid import UUID

import psycopg
import pytest
from eventsourcing.persistence import OperationalError

from adapters.jetstream.reporting import Report
from adapters.postgres.appending import Appender
from adapters.postgres.follower import Follower
from adapters.postgres.recorder import LogRecorder
from domain.aggregate import Done, NotDone
from domain.capabilities import Capabilities
from domain.provenance import Provenance
from domain.volume import Volume
from projections import resources
from service.deciding.command import Command, Decision, Reply, asking
from service.deciding.log import Log
from service.deciding.room import Measured
from service.endpoints.agents import from_agent, reporting, take_over
from service.endpoints.endpoint import Endpoint, endpoint
from service.endpoints.volumes import One, create
from service.manager import VolumeManager
from service.messages.headers import NOTHING, Headers
from service.testing.callers import eventually
from service.testing.programs import BACKEND

LEASE = 1
EMPTY = 1  # the position of the backend's lease, which every log begins with
WORKING = True, None
NUMBERS = pytest.mark.parametrize("number", [2, 4], ids=["of two", "of four"])


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


def last(manager: VolumeManager) -> int:
    """Return how many events there are behind those that every log begins with."""
    return (manager.recorder.max_notification_id() or 0) - EMPTY


def unreachable(*_: Any, **__: Any) -> Any:
    """Be a database that is away."""
    raise OperationalError("gone")


async def back(log: Log) -> None:
    """Return once the log has noticed that its database answers."""

    async def reached() -> bool:
        return not log.age

    await eventually(reached)


@endpoint("test.reserve_twice", takes=One(), gives=resources.volume)
def reserve_twice(log: Decision, volume_id: Any) -> Volume:
    """Record something, and then be refused."""
    volume = log.get(Volume, volume_id)
    volume.reserve()
    volume.reserve()
    return volume


class Held:
    """A function of the recorder that is held up, before its work or after it."""

    def __init__(
        self,
        patch: pytest.MonkeyPatch,
        recorder: Any,
        name: str,
        *,
        after: bool = False,
    ) -> None:
        self.reached, self.let_go = Flag(), Flag()
        self._do, self._after = getattr(recorder, name), after
        patch.setattr(recorder, name, self)
        by_thread(patch)

    def __call__(self, *args: Any) -> Any:
        done = self._do(*args) if self._after else None
        self.reached.set()
        self.let_go.wait(10)
        return done if self._after else self._do(*args)


async def until(flag: Flag) -> None:
    """Return once a thread has set the flag."""
    assert await asyncio.to_thread(flag.wait, 5)


def sighted(volume_id: str, seen: list[tuple[int, str]]) -> Command:
    """Return a look at a volume that tells each time which it was shown."""

    def look(decision: Decision) -> Reply:
        volume = decision.get(Volume, UUID(volume_id))
        seen.append((volume.version, volume.name))
        return Reply(b"{}", 0, volume.id, volume.version)

    return asking(look)


async def asked_in_turn(*asks: Awaitable[Any]) -> list[asyncio.Future[Any]]:
    """Return what becomes of commands, which are asked one after another."""
    going: list[asyncio.Future[Any]] = []
    for each in asks:
        going.append(asyncio.ensure_future(each))
        await asyncio.sleep(0)
    return going


async def known(log: Log, volume_id: str) -> bool:
    """Tell whether a volume is in memory."""
    return UUID(volume_id) in log.memory.live
