"""How far work is, as published events tell it."""

from __future__ import annotations

import asyncio

import nats
from nats.aio.client import Client

from service.cli.progress import STREAM, followed

SUBJECT = "holdfast.v1.events.snapshot.a"


async def publish(client: Client, event: str, percent: int, key: str) -> None:
    body = f'{{"percent": {percent}}}'.encode()
    await client.jetstream().publish(
        f"{SUBJECT}.{event}", body, headers={"ce-requestid": key}
    )


def test_what_follows_from_a_request_is_told_and_nothing_else(nats_url: str) -> None:
    heard: list[int] = []

    async def scenario() -> None:
        enough = asyncio.Event()

        def told(percent: int) -> None:
            heard.append(percent)
            if percent == 100:
                enough.set()

        client = await nats.connect(nats_url)
        events = await client.jetstream().add_stream(
            name=STREAM, subjects=["holdfast.v1.events.>"]
        )
        await publish(client, "creation_progressed", 10, "our%20key")
        async with asyncio.timeout(30), followed(client, "our key", told):
            await publish(client, "creation_progressed", 20, "our%20key")
            await publish(client, "creation_progressed", 30, "another")
            await publish(client, "creation_finished", 40, "our%20key")
            await publish(client, "deletion_progressed", 100, "our%20key")
            await enough.wait()
        await client.jetstream().delete_stream(str(events.config.name))
        await client.close()

    asyncio.run(scenario())

    assert heard == [20, 100]


def test_without_a_stream_nothing_is_told(nats_url: str) -> None:
    async def scenario() -> None:
        client = await nats.connect(nats_url)
        async with followed(client, "key", print):
            pass
        await client.close()

    asyncio.run(scenario())
