"""What the tests of the running service share."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import nats
from nats.aio.client import Client
from nats.errors import Error

from adapters.postgres.recorder import LogRecorder
from domain.ports import Capabilities
from domain.provenance import Provenance
from service.endpoint import Endpoint
from service.endpoints.agents import announce, done
from service.endpoints.volumes import create
from service.headers import NOTHING, Headers
from service.log import Log
from service.room import Measured

BACKEND = "files"
WORKING = True, None
ROOT = Path(__file__).parents[1]

UP = """
import sys
from pathlib import Path
from service.running import run_up
from service.settings import load
tell = lambda url: print(url, flush=True)
run_up(Path(sys.argv[1]), load(None, {}), int(sys.argv[2]), tell)
"""
SERVE = """
import sys
from pathlib import Path
from service.running import run_serve
from service.settings import load
run_serve(load(Path(sys.argv[1]), {}), lambda url: print(url, flush=True))
"""
AGENT = """
import sys
from pathlib import Path
from service.running import run_agent
from service.settings import load
run_agent(load(Path(sys.argv[1]), {}), None, lambda url: print(url, flush=True))
"""


def capabilities(total_gib: float) -> Capabilities:
    """Return what an agent tells of a thick storage of that size."""
    return Capabilities(
        volume_backend_name=BACKEND,
        vendor_name="Holdfast",
        driver_version="1",
        storage_protocol="local",
        total_capacity_gb=total_gib,
        free_capacity_gb=total_gib,
        provisioned_capacity_gb=0,
        total_volumes=0,
        thin_provisioning_support=False,
        thick_provisioning_support=True,
        reserved_percentage=0,
        max_over_subscription_ratio=1.0,
    )


@asynccontextmanager
async def live(
    recorder: LogRecorder, total_gib: float = 10_000, **bounds: Any
) -> AsyncIterator[Log]:
    """Run a live log that knows a backend."""
    async with Log(recorder, **bounds).running() as log:
        told = Measured(capabilities(total_gib), *WORKING, datetime.now(UTC))
        log.room.know(BACKEND, told)
        about = {"host": "node-1", "driver": "Shelf", "storage_protocol": "local"}
        await ask(log, announce, name=BACKEND, **about)
        yield log


async def ask(log: Log, endpoint: Endpoint, key: str = "", **message: Any) -> Any:
    """Return the answer's JSON."""
    return await send(log, endpoint, json.dumps(message).encode(), key)


async def send(log: Log, endpoint: Endpoint, body: bytes, key: str = "") -> Any:
    """Return what is answered to a body as it was sent."""
    headers = Headers(Provenance(request_id=key), 0.0) if key else NOTHING
    reply = await log.submit(endpoint.command(body, headers, log.room))
    return json.loads(reply.body)


async def available(log: Log, **described: Any) -> str:
    """Return the id of a volume that its backend has made."""
    made = await ask(log, create, **{"size_gib": 1} | described)
    await report(log, made["id"], 1, location="/volumes/db")
    volume_id: str = made["id"]
    return volume_id


async def report(log: Log, volume_id: str, intent: int, **told: Any) -> Any:
    """Let the backend report that it did what it was asked."""
    return await ask(log, done, noun="volume", id=volume_id, intent=intent, **told)


# Programs, each a process of its own


@contextmanager
def program(code: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Run Python code that says a line when it is ready; it is killed at the end."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout
        assert process.stdout.readline(), "it ended before it was ready"
        yield process
    finally:
        process.kill()
        process.communicate()


def configuration(
    folder: Path, nats_url: str, database: Mapping[str, str], **more: str
) -> Path:
    """Write the settings of `serve` and `agent`, with one backend of files."""
    told = {
        name: database.get(f"POSTGRES_{name.upper()}", "public")
        for name in ("dbname", "host", "user", "password", "schema")
    }
    lines = [
        f"nats_url = {json.dumps(nats_url)}",
        'agent_key = "0123456789abcdef0123456789abcdef"',
        "[database]",
        *(f"{name} = {json.dumps(value)}" for name, value in told.items()),
        f"port = {database['POSTGRES_PORT']}",
        "[[backend]]",
        f'name = "{BACKEND}"',
        f"folder = {json.dumps(str(folder / 'volumes'))}",
        'volume_driver = "adapters.file.driver.FileDriver"',
        *(f"{name} = {value}" for name, value in more.items()),
    ]
    path = folder / "holdfast.toml"
    path.write_text("\n".join(lines) + "\n")
    return path


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
        self, subject: str, key: str = "", seconds: float = 5, **message: Any
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
        while not so(found := await self.insist(subject, **message)):
            await asyncio.sleep(0.02)
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


async def unmoved(_: Exception) -> None:
    """Take a lost connection as it comes."""
