"""What the tests of the running service share."""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from signal import SIGKILL
from threading import Event as Flag
from threading import Thread
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
import nats
import psycopg
import pytest
from nats.aio.client import Client
from nats.errors import Error

from adapters.embedded.postgres import settings_of
from adapters.file.driver import FileDriver
from adapters.jetstream.reporting import Report
from adapters.jetstream.stream import STREAM, SUBJECTS
from adapters.postgres.follower import Follower
from adapters.postgres.recorder import LogRecorder
from domain.aggregate import Done, Event, NotDone
from domain.capabilities import Capabilities
from domain.ports import Cause, Progress, unheard
from domain.provenance import Provenance
from domain.volume import Volume
from domain.volume_status import UNDER_WAY
from projections import resources
from service.endpoint import Endpoint
from service.endpoints.agents import from_agent, reporting, take_over
from service.endpoints.volumes import create
from service.headers import NOTHING, Headers
from service.log import Log
from service.room import Measured

BACKEND = "files"
LEASE = 1
WORKING = True, None
ROOT = Path(__file__).parents[1]

UP = """
import sys
from pathlib import Path
from service.up import run_up
from service.settings import load
tell = lambda url: print(url, flush=True)
run_up(Path(sys.argv[1]), load(None, {}), int(sys.argv[2]), tell)
"""
SERVE = """
import sys
from pathlib import Path
from service.serve import run_serve
from service.settings import load
run_serve(load(Path(sys.argv[1]), {}), lambda url: print(url, flush=True))
"""
AGENT = """
import sys
from pathlib import Path
from service.agents import run_agent
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
    recorder: LogRecorder,
    total_gib: float = 10_000,
    backend: str = BACKEND,
    **bounds: Any,
) -> AsyncIterator[Log]:
    """Run a live log that knows a backend."""
    async with Log(recorder, **bounds).running() as log:
        told = Measured(capabilities(total_gib), *WORKING, datetime.now(UTC))
        log.room.know(backend, told)
        lease = backend, LEASE, "shelf 1 of node-1", "node-1"
        await log.submit(from_agent(backend, lambda seen: take_over(seen, *lease)))
        yield log


@asynccontextmanager
async def lives(
    recorder: LogRecorder, number: int, **bounds: Any
) -> AsyncIterator[list[Log]]:
    """Run several, as many replicas do."""
    async with AsyncExitStack() as running:
        enter = running.enter_async_context
        yield [await enter(live(recorder, **bounds)) for _ in range(number)]


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


async def report(
    log: Log,
    volume_id: str,
    intent: int,
    not_done: NotDone | None = None,
    backend: str = BACKEND,
    noun: str = "volume",
    **told: Any,
) -> None:
    """Let the backend report that it did what it was asked, or why not."""
    done = None if not_done else Done(**told)
    told_of = noun, UUID(volume_id), intent
    it = Report(*told_of, causation_id="", done=done, not_done=not_done)
    await log.submit(reporting(backend, LEASE, it))


def newest(log: Log, aggregate_id: str) -> int:
    """Return the version of what the backend was asked last."""
    known: Any = log._live[UUID(aggregate_id)]  # noqa: SLF001 - nothing public tells
    return int(max(known.in_flight))


def lose_commit(monkeypatch: pytest.MonkeyPatch, *, committed: bool) -> None:
    """Close the connection at the next batch, after it was committed or before."""
    call = LogRecorder.call

    def lose(recorder: LogRecorder, connection: Any, values: Any) -> Any:
        monkeypatch.undo()
        if committed:
            call(recorder, connection, values)
        connection.close()
        raise psycopg.OperationalError("connection lost")

    monkeypatch.setattr(LogRecorder, "call", lose)


@contextmanager
def following(recorder: LogRecorder) -> Iterator[list[int]]:
    """Yield the positions that a follower sees; left, they go to the log's end."""
    seen: list[int] = []
    follower, over = Follower(recorder, 0), Flag()

    def follow() -> None:
        while not (over.is_set() and len(seen) >= recorder.max_notification_id()):
            page = follower.after(seen[-1] if seen else 0, 0.1)
            seen.extend(event.position for event in page)

    following = Thread(target=follow, daemon=True)
    follower.start()
    following.start()
    try:
        yield seen
    finally:
        over.set()
        following.join(30)
        follower.stop()


