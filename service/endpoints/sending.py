"""Answers on their way: those of a batch together, signed where agents ask."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from nats.micro.request import ERROR_CODE_HEADER, ERROR_HEADER

from adapters.jetstream.signing import SIGNATURE, answering, signature
from adapters.jetstream.taking import Request
from adapters.jetstream.wire import fits, respond
from adapters.tasks import ended
from service.deciding.command import Reply, Unavailable
from service.deciding.log import TOO_MANY, Log
from service.endpoints.watched import Watched
from service.messages import headers as said
from service.messages.problems import TooMuch, problem_of

# A request, its answer, and the key that signs it, if any does.
Sent = tuple[Request, Reply, bytes]
Tasks = set[asyncio.Task[None]]


def send_soon(request: Request, outcome: Reply | Exception, key: bytes) -> None:
    """Send what came of a command with the rest of its batch."""
    reply = outcome if isinstance(outcome, Reply) else problem_of(outcome)
    _outgoing.append((request, reply, key))
    if len(_outgoing) == 1:
        asyncio.get_running_loop().call_soon(send_all)


def send_all() -> None:
    """Send every answer that there is."""
    going = _outgoing.copy()
    _outgoing.clear()
    send(*going)


def send(*answers: Sent) -> None:
    """Send answers, signed where a key is with them; an agent believes no other.

    One that cannot be sent is asked for again.
    """
    sent = [fitting(answer) for answer in answers]
    for request, reply, _ in sent:
        if isinstance(request, Watched):
            request.answered(reply)
    respond(
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
        headers[said.AGE] = f"{reply.age:.1f}"
    if reply.code:
        headers[ERROR_HEADER] = said.one_line(reply.detail)
        headers[ERROR_CODE_HEADER] = str(reply.code)
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items())


def begin(work: Coroutine[Any, Any, None], among: Tasks | None = None) -> None:
    """Go on with an answer, held on to until it is sent: the event loop does not."""
    task = asyncio.create_task(work)
    for tasks in (_tasks, among):
        if tasks is not None:
            tasks.add(task)
            task.add_done_callback(tasks.discard)


async def answered(log: Log, seconds: float) -> None:
    """Return when every request was answered; those that take longer stay without.

    Repeating one with its request id tells what became of it.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while log.unanswered or _tasks or _outgoing:  # noqa: ASYNC110 - several sorts
                await asyncio.sleep(0.005)
    await ended(*_tasks)


# Refusing must cost little: what comes beyond measure is not even read.
FULL = problem_of(Unavailable(TOO_MANY))
TOO_MUCH = problem_of(TooMuch())

_tasks: Tasks = set()
_outgoing: list[Sent] = []
