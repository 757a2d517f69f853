"""Messages at the cost of the bytes.

nats-py checks a message's headers one by one, and their names letter by letter,
which for the dozen headers of an event costs more than everything else about it,
and hands each message over by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress

from nats.aio.client import Client
from nats.errors import ConnectionClosedError
from nats.protocol.command import hpub_cmd, pub_cmd

from adapters.jetstream.taking import Request

AT_ONCE = 256  # messages
HEADERS = 8 * 1024  # bytes that are left for them
LOOK_EVERY = 0.2  # seconds


class ClosedForGood(Exception):
    """The broker has thrown us out, and nats-py does not come back from that."""

    def __str__(self) -> str:
        return "NATS has closed the connection for good; its log says why"


async def until_closed(client: Client) -> None:
    """Raise `ClosedForGood` when the client will not come back by itself."""
    while not client.is_closed:  # noqa: ASYNC110 - not every end is told
        await asyncio.sleep(LOOK_EVERY)
    raise ClosedForGood


def fits(request: Request, body: bytes) -> bool:
    """Tell whether a broker takes the answer; one that it does not take ends us."""
    return len(body) <= request.client.max_payload - HEADERS


def message(subject: str, reply: str, headers: str, body: bytes) -> bytes:
    """Return a message as it is sent; each header is a line that ends in CRLF."""
    if not headers:
        return bytes(pub_cmd(subject, reply, body))
    head = f"NATS/1.0\r\n{headers}\r\n".encode()
    return bytes(hpub_cmd(subject, reply, head, body))


async def send(client: Client, messages: Sequence[bytes]) -> None:
    """Send messages, never more ahead of the broker than a few hundred."""
    for start in range(0, len(messages), AT_ONCE):
        if client.is_closed:
            raise ConnectionClosedError
        # Nothing public takes bytes.
        await client._send_command(b"".join(messages[start : start + AT_ONCE]))  # noqa: SLF001
        await client._flush_pending(force_flush=True)  # noqa: SLF001


def send_now(client: Client, data: bytes) -> None:
    """Send what is whole messages, behind all that waits to be sent.

    What cannot be sent now waits for the broker, unless that is closed for good.
    """
    # Nothing public takes bytes, nor without a wait.
    queue, transport = client._flush_queue, client._transport  # noqa: SLF001
    if client.is_connected and transport and not client._pending:  # noqa: SLF001
        with suppress(RuntimeError):  # it is lost, and nats-py does not know that yet
            transport.write(data)
            return
    if not client.is_closed:
        client._pending.append(data)  # noqa: SLF001
        client._pending_data_size += len(data)  # noqa: SLF001
        if queue and queue.empty():
            queue.put_nowait(asyncio.get_running_loop().create_future())


def respond(answers: Iterable[tuple[Request, str, bytes]]) -> None:
    """Answer requests of one client, each with headers and a body."""
    asked = [answer for answer in answers if answer[0].reply]
    if asked:
        told = [message(each.reply, "", more, body) for each, more, body in asked]
        send_now(asked[0][0].client, b"".join(told))
