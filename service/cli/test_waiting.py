"""How a wait has ended is told by the exit code, with why."""

from __future__ import annotations

import asyncio
import json
from asyncio.subprocess import PIPE, create_subprocess_exec
from typing import Any

import nats
import pytest
from nats.aio.msg import Msg

from service.cli.conftest import HOLDFAST, Shell

VOLUME, HOLD = (f"{digit}0000000-0000-4000-8000-000000000000" for digit in "ab")
HELD = {"id": VOLUME, "status": "detaching", "attachments": [HOLD], "error": None}
HOLDS = {"id": HOLD, "volume_id": VOLUME, "error": None}
FAILED = HOLDS | {"status": "error_detaching", "error": {"message": "no answer"}}


def waited(url: str, *words: str, **told: Any) -> tuple[int | None, str]:
    """Wait for a service that answers so; return the exit code and what is said."""

    async def scenario() -> tuple[int | None, str]:
        client = await nats.connect(url)

        async def hear(message: Msg) -> None:
            asked = message.subject.removeprefix("holdfast.v1.").replace(".", "_")
            await message.respond(json.dumps(told[asked]).encode())

        await client.subscribe("holdfast.v1.*.*", cb=hear)
        await client.flush()
        asking = await create_subprocess_exec(
            *(HOLDFAST, *words, "--wait", "1", "--nats", url), stdout=PIPE, stderr=PIPE
        )
        async with asyncio.timeout(30):
            _, said = await asking.communicate()
        await client.close()
        return asking.returncode, said.decode()

    return asyncio.run(scenario())


@pytest.mark.parametrize("named", [(), ("--attachment", HOLD)])
@pytest.mark.parametrize(
    ("seen", "said"),
    [
        (HOLDS | {"status": "detaching"}, f"{HOLD} is still detaching; it goes on"),
        (FAILED, f"{HOLD} is error_detaching: no answer; "),
    ],
)
def test_a_holder_that_could_not_be_taken_off_in_time_is_told(
    nats_url: str, named: tuple[str, ...], seen: dict[str, Any], said: str
) -> None:
    asked = ("volume", "detach", VOLUME, *named)

    code, told = waited(nats_url, *asked, volume_detach=HELD, attachment_show=seen)

    assert code == 1
    assert said in told


def test_another_holder_may_go_on(nats_url: str) -> None:
    asked = ("volume", "detach", VOLUME, "--attachment", VOLUME)

    assert waited(nats_url, *asked, volume_detach=HELD) == (0, "")


def test_whoever_is_only_asked_to_let_go_is_not_waited_for(nats_url: str) -> None:
    asked = ("volume", "begin-detaching", VOLUME)

    assert waited(nats_url, *asked, volume_begin_detaching=HELD) == (0, "")


def test_what_has_failed_before_is_not_told_of_what_was_so_already(
    shell: Shell,
) -> None:
    made = shell.told("volume", "create", "same", "--size", "1", "--wait")
    with (shell.data / "volumes" / made["id"] / "volume").open():
        failed = shell.run("volume", "delete", "same", "--wait", "--request-id", "once")

    again = shell.run("volume", "delete", "same", "--wait", "--request-id", "once")
    named = shell.run("volume", "update", "same", "--name", "same", "--wait")

    assert (failed.returncode, again.returncode) == (1, 1)
    assert again.stderr == failed.stderr
    assert (named.returncode, named.stderr) == (0, "")
