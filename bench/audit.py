"""What an auditor waits for: the log exported, verified and rebuilt, beside reading it.

    python -m bench.audit [quick]

prints a table and writes `bench/results-audit.json`. All is of one log in one run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage

from rich.console import Console

from adapters.archive.reading import opened
from adapters.postgres.exporting import stored
from adapters.postgres.reading import verify
from adapters.postgres.recorder import LogRecorder
from bench.bed import Bed, bed
from bench.replay import read
from bench.start import EVENTS, fill
from bench.telling import is_quick, tell
from service.audit.exporting import export
from service.audit.replaying import replay
from service.cli.verifying import STRETCH
from service.manager import VolumeManager

FLOORS = {
    "export_ratio": "0.50",
    "rebuild_ratio": "0.25",
    "rebuild_ratio_database": "0.20",
    "verify_ratio": "0.80",
    "file_bytes_per_event": "",
    "export_memory_mb": "bounded",
    "rebuild_memory_mb": "bounded",
}
TIMES = 3


def measured(
    on: Bed, tell: Callable[[str], None], *, quick: bool
) -> Iterator[tuple[str, float]]:
    """Yield events a second, the best of some times, and the most memory in use.

    The memory of a rebuild is that of its largest process, of which there are as many
    as processors.
    """
    reading = rate(*written(on, tell, EVENTS // 10 if quick else EVENTS))
    yield "read_events_per_s", reading
    log, path = stored(on.database, VolumeManager.name), on.folder / "log.jsonl.zst"

    def exported() -> None:
        path.unlink(missing_ok=True)
        export(log, path, lambda _: None)

    tell("exporting the whole log")
    before = memory_mb(RUSAGE_SELF)
    yield "export_ratio", rate(exported, log.events) / reading
    yield "export_memory_mb", memory_mb(RUSAGE_SELF) - before
    yield "file_bytes_per_event", path.stat().st_size / log.events
    tell("verifying and rebuilding the whole log")
    yield "rebuild_ratio", rate(lambda: replay(opened(path)), log.events) / reading
    yield "rebuild_memory_mb", memory_mb(RUSAGE_CHILDREN)
    rebuilding = rate(lambda: replay(log), log.events)
    yield "rebuild_ratio_database", rebuilding / reading
    tell("verifying the whole log")
    with VolumeManager(on.database) as manager:
        checking = rate(lambda: check(manager.recorder, log.events), log.events)
    yield "verify_ratio", checking / rebuilding


def check(recorder: LogRecorder, events: int) -> None:
    """Verify the log in stretches, as `holdfast audit verify` has it done."""
    for first in range(1, events + 1, STRETCH):
        last = min(events, first + STRETCH - 1)
        assert verify(recorder, first, last).first_bad is None


def written(
    on: Bed, tell: Callable[[str], None], events: int
) -> tuple[Callable[[], None], int]:
    """Write so many events; return what reads them, and how many they are."""
    manager = VolumeManager(on.database)
    for number in fill(manager, events):
        tell(f"writing {number:,} events")
    with on.connect() as database:
        database.execute("VACUUM ANALYZE holdfast_events")
    tell("reading the whole log")
    return lambda: read(manager.recorder), events


def rate(what: Callable[[], object], events: int) -> float:
    """Return the best of some times, in events per second."""
    best = 0.0
    for _ in range(TIMES):
        began = time.perf_counter()
        what()
        best = max(best, events / (time.perf_counter() - began))
    return best


def memory_mb(whose: int) -> float:
    """Return the most memory that was in use, of the largest process."""
    return getrusage(whose).ru_maxrss / 1024


def main(*, quick: bool) -> None:
    """Measure everything, tell it, and keep it."""
    console = Console()
    with console.status("starting the servers") as status, bed() as on:
        figures = measured(on, status.update, quick=quick)
        tell(console, figures, FLOORS, "results-audit.json")


if __name__ == "__main__":
    main(quick=is_quick(__doc__))
