"""What is read quickly is what nats-py reads; what is sent is what a broker takes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as some
from nats.aio.client import Client
from nats.aio.msg import Msg

from adapters.embedded.nats_server import NatsServer
from adapters.jetstream.taking import Request
from adapters.jetstream.wire import (
    HEADERS,
    ClosedForGood,
    QuickClient,
    fits,
    message,
    send_now,
    until_closed,
)
from service.connecting import connect
from service.testing.callers import eventually

PIECES = [
    b"Name",
    b":",
    b": ",
    b" ",
    b"\t",
    b"\r\n",
    b"\xff",
    "größer".encode(),
    b"\x0b",
]


@given(some.lists(some.sampled_from(PIECES) | some.binary(max_size=3)).map(b"".join))
def test_headers_are_read_as_the_library_reads_them(raw: bytes) -> None:
    read = QuickClient._parse_header_lines

    assert read(raw) == Client._parse_header_lines(raw)


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


def test_an_answer_that_comes_too_late_ends_no_reading(nats_url: str) -> None:
    async def scenario() -> None:
        client = QuickClient()
        await client.connect(nats_url)
        asking = asyncio.ensure_future(client.flush())
        while not client._pongs:  # noqa: ASYNC110 - that it is asked is not told
            await asyncio.sleep(0)
        asking.cancel()
        async with asyncio.timeout(10):
            await client.flush()
        await client.close()

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
