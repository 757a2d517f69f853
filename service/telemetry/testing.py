"""What the tests of telemetry share."""

from __future__ import annotations

import asyncio
import json
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from adapters.embedded.process import free_port
from service.testing.callers import eventually


def told(config: Path, name: str, **settings: str) -> Path:
    """Return a copy of a configuration, with more settings."""
    lines = [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
    copy = config.with_name(f"{name}.toml")
    copy.write_text("\n".join([*lines, config.read_text()]))
    return copy


def free_address() -> str:
    """Return where nobody listens yet."""
    return f"127.0.0.1:{free_port()}"


def page(address: str, path: str) -> tuple[int, str]:
    """Return the status and the text of a page; 0 where nobody answers."""
    connection = HTTPConnection(address, timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    except (OSError, HTTPException):
        return 0, ""
    finally:
        connection.close()


async def shows(address: str, *lines: str) -> None:
    """Return once the metrics have all of these lines."""

    async def so() -> bool:
        _, text = await asyncio.to_thread(page, address, "/metrics")
        return set(lines) <= set(text.splitlines())

    await eventually(so)


async def wrong(address: str) -> dict[str, Any]:
    """Return what is needed and not there, by its name."""
    status, text = await asyncio.to_thread(page, address, "/ready")
    if not status:
        return {"process": "does not listen"}
    said = json.loads(text)
    found = {name: why for name, why in said["checks"].items() if why != "ok"}
    assert (status == 200) == said["ready"] == (not found)  # noqa: PLR2004
    return found


async def until_wrong(address: str, *names: str) -> None:
    """Return once these are not there, and nothing else."""

    async def so() -> bool:
        return set(await wrong(address)) == set(names)

    await eventually(so)


async def says(address: str, name: str, words: str) -> None:
    """Return once it is said so why something is not there."""

    async def so() -> bool:
        return words in (await wrong(address)).get(name, "")

    await eventually(so)
