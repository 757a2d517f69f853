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
from nats.errors import Error
from nats.micro.request import ERROR_CODE_HEADER, ERROR_HEADER

from adapters.jetstream.signing import SIGNATURE, answering, is_signed, signature
from adapters.jetstream.taking import Request
from adapters.jetstream.wire import fits, respond
from adapters.tasks import ended
from domain.aggregate import Aggregate, Event, Failure, Outcome
from domain.lifecycle import Refused
from domain.provenance import Moment
from domain.volume import Volume
from domain.volume_status import Status
from service.deciding.command import (
    Answer,
    Command,
    Decision,
    Reply,
    Unavailable,
    asking,
)
from service.deciding.log import TOO_MANY, Log, decoded
from service.deciding.reactions import follow
from service.deciding.room import Room
from service.endpoints.watched import Watched
from service.messages import headers as said
from service.messages.confiding import confided
from service.messages.headers import Headers
from service.messages.problems import (
    BackendFailed,
    Forbidden,
    Malformed,
    TooLarge,
    TooMuch,
    problem_of,
)
from service.messages.quick import Load, quickly

if TYPE_CHECKING:
    from service.replica import Replica

PREFIX = "holdfast.v1."
LARGEST_BODY = 64 * 1024
LOOK_AGAIN = 1.0  # seconds that memory is believed without a word from anybody
MOST_QUERIES = 256  # at once; more are refused
# Callers that wait for a backend, at once: each takes some 10 KB for up to 300 s.
MOST_WAITING = 10_000
PATIENCE = 10.0  # seconds that a backend has to answer, unless the caller says more
# From these on, whatever else was under way is nobody's work any more.
MOOT = (Volume.DeletionStarted, Volume.CascadeStarted)
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)  # as JSON

# What is shown of an aggregate: of which part, with what is known of the backends.
View = Callable[[Any, UUID | None, Room], Any]
# A request, its answer, and the key that signs it, if any does.
Sent = tuple[Request, Reply, bytes]

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
            send_soon(request, FULL, b"")
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
            send_soon(request, problem, replica.key_if(self.signed))
            return
        if later:
            task = asyncio.create_task(self._answer_later(replica, request, answer))
            keep(task)
            _waiting.add(task)
            task.add_done_callback(_waiting.discard)
        else:
            key = replica.key_if(self.signed)
            answer.then(lambda outcome: send_soon(request, outcome, key))

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
        self, replica: Replica, request: Request, answer: Answer
    ) -> None:
        wait = said.read(request.headers).wait
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
        send_soon(request, reply, b"")

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
        return await self._look(log, asked.aggregate_id, part_id)

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
                            seen.pop() if seen else await self._now(log, reply)
                        )
                        if not works:
                            return shown
                        await happened.wait()
            except TimeoutError:  # a word of another replica may have been lost
                with suppress(Unavailable):
                    shown, _ = seen.pop() if seen else await self._now(log, reply)
                return shown

    async def _now(self, log: Log, reply: Reply) -> tuple[Reply, bool]:
        """Return what there is to show now, and whether a backend works on it."""
        works = False

        def look(aggregate: Aggregate, part_id: UUID | None) -> None:
            nonlocal works
            works = busy(aggregate, part_id)

        assert reply.aggregate_id
        shown = await self._look(log, reply.aggregate_id, reply.part_id, look)
        return shown, works

    async def _look(
        self,
        log: Log,
        aggregate_id: UUID,
        part_id: UUID | None,
        at: Callable[[Aggregate, UUID | None], None] = lambda *_: None,
    ) -> Reply:
        def decide(decision: Decision) -> Reply:
            aggregate = decision.get(Aggregate, aggregate_id)
            at(aggregate, part_id)
            return self._shown(aggregate, part_id, log.room)

        return await log.submit(asking(decide))

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
            send_soon(request, FULL, b"")
            return
        task = asyncio.create_task(self._answer(replica, request))
        keep(task)
        if not self.signed:
            _queries.add(task)
            task.add_done_callback(_queries.discard)

    async def _answer(self, replica: Replica, request: Request) -> None:
        try:
            said.read(request.headers)
            if self.by_agents:
                check_signature(replica, self.subject, request)
            loaded = self.load(parsed(request.data))
            reply = as_reply(await self.ask(replica, **loaded))
        except Exception as problem:  # noqa: BLE001 - every request gets an answer
            reply = problem_of(problem)
        await send((request, reply, replica.key_if(self.signed)))


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


def busy(aggregate: Aggregate, part_id: UUID | None) -> bool:
    """Tell whether a backend works on an aggregate, or on a part of it."""
    if part_id is None:
        return aggregate.unsettled
    return any(
        getattr(intent, "attachment_id", None) == part_id
        for intent in aggregate.in_flight.values()
    )


