"""What operators ask over HTTP: `/metrics`, `/live` and `/ready`.

It is answered in threads, for a blocked event loop is what `/live` is there to tell.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from logging import getLogger
from socketserver import ThreadingMixIn
from threading import Thread
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import msgspec
from prometheus_client import make_wsgi_app

from service.settings import Unusable
from service.telemetry.metrics import REGISTRY
from service.telemetry.readiness import Readiness

TURN = 1.0  # seconds that the event loop may take for a turn and be called live
LOOK = 5.0  # seconds for all of a look at what is needed

logger = getLogger(__name__)

Start = Callable[[str, list[tuple[str, str]]], Any]
Page = Callable[[dict[str, Any], Start], Iterable[bytes]]


class Server(ThreadingMixIn, WSGIServer):
    """Answers several at once, and none of them keeps the process."""

    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """Say little of a client that went, or came too slowly."""
        logger.debug("a client of the metrics has gone, or came too slowly")


class Server6(Server):
    """The same on IPv6."""

    address_family = socket.AF_INET6


class Quiet(WSGIRequestHandler):
    """Writes no line a request."""

    timeout = 10  # seconds that a client has to say what it wants

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@asynccontextmanager
async def listening(address: str, readiness: Readiness) -> AsyncIterator[None]:
    """Answer at `host:port` until left, or nowhere; raise `Unusable`."""
    if not address:
        yield
        return
    host, _, port = address.rpartition(":")
    kind = Server6 if ":" in host else Server
    try:
        server = make_server(host.strip("[]"), int(port), pages(readiness), kind, Quiet)
    except (OSError, ValueError, OverflowError) as error:
        raise Unusable(
            f"metrics_listen: cannot listen on {address}: {error}"
        ) from error
    with server:
        Thread(target=server.serve_forever, name="metrics", daemon=True).start()
        try:
            yield
        finally:
            await asyncio.to_thread(server.shutdown)  # it takes up to half a second


def pages(readiness: Readiness) -> Page:
    """Return what answers, by the path that is asked for."""
    loop = asyncio.get_running_loop()
    metrics: Any = make_wsgi_app(REGISTRY)

    def live(_: dict[str, Any], start: Start) -> Iterable[bytes]:
        turned = in_loop(loop, asyncio.sleep(0), TURN)
        return told(start, {"live": turned is not LATE}, well=turned is not LATE)

    def ready(_: dict[str, Any], start: Start) -> Iterable[bytes]:
        checks = in_loop(loop, readiness.look(), LOOK)
        if checks is LATE:
            checks = {"process": "the event loop does not turn"}
        well = set(checks.values()) == {"ok"}
        return told(start, {"ready": well, "checks": checks}, well=well)

    def nothing(_: dict[str, Any], start: Start) -> Iterable[bytes]:
        start("404 Not Found", [("Content-Type", "text/plain")])
        return [b"/metrics, /live and /ready are here\n"]

    found: dict[str, Page] = {"/metrics": metrics, "/live": live, "/ready": ready}
    return lambda asked, start: found.get(asked["PATH_INFO"], nothing)(asked, start)


LATE = object()


def in_loop(loop: asyncio.AbstractEventLoop, what: Any, seconds: float) -> Any:
    """Return what the event loop comes to, or `LATE`."""
    asked = asyncio.run_coroutine_threadsafe(what, loop)
    try:
        return asked.result(seconds)
    except TimeoutError:
        asked.cancel()
        return LATE


def told(start: Start, what: dict[str, Any], *, well: bool) -> Iterable[bytes]:
    """Answer with JSON, and a status that a machine understands."""
    status = "200 OK" if well else "503 Service Unavailable"
    start(status, [("Content-Type", "application/json")])
    return [msgspec.json.encode(what) + b"\n"]
