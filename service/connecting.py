"""Connecting to NATS."""

from __future__ import annotations

from nats.aio.client import Client

from adapters.jetstream.wire import QuickClient


async def connect(url: str, name: str) -> Client:
    """Return a client that comes back by itself, however long the broker is away."""
    client = QuickClient()
    await client.connect(
        url,
        name=name,
        max_reconnect_attempts=-1,
        reconnect_time_wait=0.2,  # type: ignore[arg-type]
        pending_size=64 * 1024 * 1024,
    )
    return client
