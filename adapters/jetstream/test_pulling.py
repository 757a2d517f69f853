"""Pulling: everything once and in order, and an end that is told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import pytest
from nats.js.api import AckPolicy, ConsumerConfig

from adapters.jetstream import pulling as module
from adapters.jetstream.pulling import Gone, Pull, pulling, sequence_of
from adapters.jetstream.taking import QuickClient, Request


class Stream:
    """A stream of one's own, and what was pulled of it."""

    def __init__(self, client: QuickClient) -> None:
        self.client = client
        self.name = f"test-{uuid4().hex}"
        self.taken: list[tuple[int, bytes]] = []

    async def write(self, first: int, last: int) -> None:
        for number in range(first, last + 1):
            await self.client.jetstream().publish(self.name, b"%d" % number)

    async def forget(self) -> None:
        """Have the broker drop the consumer."""
        stream = self.client.jetstream()
        [consumer] = await stream.consumers_info(self.name)
        await stream.delete_consumer(self.name, consumer.name)

    def take(self, message: Request) -> None:
        self.taken.append((sequence_of(message), message.data))
        if message.data == b"7":
            raise ValueError(message)


def pulled(url: str, scenario: Callable[[Stream, Pull], Awaitable[Any]]) -> Stream:
    """Return what a scenario has pulled."""

    async def lived() -> Stream:
        client = QuickClient()
        await client.connect(url)
        stream = Stream(client)
        await client.jetstream().add_stream(name=stream.name, subjects=[stream.name])
        config = ConsumerConfig(ack_policy=AckPolicy.NONE)
        try:
            async with asyncio.timeout(30):
                async with pulling(client, stream.name, config, stream.take) as pull:
                    await scenario(stream, pull)
                assert not client.takers
        finally:
            await client.jetstream().delete_stream(stream.name)
            await client.close()
        return stream

    return asyncio.run(lived())


def in_order(last: int) -> list[tuple[int, bytes]]:
    return [(number, b"%d" % number) for number in range(1, last + 1)]


def test_all_is_taken_once_and_in_order_many_for_one_request(
    nats_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "AT_ONCE", 20)

    async def scenario(stream: Stream, pull: Pull) -> None:
        await stream.write(1, 40)
        for _ in range(2):
            await pull.more()
        coming = asyncio.ensure_future(pull.more())
        await stream.write(41, 60)  # one by one, of one request
        await coming

    assert pulled(nats_url, scenario).taken == in_order(60)


def test_a_request_that_is_good_no_longer_is_no_failure(
    nats_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "EXPIRES", 0.1)

    async def scenario(stream: Stream, pull: Pull) -> None:
        await pull.more()
        await stream.write(1, 3)
        await pull.more()

    assert pulled(nats_url, scenario).taken == in_order(3)


def test_a_consumer_that_goes_meanwhile_is_told_of(nats_url: str) -> None:
    async def scenario(stream: Stream, pull: Pull) -> None:
        await stream.write(1, 3)
        asking = asyncio.ensure_future(pull.more())
        while len(stream.taken) < 3:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)
        await stream.forget()
        with pytest.raises(Gone):
            await asking

    assert pulled(nats_url, scenario).taken == in_order(3)


def test_a_consumer_that_has_gone_is_told_of(nats_url: str) -> None:
    async def scenario(stream: Stream, pull: Pull) -> None:
        await stream.forget()
        with pytest.raises(Gone):
            await pull.more()

    pulled(nats_url, scenario)


@pytest.mark.parametrize(
    "reply",
    [
        "$JS.ACK.EVENTS.consumer.1.42.3.1700000000000000000.0",
        "$JS.ACK.domain.account.EVENTS.consumer.1.42.3.1700000000000000000.0.random",
    ],
    ids=["plain", "with a domain"],
)
def test_a_place_is_read_of_either_form(reply: str) -> None:
    client: Any = None

    assert sequence_of(Request(client, "a", reply, None, b"")) == 42
