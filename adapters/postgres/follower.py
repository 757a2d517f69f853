"""Following the log: every event once, in order, whoever wants it and how fast."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from select import select
from threading import Condition, Event, Thread
from time import monotonic
from typing import Any

from eventsourcing.persistence import InterfaceError, OperationalError
from psycopg import Connection, sql
from psycopg.rows import tuple_row

from adapters.postgres.batch import NO_WORK, PUBLISHED_BY
from adapters.postgres.recorder import LogRecorder, Written
from domain.log import INTENTS

PAGE = 1000
KEPT = 2 * PAGE  # events in memory
AGAIN = 0.2  # seconds until the database is looked for again
# After a page that asks for work it waits, longer after a longer one: what is written
# meanwhile makes one page, which costs little more than one event. What asks for none
# waits too: it goes with what those ask next who have waited for what came of some.
PACE = 0.01  # seconds
# What its replica publishes itself is here for the read models alone.
LEISURE = 0.05  # seconds
MORE = 0.0005  # seconds for each event
SLOWEST = 0.03  # seconds

PAGES = """
    SELECT topic, state, notification_id FROM {log}
    WHERE notification_id > %s ORDER BY notification_id LIMIT %s
"""


class Follower(Thread):
    """Reads the log as it grows, once for all who want to know what follows a position.

    Each of them has a position of its own: who keeps up is served from memory, who
    is further behind from the database, and none waits for another.
    """

    def __init__(self, recorder: LogRecorder, after: int) -> None:
        super().__init__(name=f"follower of {recorder.events_table_name}", daemon=True)
        self.recorder = recorder
        self.reached = after
        self._kept: list[Written] = []
        self._moved = Condition()
        self._told: list[Callable[[], object]] = []
        self._stopping = Event()
        self._failure: Exception | None = None

    def stop(self) -> None:
        """End the thread after its current page."""
        self._stopping.set()
        self.join()

    def run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._follow_while_there()
        except Exception as failure:  # noqa: BLE001 - raised where pages are awaited
            with self._moved:
                self._failure = failure
                self._moved.notify_all()

    def after(self, position: int, seconds: float) -> Sequence[Written]:
        """Return what follows a position, nothing if nothing does in time.

        Raises what has ended the thread: one that stops silently is a read model
        that lies.
        """
        with self._moved:
            self._moved.wait_for(self._beyond(position), seconds)
            kept = self._kept
            if self._failure:
                raise self._failure
            if self.reached <= position:
                return ()
        if (seen := position + len(kept) - self.reached) >= 0:
            return kept[seen:]
        with self.recorder.datastore.get_connection() as connection:
            return self._read(connection, position)

    def remembers(self, position: int) -> bool:
        """Tell whether what follows a position is in memory, or is still to come."""
        with self._moved:
            return position + len(self._kept) >= self.reached

    @contextmanager
    def telling(self, moved: Callable[[], object]) -> Iterator[None]:
        """Have somebody told meanwhile, in our thread, that there is more."""
        self._told.append(moved)
        try:
            yield
        finally:
            self._told.remove(moved)

    def _beyond(self, position: int) -> Callable[[], bool]:
        return lambda: self.reached > position or self._failure is not None

    def _follow_while_there(self) -> None:
        """Follow until stopped, or until the database is away for a moment."""
        try:
            with self.recorder.datastore.get_connection() as connection:
                self._follow(connection)
        except (OperationalError, InterfaceError):
            self._stopping.wait(AGAIN)

    def _follow(self, connection: Connection[Any]) -> None:
        channel = sql.Identifier(self.recorder.channel_name)
        # Listening begins before the first look, so nothing falls in between.
        connection.execute(sql.SQL("LISTEN {}").format(channel))
        while not self._stopping.is_set():
            page = self._read(connection, self.reached)
            if page:
                self._keep(page)
                if any(each.topic in INTENTS for each in page):
                    self._stopping.wait(min(SLOWEST, PACE + MORE * len(page)))
            if len(page) < PAGE:
                # A tenth of a second only bounds how long stopping takes.
                until_written(connection, LEISURE if page else 0.1)
        connection.execute(sql.SQL("UNLISTEN *"))

    def _keep(self, page: list[Written]) -> None:
        with self._moved:
            self._kept = [*self._kept, *page][-KEPT:]
            self.reached = page[-1].position
            self._moved.notify_all()
        for tell in list(self._told):
            with suppress(RuntimeError):  # an event loop that has ended since
                tell()

    def _read(self, connection: Connection[Any], position: int) -> list[Written]:
        with connection.cursor(row_factory=tuple_row, binary=True) as cursor:
            cursor.execute(self.recorder.sql(PAGES), (position, PAGE))
            return list(map(Written._make, cursor.fetchall()))


def until_written(connection: Connection[Any], seconds: float) -> None:
    """Return when something was written, at once where that may be waited for.

    That is where it asks for work, or where several replicas write: what one publishes
    may have come before what another has yet to.
    """
    heard = set(words(connection, seconds))
    until = monotonic() + min(map(patience, heard), default=0)
    while len(heard - {NO_WORK}) <= 1 and (left := until - monotonic()) > 0:
        more = words(connection, left)
        until = min([until, *(monotonic() + patience(word) for word in more)])
        heard.update(more)


def patience(word: str) -> float:
    """Return how many seconds the page of a commit may wait that said so."""
    if word.startswith(PUBLISHED_BY):
        return LEISURE
    return PACE if word == NO_WORK else 0.0


def words(connection: Connection[Any], seconds: float) -> list[str]:
    """Return the words of commits, of the next ones where there was none since.

    psycopg alone would spin through the last millisecond of the wait.
    """
    for wait in (0.0, seconds):
        select([connection], [], [], wait)
        if heard := [each.payload for each in connection.notifies(timeout=0)]:
            return heard
    return []
