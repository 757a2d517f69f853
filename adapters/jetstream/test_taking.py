"""Requests are taken whole and in order, however their bytes come; the rest is left."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some
from nats.aio.client import Client
from nats.errors import ProtocolError

from adapters.jetstream.taking import QuickClient, QuickParser, Request

TAKEN, LEFT = 1, 2  # subscriptions: one whose messages are taken, one of nats-py's


class Seen(QuickClient):
    """A client that notes what its parser gives it."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Any] = []
        self.takers[b"%d" % TAKEN] = self.take

    def take(self, request: Request) -> None:
        headers = request.headers and request.headers["Name"]
        self.seen.append((TAKEN, request.reply, headers, request.data))

    async def _process_msg(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes
    ) -> None:
        told = await self._process_headers(headers)
        self.seen.append((sid, reply.decode(), told and told["Name"], data))

    async def _process_ping(self) -> None:
        self.seen.append("ping")


MESSAGES = some.tuples(
    some.sampled_from([TAKEN, LEFT]),
    some.sampled_from(["", "inbox.1"]),
    some.sampled_from([None, "value", "HMSG a 1 2 3"]),
    some.sampled_from([b"", b"{}", b"\r\nMSG a 1 5\r\n"]),
)


def written(sent: Any) -> bytes:
    """Return a message as a broker sends it."""
    if sent == "ping":
        return b"PING\r\n"
    sid, reply, told, data = sent
    head = f"NATS/1.0\r\nName: {told}\r\n\r\n".encode() if told else b""
    sizes = f"{len(head)} {len(head) + len(data)}" if told else f"{len(data)}"
    words = ["HMSG" if told else "MSG", "a.subject", str(sid), reply, sizes]
    line = " ".join(filter(None, words)).encode()
    return line + b"\r\n" + head + bytes(data) + b"\r\n"


@given(some.lists(MESSAGES | some.just("ping")), some.integers(1, 80))
def test_what_comes_in_pieces_is_taken_whole_and_in_order(
    sent: list[Any], size: int
) -> None:
    data = b"".join(map(written, sent))

    async def scenario() -> list[Any]:
        client = Seen()
        for start in range(0, len(data), size):
            await client._ps.parse(data[start : start + size])
        return client.seen

    assert asyncio.run(scenario()) == sent


def test_a_connection_that_begins_anew_knows_nothing_of_a_torn_message() -> None:
    async def scenario() -> list[Any]:
        client = Seen()
        await client._ps.parse(b"MSG a 1 100\r\nhalf of")
        client._ps.reset()
        await client._ps.parse(b"MSG a 1 2\r\n{}\r\n")
        return client.seen

    assert asyncio.run(scenario()) == [(TAKEN, "", None, b"{}")]


@pytest.mark.parametrize("line", [b"MSG a 1 many\r\n", b"MSG\r\n", b" \r\n", b"X\r\n"])
def test_what_is_no_message_is_an_error_of_the_protocol(line: bytes) -> None:
    with pytest.raises(ProtocolError):
        asyncio.run(QuickParser(Seen()).parse(line))


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
