"""The whole service on one machine: its servers, one replica, an agent a backend.

Everything it keeps is in one folder. Only one `up` at a time has it, and the
next goes on where the last one stopped, however that was.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from logging import getLogger
from pathlib import Path
from typing import Any

from adapters import durable_file
from adapters.embedded.nats_server import NatsServer
from adapters.embedded.postgres import PostgresServer
from adapters.embedded.process import ServerFailed, port_in_use
from adapters.jetstream.agent import Agent
from adapters.jetstream.measuring import BEING_SET_UP
from adapters.tasks import ended, together, until
from service.agents import abandon, agent, driver_for, finished
from service.audit.checkpointing import make_key, named
from service.connecting import connect
from service.deciding.command import NotFound
from service.deciding.room import Room
from service.holding import holder_of
from service.keeping.keeper import started, stopped
from service.permissions import configured, with_password
from service.replica import Replica
from service.running import Told, begun, overseen, until_stopped
from service.serve import replica
from service.settings import FILE_DRIVER, BackendSettings, NotNow, Settings, Unusable
from service.telemetry.readiness import Readiness, of_replica

FORMAT = 2  # of the data folder; raised when an older version could not read it
NATS_PORT = 4222
PASSWORD = "nats.password"
DESCRIPTION = "holdfast.json"
CHECKPOINT_KEY, CHECKPOINTS = "checkpoint.key", "checkpoints"
NATS, POSTGRES, LOCK = "nats", "postgres", "lock"
OURS = {NATS, POSTGRES, LOCK, CHECKPOINTS}  # what a backend's name may be as well
LOOK_EVERY = 0.5  # seconds between two looks at the servers

logger = getLogger(__name__)


def run_up(data: Path, settings: Settings, nats_port: int | None, told: Told) -> None:
    """Run the whole service in this folder; `told` the broker's URL when it answers."""

    async def main(stack: AsyncExitStack) -> Awaitable[Any]:
        stack.callback(abandon)
        systemd = begun(stack, "holdfast", settings)
        running = await stack.enter_async_context(up(data, settings, nats_port))
        log = running.replica.log
        readiness = Readiness(of_replica(running.replica), lambda: log.turns)
        await overseen(stack, systemd, settings, readiness)
        told(running.url)
        return running.work

    until_stopped(main)


@dataclass(frozen=True)
class Running:
    """A service that answers, and the work that ends only by failing."""

    url: str
    replica: Replica
    agents: tuple[Agent, ...]
    work: asyncio.Future[Any]


@asynccontextmanager
async def up(
    data: Path, settings: Settings, nats_port: int | None = None
) -> AsyncIterator[Running]:
    """Run everything until left; entered, requests are answered.

    Raises `Unusable` and `ServerFailed`, in words for an operator. Call it from
    the main thread: the servers end with the thread that started them.
    """
    async with AsyncExitStack() as stack:
        holder = stack.enter_context(sole_owner(data))
        settings = replace(
            with_files(settings, data),
            agent_key=settings.agent_key or kept_secret(data / "agent.key"),
            checkpoint_key=settings.checkpoint_key or kept_key(data / CHECKPOINT_KEY),
            checkpoint_file=settings.checkpoint_file or str(data / CHECKPOINTS),
        )
        keeper = await started()  # it gets ready while the servers do
        stack.push_async_callback(stopped, keeper)
        broker, database = stack.enter_context(servers(data, chosen_port(nats_port)))
        url = broker.url
        client = await stack.enter_async_context(
            await connect(as_service(data, url), "holdfast up")
        )
        settings = replace(settings, nats_url=as_service(data, url))
        running, serving = await stack.enter_async_context(
            replica(client, settings, database.settings, keeper)
        )
        agents = tuple(
            agent(client, settings, each, driver_for(settings, each), holder)
            for each in settings.backends
        )
        working = asyncio.ensure_future(
            together(
                until(serving),
                kept_running(broker, database),
                *(each.run() for each in agents),
            )
        )
        stack.push_async_callback(ended, working)
        stack.push_async_callback(finished, *agents)
        await ready(running, agents, settings, working)
        describe(data, {"format": FORMAT} | found_by_others(settings, url))
        stack.callback(describe, data, {"format": FORMAT})
        yield Running(url, running, agents, working)


@contextmanager
def servers(data: Path, port: int) -> Iterator[tuple[NatsServer, PostgresServer]]:
    """Run the servers of a data folder; raise `ServerFailed`."""
    config = configured(kept_secret(data / PASSWORD))
    broker = NatsServer(data / NATS, port, config)
    database = PostgresServer(data / POSTGRES)
    with ExitStack() as stack:
        for server in (broker, database):
            server.start()
            stack.callback(server.stop)
        yield broker, database


async def kept_running(broker: NatsServer, database: PostgresServer) -> None:
    """Start again what was killed, which loses nothing that was acknowledged."""
    while True:
        await asyncio.sleep(LOOK_EVERY)
        for server in (broker, database):
            try:
                revive(server)
            except (ServerFailed, OSError) as failure:  # it is looked at again
                logger.warning("%s", failure)


def revive(server: NatsServer | PostgresServer) -> None:
    """Start a server that has died, or will not write again.

    Raises `ServerFailed`, and `OSError` where it cannot even be looked at.
    """
    if isinstance(server, NatsServer) and server.stuck:
        server.kill()
    if server.pid is None:
        logger.warning("%s has died and is started again", server.folder.name)
        server.start()


