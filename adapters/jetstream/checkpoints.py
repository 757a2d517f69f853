"""Checkpoints in a stream of their own, from which nobody can take one away.

Beside each goes the frontier of its tree, which is what the next one is made from.
Its root hash is the note's, so it needs no signature.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterator
from logging import getLogger
from typing import NamedTuple

from nats.aio.client import Client
from nats.js.api import RawStreamMsg, StreamConfig
from nats.js.errors import NotFoundError

from domain.checkpoint import Checkpoint, opened
from domain.note import NotANote, NotSigned, Verifier
from domain.tree import Frontier

STREAM = "HOLDFAST_CHECKPOINTS"
SUBJECT = "holdfast.v1.checkpoints"
FRONTIER = "Holdfast-Frontier"
EXPECTED = "Nats-Expected-Last-Sequence"
MOST_FOREIGN = 100  # messages of others that are looked through for one of ours
PATIENCE = 5.0  # seconds

logger = getLogger(__name__)


class Kept(NamedTuple):
    """A checkpoint of ours that is in the stream, and what it was made from."""

    note: str
    checkpoint: Checkpoint
    frontier: Frontier


async def last_sequence(client: Client) -> int:
    """Return how many messages the stream has; make it if there is none."""
    stream = client.jetstream()
    try:
        info = await stream.stream_info(STREAM)
    except NotFoundError:
        config = StreamConfig(
            name=STREAM, subjects=[SUBJECT], deny_delete=True, deny_purge=True
        )
        info = await stream.add_stream(config)
    return info.state.last_seq


async def newest(client: Client, verifier: Verifier, last: int) -> Kept | None:
    """Return our newest checkpoint among so many messages, or nothing.

    Where callers may publish anything, others' messages may lie about.
    """
    for sequence in range(last, max(0, last - MOST_FOREIGN), -1):
        try:
            message = await client.jetstream().get_msg(STREAM, sequence)
            return kept(message, verifier)
        except (NotANote, NotSigned, NotFoundError, UnicodeDecodeError) as foreign:
            logger.warning(
                "message %d of %s is not ours: %s", sequence, STREAM, foreign
            )
    return None


async def keep(client: Client, note: str, frontier: Frontier, last: int) -> int:
    """Put a checkpoint behind the last message, and return its sequence.

    Raises an `APIError` where another keeper was first.
    """
    roots = ",".join(b64encode(root).decode() for root in frontier.roots)
    headers = {EXPECTED: str(last), FRONTIER: roots}
    acknowledged = await client.jetstream().publish(
        SUBJECT, note.encode(), PATIENCE, headers=headers
    )
    return acknowledged.seq


def kept(message: RawStreamMsg, verifier: Verifier) -> Kept:
    """Return what a message has, or raise why it is not ours.

    A frontier that does not belong to the note counts as none.
    """
    note = (message.data or b"").decode()
    checkpoint = opened(note, verifier)
    told = (message.headers or {}).get(FRONTIER, "")
    frontier = Frontier(checkpoint.size, roots_in(told))
    if frontier.head != checkpoint.root:
        frontier = Frontier()
    return Kept(note, checkpoint, frontier)


def roots_in(told: str) -> Iterator[bytes]:
    """Yield the hashes in a header; nonsense is found out by what they lead to."""
    for root in filter(None, told.split(",")):
        try:
            yield b64decode(root, validate=True)
        except ValueError:
            return
