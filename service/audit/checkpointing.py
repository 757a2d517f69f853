"""Signing how long the log is, again and again, where it can be kept elsewhere.

Whoever signs goes on from the last checkpoint, wherever that was made, and signs
nothing that contradicts it: a log that has lost its end, or that is another one up
to there, is told of and left unsigned until it is what it was. It is looked at again
and again, for an end that was cut off may have grown anew by the next signature.
"""

from __future__ import annotations

import asyncio
import secrets
from contextlib import suppress
from datetime import UTC, datetime
from logging import getLogger
from pathlib import Path
from time import monotonic
from typing import NamedTuple

from eventsourcing.persistence import PersistenceError
from nats.aio.client import Client
from nats.errors import Error

from adapters import checkpoint_file, durable_file
from adapters.jetstream import checkpoints
from adapters.postgres.end import End, grown
from adapters.postgres.reading import confirm, verified
from adapters.postgres.recorder import LogRecorder
from domain.chain import GENESIS, Broken
from domain.checkpoint import Checkpoint, Contradicted, opened
from domain.note import NotAKey, NotANote, NotSigned, Signer
from domain.tree import Frontier, leaf
from service.settings import NotNow, Settings, Unusable

AGAIN = 0.5  # seconds until it is tried again
SELDOM = 60.0  # seconds that become of it while it is wrong
LOOK_EVERY = 0.2  # seconds
STRETCH = 5_000  # rows that are read at once, in about 20 ms

logger = getLogger(__name__)


class Signed(NamedTuple):
    """The length of the log that is signed, and why no more is, if that is wrong."""

    size: int = 0
    wrong: str = ""


class Checkpointing:
    """Makes checkpoints, if there is a key to sign them with."""

    def __init__(
        self, client: Client, recorder: LogRecorder, settings: Settings
    ) -> None:
        self._client = client
        self._recorder = recorder
        self._settings = settings
        file = settings.checkpoint_file
        self._file = Path(file) if file else None
        self._frontier = Frontier()
        self._link = GENESIS
        self.seen = End()
        self._last = 0  # message of the stream
        self._since = float("-inf")
        self.signed = Signed()

    async def run(self) -> None:
        """Sign for ever, beginning again from the last checkpoint where it fails."""
        if not self._settings.checkpoint_key:
            return
        again = AGAIN
        while True:
            try:
                signer = signer_in(Path(self._settings.checkpoint_key))
                with suppress(Error, PersistenceError, TimeoutError):
                    await self._begin(signer)
                    self.signed, again = Signed(self._frontier.size), AGAIN
                    while True:
                        await self._go_on(signer)
            except (Contradicted, Broken, Unusable, OSError) as wrong:
                self._tell(str(wrong))
                again = min(2 * again, SELDOM)
            await asyncio.sleep(again)

    async def _begin(self, signer: Signer) -> None:
        """Take up the last checkpoint; raise `Contradicted` where the log is another.

        Without its frontier, which a new stream does not have, the log is read from
        its beginning.
        """
        known = []
        self._last = await checkpoints.last_sequence(self._client)
        kept = await checkpoints.newest(self._client, signer.verifier, self._last)
        self._frontier, self._link = Frontier(), GENESIS
        if kept:
            known.append(kept.checkpoint)
            if kept.frontier.size:
                self._frontier, self._link = kept.frontier, kept.checkpoint.link
        carried = last_in(self._file, signer) if self._file else None
        if carried:
            known.append(carried)
        for checkpoint in sorted(known, key=lambda known: known.size):
            await asyncio.to_thread(confirm, self._recorder, checkpoint)
            if self._frontier.size < checkpoint.size:
                await self._read(checkpoint.size)
                if self._frontier.head != checkpoint.root:
                    raise Contradicted(checkpoint, "it has another root hash")
        if kept and (not carried or carried.size < kept.checkpoint.size):
            # Whoever signed it could not, or has another machine's file.
            await self._carry(kept.note)
        await self._look()

    async def _carry(self, note: str) -> None:
        """Put a checkpoint into the file, if there is to be one."""
        if not self._file:
            return
        try:
            await asyncio.to_thread(checkpoint_file.append, self._file, note)
        except OSError as error:
            raise NotNow(f"{self._file} cannot be written: {error.strerror}") from error

    async def _go_on(self, signer: Signer) -> None:
        """Sign what has come, once that is much or was long ago."""
        settings = self._settings
        await asyncio.sleep(LOOK_EVERY)
        await self._look()
        new = self.seen.position - self._frontier.size
        late = monotonic() - self._since >= settings.checkpoint_seconds
        if new >= settings.checkpoint_events or (late and new > 0):
            await self._read(self.seen.position)
            await self._sign(signer)

    async def _look(self) -> None:
        """See where the log ends; raise `Lost` where it has lost what was seen."""
        self.seen = await asyncio.to_thread(grown, self._recorder, self.seen)

    async def _read(self, position: int) -> None:
        """Take in the log up to a position, in pieces, so that we can be stopped."""
        while self._frontier.size < position:
            until = min(position, self._frontier.size + STRETCH)
            await asyncio.to_thread(self._take_in, until)

    def _take_in(self, until: int) -> None:
        frontier = self._frontier
        first = frontier.size + 1
        for row in verified(self._recorder, first, until, self._link):
            frontier.add(leaf(row.hashed))
            self._link = row.chain
        if frontier.size < until:
            raise Broken(frontier.size + 1)

    async def _sign(self, signer: Signer) -> None:
        frontier, now = self._frontier, datetime.now(UTC)
        checkpoint = Checkpoint(
            signer.name, frontier.size, frontier.head, self._link, now
        )
        note = checkpoint.signed(signer)
        self._last = await checkpoints.keep(self._client, note, frontier, self._last)
        await self._carry(note)
        self._since, self.signed = monotonic(), Signed(frontier.size)

    def _tell(self, wrong: str) -> None:
        if wrong != self.signed.wrong:
            logger.error("nothing more is signed: %s", wrong)
        self.signed = Signed(self.signed.size, wrong)


def last_in(file: Path, signer: Signer) -> Checkpoint | None:
    """Return the last checkpoint in a file, unless another key has signed it."""
    notes = checkpoint_file.last_notes(file)
    try:
        return opened(notes[-1], signer.verifier) if notes else None
    except (NotANote, NotSigned) as foreign:
        logger.warning("the last note of %s is not ours: %s", file, foreign)
        return None


def named() -> str:
    """Return a name for a log that no other has."""
    return f"holdfast/{secrets.token_hex(4)}"


def make_key(path: Path, name: str) -> Signer:
    """Return a new key to sign with, in a file that only we can read.

    Raises `FileExistsError`: what was signed with an old key is still to be checked.
    """
    signer = Signer(name, secrets.token_bytes(32))
    durable_file.make(path, f"{signer}\n", 0o600)
    return signer


def signer_in(path: Path) -> Signer:
    """Return what a key file has; raise `Unusable`, and where others may read it.

    As with PostgreSQL's keys, what is root's may be read by a group: so systemd hands
    a credential to a service.
    """
    try:
        told = path.stat()
        if told.st_mode & (0o077 if told.st_uid else 0o027):
            raise Unusable(f"{path} can be read by others; run chmod 600 on it")
        return Signer.read(path.read_text())
    except OSError as error:
        raise NotNow(f"{path} cannot be read: {error.strerror}") from error
    except (NotAKey, UnicodeDecodeError) as error:
        raise Unusable(f"{path} has no key to sign with") from error
