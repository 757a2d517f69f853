"""Publishing with headers at the cost of the bytes.

nats-py checks and encodes a message's headers one by one, which for the dozen
of an event costs more than everything else about it.
"""

from __future__ import annotations

from collections.abc import Mapping

from nats.aio.client import Client
from nats.errors import ConnectionClosedError
from nats.protocol.command import hpub_cmd


async def publish(
    client: Client, subject: str, body: bytes, reply: str, headers: Mapping[str, str]
) -> None:
    """Publish as `Client.publish` does; names and values must be fit for headers."""
    if client.is_closed:
        raise ConnectionClosedError
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    head = f"NATS/1.0\r\n{lines}\r\n".encode()
    command = hpub_cmd(subject, reply, head, body)
    await client._send_command(command)  # noqa: SLF001 - nothing public takes bytes
    flushes = client._flush_queue  # noqa: SLF001
    if flushes is not None and flushes.empty():
        await client._flush_pending()  # noqa: SLF001
