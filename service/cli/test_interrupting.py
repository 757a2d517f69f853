"""What is said when who waits presses Ctrl-C."""

from __future__ import annotations

import asyncio
import json
import signal
from asyncio.subprocess import PIPE, create_subprocess_exec

import nats
from nats.aio.msg import Msg

from service.cli.conftest import HOLDFAST

MADE = {"id": "a" * 8, "status": "creating", "error": None}


def interrupted(url: str, *words: str, answers: bool = True) -> tuple[int, str, int]:
    """Press Ctrl-C as soon as the service is asked; it `answers` who does not wait.

    Returns the exit code, what stands on standard error, and how many keys there were.
    """

    async def scenario() -> tuple[int, str, int]:
        keys = set()
        client = await nats.connect(url)

        async def hear(message: Msg) -> None:
            headers = message.headers or {}
            keys.add(headers["Holdfast-Request-Id"])
            if "Holdfast-Wait" in headers or not words:
                asking.send_signal(signal.SIGINT)
            elif answers:
                await message.respond(json.dumps(MADE).encode())

        await client.subscribe("holdfast.v1.volume.create", cb=hear)
        await client.flush()
        asking = await create_subprocess_exec(
            *(HOLDFAST, "volume", "create", "db", "--size", "1", "--nats", url, *words),
            stderr=PIPE,
        )
        async with asyncio.timeout(30):
            _, said = await asking.communicate()
        await client.close()
        assert asking.returncode is not None
        return asking.returncode, said.decode(), len(keys)

    return asyncio.run(scenario())


def test_who_waits_no_longer_is_told_that_the_work_goes_on(nats_url: str) -> None:
    code, said, keys = interrupted(nats_url, "--wait")

    assert code == 130
    assert said == (
        "holdfast: the work on aaaaaaaa goes on; `holdfast audit history aaaaaaaa` "
        "shows what becomes of it\n"
    )
    assert keys == 1


def test_where_no_id_is_known_it_is_the_key_that_tells(
    nats_url: str,
) -> None:
    code, said, _ = interrupted(nats_url, "--wait", "--request-id", "k", answers=False)

    assert code == 130
    assert "ask again with --request-id k" in said
    assert said.count("\n") == 1


def test_who_did_not_wait_is_told_nothing(nats_url: str) -> None:
    assert interrupted(nats_url)[:2] == (130, "")
