"""Publishing what a replica has stored, before the keeper has heard of it.

That spares whoever waits for an agent a few hops, and the keeper a page for each
command. Nothing depends on it: an event that the stream does not take, for it lacks
one before it, is published by the keeper a moment later, and one that it has is not
taken twice.
"""

from __future__ import annotations

from asyncio import get_running_loop
from collections.abc import Sequence
from secrets import token_hex
from time import monotonic

from nats.aio.client import Client

from adapters.jetstream.publisher import as_message
from adapters.jetstream.wire import send_now
from adapters.postgres.batch import PUBLISHED_BY
from adapters.postgres.recorder import Written

QUIET = 0.02  # seconds after a word in which none is needed: less than the keeper waits


class Direct:
    """Publishes for one replica, as long as nothing is missing in the stream."""

    def __init__(self, client: Client, key: bytes) -> None:
        self._client = client
        self._key = key
        self._name = PUBLISHED_BY + token_hex(4)
        self._reached = -1  # nobody has told
        self._told = float("-inf")

    def reached(self, position: int) -> None:
        """Take in how far the stream is, as the keeper knows it."""
        self._reached = max(position, self._reached)

    def follows(self, position: int) -> bool:
        """Tell whether the stream, too, would go on behind a position of the log."""
        return self._reached >= position and self._client.is_connected

    def word(self) -> str | None:
        """Return what a commit says whose events are published from here."""
        return self._name if monotonic() - self._told > QUIET else None

    def publish(self, events: Sequence[Written]) -> None:
        """Publish what was stored, once its answer is on its way."""
        if self.word():
            self._told = monotonic()
        self._reached = events[-1].position
        get_running_loop().call_soon(self._send, events)

    def _send(self, events: Sequence[Written]) -> None:
        messages = [as_message(self._key, event) for event in events]
        send_now(self._client, b"".join(messages))
