"""The stream holds every position of the log, in order, whatever befalls the broker."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any
from uuid import uuid4

import nats
import pytest
from eventsourcing.persistence import StoredEvent
from nats.aio.client import Client
from nats.errors import Error
from nats.js.api import StreamConfig, StreamInfo

from adapters.embedded.nats_server import NatsServer
from adapters.jetstream import publisher
from adapters.jetstream.publisher import Publisher, as_message
from adapters.jetstream.stream import STREAM, SUBJECTS, Ahead
from adapters.jetstream.wire import send
from adapters.postgres.follower import Follower
from adapters.postgres.mapper import LogMapper
from adapters.postgres.recorder import LogRecorder, Written
from domain.aggregate import Done
from domain.backend import Backend
from domain.provenance import MOMENT, Moment, Provenance
from domain.volume import Volume
from service.manager import VolumeManager
from service.testing.callers import eventually

MANY = 20_000
KEY = b"the key of these tests"
DAMAGE = "UPDATE {log} SET state = %s WHERE notification_id = 4"
LAST_ID = "Nats-Expected-Last-Msg-Id"


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


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Client]:
    client = await nats.connect(url)
    try:
        yield client
    finally:
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


def change(manager: VolumeManager, statement: str, *given: Any) -> None:
    """Have the log be otherwise than it was written."""
    with manager.recorder.datastore.transaction(commit=True) as cursor:
        cursor.execute(manager.recorder.sql(statement), given)


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


@pytest.mark.parametrize("more", [1, 2, 100])
def test_what_somebody_else_wrote_does_not_stay(
    broker: NatsServer, manager: VolumeManager, history: list[StoredEvent], more: int
) -> None:
    manager.recorder.insert_events(history[:100])
    forged = f"{SUBJECTS}.volume.x.created"
    ours = list(range(90, 101 + more))

    async def scenario() -> None:
        async with publishing(broker.url, manager.recorder) as client:
            await reached(client, 100)
            await client.jetstream().publish(forged, b"{}", headers={"ce-id": "0"})
            last = history[100 : 100 + more]
            await asyncio.to_thread(manager.recorder.insert_events, last)

            async def is_so() -> bool:
                with suppress(Error):
                    return await positions(client, range(90, 101 + more)) == ours
                return False

            await eventually(is_so)

    asyncio.run(scenario())


async def purge(client: Client) -> None:
    await client.jetstream().purge_stream(STREAM)


async def delete(client: Client) -> None:
    await client.jetstream().delete_stream(STREAM)


@pytest.mark.parametrize("lose", [purge, delete])
def test_a_stream_that_was_emptied_by_hand_is_published_anew(
    broker: NatsServer,
    manager: VolumeManager,
    history: list[StoredEvent],
    lose: Callable[[Client], Awaitable[None]],
) -> None:
    manager.recorder.insert_events(history[:4])

    async def scenario() -> list[int]:
        async with publishing(broker.url, manager.recorder) as client:
            await reached(client, 4)
        async with connected(broker.url) as client:
            await lose(client)
        async with publishing(broker.url, manager.recorder) as client:

            async def begins() -> bool:
                with suppress(Error):
                    return await positions(client, range(1, 2)) == [1]
                return False

            await eventually(begins, 10)
            await reached(client, 4)
            return await positions(client, range(1, 5))

    assert asyncio.run(scenario()) == [1, 2, 3, 4]


def test_a_stream_that_is_deleted_under_load_is_published_anew(
    broker: NatsServer, manager: VolumeManager, history: list[StoredEvent]
) -> None:
    async def scenario() -> list[int]:
        async with publishing(broker.url, manager.recorder) as client:
            for first in range(0, 100, 10):
                about = history[first : first + 10]
                await asyncio.to_thread(manager.recorder.insert_events, about)
                if first in (30, 60):
                    await reached(client, first)
                    await delete(client)
            await reached(client, 100)
            return await positions(client, range(1, 101))

    assert asyncio.run(scenario()) == list(range(1, 101))


def test_what_was_there_already_is_told_by_its_last_event(
    broker: NatsServer,
    manager: VolumeManager,
    history: list[StoredEvent],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent: list[int] = []

    def noting(key: bytes, event: Any, *more: Any) -> bytes:
        sent.append(event.position)
        return as_message(key, event, *more)

    monkeypatch.setattr(publisher, "as_message", noting)

    async def insert(client: Client, first: int, last: int, *, direct: bool) -> None:
        if direct:
            for at, each in enumerate(history[first - 1 : last], first):
                written = Written(each.topic, each.state, at)
                await send(client, [as_message(KEY, written)])
            await client.flush()
        about = history[first - 1 : last]
        await asyncio.to_thread(manager.recorder.insert_events, about)
        await reached(client, last)
        await eventually(lambda: told(last))

    async def told(last: int) -> bool:
        return last in sent

    async def scenario() -> list[int]:
        async with publishing(broker.url, manager.recorder) as client:
            await insert(client, 1, 4, direct=False)
            await insert(client, 5, 8, direct=True)  # nobody has expected that
            await insert(client, 9, 12, direct=True)
            await insert(client, 13, 16, direct=False)
            await insert(client, 17, 20, direct=False)
            return await positions(client, range(1, 21))

    assert asyncio.run(scenario()) == list(range(1, 21))
    assert sent == [*range(1, 9), 12, 16, *range(13, 17), *range(17, 21)]


def test_what_was_there_in_part_is_completed(
    broker: NatsServer, manager: VolumeManager, history: list[StoredEvent]
) -> None:
    async def scenario() -> list[int]:
        async with publishing(broker.url, manager.recorder) as client:
            await reached(client, 0)
            for at, each in enumerate(history[:3], 1):
                written = Written(each.topic, each.state, at)
                await send(client, [as_message(KEY, written)])
            await client.flush()
            await asyncio.to_thread(manager.recorder.insert_events, history[:9])
            await reached(client, 9)
            return await positions(client, range(1, 10))

    assert asyncio.run(scenario()) == list(range(1, 10))


def test_what_follows_a_look_at_the_end_names_no_id(
    broker: NatsServer, manager: VolumeManager, history: list[StoredEvent]
) -> None:
    """A broker of version 2.10 has forgotten it where it is started anew."""
    manager.recorder.insert_events(history[:3])

    async def scenario() -> list[str | None]:
        async with publishing(broker.url, manager.recorder) as client:
            await reached(client, 3)
        async with publishing(broker.url, manager.recorder) as client:
            await asyncio.to_thread(manager.recorder.insert_events, history[3:6])
            await reached(client, 6)
            stream = client.jetstream()
            found = [await stream.get_msg(STREAM, n) for n in range(1, 7)]
            return [(message.headers or {}).get(LAST_ID) for message in found]

    assert asyncio.run(scenario()) == [None, "1", "2", None, "4", "5"]


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


class Late(Publisher):
    """One that sees a stream just before it is taken away, to be made anew."""

    lose: Callable[[Client], Awaitable[None]]

    async def _belongs(self, info: StreamInfo) -> bool:
        with suppress(Error):
            await type(self).lose(self._client)
        return await super()._belongs(info)


@pytest.mark.parametrize("lose", [purge, delete])
def test_a_stream_that_is_made_anew_meanwhile_is_no_other_log_s(
    broker: NatsServer,
    manager: VolumeManager,
    history: list[StoredEvent],
    lose: Callable[[Client], Awaitable[None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Late, "lose", lose, raising=False)
    manager.recorder.insert_events(history[:4])

    async def scenario() -> None:
        async with publishing(broker.url, manager.recorder) as client:
            await reached(client, 4)
        async with connected(broker.url) as client:
            await Late(client, Follower(manager.recorder, 0), KEY).check()

    asyncio.run(scenario())


@pytest.mark.parametrize("grown", [0, 1, 4])
def test_a_log_that_was_restored_from_an_old_copy_is_told_from_the_stream_s(
    broker: NatsServer,
    manager: VolumeManager,
    history: list[StoredEvent],
    grown: int,
) -> None:
    manager.recorder.insert_events(history[:4])

    async def scenario() -> None:
        async with publishing(broker.url, manager.recorder) as client:
            await reached(client, 4)
        change(manager, "DELETE FROM {log} WHERE notification_id > 2")
        manager.recorder.insert_events(history[4 : 4 + grown + 2])
        async with connected(broker.url) as client:
            follower = Follower(manager.recorder, 0)
            await asyncio.wait_for(Publisher(client, follower, KEY).run(), 5)

    with pytest.raises(Ahead, match="has another event at 4 than the log"):
        asyncio.run(scenario())


@pytest.mark.parametrize("state", [b"{}", b"\xff"])
def test_what_was_damaged_since_it_was_published_is_the_same_event(
    broker: NatsServer,
    manager: VolumeManager,
    history: list[StoredEvent],
    state: bytes,
) -> None:
    manager.recorder.insert_events(history[:4])

    async def scenario() -> list[int]:
        async with publishing(broker.url, manager.recorder) as client:
            await reached(client, 4)
        change(manager, DAMAGE, state)
        manager.recorder.insert_events(history[4:6])
        async with publishing(broker.url, manager.recorder) as client:
            await reached(client, 6)
            return await positions(client, range(1, 7))

    assert asyncio.run(scenario()) == list(range(1, 7))


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
