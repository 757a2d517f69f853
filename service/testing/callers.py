"""Callers, as many as are wanted, who note what they were told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, NamedTuple

import nats
from nats.aio.client import Client
from nats.errors import Error


async def eventually(so: Callable[[], Awaitable[bool]], seconds: float = 60) -> None:
    """Return once it is so, or raise `TimeoutError`."""
    async with asyncio.timeout(seconds):
        while not await so():  # noqa: ASYNC110 - other processes have no event for us
            await asyncio.sleep(0.02)


class Answer(NamedTuple):
    """What came back: "" or a problem's code, the body, and the headers."""

    code: str
    body: Any
    headers: Mapping[str, str]


class Caller:
    """Somebody who asks over NATS, and asks again until there is an answer."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.acknowledged: dict[str, Any] = {}

    async def ask(
        self, subject: str, key: str = "", seconds: float = 1, **message: Any
    ) -> Answer:
        """Return what is answered, or raise what nats-py does where nothing is."""
        headers = {"Holdfast-Request-Id": key} if key else None
        body = json.dumps(message).encode()
        got = await self.client.request(
            f"holdfast.v1.{subject}", body, timeout=seconds, headers=headers
        )
        told = got.headers or {}
        code = told.get("Nats-Service-Error-Code", "")
        return Answer(code, json.loads(got.data), told)

    async def insist(self, subject: str, key: str = "", **message: Any) -> Any:
        """Ask until there is an answer that is no trouble of the service's own."""
        while True:
            try:
                answer = await self.ask(subject, key, **message)
            except (Error, TimeoutError):
                await asyncio.sleep(0.05)
                continue
            if not answer.code:
                if key:
                    self.acknowledged[key] = answer.body
                return answer.body
            if not answer.code.startswith("5"):
                return answer.body
            await asyncio.sleep(0.05)

    async def until(
        self, subject: str, so: Callable[[Any], bool], **message: Any
    ) -> Any:
        """Ask until the answer is so, and return it."""
        found: Any = None

        async def is_so() -> bool:
            nonlocal found
            found = await self.insist(subject, **message)
            return so(found)

        await eventually(is_so)
        return found

    async def all(self, subject: str, **filters: Any) -> list[Any]:
        """Return every item of a list."""
        items: list[Any] = []
        cursor = None
        while True:
            page = await self.insist(subject, limit=1000, cursor=cursor, **filters)
            items += page["items"]
            cursor = page["next"]
            if cursor is None:
                return items


@asynccontextmanager
async def caller(url: str) -> AsyncIterator[Caller]:
    """Connect somebody who never gives up."""
    client = await nats.connect(
        url,
        max_reconnect_attempts=-1,
        reconnect_time_wait=0.05,
        error_cb=unmoved,
        allow_reconnect=True,
    )
    try:
        yield Caller(client)
    finally:
        await client.close()


@asynccontextmanager
async def callers(url: str, number: int) -> AsyncIterator[list[Caller]]:
    """Connect several."""
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        yield [await enter(caller(url)) for _ in range(number)]


async def unmoved(_: Exception) -> None:
    """Take a lost connection as it comes."""
