"""Sending traces to OpenTelemetry's collector, where the environment names one.

All else about it is said as its specification has it: OTEL_SERVICE_NAME,
OTEL_TRACES_SAMPLER, OTEL_EXPORTER_OTLP_HEADERS and so on.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from threading import Thread

from adapters.tracing import keep
from service.settings import Unusable

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
DISABLED = "OTEL_SDK_DISABLED"
GRACE = 3.0  # seconds that the last spans have to be sent


def on(environment: Mapping[str, str] = os.environ) -> bool:
    """Tell whether traces are wanted."""
    disabled = environment.get(DISABLED, "").lower() == "true"
    return not disabled and any(environment.get(name) for name in ENDPOINTS)


@contextmanager
def exporting(program: str) -> Iterator[None]:
    """Send the spans of this process until left, the last ones then; or do nothing.

    Raises `Unusable` where they are wanted and cannot be sent.
    """
    if not on():
        yield
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415 - an extra
            OTLPSpanExporter,
        )
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ImportError as error:
        raise Unusable(
            f"{' or '.join(ENDPOINTS)} asks for traces: install holdfast[traces]"
        ) from error
    name = os.environ.get("OTEL_SERVICE_NAME") or program
    about = {"service.name": name, "service.version": version("holdfast")}
    provider = TracerProvider(
        resource=Resource.create(about),
        shutdown_on_exit=False,  # it would wait for as long as it takes
    )
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    keep(provider)
    try:
        yield
    finally:
        # A collector that does not answer must not keep us.
        last = Thread(target=provider.shutdown, daemon=True)
        last.start()
        last.join(GRACE)