async def outcome_of(
    log: Log, asked: Reply, wait: float, look: Callable[[Aggregate, int], None]
) -> tuple[Event, int]:
    """Return the event that settles an intent, and its position in the log.

    Of what settles it here, the aggregate can be looked at as it was then.
    """
    assert asked.aggregate_id
    seen: list[tuple[Event, int]] = []

    def stored(aggregate: Aggregate, event: Event, position: int) -> None:
        if ends(event, asked.intent):
            seen.append((event, position))
            with suppress(Exception):  # asked for once more, it says what is wrong
                look(aggregate, position)

    with log.watching(asked.aggregate_id, stored) as happened:
        with suppress(TimeoutError):
            async with asyncio.timeout(wait):
                await ending(log, asked, happened, seen)
        # A word of another replica may have been lost.
        found = seen or await ended_by(log, asked)
    if not found:
        raise unanswered(wait)
    event, position = found[0]
    if isinstance(event, MOOT):
        raise Refused("finish", Status(event.status), [])
    return event, position


async def ending(
    log: Log, asked: Reply, happened: asyncio.Event, seen: list[tuple[Event, int]]
) -> None:
    """Return once it is seen, here or in the log, what has ended an intent."""
    await first_word(log, asked, happened)
    while not seen:
        happened.clear()
        seen += await ended_by(log, asked)
        if not seen:
            await happened.wait()


def unanswered(wait: float) -> Unavailable:
    """Return what there is to say where a backend has not answered in time."""
    return Unavailable(
        f"the backend's agent has not answered within {wait:g} s; "
        "it goes on with the work when it can"
    )


async def ended_by(log: Log, asked: Reply) -> list[tuple[Event, int]]:
    """Return what has ended an intent by now, oldest first, as the log has it."""
    assert asked.aggregate_id
    history = await log.read(log.recorder.history, asked.aggregate_id, asked.intent)
    return [each for each in decoded(history) if ends(each[0], asked.intent)]


def ends(event: Event, intent: int | None) -> bool:
    """Tell whether an intent is settled by an event, or moot from it on."""
    if isinstance(event, Outcome):
        return event.intent == intent
    return isinstance(event, MOOT)


async def first_word(log: Log, asked: Reply, happened: asyncio.Event) -> None:
    """Wait while memory knows that a backend is at work: the log would say no more.

    Words of other replicas may get lost, so the log is looked at soon all the same.
    """
    assert asked.aggregate_id
    if asked.intent and log.is_in_flight(asked.aggregate_id, asked.intent):
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_AGAIN):
                await happened.wait()


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


def send_soon(request: Request, outcome: Reply | Exception, key: bytes) -> None:
    """Send what came of a command with the rest of its batch."""
    reply = outcome if isinstance(outcome, Reply) else problem_of(outcome)
    _outgoing.append((request, reply, key))
    if len(_outgoing) == 1:
        keep(asyncio.create_task(send_all()))


async def send_all() -> None:
    """Send every answer that there is."""
    going = _outgoing.copy()
    _outgoing.clear()
    await send(*going)


async def send(*answers: Sent) -> None:
    """Send answers, signed where a key is with them; an agent believes no other.

    One that cannot be sent is asked for again.
    """
    sent = [fitting(answer) for answer in answers]
    for request, reply, _ in sent:
        if isinstance(request, Watched):
            request.answered(reply)
    with suppress(Error):
        await respond(
            (request, headers_of(request, reply, key), reply.body)
            for request, reply, key in sent
        )


def fitting(answer: Sent) -> Sent:
    """Return an answer that the broker takes."""
    request, reply, key = answer
    return answer if fits(request, reply.body) else (request, TOO_MUCH, key)


def headers_of(request: Request, reply: Reply, key: bytes) -> str:
    """Return what stands before the body of an answer: for most, nothing."""
    if not (key or reply.age or reply.code):
        return ""
    headers: dict[str, str] = {}
    if key:
        told_as = answering(request.subject, request.headers)
        headers[SIGNATURE] = signature(key, told_as, reply.body)
    if reply.age:
        headers["Holdfast-Age"] = f"{reply.age:.1f}"
    if reply.code:
        headers[ERROR_HEADER] = said.one_line(reply.detail)
        headers[ERROR_CODE_HEADER] = str(reply.code)
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items())


def keep(task: asyncio.Task[None]) -> None:
    """Hold on to a task until it is done; the event loop alone does not."""
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)


async def answered(log: Log, seconds: float) -> None:
    """Return when every request was answered; those that take longer stay without.

    Repeating one with its request id tells what became of it.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while log.unanswered or _tasks:  # noqa: ASYNC110 - two sorts of waiting
                await asyncio.sleep(0.005)
    await ended(*_tasks)


# Refusing must cost little: what comes beyond measure is not even read.
FULL = problem_of(Unavailable(TOO_MANY))
TOO_MUCH = problem_of(TooMuch())

_parse = msgspec.json.Decoder(dict[str, Any]).decode
_tasks: set[asyncio.Task[None]] = set()
_queries: set[asyncio.Task[None]] = set()
_waiting: set[asyncio.Task[None]] = set()
_outgoing: list[Sent] = []
