"""Setting the interpreter up for what we do with it."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from typing import Any

import msgspec


def quicken() -> None:
    """Set the interpreter up for one busy loop beside one busy thread."""
    meet_structs()
    # The writer needs the interpreter for microseconds after each round trip to
    # PostgreSQL; by default the event loop would let it wait 5 ms every time.
    sys.setswitchinterval(0.0002)
    collect_seldom()


def collect_seldom() -> None:
    """Set the interpreter up for many aggregates in memory."""
    # They form no cycles; collecting garbage among them every 700 allocations
    # would stop the service for 100 ms at a time.
    gc.set_threshold(100_000, 50, 100)


def meet_structs() -> None:
    """Have msgspec work out every struct that there is, before there are threads.

    It does so when it meets one, and shows it half worked out to other threads that
    meet it then: the process ends by a segmentation fault (msgspec 0.22).
    """
    for struct in structs():
        msgspec.json.Decoder(struct)


def structs(above: type[msgspec.Struct] = msgspec.Struct) -> Iterator[type[Any]]:
    """Yield every struct that is imported."""
    for struct in above.__subclasses__():
        yield struct
        yield from structs(struct)
