"""Following the log: every event once, in order, a page at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from threading import Condition, Event, Thread

from eventsourcing.persistence import (
    InterfaceError,
    Notification,
    OperationalError,
)
from psycopg import Connection, sql

from adapters.postgres.recorder import LogRecorder

PAGE = 1000
AGAIN = 0.2  # seconds until the database is looked for again

Handle = Callable[[Sequence[Notification]], None]


class Follower(Thread):
    """Hands each page of the log to `handle`, which stores how far it has come.

    Pages follow each other by `pace` seconds or more: what is written meanwhile
    makes one page, which costs little more than one event.

    A failure ends the thread and is kept in `failure`: whoever started the
    follower watches it, because a follower that stops silently is a read model
    that lies.
    """

    def __init__(
        self, recorder: LogRecorder, handle: Handle, after: int, pace: float = 0.0
    ) -> None:
        super().__init__(name=f"follower of {recorder.events_table_name}", daemon=True)
        self._recorder = recorder
        self._handle = handle
        self._pace = pace
        self.reached = after
        self._moved = Condition()
        self._stopping = Event()
        self.failure: Exception | None = None

    def run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._follow_while_there()
        except Exception as failure:  # noqa: BLE001 - kept for whoever watches
            self.failure = failure

    def wait_for(self, position: int, seconds: float) -> bool:
        """Return whether the position was reached in time; woken, not polling."""
        with self._moved:
            return self._moved.wait_for(lambda: self.reached >= position, seconds)

    def ask_to_stop(self) -> None:
        """Let the thread end after its current page."""
        self._stopping.set()

    def stop(self) -> None:
        """End the thread after its current page."""
        self.ask_to_stop()
        self.join()

    def _follow_while_there(self) -> None:
        """Follow until stopped, or until the database is away for a moment."""
        try:
            with self._recorder.datastore.get_connection() as connection:
                self._follow(connection)
        except (OperationalError, InterfaceError):
            self._stopping.wait(AGAIN)

    def _follow(self, connection: Connection[object]) -> None:
        channel = sql.Identifier(self._recorder.channel_name)
        # Listening begins before the first look, so nothing falls in between.
        connection.execute(sql.SQL("LISTEN {}").format(channel))
        while not self._stopping.is_set():
            page = self._recorder.select_notifications(
                self.reached, PAGE, inclusive_of_start=False
            )
            if page:
                began = time.monotonic()
                self._handle(page)
                with self._moved:
                    self.reached = page[-1].id
                    self._moved.notify_all()
                self._stopping.wait(began + self._pace - time.monotonic())
            else:
                # A tenth of a second only bounds how long `stop` takes.
                for _ in connection.notifies(timeout=0.1, stop_after=1):
                    pass
        connection.execute(sql.SQL("UNLISTEN *"))
