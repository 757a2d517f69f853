"""One tree of spans, from the caller's own to the driver's command and the report."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
)

from adapters.embedded.nats_server import NatsServer
from service.testing.callers import Caller, caller
from service.testing.loads import has_room
from service.testing.programs import AGENT, SERVE, program

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
BY_CALLER = f"00-{TRACE}-{SPAN}-01"


class Collector:
    """Spans by the program that sent them, as OpenTelemetry's own would get them."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, Any]] = []

    def take(self, body: bytes) -> None:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            [sender] = [
                each.value.string_value
                for each in resource.resource.attributes
                if each.key == "service.name"
            ]
            for scope in resource.scope_spans:
                self.spans += [(sender, span) for span in scope.spans]

    def below(self, parent: str) -> list[str]:
        """Return the way to everything that is below a span."""
        found = []
        for sender, span in self.spans:
            if span.trace_id.hex() == TRACE and span.parent_span_id.hex() == parent:
                path = f"{sender.removeprefix('holdfast-')} {span.name}"
                found += [path]
                found += [f"{path} > {each}" for each in self.below(span.span_id.hex())]
        return sorted(found)


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with collecting() as (collector, url):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        yield collector


@contextmanager
def collecting() -> Iterator[tuple[Collector, str]]:
    collector = Collector()

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            collector.take(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Receiver) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield collector, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


async def create(asker: Caller, **headers: str) -> str:
    """Create a volume, wait until its backend has made it, and return its id."""
    await has_room(asker)
    asked = await asker.client.request(
        "holdfast.v1.volume.create",
        b'{"size_gib": 1}',
        timeout=30,
        headers={"Holdfast-Wait": "30"} | headers,
    )
    made = json.loads(asked.data)
    assert made["status"] == "available"
    volume_id: str = made["id"]
    return volume_id


def test_a_trace_goes_from_the_caller_to_the_driver_and_back(
    broker: NatsServer, config: Path, collector: Collector
) -> None:
    async def scenario() -> list[str]:
        async with asyncio.timeout(60), caller(broker.url) as asker:
            volume_id = await create(asker, Traceparent=BY_CALLER)
            told = await asker.insist("volume.history", id=volume_id)
            return [item["trace_id"] for item in told["items"]]

    with program(SERVE, config) as serving, program(AGENT, config) as working:
        traces = asyncio.run(scenario())
        for each in (working, serving):  # what is not sent yet is sent then
            each.terminate()
            assert each.wait(30) == 0

    asked, worked = "serve volume.create", "serve volume.create > agent create"
    assert collector.below(SPAN) == [
        asked,
        worked,
        f"{worked} > agent file make",
        f"{worked} > agent report",
        f"{worked} > agent report > serve commit",
        f"{asked} > serve commit",
    ]
    assert traces == [TRACE, TRACE]


def test_neither_an_answer_nor_the_end_waits_for_a_collector_that_hangs(
    broker: NatsServer, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{silent.getsockname()[1]}"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "300")

    async def scenario() -> None:
        async with asyncio.timeout(60), caller(broker.url) as asker:
            await create(asker)

    with silent, program(SERVE, config) as serving, program(AGENT, config):
        asyncio.run(scenario())
        serving.terminate()
        assert serving.wait(25) == 0  # seconds; the library would wait for 30


def test_without_a_collector_what_the_caller_said_is_passed_on(
    broker: NatsServer, config: Path
) -> None:
    async def scenario() -> list[str]:
        async with asyncio.timeout(60), caller(broker.url) as asker:
            published = await asker.client.subscribe("holdfast.v1.events.volume.>")
            await create(asker, traceparent=BY_CALLER)
            events = [await published.next_msg(timeout=30) for _ in range(2)]
            return [(event.headers or {})["traceparent"] for event in events]

    with program(SERVE, config), program(AGENT, config):
        assert asyncio.run(scenario()) == [BY_CALLER, BY_CALLER]
