"""Connecting to NATS."""

from __future__ import annotations

import nats
from nats.aio.client import Client


async def connect(url: str, name: str) -> Client:
    """Return a client that comes back by itself, however long the broker is away."""
    return await nats.connect(
        url,
        name=name,
        max_reconnect_attempts=-1,
        reconnect_time_wait=0.2,
        pending_size=64 * 1024 * 1024,
    )
