"""A broker that says nothing any more, without a goodbye."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

import pytest
from nats.errors import TimeoutError as NoAnswer

from adapters.embedded.nats_server import NatsServer
from service import connecting
from service.connecting import connect
from service.testing.callers import eventually

Ways = list[asyncio.StreamWriter]


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


def test_who_hears_nothing_of_a_broker_takes_another_way_to_it(
    broker: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connecting, "PING_EVERY", 1)
    silent: Ways = []

    async def scenario() -> None:
        async with between(broker, silent) as (url, ways):
            client = await connect(url, "test")
            silent.extend(ways)

            async def answers() -> bool:
                with suppress(NoAnswer):
                    await client.flush(1)
                    return True
                return False

            await eventually(answers)
            await client.close()

    asyncio.run(scenario())
