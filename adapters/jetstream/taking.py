"""Taking messages as they are read: all of one read in one turn of the loop.

nats-py reads messages one by one and has each go through a queue and a task, which
for a request costs as much as deciding it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from logging import getLogger
from typing import Any

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import ProtocolError
from nats.micro import request as micro
from nats.micro.service import EndpointConfig, Service
from nats.protocol.parser import Parser

logger = getLogger(__name__)


class Request(msgspec.Struct, eq=False):
    """A message as it came; whoever wants no answer names no place for it."""

    client: Client
    subject: str
    reply: str
    headers: Mapping[str, str] | None
    data: bytes


Take = Callable[[Request], None]


class QuickClient(Client):
    """A client that looks at the name of a header once, and hands requests over."""

    def __init__(self) -> None:
        super().__init__()
        self.takers: dict[bytes, Take] = {}  # by the number of a subscription
        self._ps = QuickParser(self)

    async def _process_pong(self) -> None:
        """Take the answer to a `flush`, also where that has given up waiting.

        nats-py would never read again, and still count as connected.
        """
        if self._pongs and self._pongs[0].done():
            self._pongs[0] = asyncio.Future()
        await super()._process_pong()

    async def _process_connect_init(self) -> None:
        """Greet a broker; one that is gone meanwhile is lost as any other."""
        try:
            await super()._process_connect_init()
        except RuntimeError as lost:  # uvloop's, of which nats-py knows nothing
            raise ConnectionResetError(str(lost)) from lost

    async def _attempt_reconnect(self) -> None:
        """Come back to the broker, whatever goes wrong on the way.

        nats-py gives up at what it does not expect, and neither counts as closed then
        nor ever looks for the broker again.
        """
        while True:
            try:
                await super()._attempt_reconnect()
            except Exception as wrong:
                logger.exception("the broker is looked for again")
                if self.is_closed:
                    return
                self._status = Client.RECONNECTING
                self._err = wrong
                await asyncio.sleep(self.options["reconnect_time_wait"])
            else:
                return

    @staticmethod
    def _parse_header_lines(raw: bytes) -> dict[str, str]:
        """Return headers as `Client` does; `test_taking` holds the two together."""
        told: dict[str, str] = {}
        for line in raw.split(b"\r\n"):
            name, colon, value = line.partition(b":")
            if colon and (known := name_of(name)) is not None:
                told[known] = value.strip().decode("utf-8", "replace")
        return told


@lru_cache(maxsize=1024)
def name_of(raw: bytes) -> str | None:
    """Return a header's name, or None for what is none: other than one ASCII word."""
    try:
        name = raw.strip().decode("ascii")
    except UnicodeDecodeError:
        return None
    return None if any(map(str.isspace, name)) else name


class QuickParser(Parser):
    """Gives messages to whoever takes them; all else that comes is nats-py's."""

    nc: QuickClient

    def reset(self) -> None:
        super().reset()
        self._rest = b""

    async def parse(self, data: bytes = b"") -> None:
        self._rest += data
        try:
            while other := self._take():
                await super().parse(other)
        except (IndexError, ValueError) as wrong:
            raise ProtocolError from wrong

    def _take(self) -> bytes:
        """Give requests away up to what is none, and return that if it is all there."""
        data, start, takers = self._rest, 0, self.nc.takers
        while (end := data.find(b"\r\n", start) + 2) > 1:
            words = data[start:end].split()
            after = end
            if words[0] in SIZES:
                after += int(words[-1]) + 2
                if after > len(data):
                    break
                if take := takers.get(words[2]):
                    take(self._request(words, data[end : after - 2]))
                    start = after
                    continue
            self._rest = data[after:]
            return data[start:after]
        self._rest = data[start:]
        return b""

    def _request(self, words: list[bytes], data: bytes) -> Request:
        sizes = SIZES[words[0]]
        reply = words[3].decode() if len(words) > 3 + sizes else ""
        client, subject, headers = self.nc, words[1].decode(), None
        if sizes > 1:
            head = int(words[-2])
            headers = client._parse_header_lines(data[:head])
            data = data[head:]
        return Request(client, subject, reply, headers, data)


# How many sizes a message's first line ends with.
SIZES = {b"MSG": 1, b"HMSG": 2}


async def add_endpoint(service: Service, take: Take, **described: Any) -> None:
    """Add an endpoint to a service; its requests are counted as nats-py counts."""

    async def late(asked: micro.Request) -> None:
        take(as_request(asked._msg))

    def counted(request: Request) -> None:
        began = time.perf_counter_ns()
        endpoint._num_requests += 1
        try:
            take(request)
        except Exception as wrong:
            logger.exception("a request on %s is not answered", request.subject)
            endpoint._num_errors += 1
            endpoint._last_error = repr(wrong)
        endpoint._processing_time += time.perf_counter_ns() - began
        average = endpoint._processing_time // endpoint._num_requests
        endpoint._average_processing_time = average

    await service.add_endpoint(EndpointConfig(handler=late, **described))
    endpoint = service._endpoints[-1]
    assert endpoint._subscription
    give(endpoint._subscription, counted)


async def subscribe(client: Client, subject: str, take: Take) -> Subscription:
    """Have the messages of a subject taken; what one raises harms no other."""

    async def late(message: Msg) -> None:
        guarded(as_request(message))

    def guarded(message: Request) -> None:
        try:
            take(message)
        except Exception:
            logger.exception("a message on %s is not taken", message.subject)

    subscription = await client.subscribe(subject, cb=late)
    give(subscription, guarded)
    return subscription


async def unsubscribe(subscription: Subscription) -> None:
    """Have a subscription's messages taken no more."""
    client: QuickClient = subscription._conn
    client.takers.pop(b"%d" % subscription._id, None)
    await subscription.unsubscribe()


def give(subscription: Subscription, take: Take) -> None:
    """Have a subscription's messages taken from now on."""
    client: QuickClient = subscription._conn
    client.takers[b"%d" % subscription._id] = take


def as_request(message: Msg) -> Request:
    """Return a message that came before anybody was known as its taker."""
    about = message.subject, message.reply, message.headers, message.data
    return Request(message._client, *about)
