"""What it costs to look back: at a long history, and at what was, in a long log."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from statistics import median
from typing import Any
from uuid import UUID, uuid4

import nats
from eventsourcing.persistence import StoredEvent

from adapters.postgres.batch import Batch
from adapters.postgres.mapper import LogMapper
from bench.bed import FILES, Bed
from domain.provenance import MOMENT, Moment, Provenance
from domain.volume import Volume
from service.manager import VolumeManager

LONG = 10_000  # events of one volume
TIMES = 21
SOME = "SELECT originator_id FROM holdfast_events WHERE notification_id = %s"
TOLD = """
    SELECT substring(convert_from(state, 'UTF8') FROM '"timestamp":"([^"]+)"')
    FROM holdfast_events WHERE notification_id = %s
"""


def measured(
    on: Bed, tell: Callable[[str], None], *, quick: bool
) -> Iterator[tuple[str, float]]:
    """Yield milliseconds from asking to the answer: the middle of some."""
    [events] = on.last()
    middle = events // 2
    with on.connect() as database:
        [some] = database.execute(SOME, (middle,)).fetchone() or [None]
        [then] = database.execute(TOLD, (middle,)).fetchone() or [None]
    with VolumeManager(on.database) as manager:
        long = renamed(manager, LONG)
    asked: dict[str, tuple[str, dict[str, Any]]] = {
        "history_ms_10k": ("volume.history", {"id": str(long)}),
        "state_at_ms": ("audit.state_at", {"id": str(some), "position": middle}),
        "state_at_time_ms": ("audit.state_at", {"id": str(some), "time": then}),
        "diff_ms": ("audit.diff", {"from": middle, "to": events}),
        "why_ms": ("audit.why", {"id": str(some)}),
    }
    with on.replica():
        for name, (subject, message) in asked.items():
            tell(f"asking {subject}, {events:,} events")
            times = TIMES // 7 if quick else TIMES
            yield name, asyncio.run(milliseconds(on.url, subject, message, times))


def renamed(manager: VolumeManager, times: int) -> UUID:
    """Write a volume with a long history, and return its id."""
    MOMENT.set(Moment(datetime.now(UTC), Provenance(actor="bench")))
    volume = Volume.create(uuid4(), size_gib=1, backend=FILES, name="0")
    for number in range(1, times):
        volume.update(name=str(number))
    encode = LogMapper().to_stored_event
    stored: list[StoredEvent] = [*map(encode, volume.collect_events())]
    manager.recorder.append(Batch(stored))
    return volume.id


async def milliseconds(
    url: str, subject: str, message: dict[str, Any], times: int
) -> float:
    """Return how long an answer takes, the first few aside."""
    client = await nats.connect(url)
    took = []
    for _ in range(times + 2):
        began = time.perf_counter()
        body = json.dumps(message).encode()
        answer = await client.request(f"holdfast.v1.{subject}", body, timeout=30)
        took.append((time.perf_counter() - began) * 1000)
        assert "Nats-Service-Error" not in (answer.headers or {}), answer.data
    await client.close()
    return median(took[2:])
