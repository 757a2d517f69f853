"""Who has LVM do things in a volume group: one at a time, each in its time.

`lvm` processes side by side queue for the volume group's lock, and gain nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from adapters.lvm.failures import Crashed, Hung, NoLvm, failure_of
from adapters.lvm.limits import left
from adapters.lvm.settings import Links
from adapters.lvm.shell import Ended, Shell, TimedOut
from adapters.lvm.turn import Turn
from adapters.noting import note

KILLED = 137  # the exit status of what is ended by force
WAITING = 0.8  # of what time is left at most, or LVM would be killed amid its work


class Worker:
    """LVM in one volume group, for any number of threads."""

    def __init__(self, group: str, shell: Shell) -> None:
        self._group = group
        self._shell = shell
        self._turn = Turn()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep others out, or raise `Hung` when that takes too long."""
        began = time.monotonic()
        if not self._turn.acquire(WAITING * left()):
            waited = time.monotonic() - began
            raise Hung(self._group, "waiting for other work", waited)
        try:
            yield
        finally:
            self._turn.release()

    @property
    def disks(self) -> Links:
        """The disks that LVM looks at, by what it calls them; none are everywhere."""
        return self._shell.disks

    def look_at(self, disks: Sequence[str] = ()) -> None:
        """Have LVM look at nothing but these disks; everywhere, if there are none."""
        with self.alone():
            self._shell.look_at(disks)

    def run(self, *words: str) -> list[dict[str, str]]:
        """Return the rows of a command's report, or raise what is wrong."""
        with self.alone():
            seconds, began, status = left(), time.monotonic(), KILLED
            try:
                reply = self._shell.run(words, seconds)
                status = reply.exit_status
            except TimedOut as error:
                raise Hung(self._group, words[0], seconds) from error
            except Ended as error:
                status = error.status
                raise Crashed(self._group, words[0], error.status) from error
            except FileNotFoundError as error:
                raise NoLvm from error
            finally:
                note(" ".join(words), began, status)
        if not reply.done:
            raise failure_of(self._group, words[0], reply.said)
        return reply.rows
