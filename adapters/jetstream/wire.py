"""Publishing at the cost of the bytes.

nats-py checks and encodes each message and its headers one by one, which for the
dozen headers of an event, or a batch of answers, costs more than all else about it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from nats.aio.client import Client
from nats.errors import ConnectionClosedError
from nats.micro.request import Request
from nats.protocol.command import hpub_cmd, pub_cmd


async def publish(
    client: Client, subject: str, body: bytes, reply: str, headers: Mapping[str, str]
) -> None:
    """Publish as `Client.publish` does; names and values must be fit for headers."""
    await write(client, message(subject, body, headers, reply))


async def respond(answers: Iterable[tuple[Request, bytes, Mapping[str, str]]]) -> None:
    """Answer requests of one client in one write, each with a body and its headers.

    Whoever wants no answer names no place for it.
    """
    asked = [(request._msg, body, headers) for request, body, headers in answers]  # noqa: SLF001
    told = [message(msg.reply, body, more) for msg, body, more in asked if msg.reply]
    if told:
        await write(asked[0][0]._client, b"".join(told))  # noqa: SLF001


def message(
    subject: str, body: bytes, headers: Mapping[str, str], reply: str = ""
) -> bytes:
    """Return a message as the protocol has it."""
    if not headers:
        return bytes(pub_cmd(subject, reply, body))
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    head = f"NATS/1.0\r\n{lines}\r\n".encode()
    return bytes(hpub_cmd(subject, reply, head, body))


async def write(client: Client, commands: bytes) -> None:
    """Send what is written as the protocol has it; nothing public takes bytes."""
    if client.is_closed:
        raise ConnectionClosedError
    await client._send_command(commands)  # noqa: SLF001
    flushes = client._flush_queue  # noqa: SLF001
    if flushes is not None and flushes.empty():
        await client._flush_pending()  # noqa: SLF001
