"""Appending small batches from the event loop, over a connection kept for that.

A thread for each costs four switches, which a batch of one waits for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress

import psycopg
from eventsourcing.persistence import PersistenceError
from psycopg import Connection
from psycopg.pq import Format
from psycopg.pq.abc import PGconn, PGresult
from psycopg.rows import DictRow

from adapters.postgres.arrays import Array
from adapters.postgres.batch import Batch, Conflict, Stored, arrays, stored_of
from adapters.postgres.recorder import NAME, LogRecorder, certain, checked

FEW = 16  # events that are sent at once; more are worth a thread
LITTLE = 16_384  # bytes of them, which no socket that is empty refuses


class Appender:
    """One connection of the recorder's pool, for one batch at a time."""

    def __init__(self, recorder: LogRecorder) -> None:
        self._recorder = recorder
        self._kept = ExitStack()
        self._connection: Connection[DictRow] | None = None

    def keep(self) -> None:
        """Have a connection, if there is one; it may take long."""
        if self._connection:
            return
        with suppress(PersistenceError), ExitStack() as opened:
            cursor = opened.enter_context(self._recorder.datastore.cursor())
            self._recorder.prepare(cursor.connection)
            self._connection, self._kept = cursor.connection, opened.pop_all()

    def release(self) -> None:
        """Give it back."""
        self._connection = None
        self._kept.close()

    def takes(self, batch: Batch) -> bool:
        """Tell whether a batch can be appended from here."""
        events = batch.events
        return bool(
            self._connection
            and 0 < len(events) <= FEW
            and sum(len(event.state) for event in events) <= LITTLE
        )

    async def append(self, batch: Batch) -> Stored:
        """Store a batch that it takes; raises what the recorder's `append` does.

        Only of an `IntegrityError` that is no `Conflict` is it not said who was in
        the way.
        """
        with self._giving_back() as connection, certain(connection, batch):
            return stored_of(batch, await told(connection.pgconn, arrays(batch)))

    @contextmanager
    def _giving_back(self) -> Iterator[Connection[DictRow]]:
        """Give the connection back if anything goes wrong on it.

        Errors are raised as the library does, whose context it is.
        """
        assert self._connection  # it takes nothing without
        try:
            yield self._connection
        except Conflict:
            raise
        except BaseException:
            self._connection = None
            with self._kept:
                raise


class Answer:
    """What comes back to one request of a connection, read as it comes."""

    def __init__(self, connection: PGconn) -> None:
        self._connection = connection
        self._last: PGresult | None = None
        self._loop = asyncio.get_running_loop()
        self._socket: int | None = connection.socket
        self.done: asyncio.Future[PGresult] = self._loop.create_future()
        self._loop.add_reader(connection.socket, self._read)

    def leave(self) -> None:
        """Read no more of it."""
        if self._socket is not None:
            self._loop.remove_reader(self._socket)
            self._socket = None

    def _read(self) -> None:
        """Take what has come, once something has."""
        try:
            self._connection.consume_input()
            while not (self.done.done() or self._connection.is_busy()):
                if result := self._connection.get_result():
                    self._last = result
                elif self._last:  # all is said, what became of the commit too
                    self.done.set_result(self._last)
        except psycopg.Error as failure:
            self.leave()  # the socket may be closed by now, its number another's
            self.done.set_exception(failure)


async def told(connection: PGconn, values: Sequence[Array]) -> PGresult:
    """Return what the function that appends tells, or raise its error."""
    connection.send_query_prepared(NAME, values, [Format.BINARY] * len(values))
    while connection.flush():  # noqa: ASYNC110 - as good as never: it is little
        await asyncio.sleep(0)
    answer = Answer(connection)
    try:
        return checked(await answer.done)
    finally:
        answer.leave()
