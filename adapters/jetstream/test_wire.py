"""What is sent is what a broker takes, and in order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import uvloop
from nats.aio.msg import Msg

from adapters.embedded.nats_server import NatsServer
from adapters.jetstream.taking import QuickClient, Request
from adapters.jetstream.wire import (
    HEADERS,
    ClosedForGood,
    fits,
    message,
    send_now,
    until_closed,
)
from service.connecting import connect
from service.testing.callers import eventually


def test_an_answer_leaves_room_for_its_headers(nats_url: str) -> None:
    async def scenario() -> list[bool]:
        client = QuickClient()
        await client.connect(nats_url)
        most = client.max_payload - HEADERS
        request = Request(client, "", "", None, b"")
        found = [fits(request, bytes(most)), fits(request, bytes(most + 1))]
        await client.close()
        return found

    assert asyncio.run(scenario()) == [True, False]


def test_a_client_that_is_closed_for_good_is_noticed(nats_url: str) -> None:
    async def scenario() -> None:
        client = QuickClient()
        await client.connect(nats_url)
        closing = asyncio.ensure_future(client.close())
        async with asyncio.timeout(10):
            await until_closed(client)
        await closing

    with pytest.raises(ClosedForGood):
        asyncio.run(scenario())


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_what_is_sent_while_the_broker_is_away_waits_for_it_in_order(
    broker: NatsServer, run: Callable[..., Any]
) -> None:
    heard: list[int] = []

    async def hear(told: Msg) -> None:
        heard.append(int(told.data))

    async def scenario() -> None:
        async with await connect(broker.url, "serve") as client:

            async def is_away() -> bool:
                return not client.is_connected

            async def all_is_heard() -> bool:
                return len(heard) == 6

            def tell(*numbers: int) -> None:
                for number in numbers:
                    send_now(client, message("told", "", "", b"%d" % number))

            await client.subscribe("told", cb=hear)
            await client.flush()
            tell(1, 2)
            await client.flush()
            broker.kill()
            await eventually(is_away)
            tell(3, 4)
            broker.start()
            await client.publish("told", b"5")
            tell(6)
            await eventually(all_is_heard)

    run(scenario())

    assert heard == [1, 2, 3, 4, 5, 6]