async def eventually(so: Callable[[], Awaitable[bool]], seconds: float = 60) -> None:
    """Return once it is so, or raise `TimeoutError`."""
    async with asyncio.timeout(seconds):
        while not await so():  # noqa: ASYNC110 - other processes have no event for us
            await asyncio.sleep(0.02)


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
    folder: Path,
    nats_url: str,
    database: Mapping[str, str],
    driver: str = "adapters.file.driver.FileDriver",
    ratio: float = 20.0,
    backend: str = "",
    **deadlines: float,
) -> Path:
    """Write the settings of `serve` and `agent`, with that backend or one of files."""
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
        "[deadlines]",
        *(f"{name} = {value}" for name, value in deadlines.items()),
        backend
        or f"""
[[backend]]
name = "{BACKEND}"
volume_driver = "{driver}"
max_over_subscription_ratio = {ratio}
folder = {json.dumps(str(folder / "volumes"))}
""",
    ]
    path = folder / "holdfast.toml"
    path.write_text("\n".join(lines) + "\n")
    return path


def database_of(data: Path) -> dict[str, str]:
    """Return the way to the database of an `up` that runs."""
    return settings_of(data / "postgres")


# Disks that are full


@contextmanager
def tmpfs(folder: Path, options: str) -> Iterator[None]:
    """Put a small filesystem of its own on a folder."""
    mount = ["mount", "-t", "tmpfs", "-o", options, "holdfast-test", str(folder)]
    if os.geteuid() or subprocess.run(mount, check=False).returncode:
        pytest.skip("cannot mount a tmpfs here: NOT TESTED on a filesystem of its own")
    try:
        yield
    finally:
        # Servers that were killed may still be on their way out.
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Leave no room in a folder, and return what takes it."""
    with (folder / "filler").open("wb", buffering=0) as filler:
        while True:
            try:
                filler.write(bytes(4096))
            except OSError:
                return Path(filler.name)


# Callers


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


# A load, and what must be true of it afterwards


async def live_a_life(asker: Caller, dice: random.Random, name: str) -> None:
    """Create, extend, attach, detach and delete, as far as it comes."""
    steps = iter(range(1_000_000))

    async def ask(subject: str, **message: Any) -> Any:
        return await asker.insist(subject, f"{name}-{next(steps)}", **message)

    created: dict[str, Any] = {"key": f"{name}-created", "size_gib": 1, "name": name}
    # A replica that has just begun may not know a backend yet.
    made = await asker.until("volume.create", lambda told: "id" in told, **created)
    volume_id = made["id"]
    await settled(asker, volume_id)
    size = 1
    for deed in dice.choices(
        ["extend", "hold", "keep"], [5, 4, 1], k=dice.randint(0, 6)
    ):
        if deed == "extend":
            size += 1
            await ask("volume.extend", id=volume_id, size_gib=size)
            await settled(asker, volume_id)
            continue
        held = await ask("attachment.create", volume_id=volume_id, host=name)
        if "id" not in held:
            return
        connector = {"host": name, "initiator": f"iqn.2026-01.example:{name}"}
        await ask("attachment.update", id=held["id"], connector=connector)
        await ask("attachment.complete", id=held["id"])
        if deed == "keep":
            return
        await ask("attachment.delete", id=held["id"])
    if dice.choice([True, True, False]):
        await ask("volume.delete", id=volume_id)


async def settled(asker: Caller, volume_id: str) -> None:
    def so(volume: Any) -> bool:
        return volume["status"] not in UNDER_WAY

    await asker.until("volume.show", so, id=volume_id)


async def load(
    asker: Caller, dice: random.Random, name: str, stopped: asyncio.Event
) -> None:
    for life in range(1_000_000):
        if stopped.is_set():
            return
        await live_a_life(asker, dice, f"{name}-{life}")


async def has_room(asker: Caller, *backends: str) -> None:
    """Return once the service knows backends that work."""

    def so(backend: Any) -> bool:
        return bool(backend.get("working"))

    for name in backends or (BACKEND,):
        await asker.until("backend.is_working", so, name=name)


async def nothing_is_in_flight(asker: Caller, *backends: str) -> None:
    def so(answer: Any) -> bool:
        return not answer["items"]

    for name in backends or (BACKEND,):
        await asker.until("agent.in_flight", so, name=name, after=0)


async def lists_tell(asker: Caller, volumes: Collection[Volume]) -> None:
    """The lists are what the log comes to."""
    assert await listed(asker, "volume") == {
        str(volume.id): as_json(resources.volume(volume)) for volume in volumes
    }
    assert await listed(asker, "attachment") == {
        str(key): as_json(resources.attachment(volume, key))
        for volume in volumes
        for key in volume.attachments | volume.gone
    }


async def listed(asker: Caller, noun: str, **asked: Any) -> dict[str, Any]:
    """Return all there is of a noun by its id, what is gone as well."""
    gone = "deleted" if noun == "volume" else "detached"
    items = await asker.all(f"{noun}.list", **asked)
    items += await asker.all(f"{noun}.list", status=gone, **asked)
    return {item["id"]: item for item in items}


def as_json(shown: Any) -> Any:
    return msgspec.json.decode(msgspec.json.encode(shown))


def happened_once(log: Sequence[Event], askers: Sequence[Caller]) -> None:
    """Every request is in the log once, and where its answer says."""
    own = {
        position: event.provenance.request_id
        for position, event in enumerate(log, start=1)
        if event.provenance.request_id and not event.provenance.recorded_by
    }
    assert set(Counter(own.values()).values()) <= {1}
    answers = [item for asker in askers for item in asker.acknowledged.items()]
    assert {key for key, _ in answers} <= set(own.values())
    for key, answer in answers:
        assert log[answer["position"] - 1].provenance.request_id == key


async def published(client: Client, last: int) -> list[int]:
    """Return the positions on the stream once there are so many, as others get them."""
    stream = client.jetstream()
    found: list[int] = []

    async def is_there() -> bool:
        with suppress(Error, TimeoutError):
            return (await stream.stream_info(STREAM)).state.last_seq >= last
        return False

    await eventually(is_there)
    messages = await stream.subscribe(f"{SUBJECTS}.>", ordered_consumer=True)
    while len(found) < last or messages.pending_msgs:
        message = await messages.next_msg(timeout=30)
        found.append(int((message.headers or {})["ce-id"]))
    await messages.unsubscribe()
    return found


class Mortal(FileDriver):
    """A file driver that keeps a diary, and dies where a file beside it says so."""

    def create(
        self, asked: Volume.Created, cause: Cause, progress: Progress = unheard
    ) -> str:
        with self._telling("create", asked.originator_id):
            return super().create(asked, cause, progress)

    def extend(self, volume_id: UUID, size_gib: int) -> None:
        with self._telling("extend", volume_id):
            super().extend(volume_id, size_gib)

    @contextmanager
    def _telling(self, verb: str, volume_id: UUID) -> Iterator[None]:
        self._die(f"before {verb}")
        with (self._folder.parent / "diary").open("a") as diary:
            diary.write(f"{verb} {volume_id}\n")
        yield
        self._die(f"after {verb}")

    def _die(self, when: str) -> None:
        sentence = self._folder.parent / f"die {when}"
        if sentence.exists():
            sentence.unlink()
            os.kill(os.getpid(), SIGKILL)


class Small(FileDriver):
    """A file driver with room for 10 GiB, or for 20 where they are promised twice."""

    def capabilities(self) -> Capabilities:
        told = super().capabilities()
        sizes = {"total_capacity_gb": 10.0, "free_capacity_gb": 10.0}
        return msgspec.structs.replace(told, provisioned_capacity_gb=0.0, **sizes)


class Solid(Small):
    """A small one that has room once, whatever may be promised twice elsewhere."""

    def capabilities(self) -> Capabilities:
        told = super().capabilities()
        kind = {"thin_provisioning_support": False, "thick_provisioning_support": True}
        return msgspec.structs.replace(told, **kind)
