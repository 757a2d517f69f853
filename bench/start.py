"""What a long log changes: the first answer, the rate, and the memory of `serve`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from eventsourcing.persistence import StoredEvent

from adapters.postgres.batch import Batch, Kept
from adapters.postgres.mapper import LogMapper
from bench.accept import CREATE
from bench.bed import FILES, MUTE, Bed
from domain.aggregate import Done
from domain.provenance import MOMENT, Moment, Provenance
from domain.volume import Volume
from service.manager import VolumeManager

EVENTS = 1_000_000
PER_VOLUME = 5
PAGE = 200  # volumes a batch


def measured(
    on: Bed, tell: Callable[[str], None], *, quick: bool
) -> Iterator[tuple[str, float]]:
    """Yield figures of an empty log, and of one with a million events before it.

    The read models start from the log's end and the stream comes to it first, as in
    a service that had run all along.
    """
    events = EVENTS // 20 if quick else EVENTS
    seconds = 2.0 if quick else 6.0
    named = "1m_events" if events == EVENTS else f"{events}_events"
    with on.serving():
        before = on.load(CREATE, 256, seconds, MUTE)["per_s"]
        on.quiet()
    with VolumeManager(on.database) as manager:
        for written in fill(manager, events):
            tell(f"writing {written:,} of {events:,} events")
        with on.connect() as database:
            database.execute("UPDATE read_models SET position = %s", on.last())
    began = time.perf_counter()
    with on.serving() as process:
        yield f"start_seconds_{named}", time.perf_counter() - began
        tell("publishing what was written")
        on.quiet()
        tell("accept, behind a long log")
        after = on.load(CREATE, 256, seconds, MUTE)["per_s"]
        yield f"memory_mb_{named}", resident_mb(process.pid)
    yield f"accepted_per_s_{named}", after
    yield f"accepted_ratio_{named}", after / before


def fill(manager: VolumeManager, events: int) -> Iterator[int]:
    """Write volumes that were created, grown and reserved, with their keys."""
    encode = LogMapper().to_stored_event
    for start in range(0, events, PAGE * PER_VOLUME):
        stored: list[StoredEvent] = []
        kept: list[tuple[Kept, int]] = []
        for number in range(start, start + PAGE * PER_VOLUME, PER_VOLUME):
            asked = Provenance(actor="bench", request_id=f"filled-{number}")
            MOMENT.set(Moment(datetime.now(UTC), asked))
            volume = Volume.create(uuid4(), size_gib=1, backend=FILES, name="filled")
            volume.report(1, Done(location="/volumes/x"))
            volume.extend(2)
            volume.report(3, Done())
            volume.reserve()
            key = Kept(asked.request_id, b"x" * 32, volume.id, 1)
            kept.append((key, len(stored)))
            stored += map(encode, volume.collect_events())
        manager.recorder.append(Batch(stored, {}, kept))
        yield start + PAGE * PER_VOLUME


def resident_mb(pid: int) -> float:
    """Return how much memory a process has in use."""
    status = (Path("/proc") / str(pid) / "status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) / 1024
