"""How long an operation may take where a device does not answer."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from functools import partial
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, TypeVar

T = TypeVar("T")

MIB = 1024**2
LIMIT = 25.0  # seconds
STEP_BYTES = 64 * MIB  # a disk that is slower than 3 MiB a second counts as hung
KEEP_EVERY = 5.0  # seconds of work that a kill may cost

# Told how many bytes are done from the beginning, of how many.
Told = Callable[[int, int], None]
# What a thread is asked, and what came of it: a result, or what was raised.
Results = SimpleQueue[tuple[Any, Exception | None]]
Asked = SimpleQueue[tuple[Callable[[], Any], Results]]

_until: ContextVar[float] = ContextVar("until")
_idle: deque[Asked] = deque()  # of threads that have nothing to do
os.register_at_fork(after_in_child=_idle.clear)  # who has none of them


@contextmanager
def within(seconds: float | None = None) -> Iterator[None]:
    """Let what is done inside take so long in all, `LIMIT` if nothing is said."""
    token = _until.set(time.monotonic() + (LIMIT if seconds is None else seconds))
    try:
        yield
    finally:
        _until.reset(token)


def left() -> float:
    """Return the seconds that are left to what is under way."""
    until = _until.get(None)
    return LIMIT if until is None else max(until - time.monotonic(), 0.0)


def in_time(what: Callable[..., T], *args: Any) -> T:
    """Do it in what time is left, or raise `TimeoutError`.

    What a device holds in the kernel nobody can end: it is left to a thread, which
    ends when the device answers.
    """
    within_this = copy_context().run  # its limit, and what it is traced below
    results: Results = SimpleQueue()
    hand_over(partial(within_this, what, *args), results)
    try:
        result, failure = results.get(timeout=left())
    except Empty:
        raise TimeoutError from None
    if failure:
        raise failure
    done: T = result
    return done


def hand_over(what: Callable[[], Any], results: Results) -> None:
    """Have it done by a thread that has nothing else to do.

    Another is begun where there is none, which can take longer than all of it.
    """
    try:
        asked = _idle.pop()
    except IndexError:
        asked = SimpleQueue()
        thread = Thread(target=help_out, args=(asked,), daemon=True)
        thread.name = "held by a device"
        thread.start()
    asked.put((what, results))


def help_out(asked: Asked) -> None:
    """Do what is asked for ever."""
    while True:
        _do_next(asked)


def _do_next(asked: Asked) -> None:
    # A function of its own, or what was done would be kept until there is more to do.
    result, failure = None, None
    what, results = asked.get()
    try:
        result = what()
    except Exception as raised:  # noqa: BLE001 - raised where it is waited for
        failure = raised
    _idle.append(asked)  # first, for who waits may ask again at once
    results.put((result, failure))


def in_steps(
    do: Callable[[int, int], None], done: int, size: int, keep: Told, tell: Told
) -> None:
    """Do what takes long from where it was left: `do` has a start and a length.

    `tell` hears of each step, `keep` now and then. Raises what they do, and
    `TimeoutError`.
    """
    kept = time.monotonic()
    while done < size:
        step = min(STEP_BYTES, size - done)
        with within():
            in_time(do, done, step)
        done += step
        tell(done, size)
        if time.monotonic() - kept > KEEP_EVERY:
            keep(done, size)
            kept = time.monotonic()
