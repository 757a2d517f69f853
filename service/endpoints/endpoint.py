"""How one NATS subject becomes one decision, or one look at a read model, and back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from logging import getLogger
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

import msgspec
from marshmallow import Schema

from adapters.jetstream.signing import is_signed
from adapters.jetstream.taking import Request
from domain.aggregate import Aggregate, Event, Failure
from domain.provenance import Moment
from service.deciding.command import (
    Answer,
    Command,
    Contended,
    Decision,
    Reply,
    Unavailable,
    asking,
)
from service.deciding.log import TOO_MANY, Log
from service.deciding.reactions import follow
from service.deciding.room import Room
from service.endpoints import sending
from service.endpoints.waiting import (
    LOOK_AGAIN,
    busy,
    first_word,
    outcome_of,
    unanswered,
)
from service.messages import headers as said
from service.messages.confiding import confided
from service.messages.headers import Headers
from service.messages.problems import (
    BackendFailed,
    Forbidden,
    Malformed,
    TooLarge,
    problem_of,
)
from service.messages.quick import Load, quickly

if TYPE_CHECKING:
    from service.replica import Replica

PREFIX = "holdfast.v1."
LARGEST_BODY = 64 * 1024
MOST_QUERIES = 256  # at once; more are refused
# Callers that wait for a backend, at once: each takes some 10 KB for up to 300 s.
MOST_WAITING = 10_000
PATIENCE = 10.0  # seconds that a backend has to answer, unless the caller says more
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)  # as JSON

# What is shown of an aggregate: of which part, with what is known of the backends.
View = Callable[[Any, UUID | None, Room], Any]

logger = getLogger(__name__)
encode = msgspec.json.Encoder().encode


class Answering(Protocol):
    """What every subject has."""

    @property
    def subject(self) -> str: ...

    @property
    def takes(self) -> Schema: ...

    @property
    def doc(self) -> str: ...

    def answer(self, replica: Replica, request: Request) -> None:
        """Answer one request, now or once there is something to say."""


@dataclass(frozen=True)
class Endpoint:
    """A subject, the message it takes, the decision it asks for, and the answer.

    `part` names the field that holds a part's id where the answer shows a part.
    With `waits`, the answer comes when the backend has done its work; `outcome`
    makes it of the event that tells so. With `connects`, it has the secret that the
    host of the request's connector needs.
    """

    subject: str
    takes: Schema
    load: Load
    gives: View
    decide: Callable[..., Aggregate]
    part: str | None = None
    waits: bool = False
    outcome: Callable[[Any], dict[str, Any]] | None = None
    connects: bool = False
    query: bool = False
    signed: bool = False
    doc: str = ""

    def answer(self, replica: Replica, request: Request) -> None:
        """Take one request; its answer follows when its events are durable."""
        if replica.log.full and not self.signed:
            sending.send_soon(request, sending.FULL, b"")
            return
        try:
            headers = said.read(request.headers)
            if self.signed:
                check_signature(replica, self.subject, request)
            later = self.waits or bool(headers.wait)
            if later:
                check_waiting()
            answer = replica.log.submit(
                self.command(request.data, headers, replica.log.room)
            )
        except Exception as problem:  # noqa: BLE001 - every request gets an answer
            sending.send_soon(request, problem, replica.key_if(self.signed))
            return
        if later:
            told = self._answer_later(replica, request, answer, headers.wait)
            sending.begin(told, _waiting)
        else:
            key = replica.key_if(self.signed)
            answer.then(lambda outcome: sending.send_soon(request, outcome, key))

    def also(self, subject: str, decide: Callable[..., Aggregate]) -> Endpoint:
        """Return the same under another subject, decided otherwise."""
        return replace(self, subject=PREFIX + subject, decide=decide)

    def command(self, body: bytes, headers: Headers, room: Room) -> Command:
        """Return the command that a request stands for, or raise why not."""
        message = parsed(body)
        loaded = self.load(message)
        part_id = loaded[self.part] if self.part else None

        def show(aggregate: Aggregate, part_id: UUID | None) -> Reply:
            return self._shown(aggregate, part_id, room)

        def decide(decision: Decision) -> Reply:
            try:
                decided = self.decide(decision, **loaded)
                follow(decision)
                return self._shown(decided, part_id, room)
            except Exception as problem:  # noqa: BLE001 - a refusal is an answer too
                return problem_of(problem)

        return Command(
            decide,
            show,
            Moment(datetime.now(UTC), headers.provenance),
            fingerprint(self.subject, message) if headers.request_id else b"",
            self.query,
        )

    async def _answer_later(
        self, replica: Replica, request: Request, answer: Answer, wait: float
    ) -> None:
        try:
            reply = await answer
            if self.waits and reply.intent and not reply.code:
                reply = await self._outcome(replica, reply, wait or PATIENCE)
            elif (wait or reply.works) and not reply.code:
                # What somebody has asked for already is waited for alike.
                reply = await self._settled(replica.log, reply, wait or PATIENCE)
                if reply.part_id and reply.works:
                    reply = problem_of(unanswered(wait or PATIENCE))
            if self.connects and not reply.code:
                connector = self.load(parsed(request.data))["connector"]
                reply = confided(replica.key, reply, connector)
        except Exception as problem:  # noqa: BLE001 - every request gets an answer
            reply = problem_of(problem)
        sending.send_soon(request, reply, b"")

    async def _outcome(self, replica: Replica, asked: Reply, wait: float) -> Reply:
        """Return the answer that follows from what the backend did."""
        assert asked.aggregate_id
        log, part_id = replica.log, asked.part_id
        shown: list[Reply] = []  # of what was stored here

        def look(aggregate: Aggregate, position: int) -> None:
            if self.outcome is None:
                shown.append(self._shown(aggregate, part_id, log.room).at(position))

        event, position = await outcome_of(log, asked, wait, look)
        if isinstance(event, Failure):
            raise BackendFailed(event.message, event.code, position)
        if self.outcome:
            body = self.outcome(event) | {"version": event.originator_version}
            return Reply(encode(body)).at(position)
        if shown:
            return shown.pop()
        try:
            async with asyncio.timeout(PATIENCE):
                return (await self._soon(log, asked))[0]
        except TimeoutError:
            raise Unavailable("it is done, and cannot be shown now") from None

    async def _settled(self, log: Log, reply: Reply, wait: float) -> Reply:
        """Return what is shown once no backend works on it, or the time is up."""
        assert reply.aggregate_id
        part_id, shown = reply.part_id, reply
        seen: list[tuple[Reply, bool]] = []  # of what was stored here meanwhile

        def look(aggregate: Aggregate, _: Event, position: int) -> None:
            seen.clear()
            with suppress(Exception):  # asked for once more, it says what is wrong
                now = self._shown(aggregate, part_id, log.room).at(position)
                seen.append((now, busy(aggregate, part_id)))

        with log.watching(reply.aggregate_id, look) as happened:
            try:
                async with asyncio.timeout(wait):
                    await first_word(log, reply, happened)
                    while True:
                        happened.clear()
                        shown, works = (
                            seen.pop() if seen else await self._soon(log, reply)
                        )
                        if not works:
                            return shown
                        await happened.wait()
            except TimeoutError:  # a word of another replica may have been lost
                with suppress(Unavailable, Contended):
                    shown, _ = seen.pop() if seen else await self._now(log, reply)
                return shown

    async def _soon(self, log: Log, reply: Reply) -> tuple[Reply, bool]:
        """Return what `_now` does, once it can be looked at.

        What was decided is done, whatever is in the way of looking at it.
        """
        while True:
            try:
                return await self._now(log, reply)
            except (Unavailable, Contended):
                await asyncio.sleep(LOOK_AGAIN)

    async def _now(self, log: Log, reply: Reply) -> tuple[Reply, bool]:
        """Return what there is to show now, and whether a backend works on it."""
        assert reply.aggregate_id
        shown_id, part_id, works = reply.aggregate_id, reply.part_id, False

        def look(decision: Decision) -> Reply:
            nonlocal works
            aggregate = decision.get(Aggregate, shown_id)
            works = busy(aggregate, part_id)
            return self._shown(aggregate, part_id, log.room)

        return await log.submit(asking(look)), works

    def _shown(self, aggregate: Aggregate, part_id: UUID | None, room: Room) -> Reply:
        body = encode(self.gives(aggregate, part_id, room))
        works = self.waits and busy(aggregate, part_id)
        return Reply(body, 0, aggregate.id, aggregate.version, part_id, works=works)


@dataclass(frozen=True)
class Query:
    """A subject that is answered from a read model, or by reading the log.

    Agents believe only answers that are `signed`; some subjects are asked only
    `by_agents`.
    """

    subject: str
    takes: Schema
    load: Load
    ask: Callable[..., Awaitable[dict[str, Any] | Reply]]
    signed: bool = False
    by_agents: bool = False
    doc: str = ""

    def answer(self, replica: Replica, request: Request) -> None:
        """Take one request; its answer follows when it has been read."""
        if len(_queries) >= MOST_QUERIES and not self.signed:
            sending.send_soon(request, sending.FULL, b"")
            return
        queue = None if self.signed else _queries
        sending.begin(self._answer(replica, request), queue)

    async def _answer(self, replica: Replica, request: Request) -> None:
        try:
            said.read(request.headers)
            if self.by_agents:
                check_signature(replica, self.subject, request)
            loaded = self.load(parsed(request.data))
            reply = as_reply(await self.ask(replica, **loaded))
        except Exception as problem:  # noqa: BLE001 - every request gets an answer
            reply = problem_of(problem)
        sending.send((request, reply, replica.key_if(self.signed)))


def endpoint(
    subject: str, *, takes: Schema, gives: View, **more: Any
) -> Callable[[Callable[..., Aggregate]], Endpoint]:
    """Put the decision below on `subject`."""

    def place(decide: Callable[..., Aggregate]) -> Endpoint:
        return Endpoint(
            PREFIX + subject,
            takes,
            quickly(takes),
            gives,
            decide,
            doc=str(decide.__doc__),
            **more,
        )

    return place


def query(
    subject: str, *, takes: Schema, **more: Any
) -> Callable[[Callable[..., Awaitable[dict[str, Any] | Reply]]], Query]:
    """Put the reading below on `subject`."""

    def place(ask: Callable[..., Awaitable[dict[str, Any] | Reply]]) -> Query:
        load, doc = quickly(takes), str(ask.__doc__)
        return Query(PREFIX + subject, takes, load, ask, doc=doc, **more)

    return place


def check_signature(replica: Replica, subject: str, request: Request) -> None:
    """Raise `Forbidden` for what no agent has sent."""
    if not is_signed(replica.key, subject, request.data, request.headers):
        raise Forbidden


def check_waiting() -> None:
    """Raise `Unavailable` where as many callers wait for a backend as may."""
    if len(_waiting) >= MOST_WAITING:
        raise Unavailable(TOO_MANY)


def as_reply(found: dict[str, Any] | Reply) -> Reply:
    """Return what was found as the answer, unless it is one."""
    if isinstance(found, Reply):
        return found
    age = found.pop("age", None)
    return Reply(encode(found), age=age)


def parsed(body: bytes) -> dict[str, Any]:
    """Return the JSON object in the body; an empty body stands for `{}`."""
    if len(body) > LARGEST_BODY:
        raise TooLarge
    if not body:
        return {}
    try:
        return _parse(body)
    except UNREADABLE as error:
        raise Malformed from error


def fingerprint(subject: str, message: dict[str, Any]) -> bytes:
    """Return what tells one request from another: its subject and JSON value."""
    value = msgspec.json.encode(message, order="sorted")
    return sha256(subject.encode() + b"\0" + value).digest()


_parse = msgspec.json.Decoder(dict[str, Any]).decode
_queries: sending.Tasks = set()
_waiting: sending.Tasks = set()
