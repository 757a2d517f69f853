"""How far the read models are behind while commands are accepted."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from threading import Thread

from bench.accept import CREATE
from bench.bed import LAST, MUTE, READ, Bed
from bench.load import quantile

LOOK_EVERY = 0.005  # seconds
STARTING = 1.0  # seconds until a load runs and is warm, as the other figures have it


def measured(
    on: Bed, tell: Callable[[str], None], *, quick: bool
) -> Iterator[tuple[str, float]]:
    """Yield how long after its commit an event is in the read models, in ms."""
    seconds = 2.5 if quick else 10.0
    tell("read models behind a load, 256 in flight")
    with on.serving():
        load = Thread(target=on.load, args=(CREATE, 256, STARTING + seconds, MUTE))
        load.start()
        time.sleep(STARTING)
        lags = sorted(lags_until(on, time.monotonic() + seconds))
        load.join()
        on.quiet()
    yield "lag_p50_ms", quantile(lags, 0.5)
    yield "lag_p99_ms", quantile(lags, 0.99)


def lags_until(on: Bed, end: float) -> Iterator[float]:
    """Yield, for each position that was last, how long it took to be read."""
    open_: list[tuple[int, float]] = []
    with on.connect() as database:
        while time.monotonic() < end:
            [last] = database.execute(LAST).fetchone() or [0]
            now = time.monotonic()
            if not open_ or open_[-1][0] < last:
                open_.append((last, now))
            [read] = database.execute(READ).fetchone() or [0]
            now = time.monotonic()
            yield from (now - since for position, since in open_ if position <= read)
            open_ = [item for item in open_ if item[0] > read]
            time.sleep(LOOK_EVERY)
