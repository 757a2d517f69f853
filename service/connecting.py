"""Connecting to NATS, and saying now and then that it is waited for."""

from __future__ import annotations

import time
from logging import WARNING, getLogger

from nats.aio.client import Client

from adapters.jetstream.taking import QuickClient
from service.messages.text import said_by, without_secret

SAY_EVERY = 10.0  # seconds that one who waits says so again
# A host that is gone says no goodbye, and nats-py would ask after it every two minutes.
PING_EVERY = 5  # seconds
MOST_UNANSWERED = 2  # until another connection is looked for

logger = getLogger(__name__)


class Waiting:
    """Says, at a level, that a client waits for its broker, and that it is there."""

    def __init__(self, client: Client, url: str, level: int) -> None:
        self._client = client
        self._address = without_secret(url)
        self._level = level
        self._said = float("-inf")
        self._wrong = ""  # what was said last

    async def failed(self, error: Exception) -> None:
        """Say what went wrong; while there is no broker that is the same each time."""
        if self._client.is_connected:
            if str(error) != self._wrong:
                logger.error("NATS at %s: %s", self._address, error)
            self._wrong = str(error)
        elif time.monotonic() >= self._said + SAY_EVERY:
            self._said = time.monotonic()
            said = self._address, said_by(error)
            logger.log(self._level, "waiting for NATS at %s: %s", *said)

    async def over(self) -> None:
        """Say that the broker is there, if it was waited for."""
        if self._said > float("-inf"):
            logger.log(self._level, "NATS at %s is there", self._address)
            self._said = float("-inf")


async def connect(url: str, name: str, level: int = WARNING) -> Client:
    """Return a client once there is a broker, to which it comes back by itself.

    It waits for as long as it takes, and says so.
    """
    client = QuickClient()
    waiting = Waiting(client, url, level)
    await client.connect(
        url,
        name=name,
        error_cb=waiting.failed,
        reconnected_cb=waiting.over,
        max_reconnect_attempts=-1,
        reconnect_time_wait=0.2,  # type: ignore[arg-type]
        ping_interval=PING_EVERY,
        max_outstanding_pings=MOST_UNANSWERED,
        pending_size=64 * 1024 * 1024,
    )
    await waiting.over()
    return client
