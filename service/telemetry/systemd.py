"""Telling systemd how we are: ready, alive, leaving, and in words.

Nothing is told where systemd does not ask (NOTIFY_SOCKET is not set).
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from adapters.tasks import ended
from service.telemetry.readiness import KEPT, Readiness

SOCKET, WATCHDOG, WHOSE = "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"
LOOK_EVERY = 5.0  # seconds between two looks at what is needed, once it was there
LOOK_AGAIN = 0.2  # seconds, until then
BEATS = 2  # in the time after which systemd takes us for dead


class Systemd:
    """Who started us, if it was systemd."""

    def __init__(self) -> None:
        address = os.environ.get(SOCKET, "")
        self._address = address.replace("@", "\0", address.startswith("@"))
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.settimeout(0)  # who does not listen must not stop us
        watched = os.environ.get(WHOSE, str(os.getpid())) == str(os.getpid())
        self._beat = int(os.environ.get(WATCHDOG, "0")) / 1e6 / BEATS if watched else 0
        # Our children are not the service, and must not speak for it.
        for name in (SOCKET, WATCHDOG, WHOSE):
            os.environ.pop(name, None)

    def tell(self, what: str) -> None:
        """Send one message; there is no answer."""
        with suppress(OSError):
            self._socket.sendto(what.encode(), self._address)

    @asynccontextmanager
    async def watched(self, turns: Callable[[], bool]) -> AsyncIterator[None]:
        """Say until left that we are alive, while the event loop and `turns` say so."""
        beating = asyncio.ensure_future(self._beat_while(turns))
        try:
            yield
        finally:
            await ended(beating)
            self._socket.close()

    @asynccontextmanager
    async def told(self, readiness: Readiness) -> AsyncIterator[None]:
        """Say that we are ready and how we are, until left, and then that we leave.

        We are ready for systemd once we do our own work.
        """
        telling = asyncio.ensure_future(self._tell_how_it_is(readiness))
        try:
            yield
        finally:
            self.leaves()
            await ended(telling)

    def leaves(self) -> None:
        """Say that we leave."""
        self.tell("STOPPING=1\nSTATUS=finishing what is under way")

    async def _beat_while(self, turns: Callable[[], bool]) -> None:
        while self._address and self._beat:
            if turns():
                self.tell("WATCHDOG=1")
            await asyncio.sleep(self._beat)

    async def _tell_how_it_is(self, readiness: Readiness) -> None:
        was_ready = False
        while self._address:
            wrong = {k: v for k, v in (await readiness.look()).items() if v != "ok"}
            if wrong.keys() <= KEPT and not was_ready:
                self.tell("READY=1")
                was_ready = True
            said = "; ".join(f"{name}: {why}" for name, why in wrong.items())
            self.tell(f"STATUS={said or 'ready'}")
            await asyncio.sleep(LOOK_EVERY if was_ready else LOOK_AGAIN)
