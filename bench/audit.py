"""What an auditor waits for: the log exported, verified and rebuilt, beside reading it.

    python -m bench.audit [quick]

prints a table and writes `bench/results-audit.json`. All is of one log in one run.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage

from rich.console import Console

from adapters.archive.reading import opened
from adapters.postgres.exporting import stored
from bench.bed import Bed, bed
from bench.replay import read
from bench.start import EVENTS, fill
from bench.telling import tell
from service.exporting import export
from service.manager import VolumeManager
from service.replaying import replay

FLOORS = {
    "export_ratio": "0.50",
    "rebuild_ratio": "0.25",
    "rebuild_ratio_database": "0.20",
    "file_bytes_per_event": "",
    "export_memory_mb": "bounded",
    "rebuild_memory_mb": "bounded",
}
TIMES = 3


def measured(
    on: Bed, console: Callable[[str], None], *, quick: bool
) -> Iterator[tuple[str, float]]:
    """Yield events a second, the best of some times, and the most memory in use.

    The memory of a rebuild is that of its largest process, of which there are as many
    as processors.
    """
    with VolumeManager(on.database) as manager:
        for written in fill(manager, EVENTS // 10 if quick else EVENTS):
            console(f"writing {written:,} events")
        with on.connect() as database:
            database.execute("VACUUM ANALYZE holdfast_events")
        console("reading the whole log")
        reading = rate(lambda: read(manager.recorder), written)
    log, path = stored(on.database, VolumeManager.name), on.folder / "log.jsonl.zst"

    def exported() -> None:
        path.unlink(missing_ok=True)
        export(log, path, lambda _: None)

    console("exporting the whole log")
    before = memory_mb(RUSAGE_SELF)
    exporting = rate(exported, written)
    yield "export_memory_mb", memory_mb(RUSAGE_SELF) - before
    yield "file_bytes_per_event", path.stat().st_size / written
    console("verifying and rebuilding the whole log from the file")
    rebuilding = rate(lambda: replay(opened(path)), written)
    yield "rebuild_memory_mb", memory_mb(RUSAGE_CHILDREN)
    console("verifying and rebuilding the whole log from the database")
    from_database = rate(lambda: replay(log), written)
    yield "read_events_per_s", reading
    yield "export_events_per_s", exporting
    yield "rebuild_events_per_s", rebuilding
    yield "export_ratio", exporting / reading
    yield "rebuild_ratio", rebuilding / reading
    yield "rebuild_ratio_database", from_database / reading


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
    main(quick="quick" in sys.argv[1:])
