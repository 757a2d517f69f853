"""Publishing the log: every event, in order, without a gap, at least once.

An event's sequence in the stream is its position in the log, and each publish
names the sequence before it. So nothing else has to be remembered, a gap is
impossible, and several publishers at once do no harm: all but one are refused.
Each is signed, with its position, so that nobody else's message passes for ours.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from contextlib import suppress
from logging import getLogger

import msgspec
from eventsourcing.persistence import Notification, PersistenceError
from nats.aio.client import Client
from nats.errors import Error
from nats.js.api import StreamConfig
from nats.js.errors import NotFoundError

from adapters.jetstream.signing import SIGNATURE, is_published, position_signature
from adapters.jetstream.wire import publish
from adapters.postgres.follower import Follower
from adapters.postgres.recorder import LogRecorder
from domain.provenance import Provenance

STREAM = "HOLDFAST_EVENTS"
SUBJECTS = "holdfast.v1.events"
AGAIN = 0.2  # seconds until the stream is looked for again
PACE = 0.01  # seconds between two pages
PLAIN = re.compile(r"[!#-$&-~]*")
PATIENCE = 5.0  # seconds for the stream to acknowledge a page

logger = getLogger(__name__)


class NotAcknowledged(Exception):
    """The stream did not take every event of a page."""


class Ahead(Exception):
    """The stream holds more than the log: they do not belong together."""


class Publisher:
    """Publishes a page without waiting in between, then waits for its last ack."""

    def __init__(self, client: Client, recorder: LogRecorder, key: bytes) -> None:
        self._client = client
        self._recorder = recorder
        self._key = key

    async def run(self) -> None:
        """Publish for ever, beginning again from the stream where it fails.

        Raises `Ahead`.
        """
        self._loop = asyncio.get_running_loop()
        while True:
            with suppress(Error, NotAcknowledged, PersistenceError, TimeoutError):
                await self._follow(await self._last_sequence())
            await asyncio.sleep(AGAIN)

    async def _follow(self, after: int) -> None:
        """Publish what follows a position, until that fails."""
        follower = Follower(self._recorder, self._handle, after, PACE)
        follower.start()
        try:
            # A broker that is met anew may have lost the end of the stream, or all.
            stats = self._client.stats
            met = stats["reconnects"]
            while follower.is_alive() and stats["reconnects"] == met:  # noqa: ASYNC110
                await asyncio.sleep(AGAIN)
        finally:
            follower.ask_to_stop()
        if follower.failure:
            raise follower.failure

    async def _last_sequence(self) -> int:
        stream = self._client.jetstream()
        try:
            info = await stream.stream_info(STREAM)
        except NotFoundError:
            config = StreamConfig(name=STREAM, subjects=[f"{SUBJECTS}.>"])
            info = await stream.add_stream(config)
        last = info.state.last_seq
        if last and not await self._is_ours(last):
            return await self._begin_anew(last)
        newest = await asyncio.to_thread(self._recorder.max_notification_id) or 0
        if last > newest:
            raise Ahead(
                f"the stream {STREAM} ends at {last}, the log at {newest}: the log was "
                "restored from an old copy, or the stream belongs to another one; if "
                f"the log is right, remove the stream (nats stream rm {STREAM})"
            )
        return last

    async def _begin_anew(self, last: int) -> int:
        """Remove a stream that somebody else has written to; the log has it all."""
        if last > 1 and not await self._is_ours(1):
            raise Ahead(
                f"the stream {STREAM} is not this log's: it was signed with another "
                f"key; if nobody needs it, remove it (nats stream rm {STREAM})"
            )
        logger.error(
            "somebody else wrote to %s at %d; it is published anew", STREAM, last
        )
        await self._client.jetstream().delete_stream(STREAM)
        return await self._last_sequence()

    async def _is_ours(self, sequence: int) -> bool:
        """Tell whether this log's publisher put the message there."""
        stream = self._client.jetstream()
        try:
            message = await stream.get_msg(STREAM, sequence)
        except NotFoundError:
            return False
        return is_published(
            self._key,
            str(message.subject),
            message.data or b"",
            message.headers,
            sequence,
        )

    def _handle(self, page: Sequence[Notification]) -> None:
        """Publish a page, from the follower's thread."""
        asyncio.run_coroutine_threadsafe(self._publish(page), self._loop).result()

    async def _publish(self, page: Sequence[Notification]) -> None:
        # Each names the one before it, so the last is taken only if all are.
        *others, last = page
        for event in others:
            await self._send(event)
        inbox = self._client.new_inbox()
        acks = await self._client.subscribe(inbox, max_msgs=1)
        try:
            await self._send(last, inbox)
            ack = await acks.next_msg(PATIENCE)
        finally:
            if not self._client.is_closed:
                await acks.unsubscribe()
        if ack.headers or b'"error"' in ack.data:
            raise NotAcknowledged(ack.data)

    async def _send(self, event: Notification, reply: str = "") -> None:
        subject = subject_of(event)
        signed = position_signature(self._key, subject, event.state, int(event.id))
        headers = headers_of(event, subject) | {SIGNATURE: signed}
        await publish(self._client, subject, event.state, reply, headers)


def subject_of(event: Notification) -> str:
    """Return `holdfast.v1.events.<noun>.<id>.<event>`; a backend's id is its name."""
    noun, _, happened = event.topic.partition(".")
    known_by = str(event.originator_id)
    if noun == "backend":
        known_by = msgspec.json.decode(event.state, type=_Named).backend
    return f"{SUBJECTS}.{noun}.{known_by}.{happened}"


def headers_of(event: Notification, subject: str) -> dict[str, str]:
    """Return the CloudEvents attributes, binary mode, and how repeats are told."""
    written = _written(event.state)
    provenance = written.provenance
    position = int(event.id)
    headers = {
        "Nats-Msg-Id": str(position),
        "Nats-Expected-Last-Sequence": str(position - 1),
        "ce-specversion": "1.0",
        "ce-id": str(position),
        "ce-type": f"holdfast.{event.topic}",
        "ce-source": "holdfast",
        "ce-subject": subject.split(".")[-2],
        "ce-time": written.timestamp,
        "ce-version": str(event.originator_version),
        "ce-actor": percent_encoded(provenance.actor),
        "ce-requestid": percent_encoded(provenance.request_id),
        "ce-causationid": provenance.causation_id,
        "traceparent": provenance.traceparent,
    }
    return {name: value for name, value in headers.items() if value}


def percent_encoded(value: str) -> str:
    """Return the value as CloudEvents carries it in a header: in ASCII."""
    if PLAIN.fullmatch(value):
        return value
    return "".join(c if PLAIN.fullmatch(c) else encoded(c) for c in value)


def encoded(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode())


class _Written(msgspec.Struct):
    timestamp: str
    provenance: Provenance


class _Named(msgspec.Struct):
    backend: str


_written = msgspec.json.Decoder(_Written).decode
