"""Volumes at work, as an agent finds them that starts: one for each thing it is asked.

For tests and benchmarks, which write their histories into a log at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from uuid import UUID, uuid4

from adapters.jetstream.work import WORK
from adapters.postgres.mapper import LogMapper
from adapters.postgres.recorder import Batch, LogRecorder
from domain import reference
from domain.aggregate import Done, Event
from domain.ports import Cause, Driver, unheard
from domain.volume import Volume

HOST = {"host": "node-1", "initiator": "iqn.2026-01.example:node-1"}
PAGE = 500

Written = list[tuple[Event, int]]


def creating(backend: str) -> Volume:
    return Volume.create(uuid4(), size_gib=1, backend=backend)


def available(backend: str) -> Volume:
    volume = creating(backend)
    volume.report(1, Done(location=f"/storage/{volume.id}"))
    return volume


def extending(backend: str) -> Volume:
    volume = available(backend)
    volume.extend(2)
    return volume


def deleting(backend: str) -> Volume:
    volume = available(backend)
    volume.delete()
    return volume


def deleting_by_force(backend: str) -> Volume:
    volume = creating(backend)
    volume.delete(force=True)
    return volume


def managing(backend: str) -> Volume:
    volume_id = uuid4()
    named = reference.to(f"found-{volume_id}")
    return Volume.manage(volume_id, backend=backend, reference=named)


def unmanaging(backend: str) -> Volume:
    volume = available(backend)
    volume.unmanage()
    return volume


def attaching(backend: str) -> Volume:
    volume = available(backend)
    volume.hold(held := uuid4(), instance="web-1")
    volume.connect(held, HOST)
    return volume


def attached(backend: str) -> Volume:
    volume = attaching(backend)
    volume.report(volume.version, Done(connection={}))
    volume.complete(next(iter(volume.attachments)))
    return volume


def detaching(backend: str) -> Volume:
    volume = attached(backend)
    volume.detach()
    return volume


def looked_after(backend: str) -> Volume:
    volume = attached(backend)
    [held] = volume.attachments
    volume.begin_detaching(held)
    volume.look_for_session(held)
    return volume


def exported(backend: str) -> Volume:
    volume = available(backend)
    volume.export(HOST)
    return volume


def unexported(backend: str) -> Volume:
    volume = exported(backend)
    volume.report(volume.version, Done(connection={}))
    volume.unexport(HOST)
    return volume


# What becomes of each when its work is done.
# fmt: off
SETTLED: dict[Callable[[str], Volume], str] = {
    creating:          "available",
    extending:         "available",
    deleting:          "deleted",
    deleting_by_force: "deleted",
    managing:          "available",
    unmanaging:        "deleted",
    attaching:         "attaching",  # and waits for its host
    detaching:         "available",
    looked_after:      "available",
    exported:          "available",
    unexported:        "available",
}
# fmt: on


def write(recorder: LogRecorder, volumes: Sequence[Volume]) -> Written:
    """Write the histories of volumes and the room that they take."""
    encode, written = LogMapper().to_stored_event, Written()
    for start in range(0, len(volumes), PAGE):
        page = volumes[start : start + PAGE]
        events: list[Event] = [e for volume in page for e in volume.collect_events()]
        parts = {e.adds_part: e.originator_id for e in events if e.adds_part}
        taken = Counter[str]()
        for volume in page:
            taken[volume.backend] += volume.allocated_gib
        stored = list(map(encode, events))
        batch = Batch(stored, parts=parts, taken=dict(taken))
        written += zip(events, recorder.append(batch).positions, strict=True)
    return written


def made(written: Written) -> Iterator[tuple[UUID, Cause]]:
    """Yield the volumes whose creation was settled, and what it was caused by."""
    last = {event.originator_id: event for event, _ in written}
    for event, position in written:
        if type(event) is Volume.Created and event is not last[event.originator_id]:
            yield event.originator_id, Cause(position, event.timestamp.isoformat())


def carry_out(driver: Driver, written: Written) -> None:
    """Have the storage do what was asked, but for what each volume is still at."""
    last = {event.originator_id: event for event, _ in written}
    for event, position in written:
        if event.TOPIC in WORK and event is not last[event.originator_id]:
            cause = Cause(position, event.timestamp.isoformat())
            WORK[event.TOPIC](driver, event, cause, unheard)
