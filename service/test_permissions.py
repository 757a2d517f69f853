"""What callers may and may not do at the broker of `up`."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path

import nats
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.micro import add_service

from adapters.embedded.nats_server import NatsServer
from service.permissions import configured, with_password

STREAM = "HOLDFAST_EVENTS"
CHECKPOINTS, SIGNED = "HOLDFAST_CHECKPOINTS", "holdfast.v1.checkpoints"
SUBJECT = "holdfast.v1.events.volume.x.created"
Try = Callable[[Client], Awaitable[object]]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    server = NatsServer(tmp_path, config=configured("secret"))
    server.start()
    yield server
    server.stop()


def as_caller(server: NatsServer, attempt: Try) -> list[str]:
    """Let a caller try something beside a service, and return what NATS refused."""

    async def scenario() -> list[str]:
        refused: list[str] = []

        async def note(error: Exception) -> None:
            refused.append(str(error))

        ours = await nats.connect(with_password(server.url, "secret"))
        stream = ours.jetstream()
        await stream.add_stream(name=STREAM, subjects=["holdfast.v1.events.>"])
        await stream.publish(SUBJECT, b"{}")
        await stream.add_stream(name=CHECKPOINTS, subjects=[SIGNED])
        await stream.publish(SIGNED, b"note")

        async def answer(message: Msg) -> None:
            await message.respond(b"yes")

        await ours.subscribe("holdfast.v1.volume.create", "q", answer)
        service = await add_service(ours, name="x", version="1.0.0")
        await ours.flush()
        caller = await nats.connect(server.url, error_cb=note)
        with suppress(TimeoutError, nats.errors.Error):
            await attempt(caller)
        await caller.flush()
        await service.stop()
        info = await stream.stream_info(STREAM)
        assert info.state.messages == 1
        signed = await stream.stream_info(CHECKPOINTS)
        assert signed.state.messages == 1
        await caller.close()
        await ours.close()
        return refused

    return asyncio.run(scenario())


async def asks(client: Client) -> None:
    answer = await client.request("holdfast.v1.volume.create", b"{}", timeout=2)
    assert answer.data == b"yes"


async def reads(client: Client) -> None:
    found = await client.jetstream().subscribe("holdfast.v1.events.>")
    message = await found.next_msg(timeout=2)
    assert message.subject == SUBJECT
    await message.ack()
    await found.unsubscribe()


async def pulls(client: Client) -> None:
    durable = await client.jetstream().pull_subscribe("holdfast.v1.events.>", "audit")
    [message] = await durable.fetch(1, timeout=2)
    await message.ack_sync()


async def looks(client: Client) -> None:
    info = await client.jetstream().stream_info(STREAM)
    assert info.state.messages == 1


async def keeps(client: Client) -> None:
    message = await client.jetstream().get_msg(CHECKPOINTS, 1)
    assert message.data == b"note"


async def discovers(client: Client) -> None:
    answer = await client.request("$SRV.PING", timeout=2)
    assert json.loads(answer.data)["name"] == "x"


@pytest.mark.parametrize("attempt", [asks, reads, pulls, looks, keeps, discovers])
def test_a_caller_may(server: NatsServer, attempt: Try) -> None:
    assert as_caller(server, attempt) == []


@pytest.mark.parametrize(
    "attempt",
    [
        pytest.param(lambda c: c.publish(SUBJECT, b"forged"), id="write to the stream"),
        pytest.param(lambda c: c.publish(SIGNED, b"forged"), id="sign the log"),
        pytest.param(
            lambda c: c.request("holdfast.v1.agent.report", b"{}", timeout=0.2),
            id="report as an agent",
        ),
        pytest.param(
            lambda c: c.publish("holdfast.v1.agents.files.measured", b"{}"),
            id="tell a measurement",
        ),
        pytest.param(
            lambda c: c.subscribe("holdfast.v1.volume.create", "q"),
            id="hear what others ask",
        ),
        pytest.param(lambda c: c.subscribe(">"), id="hear everything"),
        pytest.param(
            lambda c: c.request(f"$JS.API.STREAM.DELETE.{STREAM}", b"", timeout=0.2),
            id="remove the stream",
        ),
        pytest.param(
            lambda c: c.request(f"$JS.API.STREAM.PURGE.{STREAM}", b"", timeout=0.2),
            id="empty the stream",
        ),
        pytest.param(
            lambda c: c.request(
                f"$JS.API.CONSUMER.DELETE.{STREAM}.agent", b"", timeout=0.2
            ),
            id="remove a consumer",
        ),
        pytest.param(
            lambda c: c.request(f"$JS.API.STREAM.UPDATE.{STREAM}", b"{}", timeout=0.2),
            id="change the stream",
        ),
    ],
)
def test_a_caller_may_not(server: NatsServer, attempt: Try) -> None:
    [refused] = as_caller(server, attempt)

    assert "permissions violation" in refused.lower()


@pytest.mark.parametrize(
    "asked",
    [
        "holdfast.v1.volume.create",
        "$SRV.PING",
        f"$JS.API.STREAM.INFO.{STREAM}",
        f"$JS.API.STREAM.INFO.{CHECKPOINTS}",
        "$JS.API.INFO",
    ],
)
def test_no_answer_gets_into_the_stream(server: NatsServer, asked: str) -> None:
    async def attempt(client: Client) -> None:
        await client.publish(asked, b"{}", reply=SUBJECT)
        await asks(client)

    assert as_caller(server, attempt) == []


def test_nobody_is_the_service_without_its_password(server: NatsServer) -> None:
    said = b'CONNECT {"user":"holdfast","pass":"guessed","verbose":true}\r\n'
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as spoken:
        spoken.sendall(said)

        assert b"Authorization Violation" in b"".join(
            iter(lambda: spoken.recv(99), b"")
        )
