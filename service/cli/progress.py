"""How far the work is that a command waits for, as the published events tell."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from urllib.parse import unquote

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error
from nats.js.api import ConsumerConfig, DeliverPolicy

STREAM = "HOLDFAST_EVENTS"
LONG = ("creation", "deletion", "reversion")
SUBJECTS = [f"holdfast.v1.events.*.*.{work}_progressed" for work in LONG]

Told = Callable[[int], None]


@asynccontextmanager
async def followed(client: Client, request_id: str, told: Told) -> AsyncIterator[None]:
    """Tell the percent of whatever follows from a request, as long as this is open.

    Where the stream cannot be read nothing is told: that it is done is what counts.
    """

    async def hear(message: Msg) -> None:
        asked_by = (message.headers or {}).get("ce-requestid", "")
        if unquote(asked_by) == request_id:
            told(int(json.loads(message.data)["percent"]))

    new = ConsumerConfig(filter_subjects=SUBJECTS, deliver_policy=DeliverPolicy.NEW)
    try:
        events = await client.jetstream().subscribe(
            "", stream=STREAM, cb=hear, ordered_consumer=True, config=new
        )
    except (Error, TimeoutError):
        yield
        return
    try:
        yield
    finally:
        with suppress(Error):  # a lost connection is for whoever asked over it
            await events.unsubscribe()
