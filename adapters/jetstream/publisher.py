"""Publishing the log: every event, in order, without a gap, at least once.

An event's sequence in the stream is its position in the log, and each publish
names the sequence before it, and its id. So nothing else has to be remembered, a gap
is impossible, nothing of ours follows what is not, and several publishers at once do
no harm: all but one are refused, and told where the stream ends.
Each is signed, with its position, so that nobody else's message passes for ours.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from functools import partial
from logging import getLogger

import msgspec
from eventsourcing.persistence import PersistenceError
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error
from nats.js.api import StreamConfig, StreamInfo
from nats.js.errors import NotFoundError

from adapters.jetstream.signing import SIGNATURE, is_published, position_signature
from adapters.jetstream.stream import REMOVE, STREAM, SUBJECTS, Ahead
from adapters.jetstream.wire import message, send
from adapters.postgres.follower import Follower
from adapters.postgres.reading import written_at
from adapters.postgres.recorder import Written
from domain.provenance import Provenance

AGAIN = 0.2  # seconds until the stream is looked for again
# What a message is told that does not follow the stream's last one.
ENDS_AT = re.compile(r"wrong last sequence: (\d+)").fullmatch
PLAIN = re.compile(r"[!#-$&-~]*")
PATIENCE = 5.0  # seconds for the stream to acknowledge a page
OTHER = (
    ": the log was restored from an old copy, or the stream belongs to another one; "
    f"if the log is right, {REMOVE}, and once all runs again have each read model made "
    "anew (`holdfast projections rebuild NAME`)"
)

logger = getLogger(__name__)


class NotAcknowledged(Exception):
    """The stream did not take every event of a page, and says why."""


class Publisher:
    """Publishes a page without waiting in between, then waits for its last ack."""

    def __init__(self, client: Client, follower: Follower, key: bytes) -> None:
        self._client = client
        self.follower = follower
        self._recorder = follower.recorder
        self._key = key
        self.reached: int | None = None  # until the stream has been looked at
        self._direct = False  # whether replicas seem to publish what they store
        self._looked = True  # at the stream's end, since when nothing was published
        self.failing = ""  # why nothing is taken, as it was said last

    async def run(self) -> None:
        """Publish for ever, beginning again from the stream where it fails.

        Raises `Ahead`.
        """
        while True:
            try:
                self.reached = last = await self._last_sequence()
                self._looked = True
                await self._follow(last)
            except TimeoutError:
                self.failing = "the broker does not answer; its disk may be full"
            except (Error, NotAcknowledged, PersistenceError) as why:
                self.failing = str(why)
            await asyncio.sleep(AGAIN)

    async def _follow(self, reached: int) -> None:
        """Publish what follows the stream's end, until that fails."""
        # A broker that is met anew may have lost the end of the stream, or all.
        stats = self._client.stats
        met = stats["reconnects"]
        inbox = self._client.new_inbox()
        acks = await self._client.subscribe(inbox)
        try:
            async with aclosing(self._pages(reached)) as pages:
                async for page in pages:
                    if stats["reconnects"] != met:
                        break
                    if page:
                        await self._bring(page, acks)
                        self.reached = page[-1].position
                        self.failing = ""
                    elif not self._looked and self._direct:
                        await self._look(self.reached)
        finally:
            if not self._client.is_closed:
                await acks.unsubscribe()

    async def _pages(self, reached: int) -> AsyncGenerator[Sequence[Written]]:
        """Yield what follows a position, and now and then that there is nothing."""
        follower, loop = self.follower, asyncio.get_running_loop()
        moved = asyncio.Event()
        with follower.telling(partial(loop.call_soon_threadsafe, moved.set)):
            while True:
                moved.clear()
                if follower.remembers(reached):
                    page = follower.after(reached, 0)
                else:
                    page = await asyncio.to_thread(follower.after, reached, 0)
                if page:
                    reached = page[-1].position
                else:
                    with suppress(TimeoutError):
                        await asyncio.wait_for(moved.wait(), AGAIN)
                yield page

    async def check(self) -> None:
        """Raise `Ahead` as `run` would; what can be mended there, `run` does."""
        with suppress(NotFoundError, NotAcknowledged):
            info = await self._client.jetstream().stream_info(STREAM)
            if info.state.messages:
                await self._belongs(info)

    async def _last_sequence(self) -> int:
        stream = self._client.jetstream()
        try:
            info = await stream.stream_info(STREAM)
        except NotFoundError:
            config = StreamConfig(name=STREAM, subjects=[f"{SUBJECTS}.>"])
            info = await stream.add_stream(config)
        last = info.state.last_seq
        if not last:
            return 0
        if not info.state.messages:  # purged: nothing there is anybody else's either
            return await self._anew(f"{STREAM} was emptied")
        if not await self._belongs(info):
            return await self._anew(f"{STREAM} has no message of ours at {last}")
        return last

    async def _belongs(self, info: StreamInfo) -> bool:
        """Tell whether the log goes on from the end of the stream; raise `Ahead`.

        It does not where somebody else has written behind what is ours.
        """
        last = info.state.last_seq
        there = await self._ours(last)
        if there is not None:
            await asyncio.to_thread(self._compare, last, there)
            return True
        is_ours = last == 1 or await self._is_ours(1)
        await self._check_is_still(info)
        if not is_ours:
            raise Ahead(
                f"the stream {STREAM} is not this log's: it was signed with another "
                f"key; if nobody needs it, {REMOVE}"
            )
        return False

    async def _check_is_still(self, before: StreamInfo) -> None:
        """Raise `NotAcknowledged` unless the stream is the one that was looked at.

        A keeper that makes it anew takes away what is looked for, and nobody has put
        anything else there.
        """
        now = await self._client.jetstream().stream_info(STREAM)
        first, was_first = now.state.first_seq, before.state.first_seq
        if now.created != before.created or first != was_first:
            raise NotAcknowledged(f"the stream {STREAM} is being made anew")

    def _compare(self, last: int, there: bytes) -> None:
        """Raise `Ahead` unless the log has the event that the stream ends with.

        A log that was restored from an old copy may have grown past it since.
        """
        newest = self._recorder.max_notification_id() or 0
        if last > newest:
            raise Ahead(
                f"the stream {STREAM} ends at {last}, the log at {newest}{OTHER}"
            )
        here = [event.state for event in written_at(self._recorder, [last])]
        # What is damaged is the same event still; what verifies the log tells of it.
        if len({which(state) for state in (there, *here)} - {UNREADABLE}) > 1:
            raise Ahead(
                f"the stream {STREAM} has another event at {last} than the log{OTHER}"
            )

    async def _anew(self, why: str) -> int:
        """Publish from the beginning."""
        logger.error("%s; it is published anew", why)
        await self._client.jetstream().delete_stream(STREAM)
        return await self._last_sequence()

    async def _is_ours(self, sequence: int) -> bool:
        """Tell whether this log's publisher put the message there."""
        return await self._ours(sequence) is not None

    async def _ours(self, sequence: int) -> bytes | None:
        """Return the event that this log's publisher put there, if it did."""
        stream = self._client.jetstream()
        try:
            message = await stream.get_msg(STREAM, sequence)
        except NotFoundError:
            return None
        subject, state = str(message.subject), message.data or b""
        signed = subject, state, message.headers, sequence
        return state if is_published(self._key, *signed) else None

    async def _bring(self, page: Sequence[Written], acks: Subscription) -> None:
        """Have a page in the stream, or raise `NotAcknowledged`.

        Where all of the page before was there, the last event may tell that of this.
        """
        last = page[-1].position
        told = await self._publish(page[-1:] if self._direct else page, acks)
        if told.end < last:
            missing = [event for event in page if event.position > told.end]
            told = await self._publish(missing, acks)
        if told.end < last:
            raise NotAcknowledged(f"the stream ends at {told.end}, before {last}")
        self._direct = told.error is not None

    async def _look(self, end: int | None) -> None:
        """Raise `NotAcknowledged` where what was there is not ours."""
        if not await self._is_ours(end or 0):
            raise NotAcknowledged(f"somebody else has put a message at {end}")
        self._looked = True

    async def _publish(
        self, page: Sequence[Written], acks: Subscription
    ) -> Acknowledged:
        """Publish events, and return what the stream says of the last."""
        # Each names the one before it, so the last is taken only if all are.
        replies = ["" for _ in page[1:]] + [acks.subject]
        # NATS 2.10 forgets the last id when it starts anew; we have looked at it then.
        knows = [not self._looked] + [True for _ in page[1:]]
        self._looked = False
        about = zip(page, replies, knows, strict=True)
        await send(self._client, [as_message(self._key, *each) for each in about])
        return acknowledged(await acks.next_msg(PATIENCE))


