"""Seeing every request and its answer: how long it took, and what came of it.

A request that is watched is handed on as one that has its answer noted, so
whoever answers needs not know. Where nobody wants to know, none is watched.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any
from uuid import UUID

import msgspec
from marshmallow import ValidationError
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from adapters.jetstream.taking import Request, Take
from adapters.tracing import TRACER, parent_of, traceparent_of
from service.deciding.command import Command, Reply
from service.endpoints.endpoint import PREFIX, UNREADABLE, Answering
from service.endpoints.watched import Note, Watched, watched
from service.messages import headers as said
from service.messages.headers import NOTHING, Headers
from service.replica import Replica
from service.telemetry import exporting
from service.telemetry.lines import Lines
from service.telemetry.metrics import COMMANDS, REFUSALS

OURS = 500  # problems from here on are no fault of the caller's

logger = logging.getLogger("holdfast.request")


def handler(endpoint: Answering, running: Replica) -> Take:
    """Return what answers an endpoint's requests, watched if anybody wants to know."""
    answer = partial(endpoint.answer, running)
    subject = endpoint.subject.removeprefix(PREFIX)
    notes: list[Note] = []
    if running.settings.metrics_listen:
        notes.append(measuring(subject))
    if logger.isEnabledFor(logging.INFO):
        notes.append(writing(subject, Lines(logger, running.settings.log_format)))
    if exporting.on():
        return tracing(answer, subject, notes)
    return watching(answer, notes) if notes else answer


def watching(answer: Take, notes: list[Note]) -> Take:
    """Return what hands watched requests on."""

    def take(request: Request) -> None:
        answer(watched(request, notes))

    return take


def tracing(answer: Take, subject: str, notes: list[Note]) -> Take:
    """Return what hands requests on that say they were asked by our own span."""

    def take(request: Request) -> None:
        headers = dict(request.headers or {})
        named = {name.lower(): name for name in headers}.get(
            "traceparent", "traceparent"
        )
        parent = parent_of(headers.get(named, ""))
        span = TRACER.start_span(subject, parent, SpanKind.SERVER)
        request.headers = headers | {named: traceparent_of(span)}
        answer(watched(request, [*notes, ending(span)]))

    return take


# Metrics


def measuring(subject: str) -> Note:
    """Return what measures the answers of a subject."""
    at_once = COMMANDS.labels(subject, "no").observe
    waited = COMMANDS.labels(subject, "yes").observe
    refused = cache(partial(REFUSALS.labels, subject))

    def note(request: Watched, reply: Reply) -> None:
        waits = said_in(request.headers).wait
        (waited if waits else at_once)(request.seconds)
        if reply.code:
            refused(problem_in(reply)).inc()

    return note


# Lines


class Shown(msgspec.Struct):
    """What a line says of an answer."""

    id: UUID | None = None
    volume_id: UUID | None = None
    version: int | None = None
    position: int | None = None


class Asked(msgspec.Struct):
    """What a line says of a refused request."""

    id: UUID | None = None
    volume_id: UUID | None = None


class Wrong(msgspec.Struct):
    type: str


def writing(subject: str, lines: Lines) -> Note:
    """Return what writes a line an answer: never of the body more than ids."""

    def note(request: Watched, reply: Reply) -> None:
        who = said_in(request.headers).provenance
        refused = bool(reply.code)
        shown = read(_asked, request.data) if refused else read(_shown, reply.body)
        lines.add(
            subject=subject,
            id=shown and str(shown.id or shown.volume_id or ""),
            request_id=who.request_id,
            actor=who.actor,
            duration_ms=round(request.seconds * 1000, 3),
            outcome=problem_in(reply) if refused else "ok",
            version=getattr(shown, "version", None),
            position=getattr(shown, "position", None),
            trace_id=who.trace_id,
        )

    return note


def said_in(headers: Mapping[str, str] | None) -> Headers:
    """Return what headers say: nothing, where they are not what they must be."""
    try:
        return said.read(headers)
    except ValidationError:
        return NOTHING


def problem_in(reply: Reply) -> str:
    """Return the type of the problem that an answer tells."""
    return _wrong(reply.body).type


def read(decode: Callable[[bytes], Any], body: bytes) -> Any:
    """Return what there is to read, or None in what was never ours."""
    try:
        return decode(body)
    except UNREADABLE:
        return None


_shown = msgspec.json.Decoder(Shown).decode
_asked = msgspec.json.Decoder(Asked).decode
_wrong = msgspec.json.Decoder(Wrong).decode


# Traces


def ending(span: Span) -> Note:
    """Return what ends the span of a request with its answer."""

    def note(_: Watched, reply: Reply) -> None:
        if reply.code:
            span.set_attribute("holdfast.problem", problem_in(reply))
        if reply.code >= OURS:
            span.set_status(Status(StatusCode.ERROR))
        span.end()

    return note


def committed(batch: list[Command], seconds: float) -> None:
    """Trace the commit of a batch below each request that is in it."""
    end = time.time_ns()
    began = end - int(seconds * 1e9)
    for command in batch:
        asked_by = command.moment.provenance.traceparent
        if asked_by:
            parent, many = parent_of(asked_by), {"holdfast.commands": len(batch)}
            TRACER.start_span("commit", parent, attributes=many, start_time=began).end(
                end
            )
