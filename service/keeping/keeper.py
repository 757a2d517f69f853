"""The keeper: a replica's second process, which keeps up what is made of the log.

It publishes the log, keeps the read models, signs checkpoints and watches
deadlines. It is a process of its own because an interpreter runs one thread at a
time, and commands would wait for it. Every replica has one, and of all of them one
works: the others wait until it ends.
"""

from __future__ import annotations

import asyncio
import faulthandler
import os
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache
from logging import DEBUG, getLogger
from threading import Timer

import msgspec
import uvloop
from eventsourcing.persistence import (
    InterfaceError,
    OperationalError,
    PersistenceError,
)
from nats.aio.client import Client

from adapters.jetstream.publisher import Publisher
from adapters.jetstream.stream import Ahead
from adapters.jetstream.wire import until_closed
from adapters.postgres.follower import Follower
from adapters.postgres.leadership import NoLonger, hold, leading
from adapters.postgres.recorder import LogRecorder
from adapters.tasks import ended, together, undisturbed
from service import logs
from service.audit.checkpointing import Checkpointing
from service.connecting import connect
from service.deciding.command import Unavailable
from service.deciding.log import Log
from service.deciding.room import Room
from service.interpreter import collect_seldom, meet_structs
from service.keeping.projecting import Projecting, tables
from service.keeping.telling import Telling
from service.keeping.watcher import Watcher
from service.manager import manager_of
from service.messages.text import said_by
from service.settings import Settings

AGAIN = 1.0  # seconds until a keeper that has died is started again
GRACE = 5.0  # seconds that it has to end, longer than it looks for a database
MOST_SILENT = 10.0  # seconds that it may be silent
MOST_PATIENT = 80.0  # where those before it have died young
LOOK_EVERY = 0.2  # seconds between two looks at what runs in threads

logger = getLogger(__name__)


class Order(msgspec.Struct):
    """What a keeper is told when it starts."""

    settings: Settings
    database: dict[str, str]


# The replica's side


async def kept(
    settings: Settings,
    database: Mapping[str, str],
    first: Process | None,
    silent: Callable[[], bool],
    fell: Callable[[], None],
) -> None:
    """Have a keeper, `first` to begin with, another when it dies; raise `Ahead`.

    `silent` tells that no keeper is heard of and nothing explains that: then ours
    hangs, for another one would have taken over. `fell` is told of each that ends.
    """
    order = msgspec.json.encode(Order(settings, dict(database)))
    patience = MOST_SILENT
    while True:
        began = time.monotonic()
        process, first = first or await another(fell), None
        assert process.stdout
        try:
            tell(process, order)
            said = await heard_out(process, process.stdout, silent, patience)
            await process.wait()
        finally:
            await undisturbed(stopped(process))
        if said:
            raise Ahead(said.decode())
        logger.warning("the keeper has ended (%s)", process.returncode)
        fell()
        # On a busy machine, one may not even have begun when it counts as hanging.
        young = time.monotonic() - began < 2 * patience
        patience = min(2 * patience, MOST_PATIENT) if young else MOST_SILENT
        await asyncio.sleep(AGAIN)


async def heard_out(
    process: Process,
    said: asyncio.StreamReader,
    silent: Callable[[], bool],
    patience: float,
) -> bytes:
    """Return what a keeper says when it ends; one that hangs is killed."""
    reading = asyncio.ensure_future(said.read())
    looks = 0
    while not (await asyncio.wait([reading], timeout=1.0))[0]:
        looks = looks + 1 if silent() else 0
        if looks > patience:
            logger.warning("the keeper hangs, and another one is started")
            kill(process)
    return await reading


def kill(process: Process) -> None:
    """Make it end, if it has not just ended."""
    with suppress(ProcessLookupError):
        process.kill()


def tell(process: Process, order: bytes) -> None:
    """Tell a keeper what to keep, unless it has ended since it was started."""
    assert process.stdin
    with suppress(RuntimeError):  # uvloop's, where nobody reads any more
        process.stdin.write(order + b"\n")


async def another(fell: Callable[[], None]) -> Process:
    """Start a keeper once the machine has room for a process; requests go on."""
    while True:
        try:
            return await started()
        except OSError as why:
            logger.warning("no keeper can be started: %s", why)
        fell()
        await asyncio.sleep(AGAIN)


