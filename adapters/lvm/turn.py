"""Whose turn it is: a lock that is had in the order in which it was asked for."""

from __future__ import annotations

from collections import deque
from threading import Lock, get_ident


class Turn:
    """Who waits longest is next; who has it may have it again.

    A `threading.RLock` is had by whoever is quick, while others wait for ever.
    """

    def __init__(self) -> None:
        self._changing = Lock()
        self._owner: int | None = None
        self._times = 0  # that the owner has it
        self._waiting: deque[tuple[int, Lock]] = deque()  # who, at what gate

    def acquire(self, timeout: float) -> bool:
        """Wait for so many seconds at most; tells whether it is had."""
        me, gate = get_ident(), Lock()
        with self._changing:
            if self._owner in (None, me):
                self._owner = me
                self._times += 1
                return True
            gate.acquire()
            waits = me, gate
            self._waiting.append(waits)
        if gate.acquire(timeout=timeout):
            return True
        with self._changing:
            if waits in self._waiting:
                self._waiting.remove(waits)
                return False
        return True  # it was given to us in that moment

    def release(self) -> None:
        """Give it to who waits longest, when it is not had any more."""
        with self._changing:
            self._times -= 1
            if self._times:
                return
            self._owner = None
            if self._waiting:
                self._owner, gate = self._waiting.popleft()
                self._times = 1
                gate.release()
