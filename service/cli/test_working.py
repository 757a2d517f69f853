"""Whether a backend works is told by the exit code as well."""

from __future__ import annotations

import asyncio
import json
from asyncio.subprocess import PIPE, create_subprocess_exec
from typing import Any

import nats
import pytest
from nats.aio.msg import Msg

from service.cli.conftest import HOLDFAST

REASON = "its disks are missing"
SEEN = {"name": "files", "working": False, "reason": REASON}


def asked(url: str, verb: str, told: dict[str, Any]) -> tuple[int | None, str]:
    """Ask of a backend what is answered so; return the exit code and what is shown."""

    async def scenario() -> tuple[int | None, str]:
        client = await nats.connect(url)

        async def hear(message: Msg) -> None:
            await message.respond(json.dumps(told).encode())

        await client.subscribe("holdfast.v1.backend.*", cb=hear)
        await client.flush()
        asking = await create_subprocess_exec(
            *(HOLDFAST, "backend", verb, "files", "--nats", url), stdout=PIPE
        )
        async with asyncio.timeout(30):
            shown, _ = await asking.communicate()
        await client.close()
        return asking.returncode, shown.decode()

    return asyncio.run(scenario())


@pytest.mark.parametrize(("working", "code"), [(True, 0), (False, 1), (None, 1)])
def test_the_exit_code_tells_whether_a_backend_works(
    nats_url: str, code: int, *, working: bool | None
) -> None:
    ended, shown = asked(nats_url, "is-working", SEEN | {"working": working})

    assert ended == code
    assert REASON in shown


def test_to_look_at_a_backend_that_does_not_work_is_no_failure(nats_url: str) -> None:
    assert asked(nats_url, "show", SEEN)[0] == 0