async def started() -> Process:
    """Start a keeper, which waits to be told what to keep.

    It ends when its standard input does, so it never outlives us.
    """
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        __name__,
        stdin=PIPE,
        stdout=PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        start_new_session=True,  # Ctrl-C is for us alone
    )


async def stopped(process: Process) -> None:
    """Let it end, or make it."""
    assert process.stdin
    process.stdin.close()
    try:
        async with asyncio.timeout(GRACE):
            await process.wait()
    except TimeoutError:
        kill(process)
        await process.wait()


# The keeper's side


async def keep_with_broker(order: Order) -> None:
    """Keep once there are a broker and a database; raise `Ahead`."""
    # The replica says so where it is waited for.
    client = await connect(order.settings.nats_url, "keeper", DEBUG)
    try:
        while True:
            with borne():  # as long as there is no database either
                await keep(client, order)
            await asyncio.sleep(LOOK_EVERY)
    finally:
        await undisturbed(client.close())


async def keep(client: Client, order: Order) -> None:
    """Lead whenever nobody else does; raise `Ahead`."""
    settings = order.settings
    with manager_of(settings)(order.database) as manager:
        room = Room(volume_types=settings.volume_types)
        while True:
            with borne(), suppress(NoLonger, Unavailable):
                async with leading(order.database) as held:
                    log = Log(manager.recorder, room)
                    await together(
                        hold(held),
                        follow(client, manager.recorder, settings),
                        watch(log, manager.recorder, settings),
                        until_closed(client),
                    )
            await asyncio.sleep(LOOK_EVERY)


@contextmanager
def borne() -> Iterator[None]:
    """Go on where the database does not, and say once what it refuses."""
    try:
        yield
    except (OperationalError, InterfaceError):
        pass  # the replica says that it is away
    except PersistenceError as refusal:
        refused(said_by(refusal))


@lru_cache(maxsize=16)
def refused(why: str) -> None:
    """Say it; what is tried again and again is refused in the same words."""
    logger.warning("the keeper waits, for the database refuses it: %s", why)


async def follow(client: Client, recorder: LogRecorder, settings: Settings) -> None:
    """Publish the log and keep the read models, both from one reading of it."""
    newest = await asyncio.to_thread(recorder.max_notification_id)
    follower = Follower(recorder, newest or 0)
    follower.start()
    publisher = Publisher(client, follower, settings.key)
    checkpointing = Checkpointing(client, recorder, settings)
    telling = Telling(client, publisher, checkpointing, settings.key)
    try:
        await together(
            publisher.run(), checkpointing.run(), project(telling, publisher)
        )
    finally:
        follower.stop()


async def project(telling: Telling, publisher: Publisher) -> None:
    """Keep the read models, and tell the replicas how far they have come."""
    follower = publisher.follower
    projecting = Projecting(follower, tables(follower.recorder), telling.tell)
    projecting.start()
    try:
        await together(
            telling.again_and_again(projecting), telling.measure_again_and_again()
        )
    finally:
        projecting.stop()


async def watch(log: Log, recorder: LogRecorder, settings: Settings) -> None:
    """Watch deadlines, deciding as a replica does."""
    async with log.running():
        await Watcher(log, tables(recorder), settings.deadlines).run()


async def main(told: asyncio.StreamReader) -> int:
    """Keep until the replica that started us has gone."""
    said = await told.readline()
    if not said:  # there was nothing to keep after all
        return 0
    order = msgspec.json.decode(said, type=Order)
    logs.set_up(order.settings.log_format)
    keeping = asyncio.ensure_future(keep_with_broker(order))
    left = asyncio.ensure_future(told.read())
    await asyncio.wait({keeping, left}, return_when=asyncio.FIRST_COMPLETED)
    failure = keeping.done() and keeping.exception()
    end_in_any_case()
    await ended(keeping, left)
    if isinstance(failure, Ahead):
        sys.stdout.write(str(failure))
        return 0
    if failure:
        logger.error("the keeper fails", exc_info=failure)
    return int(bool(failure))


def end_in_any_case() -> None:
    """End soon, though a thread that hangs is waited for."""
    hanging = Timer(GRACE, os._exit, [1])
    hanging.daemon = True
    hanging.start()


async def run() -> int:
    """Read what we are told, and keep."""
    told = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(told), sys.stdin
    )
    return await main(told)


if __name__ == "__main__":
    faulthandler.enable()
    collect_seldom()
    meet_structs()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logs.set_up()
    sys.exit(uvloop.run(run()))
