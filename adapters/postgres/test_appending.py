"""Appending from the event loop, in a real PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from socket import socketpair
from typing import Any, cast

import psycopg
import pytest
from eventsourcing.persistence import IntegrityError, OperationalError

from adapters.postgres.appending import FEW, Answer, Appender
from adapters.postgres.batch import Batch, CommitUnknown, Conflict, Stored
from adapters.postgres.recorder import LOCK
from adapters.postgres.test_recorder import WAITING, batch_of, new_volume
from service.manager import VolumeManager
from service.testing.callers import eventually


@pytest.fixture
def appender(manager: VolumeManager) -> Iterator[Appender]:
    appender = Appender(manager.recorder)
    appender.keep()
    yield appender
    appender.release()


def append(appender: Appender, batch: Batch) -> Stored:
    assert appender.takes(batch)
    return asyncio.run(appender.append(batch))


def test_what_is_appended_is_in_the_log(
    manager: VolumeManager, appender: Appender
) -> None:
    volume = new_volume()

    stored = append(appender, batch_of(volume, taken={"a": 1}, limits={"a": 5}))

    assert stored == Stored(range(1, 2), {"a": 1})
    assert len(manager.recorder.histories([volume.id])) == 1


def test_one_batch_follows_another(appender: Appender) -> None:
    positions = [append(appender, batch_of(new_volume())).positions for _ in range(3)]

    assert positions == [range(n, n + 1) for n in (1, 2, 3)]


def test_two_keep_connections_that_have_appended(manager: VolumeManager) -> None:
    with (
        manager.recorder.datastore.cursor() as one,
        manager.recorder.datastore.cursor() as other,
    ):
        for cursor in (one, other):
            manager.recorder.append_with(cursor, batch_of(new_volume()))
    appenders = [Appender(manager.recorder) for _ in range(2)]

    for each in appenders:
        each.keep()

    stored = [append(each, batch_of(new_volume())).positions for each in appenders]
    assert stored == [range(3, 4), range(4, 5)]
    for each in appenders:
        each.release()


def test_after_a_conflict_it_goes_on(appender: Appender) -> None:
    volume = new_volume()
    append(appender, batch_of(volume))

    with pytest.raises(Conflict) as conflict:
        append(appender, Batch(batch_of(new_volume()).events, {volume.id: 0}))

    assert conflict.value.moved_on == {volume.id}
    assert append(appender, batch_of(new_volume())).positions == range(2, 3)


def test_it_takes_what_is_little(appender: Appender) -> None:
    assert appender.takes(batch_of(*(new_volume() for _ in range(FEW))))
    assert not appender.takes(batch_of(*(new_volume() for _ in range(FEW + 1))))
    assert not appender.takes(Batch())


def test_an_event_that_is_there_already_is_refused(appender: Appender) -> None:
    batch = batch_of(new_volume())
    append(appender, batch)

    with pytest.raises(IntegrityError):
        append(appender, Batch(batch.events))

    assert not appender.takes(batch)  # until it keeps a connection again
    appender.keep()
    assert append(appender, batch_of(new_volume())).positions == range(2, 3)


def test_a_connection_that_was_lost_before_stores_nothing(
    manager: VolumeManager, appender: Appender
) -> None:
    kept = appender._connection
    assert kept
    with manager.recorder.datastore.cursor() as cursor:
        ended = "SELECT pg_terminate_backend(%s, 5000) AS ended"
        cursor.execute(ended, [kept.info.backend_pid])

    with pytest.raises(OperationalError):
        append(appender, batch_of(new_volume()))

    appender.keep()
    assert append(appender, batch_of(new_volume())).positions == range(1, 2)


def test_of_a_connection_lost_while_storing_the_log_knows_the_end(
    manager: VolumeManager, appender: Appender
) -> None:
    recorder = manager.recorder

    async def lost() -> CommitUnknown:
        with recorder.datastore.transaction() as turn:
            turn.execute(recorder.sql(LOCK))
            storing = await begun(appender, turn)
            turn.execute(f"SELECT pg_terminate_backend(pid) FROM ({WAITS}) AS waits")
            with pytest.raises(CommitUnknown) as unknown:
                await storing
            return unknown.value

    unknown = asyncio.run(lost())

    assert recorder.holds(unknown) is None
    appender.keep()
    assert append(appender, batch_of(new_volume())).positions == range(1, 2)


def test_one_that_is_broken_off_gives_its_connection_back(
    manager: VolumeManager, appender: Appender
) -> None:
    recorder = manager.recorder

    async def broken_off() -> None:
        with recorder.datastore.transaction() as turn:
            turn.execute(recorder.sql(LOCK))
            storing = await begun(appender, turn)
            storing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await storing

    asyncio.run(broken_off())

    appender.keep()
    assert append(appender, batch_of(new_volume()))


WAITS = WAITING.replace("SELECT 1", "SELECT pid")


async def begun(appender: Appender, turn: Any) -> asyncio.Future[Stored]:
    """Return what waits for its turn, in the database."""

    async def waits() -> bool:
        return bool(turn.execute(WAITS).fetchone())

    storing = asyncio.ensure_future(appender.append(batch_of(new_volume())))
    await eventually(waits)
    return storing


class Lost:
    """A connection whose server has gone."""

    def __init__(self, socket: int) -> None:
        self.socket = socket

    def consume_input(self) -> None:
        raise psycopg.OperationalError("server closed the connection unexpectedly")


def test_of_a_lost_connection_nothing_is_read_any_more() -> None:
    async def scenario() -> bool:
        ours, theirs = socketpair()
        with ours, theirs:
            answer = Answer(cast("Any", Lost(ours.fileno())))
            theirs.send(b"!")
            with pytest.raises(psycopg.OperationalError):
                await answer.done
            return asyncio.get_running_loop().remove_reader(ours.fileno())

    assert not asyncio.run(scenario())
