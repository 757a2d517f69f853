"""A broker that says nothing any more, without a goodbye."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import pytest
import uvloop
from nats.aio.client import Client
from nats.errors import TimeoutError as NoAnswer

from adapters.embedded.nats_server import NatsServer
from service import connecting
from service.connecting import connect
from service.testing.callers import eventually

Ways = list[asyncio.StreamWriter]
GREETING = b'INFO {"version":"2.10.0","headers":true,"max_payload":1048576}\r\n'
AT_ONCE = struct.pack("ii", 1, 0)  # SO_LINGER: what is not read yet is refused


@asynccontextmanager
async def between(broker: NatsServer, silent: Ways) -> AsyncIterator[tuple[str, Ways]]:
    """Yield the address of what stands before a broker, and all ways through it."""
    ways: Ways = []

    async def met(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = urlsplit(broker.url)
        answers, asks = await asyncio.open_connection(there.hostname, there.port)
        ways.extend((writer, asks))

        async def carry(of: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
            while said := await of.read(65536):
                if to not in silent:
                    to.write(said)

        with suppress(OSError):
            await asyncio.gather(carry(reader, asks), carry(answers, writer))

    server = await asyncio.start_server(met, "127.0.0.1", 0)
    try:
        yield "nats://127.0.0.1:{1}".format(*server.sockets[0].getsockname()), ways
    finally:
        server.close()
        for way in ways:
            way.close()
            with suppress(OSError):
                await way.wait_closed()


async def met(client: Client) -> None:
    """Return once a client's broker answers, and close the client."""

    async def answers() -> bool:
        with suppress(NoAnswer):
            await client.flush(1)
            return client.is_connected
        return False

    await eventually(answers)
    await client.close()


def test_who_hears_nothing_of_a_broker_takes_another_way_to_it(
    broker: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connecting, "PING_EVERY", 1)
    silent: Ways = []

    async def scenario() -> None:
        async with between(broker, silent) as (url, ways):
            client = await connect(url, "test")
            silent.extend(ways)
            await met(client)

    asyncio.run(scenario())


@asynccontextmanager
async def greeting(port: int) -> AsyncIterator[asyncio.Event]:
    """Greet whoever comes, as a broker does that is killed then; yields who came."""
    came = asyncio.Event()

    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        way = writer.get_extra_info("socket")
        way.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
        writer.write(GREETING)
        await asyncio.sleep(0)
        writer.transport.abort()
        came.set()

    server = await asyncio.start_server(greet, "127.0.0.1", port)
    try:
        yield came
    finally:
        server.close()
        await server.wait_closed()


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_a_broker_that_is_killed_as_it_greets_is_looked_for_again(
    broker: NatsServer, run: Callable[..., Any]
) -> None:
    async def scenario() -> None:
        client = await connect(broker.url, "test")
        broker.kill()
        async with greeting(broker.port) as came:
            await came.wait()
            await asyncio.sleep(0.1)
        broker.start()
        await met(client)

    run(scenario())


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_a_broker_that_is_killed_as_it_first_greets_is_looked_for_again(
    broker: NatsServer, run: Callable[..., Any]
) -> None:
    broker.kill()

    async def scenario() -> None:
        async with greeting(broker.port) as came:
            coming = asyncio.ensure_future(connect(broker.url, "test"))
            await came.wait()
            await asyncio.sleep(0.1)
        broker.start()
        await met(await coming)

    run(scenario())


def test_what_nobody_expects_on_the_way_back_ends_no_looking_for_the_broker(
    broker: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    init, failures = Client._process_connect_init, [ValueError("a line without end")]

    async def fails_once(client: Client) -> None:
        if failures:
            raise failures.pop()
        await init(client)

    async def scenario() -> None:
        client = await connect(broker.url, "test")
        monkeypatch.setattr(Client, "_process_connect_init", fails_once)
        broker.kill()
        broker.start()
        await met(client)

    asyncio.run(scenario())

    assert failures == []
