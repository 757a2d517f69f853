"""Spans: what one request led to, from the caller's own to a driver's command.

A process that exports none (`service.telemetry.exporting`) makes none either, and
passes on the trace context that it was given.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

TRACER = trace.get_tracer("holdfast")
PROPAGATOR = TraceContextTextMapPropagator()

# Whether spans go anywhere: to a provider that was there before us, or to ours.
_kept = not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


def keep(provider: TracerProvider) -> None:
    """Have spans made from now on, by a provider of OpenTelemetry's."""
    global _kept  # noqa: PLW0603 - of a process, as OpenTelemetry's own is
    trace.set_tracer_provider(provider)
    _kept = True


def parent_of(traceparent: str) -> Context:
    """Return the context below a W3C trace parent, or below nothing."""
    return PROPAGATOR.extract({"traceparent": traceparent}, Context())


def traceparent_of(span: Span) -> str:
    """Return what W3C calls the span, "" for one that nobody keeps."""
    said = span.get_span_context()
    if not said.is_valid:
        return ""
    return f"00-{said.trace_id:032x}-{said.span_id:016x}-{said.trace_flags:02x}"


@contextmanager
def following(name: str, traceparent: str, **facts: Any) -> Iterator[str]:
    """Trace work that a stored trace context asked for; yield what to pass on."""
    if not _kept:
        yield traceparent
        return
    with TRACER.start_as_current_span(
        name, parent_of(traceparent), SpanKind.CONSUMER, attributes=facts
    ) as span:
        yield traceparent_of(span)


def step(name: str, **facts: Any) -> AbstractContextManager[Any]:
    """Trace one step of the work under way, a driver's command for example.

    What belongs to no traced work, measuring for example, is not traced.
    """
    if not trace.get_current_span().is_recording():
        return nullcontext()
    return TRACER.start_as_current_span(name, attributes=facts)
