"""How far a long operation has come: told now and then, for what is told is kept."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

EVERY = 10.0  # seconds that are at least between two words
STEP = 5.0  # percent that are news
SLOWEST = 300.0  # seconds after which less is news as well: it goes on


class News:
    """Tells how many percent are done, from 0, when that is news."""

    def __init__(
        self, tell: Callable[[int], None], clock: Callable[[], float] = monotonic
    ) -> None:
        self._tell = tell
        self._clock = clock
        self._percent = 0.0
        self._at = clock()

    def __call__(self, percent: float) -> None:
        """Take notice, and tell it if it is news."""
        more, since = percent - self._percent, self._clock() - self._at
        if (more >= STEP and since >= EVERY) or (more > 0 and since >= SLOWEST):
            self._percent, self._at = percent, self._clock()
            self._tell(int(percent))
