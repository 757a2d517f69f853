"""The stream holds every position of the log, in order, whatever befalls the broker."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any
from uuid import uuid4

import nats
import pytest
from eventsourcing.persistence import StoredEvent
from nats.aio.client import Client
from nats.errors import Error
from nats.js.api import StreamConfig

from adapters.embedded.nats_server import NatsServer
from adapters.jetstream.publisher import Publisher
from adapters.jetstream.stream import STREAM, SUBJECTS, Ahead
from adapters.postgres.follower import Follower
from adapters.postgres.mapper import LogMapper
from adapters.postgres.recorder import LogRecorder
from domain.aggregate import Done
from domain.backend import Backend
from domain.provenance import MOMENT, Moment, Provenance
from domain.volume import Volume
from service.manager import VolumeManager

MANY = 20_000
KEY = b"the key of these tests"


@pytest.fixture
def history() -> list[StoredEvent]:
    """Two events of each of many volumes."""
    mapper = LogMapper()
    stored: list[StoredEvent] = []
    for _ in range(MANY // 2):
        volume = Volume.create(uuid4(), size_gib=1, backend="files")
        volume.report(1, Done(location="/volumes/db"))
        stored += map(mapper.to_stored_event, volume.collect_events())
    return stored


@asynccontextmanager
async def publishing(url: str, recorder: LogRecorder) -> AsyncIterator[Client]:
    client = await nats.connect(
        url, max_reconnect_attempts=-1, reconnect_time_wait=0.05, error_cb=unmoved
    )
    follower = Follower(recorder, 0)
    follower.start()
    task = asyncio.create_task(Publisher(client, follower, KEY).run())
    try:
        yield client
    finally:
        follower.stop()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await client.close()


async def unmoved(_: Exception) -> None:
    """Take a lost connection as it comes."""


async def reached(client: Client, sequence: int) -> Any:
    """Wait until the stream has come that far, and return what it says of itself."""
    async with asyncio.timeout(60):
        while True:
            with suppress(Error, TimeoutError):
                info = await client.jetstream().stream_info(STREAM)
                if info.state.last_seq >= sequence:
                    return info.state
            await asyncio.sleep(0.005)


async def positions(client: Client, sequences: range) -> list[int]:
    stream = client.jetstream()
    messages = [await stream.get_msg(STREAM, n) for n in sequences]
    return [int((message.headers or {})["ce-id"]) for message in messages]


def wiped(broker: NatsServer) -> None:
    shutil.rmtree(broker.folder, ignore_errors=True)


@pytest.mark.parametrize("lose", [lambda _: None, wiped], ids=["kept", "wiped"])
def test_a_broker_killed_in_mid_page_ends_up_with_every_position(
    broker: NatsServer,
    manager: VolumeManager,
    history: list[StoredEvent],
    lose: Callable[[NatsServer], None],
) -> None:
    manager.recorder.insert_events(history)

    async def scenario() -> tuple[Any, list[int]]:
        async with publishing(broker.url, manager.recorder) as client:
            await reached(client, MANY // 10)
            broker.kill()
            lose(broker)
            broker.start()
            state = await reached(client, MANY)
            around = range(MANY // 10 - 200, MANY // 10 + 1500)
            return state, await positions(client, around)

    state, found = asyncio.run(scenario())

    assert (state.first_seq, state.last_seq, state.messages) == (1, MANY, MANY)
    assert not state.num_deleted
    assert found == list(range(found[0], found[0] + 1700))
    assert found[0] == MANY // 10 - 200


def test_what_somebody_else_wrote_does_not_stay(
    broker: NatsServer, manager: VolumeManager, history: list[StoredEvent]
) -> None:
    manager.recorder.insert_events(history[:100])

    async def scenario() -> tuple[Any, list[int]]:
        async with publishing(broker.url, manager.recorder) as client:
            await reached(client, 100)
            forged = f"{SUBJECTS}.volume.x.created"
            await client.jetstream().publish(forged, b"{}", headers={"ce-id": "101"})
            await asyncio.to_thread(manager.recorder.insert_events, history[100:200])
            state = await reached(client, 200)
            while state.last_seq != 200 or state.messages != 200:
                state = await reached(client, 200)
            return state, await positions(client, range(90, 120))

    state, found = asyncio.run(scenario())

    assert (state.last_seq, found) == (200, list(range(90, 120)))


def test_two_publishers_do_no_harm(
    broker: NatsServer, manager: VolumeManager, history: list[StoredEvent]
) -> None:
    manager.recorder.insert_events(history[:4000])

    async def scenario() -> tuple[Any, list[int]]:
        async with (
            publishing(broker.url, manager.recorder) as client,
            publishing(broker.url, manager.recorder),
        ):
            state = await reached(client, 4000)
            return state, await positions(client, range(1, 4001, 7))

    state, found = asyncio.run(scenario())

    assert (state.messages, found) == (4000, list(range(1, 4001, 7)))


def test_a_stream_of_another_log_is_not_added_to(
    broker: NatsServer, manager: VolumeManager
) -> None:
    async def scenario() -> None:
        client = await nats.connect(broker.url)
        stream = client.jetstream()
        await stream.add_stream(StreamConfig(name=STREAM, subjects=[f"{SUBJECTS}.>"]))
        for _ in range(2):
            await stream.publish(f"{SUBJECTS}.volume.x.created", b"{}")
        try:
            await Publisher(client, Follower(manager.recorder, 0), KEY).run()
        finally:
            await client.close()

    with pytest.raises(Ahead, match="the stream HOLDFAST_EVENTS is not this log's"):
        asyncio.run(scenario())


def test_an_event_that_nobody_can_read_is_published_all_the_same(
    broker: NatsServer, manager: VolumeManager, history: list[StoredEvent]
) -> None:
    poison = [StoredEvent(uuid4(), 1, "volume.created", b) for b in (b"{}", b"\xff")]
    manager.recorder.insert_events([*poison, *history[:2]])

    async def scenario() -> list[int]:
        async with publishing(broker.url, manager.recorder) as client:
            await reached(client, 4)
            return await positions(client, range(1, 5))

    assert asyncio.run(scenario()) == [1, 2, 3, 4]


def test_an_event_says_who_asked_for_it_and_why_it_is(
    broker: NatsServer, manager: VolumeManager
) -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    moment = MOMENT.get()
    MOMENT.set(Moment(moment.timestamp, Provenance("Zoë", "", "key 1", "7", trace)))
    backend = Backend.taken_over("files", 1, "a holder", "node-1")
    manager.recorder.insert_events(
        list(map(LogMapper().to_stored_event, backend.collect_events()))
    )

    async def scenario() -> Any:
        async with publishing(broker.url, manager.recorder) as client:
            await reached(client, 1)
            return await client.jetstream().get_msg(STREAM, 1)

    message = asyncio.run(scenario())

    assert message.subject == "holdfast.v1.events.backend.files.lease_taken"
    assert len(message.headers.pop("Holdfast-Signature")) == 64
    assert message.headers == {
        "Nats-Msg-Id": "1",
        "Nats-Expected-Last-Sequence": "0",
        "ce-specversion": "1.0",
        "ce-id": "1",
        "ce-type": "holdfast.backend.lease_taken",
        "ce-source": "holdfast",
        "ce-subject": "files",
        "ce-time": moment.timestamp.isoformat().replace("+00:00", "Z"),
        "ce-version": "1",
        "ce-actor": "Zo%C3%AB",
        "ce-requestid": "key%201",
        "ce-causationid": "7",
        "traceparent": trace,
    }
