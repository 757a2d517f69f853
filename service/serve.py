"""Running the service: one replica on NATS and PostgreSQL."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Awaitable, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from importlib.metadata import version
from typing import Any

from eventsourcing.persistence import (
    InterfaceError,
    OperationalError,
    PersistenceError,
)
from nats.aio.client import Client
from nats.errors import Error
from nats.micro import add_service
from nats.micro.service import Service

from adapters.jetstream.direct import Direct
from adapters.jetstream.publisher import Publisher
from adapters.jetstream.taking import add_endpoint
from adapters.jetstream.wire import until_closed
from adapters.postgres.follower import Follower
from adapters.postgres.leases import Leases
from adapters.postgres.recorder import LogRecorder, NotUnicode
from adapters.tasks import ended, together, until
from service.audit.proving import Proving
from service.connecting import connect
from service.deciding.log import Log
from service.deciding.room import Room
from service.endpoints import ENDPOINTS, FOR_AGENTS
from service.endpoints.endpoint import Answering
from service.endpoints.sending import answered
from service.interpreter import quicken
from service.keeping.keeper import kept
from service.manager import manager_of
from service.messages.text import said_by
from service.reading import Reading
from service.replica import Replica
from service.running import Told, begun, check_key, overseen, until_stopped
from service.settings import NotNow, Settings, Unusable, database_of
from service.telemetry import exporting, metrics
from service.telemetry.readiness import beginning, of_replica
from service.telemetry.requests import committed, handler

GRACE = 2.0  # seconds that requests have to be answered when we stop


def run_serve(settings: Settings, told: Told) -> None:
    """Run one replica; `told` the broker's URL when it answers."""
    check_key(settings)

    async def main(stack: AsyncExitStack) -> Awaitable[Any]:
        systemd = begun(stack, "holdfast-serve", settings)
        readiness = beginning(settings.nats_url)
        await overseen(stack, systemd, settings, readiness)
        client = await stack.enter_async_context(
            await connect(settings.nats_url, "serve")
        )
        try:
            running, work = await stack.enter_async_context(
                replica(client, settings, database_of(settings))
            )
        except NotUnicode as error:
            raise Unusable(f"PostgreSQL cannot be used: {error}") from error
        except PersistenceError as error:
            raise NotNow(no_database(settings, error)) from error
        readiness.becomes(of_replica(running), lambda: running.log.turns)
        stack.callback(systemd.leaves)
        told(settings.nats_url)
        return work

    until_stopped(main)


def no_database(settings: Settings, why: PersistenceError) -> str:
    """Return what an operator is told of a database that cannot be used."""
    said = REFUSES
    if isinstance(why, OperationalError | InterfaceError):
        said = AWAY
    return said.format(**settings.database, why=said_by(why))


AWAY = (
    "PostgreSQL cannot be used: no database {dbname} for the user {user} answers "
    "at {host}:{port}; [database] in the settings says where it is ({why})"
)
REFUSES = (
    "PostgreSQL cannot be used: {why}; mend that in database {dbname} at {host}:{port} "
    "(schema {schema}, user {user}), or name another in [database] of the settings"
)


@asynccontextmanager
async def replica(
    client: Client,
    settings: Settings,
    database: Mapping[str, str],
    keeper: Process | None = None,
) -> AsyncIterator[tuple[Replica, asyncio.Future[Any]]]:
    """Serve every subject until left; entered, the replica answers.

    With it comes the work that goes on beside, which ends only by failing. A
    `keeper` may have been started already.
    """
    quicken()
    with manager_of(settings)(database) as manager:
        await check_stream(client, manager.recorder, settings)
        direct = Direct(client, settings.key)
        log = Log(manager.recorder, Room(volume_types=settings.volume_types), direct)
        reading = Reading(manager.recorder, log)
        leases = Leases(manager.recorder.datastore)
        proving = Proving(log, client, settings)
        running = Replica(log, direct, reading, client, settings, leases, proving)
        async with log.running():
            work = asyncio.ensure_future(
                together(
                    until(log.working),
                    kept(settings, database, keeper, running.unheard, running.fell),
                    until_closed(client),
                )
            )
            try:
                await running.listen()
                async with (
                    answering(running, "holdfast-agents", FOR_AGENTS),
                    answering(running, "holdfast", ENDPOINTS),
                ):
                    await client.flush()
                    with observed(running):
                        yield running, work
            finally:
                await ended(work)


async def check_stream(
    client: Client, recorder: LogRecorder, settings: Settings
) -> None:
    """Raise `Ahead` where the stream has what the log has not, before anything is done.

    What was in flight in an old copy would be done anew. Where nobody can tell now, the
    keeper does later.
    """
    with suppress(Error, TimeoutError, PersistenceError):
        await Publisher(client, Follower(recorder, 0), settings.key).check()


@contextmanager
def observed(running: Replica) -> Iterator[None]:
    """Tell until left, to whoever wants to know, how the replica is doing."""
    if exporting.on():
        running.log.stored.append(committed)
    if not running.settings.metrics_listen:
        yield
        return
    running.log.stored.append(metrics.stored)
    with metrics.collected(lambda: metrics.of_replica(running)):
        yield


@asynccontextmanager
async def answering(
    running: Replica, name: str, endpoints: Iterable[Answering]
) -> AsyncIterator[None]:
    """Put endpoints on their subjects, as a NATS micro service."""
    service = await add_service(running.client, name=name, version=version("holdfast"))
    for endpoint in endpoints:
        await add_endpoint(
            service,
            handler(endpoint, running),
            name=endpoint.subject.replace(".", "-"),
            subject=endpoint.subject,
            metadata={"description": endpoint.doc.partition("\n")[0]},
        )
    running.services.append(service)
    try:
        yield
    finally:
        running.services.remove(service)
        await drained(service)
        await answered(running.log, GRACE)


async def drained(service: Service) -> None:
    """Take no more requests, and begin with each that we were given.

    `Service.stop` would forget those that wait to be handled.
    """
    # Nothing public drains them.
    held = [*service._subscriptions.values()]  # noqa: SLF001
    held += [endpoint._subscription for endpoint in service._endpoints]  # noqa: SLF001
    with suppress(Error, TimeoutError):
        await asyncio.gather(*(each.drain() for each in held if each))
