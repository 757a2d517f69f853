"""Telling the replicas how far read models and stream have come."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from uuid import UUID

import msgspec
from eventsourcing.persistence import PersistenceError
from nats.aio.client import Client
from nats.errors import Error

from adapters.jetstream.publisher import Publisher
from adapters.jetstream.signing import SIGNATURE, signature
from service.audit.checkpointing import Checkpointing
from service.keeping.projecting import REACHED, Projecting, Reached, tables
from service.keeping.standing import Figures, measured

EVERY = 0.2  # seconds
MEASURE_EVERY = 1.0  # seconds


class Telling:
    """Tells it after each page, and again for whoever has begun to listen since."""

    def __init__(
        self,
        client: Client,
        publisher: Publisher,
        checkpointing: Checkpointing,
        key: bytes,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._client = client
        self._publisher = publisher
        self._checkpointing = checkpointing
        self._key = key
        self._figures = Figures()

    def tell(self, position: int, settled: list[UUID]) -> None:
        """Tell it, from whatever thread."""
        signed, publisher = self._checkpointing.signed, self._publisher
        published = publisher.reached or 0, publisher.failing
        word = Reached(position, settled, *self._figures, *signed, *published)
        body = msgspec.json.encode(word)
        asyncio.run_coroutine_threadsafe(self._publish(body), self._loop)

    async def again_and_again(self, projecting: Projecting) -> None:
        """Tell it while the read models are kept; raise why that has ended."""
        while not projecting.failure:
            self.tell(projecting.reached, [])
            await asyncio.sleep(EVERY)
        raise projecting.failure

    async def measure_again_and_again(self) -> None:
        """Find out how things stand."""
        recorder = self._publisher.follower.recorder
        kept = tables(recorder)
        while True:
            with suppress(PersistenceError):
                reached = self._publisher.reached
                self._figures = await asyncio.to_thread(
                    measured, kept, recorder, reached
                )
            await asyncio.sleep(MEASURE_EVERY)

    async def _publish(self, body: bytes) -> None:
        signed = {SIGNATURE: signature(self._key, REACHED, body)}
        with suppress(Error):
            await self._client.publish(REACHED, body, headers=signed)