class Refused(msgspec.Struct):
    """Why the stream has not taken a message."""

    description: str = ""


class Acknowledged(msgspec.Struct):
    """What the stream says of a message: its place, or why it was not taken."""

    seq: int = 0
    error: Refused | None = None

    @property
    def end(self) -> int:
        """Where the stream ends, or raise `NotAcknowledged` if that is not told."""
        if self.error is None:
            return self.seq
        if found := ENDS_AT(self.error.description):
            return int(found[1])
        raise NotAcknowledged(self.error.description)


def acknowledged(answer: Msg) -> Acknowledged:
    """Return what the stream says, or raise `NotAcknowledged` if there is none."""
    if answer.headers:
        raise NotAcknowledged("no stream is there to take it")
    return msgspec.json.decode(answer.data, type=Acknowledged)


class Said(msgspec.Struct):
    """What an event says of itself, as far as it does."""

    originator_id: str = "unknown"
    originator_version: int = 0
    timestamp: str = ""
    provenance: Provenance = Provenance()
    backend: str | None = None


def as_message(
    key: bytes,
    event: Written,
    reply: str = "",
    knows_last: bool = True,  # noqa: FBT001, FBT002 - it is said of each of a page
) -> bytes:
    """Return an event as CloudEvents' binary mode has it, signed.

    Its subject is `holdfast.v1.events.<noun>.<id>.<event>`; a backend's id is its
    name. Beside the attributes it says how repeats are told, and what it follows.
    """
    topic, state, position = event
    said = said_in(state)
    by = said.provenance
    noun, _, happened = topic.partition(".")
    known_by = said.backend if noun == "backend" else said.originator_id
    subject = f"{SUBJECTS}.{noun}.{known_by}.{happened}"
    last = position - 1 if knows_last and position > 1 else ""
    headers = (
        f"Nats-Msg-Id: {position}\r\n"
        f"Nats-Expected-Last-Sequence: {position - 1}\r\n"
        f"{line('Nats-Expected-Last-Msg-Id', str(last))}"
        "ce-specversion: 1.0\r\n"
        f"ce-id: {position}\r\n"
        f"ce-type: holdfast.{topic}\r\n"
        "ce-source: holdfast\r\n"
        f"ce-subject: {known_by}\r\n"
        f"ce-time: {said.timestamp}\r\n"
        f"ce-version: {said.originator_version}\r\n"
        f"{line('ce-actor', percent_encoded(by.actor))}"
        f"{line('ce-requestid', percent_encoded(by.request_id))}"
        f"{line('ce-causationid', percent_encoded(by.causation_id))}"
        f"{line('traceparent', percent_encoded(by.traceparent))}"
        f"{SIGNATURE}: {position_signature(key, subject, state, position)}\r\n"
    )
    return message(subject, reply, headers, state)


def said_in(state: bytes) -> Said:
    """Return what an event says; one that nobody can read is published all the same."""
    try:
        return _said(state)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Said()


def which(state: bytes) -> tuple[str, int, str]:
    """Return which event it is, `UNREADABLE` where nobody can tell."""
    said = said_in(state)
    return said.originator_id, said.originator_version, said.timestamp


def line(name: str, value: str) -> str:
    """Return a header, or nothing where there is nothing to say."""
    return value and f"{name}: {value}\r\n"


def percent_encoded(value: str) -> str:
    """Return the value as CloudEvents carries it in a header: in ASCII."""
    if PLAIN.fullmatch(value):
        return value
    return "".join(c if PLAIN.fullmatch(c) else encoded(c) for c in value)


def encoded(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode())


_said = msgspec.json.Decoder(Said).decode
UNREADABLE = which(b"")
