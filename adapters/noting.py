"""What an operation has run on its host, noted where it is run, told with its outcome.

Never what somebody would have to keep secret: commands and sentences of ours have ids,
sizes and names of devices in them.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from domain.provenance import Ran

MOST = 16  # of an operation: the last, which say how it ended
LONGEST = 400  # characters of one

_noted: ContextVar[deque[Ran]] = ContextVar("noted")


def begin() -> deque[Ran]:
    """Note what is run in this context from now on, and return what will be noted."""
    noted: deque[Ran] = deque(maxlen=MOST)
    _noted.set(noted)
    return noted


def note(what: str, began: float, exit_status: int | None = None) -> None:
    """Note what was run since a moment of `time.monotonic`, if anybody asks."""
    noted = _noted.get(None)
    if noted is not None:
        milliseconds = round((time.monotonic() - began) * 1000, 1)
        noted.append(Ran(what[:LONGEST], milliseconds, exit_status))


@contextmanager
def noted(what: str) -> Iterator[None]:
    """Note what is done inside, which is no command of its own."""
    began = time.monotonic()
    try:
        yield
    finally:
        note(what, began)
