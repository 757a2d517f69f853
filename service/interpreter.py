"""Setting the interpreter up for what we do with it."""

from __future__ import annotations

import gc
import sys


def quicken() -> None:
    """Set the interpreter up for one busy loop beside one busy thread."""
    # The writer needs the interpreter for microseconds after each round trip to
    # PostgreSQL; by default the event loop would let it wait 5 ms every time.
    sys.setswitchinterval(0.0002)
    collect_seldom()


def collect_seldom() -> None:
    """Set the interpreter up for many aggregates in memory."""
    # They form no cycles; collecting garbage among them every 700 allocations
    # would stop the service for 100 ms at a time.
    gc.set_threshold(100_000, 50, 100)
