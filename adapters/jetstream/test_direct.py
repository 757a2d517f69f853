"""What a replica publishes itself is there at once, or comes from the keeper."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest
from eventsourcing.persistence import StoredEvent
from nats.aio.client import Client

from adapters.embedded.nats_server import NatsServer
from adapters.jetstream import direct as module
from adapters.jetstream.direct import Direct
from adapters.jetstream.stream import STREAM
from adapters.jetstream.test_publisher import KEY, positions, publishing, reached
from adapters.postgres.batch import PUBLISHED_BY
from adapters.postgres.recorder import Written
from service.connecting import connect
from service.manager import VolumeManager
from service.testing.callers import eventually

EVENTS = [StoredEvent(uuid4(), 1, "volume.created", b"{}") for _ in range(9)]


def written(first: int, last: int) -> list[Written]:
    return [Written(e.topic, e.state, at) for at, e in enumerate(EVENTS, 1)][
        first - 1 : last
    ]


@asynccontextmanager
async def replica(broker: NatsServer) -> AsyncIterator[Client]:
    client = await connect(broker.url, "serve")
    try:
        yield client
    finally:
        await client.close()


def test_what_follows_is_in_the_stream_without_a_keeper(
    broker: NatsServer, manager: VolumeManager
) -> None:
    async def scenario() -> list[int]:
        async with publishing(broker.url, manager.recorder) as keeper:
            await reached(keeper, 0)
        async with replica(broker) as client:
            direct = Direct(client, KEY)
            direct.publish(written(1, 1))
            direct.publish(written(2, 4))
            await reached(client, 4)
            return await positions(client, range(1, 5))

    assert asyncio.run(scenario()) == [1, 2, 3, 4]


def test_what_lacks_something_before_it_comes_from_the_keeper(
    broker: NatsServer, manager: VolumeManager
) -> None:
    async def scenario() -> tuple[Any, list[int]]:
        async with (
            publishing(broker.url, manager.recorder) as keeper,
            replica(broker) as client,
        ):
            await reached(keeper, 0)
            Direct(client, KEY).publish(written(3, 4))
            await client.flush()
            before = await client.jetstream().stream_info(STREAM)
            await asyncio.to_thread(manager.recorder.insert_events, EVENTS[:4])
            await reached(client, 4)
            return before.state.last_seq, await positions(client, range(1, 5))

    assert asyncio.run(scenario()) == (0, [1, 2, 3, 4])


def test_it_goes_on_where_the_stream_does_and_nowhere_else(
    broker: NatsServer, manager: VolumeManager
) -> None:
    async def scenario() -> None:
        async with replica(broker) as client:
            direct = Direct(client, KEY)
            assert not direct.follows(0)  # for nobody has told where the stream ends
            direct.reached(5)
            assert direct.follows(4)
            assert direct.follows(5)
            assert not direct.follows(6)
            direct.publish(written(6, 6))
            assert direct.follows(6)
            direct.reached(5)  # said before the keeper has seen that
            assert direct.follows(6)
            broker.kill()

            async def is_away() -> bool:
                return not client.is_connected

            await eventually(is_away)
            assert not direct.follows(6)
            broker.start()

    asyncio.run(scenario())


def test_what_follows_closely_needs_no_word_of_its_own(
    broker: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(module, "monotonic", lambda: now)

    async def scenario() -> list[str | None]:
        nonlocal now
        said: list[str | None] = []
        async with replica(broker) as client:
            direct = Direct(client, KEY)
            for at, later in enumerate([0, 0.015, 0.010, 0.001, 9], 1):
                now += later
                said.append(direct.word())
                direct.publish(written(at, at))
            return said

    first, *others = asyncio.run(scenario())

    assert first
    assert first.startswith(PUBLISHED_BY)
    assert others == [None, first, None, first]
