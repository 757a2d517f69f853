"""Pulling messages of a consumer: many for one request, each taken as it is read.

nats-py's `fetch` returns with the first message that comes, so what comes one by one
costs a request each, and a queue, a future and a timer.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import msgspec
from nats.aio.client import Client
from nats.errors import Error
from nats.js.api import ConsumerConfig

from adapters.jetstream.taking import Request, Take, subscribe, unsubscribe

AT_ONCE = 256  # messages that one request is for
EXPIRES = 5.0  # seconds that a request is good for
LATE = 1.0  # seconds more until a broker that says nothing is not there


class Gone(Error):
    """The broker has dropped the consumer, or what we asked of it."""

    def __str__(self) -> str:
        return "the broker no longer knows what was asked of the stream"


class Pull:
    """What is pulled of one consumer."""

    def __init__(self, client: Client, ask: str, take: Take) -> None:
        self._client = client
        self._ask = ask
        self._inbox = client.new_inbox()
        self._take = take
        self._left = 0
        self._ended = asyncio.Event()

    async def subscribe(self) -> None:
        """Listen, before anything is asked for."""
        self._subscription = await subscribe(self._client, self._inbox, self._came)

    async def unsubscribe(self) -> None:
        """Listen no more."""
        with suppress(Error):
            await unsubscribe(self._subscription)

    async def more(self) -> None:
        """Have messages taken until a request is used up, or good no longer.

        Raises `Gone`, or `TimeoutError` where the broker says nothing.
        """
        self._left = AT_ONCE
        self._ended.clear()
        asked = {"batch": AT_ONCE, "expires": round(EXPIRES * 1e9)}
        began = asyncio.get_running_loop().time()
        await self._client.publish(
            self._ask, msgspec.json.encode(asked), reply=self._inbox
        )
        async with asyncio.timeout(EXPIRES + LATE):
            await self._ended.wait()
        took = asyncio.get_running_loop().time() - began
        if self._left and took < EXPIRES - LATE:
            raise Gone

    def _came(self, message: Request) -> None:
        # What the broker says of the request itself is nothing to be answered.
        if message.reply:
            self._left -= 1
            self._take(message)
            if self._left == 0:
                self._ended.set()
        else:
            self._ended.set()


@asynccontextmanager
async def pulling(
    client: Client, stream: str, config: ConsumerConfig, take: Take
) -> AsyncIterator[Pull]:
    """Make a consumer that goes by itself, and yield what pulls its messages."""
    made = await client.jetstream().add_consumer(stream, config)
    ask = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{made.name}"
    pull = Pull(client, ask, take)
    await pull.subscribe()
    try:
        yield pull
    finally:
        await pull.unsubscribe()


def sequence_of(message: Request) -> int:
    """Return a message's place in the stream, as its reply subject tells.

    `$JS.ACK.<stream>.<consumer>.<delivered>.<sequence>…`, or with a domain and an
    account before the stream (ADR-15 of NATS).
    """
    words = message.reply.split(".")
    return int(words[5 if len(words) == 9 else 7])  # noqa: PLR2004 - as above
