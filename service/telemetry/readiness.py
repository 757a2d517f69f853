"""Whether a process can do its work now: asked of what it needs, not remembered."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from nats.aio.client import Client

from adapters.jetstream.agent import Agent
from adapters.jetstream.lease import Lapsed
from adapters.jetstream.stream import PUBLISHED
from service.messages.text import said_by, without_secret

if TYPE_CHECKING:  # an agent has no database
    from service.replica import Replica

PATIENCE = 2.0  # seconds for each answer
LATE = 5.0  # seconds that the stream may be behind the log
# What the keeper of any replica keeps up: without it requests are answered all the
# same, and to start this replica anew would mend nothing.
KEPT = frozenset(["read_models", "stream"])

Check = Callable[[], Awaitable[None]]


class Unready(Exception):
    """What is needed is not there; the message says why."""


class Readiness:
    """Looks at everything that is needed, side by side, and whether our work turns."""

    def __init__(
        self, checks: Mapping[str, Check], turns: Callable[[], bool] = lambda: True
    ) -> None:
        self.becomes(checks, turns)

    def becomes(
        self, checks: Mapping[str, Check], turns: Callable[[], bool] = lambda: True
    ) -> None:
        """Look at other things from now on."""
        self._checks = checks
        self._turns = turns

    def turns(self) -> bool:
        """Tell whether what is to be done gets done."""
        return self._turns()

    async def look(self) -> dict[str, str]:
        """Return for each thing that is needed "ok", or why it cannot be used."""
        checks = self._checks
        found = await asyncio.gather(*map(why_not, checks.values()))
        return dict(zip(checks, found, strict=True))


def beginning(url: str) -> Readiness:
    """Return what a program needs that has just begun: the broker at that address."""

    async def connection() -> None:
        raise Unready(f"waits for NATS at {without_secret(url)}")

    return Readiness({"broker": connection})


def of_replica(running: Replica) -> dict[str, Check]:
    """Return what a replica needs to answer requests, and to have its lists kept."""
    return {
        "database": Database(running).check,
        "broker": broker(running.client),
        "subscriptions": partial(subscriptions, running),
        "read_models": partial(read_models, running),
        "stream": partial(stream, running),
    }


async def subscriptions(running: Replica) -> None:
    """Raise why no request would come to a replica."""
    if not running.services:
        raise Unready("takes no more requests")
    for service in running.services:
        # Its id is its own, so the answer has come the way of a request.
        named = f"{service.info().name}.{service.id}"
        await running.client.request(f"$SRV.PING.{named}", timeout=PATIENCE)


async def read_models(running: Replica) -> None:
    """Raise why a replica's lists are not kept."""
    if silent := running.silence:
        raise Unready(f"no keeper has told anything for {silent:.0f} s")
    if running.falls:
        raise Unready("its keeper ends again and again; its log says why")
    if stopped := running.reading.stopped:
        raise Unready("; ".join(map(str, stopped)))


async def stream(running: Replica) -> None:
    """Raise why agents and others do not hear what happens."""
    word = running.reading.word
    if word is None:
        return  # as `read_models` tells
    why = word.unpublished
    if PUBLISHED not in word.lags and why:
        raise Unready(f"cannot be looked at: {why}")
    if (behind := word.lags.get(PUBLISHED, 0)) > LATE:
        raise Unready(f"is {behind:.0f} s behind the log: {why or 'it is written'}")


def of_agent(client: Client, agent: Agent) -> dict[str, Check]:
    """Return what an agent needs to do what is asked of its backend."""

    async def lease() -> None:
        if not agent.serves:
            raise Unready(agent.waits_for or "the service does not answer")

    async def storage() -> None:
        with suppress(Lapsed):  # then nobody may touch it, to look least of all
            if reason := (await agent.measurement()).reason:
                raise Unready(reason)

    async def work() -> None:
        if not agent.at_work.is_set():
            raise Unready("the service has not told yet what there is to do")

    needed = {"lease": lease, "storage": storage, "work": work}
    return {"broker": broker(client)} | needed


def broker(client: Client) -> Check:
    """Return the check that the broker answers."""

    async def check() -> None:
        if not client.is_connected:
            raise Unready("is not connected")
        await client.flush()

    return check


class Database:
    """Tries the database, once at a time: one without an answer is enough."""

    def __init__(self, running: Replica) -> None:
        self._log = running.log
        self._try = running.try_database
        self._thread = ThreadPoolExecutor(1, "readiness")
        self._asked: asyncio.Future[Any] | None = None

    async def check(self) -> None:
        """Raise why the database cannot be used, or commands are not taken."""
        if self._asked is None or self._asked.done():
            loop = asyncio.get_running_loop()
            self._asked = loop.run_in_executor(self._thread, self._try)
        await asyncio.shield(self._asked)
        if self._log.age:
            raise Unready("is back; commands are taken again in a moment")


async def why_not(check: Check) -> str:
    """Return "ok", or why it is not."""
    try:
        async with asyncio.timeout(PATIENCE):
            await check()
    except TimeoutError:
        return f"does not answer within {PATIENCE:g} s"
    except Exception as error:  # noqa: BLE001 - told to whoever asks
        return said_by(error)
    return "ok"