async def ready(
    running: Replica,
    agents: Sequence[Agent],
    settings: Settings,
    work: asyncio.Future[Any],
) -> None:
    """Return once the keeper keeps, and every backend is known, looked at and served.

    Raises what ended the work meanwhile.
    """
    names = [backend.name for backend in settings.backends]
    while not (
        running.reading.kept
        and all(agent.at_work.is_set() for agent in agents)
        and all(looked_at(running.log.room, name) for name in names)
        and all([await known(running, name) for name in names])
    ):
        if work.done():
            await work
        await asyncio.sleep(0.01)


def looked_at(room: Room, name: str) -> bool:
    """Tell whether it is known if a backend's storage works."""
    return room.fresh(name) and room.why_not_working(name) != BEING_SET_UP


async def known(running: Replica, name: str) -> bool:
    """Tell whether a backend was ever announced."""
    try:
        await running.backend(name)
    except NotFound:
        return False
    return True


@contextmanager
def sole_owner(data: Path) -> Iterator[str]:
    """Own the data folder, and yield the owner's name for its agents' leases.

    Raises `Unusable` where that cannot be.
    """
    if not str(data).isprintable():
        raise Unusable(
            f"the data folder {str(data)!r} cannot be used: PostgreSQL takes no such "
            "name; choose another one with --data"
        )
    try:
        data.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(data / LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise NotNow(
            f"the data folder {data} cannot be used: {error.strerror}; "
            "choose another one with --data"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        check_format(data)
        yield holder_of(lock)
    except BlockingIOError:
        raise NotNow(
            f"another holdfast runs on {data}; stop it, or choose another folder "
            "with --data"
        ) from None
    finally:
        os.close(lock)


def check_format(data: Path) -> None:
    """Raise `Unusable` for a folder that a newer version has written."""
    format_ = described(data).get("format", FORMAT)
    if format_ > FORMAT:
        raise Unusable(
            f"the data folder {data} was written by a newer holdfast (format "
            f"{format_}, this one knows {FORMAT}); run that one, or choose another "
            "folder with --data"
        )
    describe(data, {"format": FORMAT})


def described(data: Path) -> dict[str, Any]:
    """Return what a data folder says of itself and of the `up` that runs on it."""
    try:
        told = json.loads((data / DESCRIPTION).read_text())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise NotNow(
            f"{data / DESCRIPTION} cannot be read: {error.strerror}"
        ) from error
    except ValueError as error:
        raise Unusable(f"{data / DESCRIPTION} cannot be read: {error}") from error
    if not isinstance(told, dict) or not isinstance(told.get("format"), int):
        raise Unusable(f"{data / DESCRIPTION} is not holdfast's; move it away")
    return told


def found_by_others(settings: Settings, url: str) -> dict[str, Any]:
    """Return where commands find what an `up` has while it runs."""
    signed = Path(settings.checkpoint_file).absolute()
    return {"nats_url": url, "pid": os.getpid(), "checkpoints": str(signed)}


def describe(data: Path, told: dict[str, Any]) -> None:
    """Write it, as a whole or not at all, whenever the power goes."""
    fresh = data / f".{DESCRIPTION}"
    with fresh.open("wb") as file:
        durable_file.put(file, json.dumps(told) + "\n")
    fresh.replace(data / DESCRIPTION)


def kept_secret(path: Path) -> str:
    """Return the secret in a file that only we can read; make it the first time."""
    if not path.exists():
        durable_file.make(path, secrets.token_hex(32), 0o600)
    return path.read_text().strip()


def kept_key(path: Path) -> str:
    """Return where the key is that checkpoints are signed with; make it once."""
    if not path.exists():
        make_key(path, named())
    return str(path)


def as_service(data: Path, url: str) -> str:
    """Return the URL of the folder's broker for those who may do everything there."""
    return with_password(url, kept_secret(data / PASSWORD))


def chosen_port(asked: int | None) -> int:
    """Return the port to listen on: the one asked for, 4222, or 0 for a free one."""
    if asked is not None:
        return asked
    return 0 if port_in_use(NATS_PORT) else NATS_PORT


def with_files(settings: Settings, data: Path) -> Settings:
    """Return the settings with a backend of files, where they name no backend.

    Raises `Unusable` where two would have the same folder, or one of ours.
    """
    named = settings.backends or (BackendSettings("files", settings.volume_driver),)
    backends = tuple(on_files(each, data) for each in named)
    whose = {os.path.realpath(data / name): "the service" for name in OURS}
    for backend in backends:
        if folder := backend.options.get("folder"):
            told = f"backend {backend.name}"
            other = whose.setdefault(os.path.realpath(folder), told)
            if other != told:
                raise Unusable(
                    f"{told}: {folder} is the folder of {other}; name another `folder`"
                )
    return replace(settings, backends=backends)


def on_files(backend: BackendSettings, data: Path) -> BackendSettings:
    """Return a backend with the driver of files and a folder, where it names none."""
    if backend.volume_driver not in ("", FILE_DRIVER):
        return backend
    folder = data / ("volumes" if backend.name == "files" else backend.name)
    options = {"folder": str(folder)} | dict(backend.options)
    return replace(backend, volume_driver=FILE_DRIVER, options=options)
