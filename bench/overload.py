"""What becomes of the rate when far more is asked than can be done."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from bench.accept import CREATE
from bench.bed import MUTE, Bed
from bench.start import resident_mb

PEAK = 256  # in flight
TEN_TIMES = 10 * PEAK
BEYOND = 100 * PEAK  # more than a replica lets wait


def measured(
    on: Bed, tell: Callable[[str], None], *, quick: bool
) -> Iterator[tuple[str, float]]:
    """Yield the rates under overload beside the one before, and what refusing takes."""
    seconds = 1.5 if quick else 6.0
    with on.serving() as process:
        tell(f"accept, {PEAK} in flight")
        peak = on.load(CREATE, PEAK, seconds, MUTE)["per_s"]
        for name, number in (("10", TEN_TIMES), ("100", BEYOND)):
            tell(f"accept, {number:,} in flight, each asking again at once")
            found = on.load(CREATE, number, seconds, MUTE)
            yield f"overload_ratio_{name}", found["per_s"] / peak
            yield f"overload_p99_ms_{name}", found["p99_ms"]
            if found["refused"]:
                yield f"refused_p99_ms_{name}", found["refused_p99_ms"]
        yield "overload_memory_mb", resident_mb(process.pid)
        on.quiet()
