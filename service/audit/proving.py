"""Proving to whoever holds a checkpoint what the log has, and that it only grew."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from nats.aio.client import Client
from nats.errors import Error

from adapters.jetstream import checkpoints
from adapters.postgres.reading import verified
from domain.chain import Broken
from domain.checkpoint import TIME
from domain.tree import GRAIN, Span, Tree, consistency, inclusion, leaf
from service.audit.checkpointing import signer_in
from service.deciding.command import Unavailable
from service.deciding.log import Log
from service.settings import Settings

T = TypeVar("T")

PATIENCE = 10.0  # seconds that the first proof may wait for the log to be read
AT_ONCE = 8 * GRAIN  # rows


class Proving:
    """Has the tree of the log; the first who wants a proof has it read once."""

    def __init__(self, log: Log, client: Client, settings: Settings) -> None:
        self._log = log
        self._client = client
        key = settings.checkpoint_key
        self._verifier = signer_in(Path(key)).verifier if key else None
        self._tree = Tree(self._leaves)
        self._reading: asyncio.Future[None] | None = None
        self._alone = asyncio.Lock()

    async def checkpoint(self) -> dict[str, Any]:
        """Return the newest checkpoint, or raise `Unavailable`."""
        if not self._verifier:
            raise Unavailable("nothing is signed: no checkpoint_key is set")
        try:
            last = await checkpoints.last_sequence(self._client)
            kept = await checkpoints.newest(self._client, self._verifier, last)
        except (Error, TimeoutError):
            raise Unavailable("the stream of checkpoints cannot be read") from None
        if not kept:
            raise Unavailable("nothing is signed yet")
        checkpoint = kept.checkpoint
        return {
            "note": kept.note,
            "key": str(self._verifier),
            "origin": checkpoint.origin,
            "size": checkpoint.size,
            "root": checkpoint.root.hex(),
            "chain": checkpoint.link.hex(),
            "time": checkpoint.time.strftime(TIME),
        }

    async def inclusion(self, position: int, size: int) -> dict[str, Any]:
        """Return what proves that an event is at its position in so long a log."""
        row = await self._log.read(self._row, position)
        path, [root] = await self._heads(inclusion(position - 1, size), size)
        return {
            "position": position,
            "size": size,
            "row": row.hex(),
            "leaf": leaf(row).hex(),
            "path": path,
            "root": root,
        }

    async def consistency(self, first: int, second: int) -> dict[str, Any]:
        """Return what proves that a log was only added to from one size to another."""
        spans = consistency(first, second)
        path, roots = await self._heads(spans, first, second)
        return {
            "from": first,
            "to": second,
            "path": path,
            "from_root": roots[0],
            "to_root": roots[1],
        }

    async def _heads(
        self, spans: Iterable[Span], *sizes: int
    ) -> tuple[list[dict[str, Any]], list[str]]:
        """Return the hashes of a path, and the root hash at each size."""
        await self._read_up_to(max(sizes))

        def head(begin: int, end: int) -> str:
            return self._tree.head(begin, end).hex()

        def found() -> tuple[list[dict[str, Any]], list[str]]:
            path = [
                {"from": begin + 1, "to": end, "hash": head(begin, end)}
                for begin, end in spans
            ]
            return path, [head(0, size) for size in sizes]

        async with self._alone:
            return await self._log.read(found)

    async def _read_up_to(self, size: int) -> None:
        """Have the tree grow; raise `Unavailable` where that takes long."""
        try:
            async with asyncio.timeout(PATIENCE):
                while self._tree.end < size:
                    if self._reading is None or self._reading.done():
                        self._reading = asyncio.ensure_future(self._grow(size))
                        self._reading.add_done_callback(looked_at)
                    await asyncio.shield(self._reading)
        except TimeoutError:
            raise Unavailable(
                f"{self._tree.end} of {size} events are read so far; ask again later"
            ) from None

    async def _grow(self, size: int) -> None:
        while self._tree.end < size:
            async with self._alone:
                until = min(size, self._tree.size + AT_ONCE)
                await self._log.read(self._tree.grow, until)

    def _leaves(self, begin: int, end: int) -> Iterator[bytes]:
        found = begin
        for row in verified(self._log.recorder, begin + 1, end):
            yield leaf(row.hashed)
            found += 1
        if found < end:
            raise Broken(found + 1)

    def _row(self, position: int) -> bytes:
        [row] = verified(self._log.recorder, position, position)
        return row.hashed


def looked_at(done: asyncio.Future[None]) -> None:
    """Look at what has ended it, though nobody may wait any more."""
    if not done.cancelled():
        done.exception()
