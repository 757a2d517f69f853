"""Volumes at work, as an agent finds them that starts: one for each thing it is asked.

For tests and benchmarks, which write their histories into a log at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from uuid import UUID, uuid4

from adapters.jetstream.work import WORK
from adapters.postgres.batch import Batch
from adapters.postgres.mapper import LogMapper
from adapters.postgres.recorder import LogRecorder
from domain import reference
from domain.aggregate import Aggregate, Done, Event
from domain.group import Group
from domain.group_snapshot import GroupSnapshot, Member
from domain.ports import Cause, Driver, unheard
from domain.snapshot import Snapshot
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


# What is at work with others: the first is what waits, the rest what that concerns.


def being_taken(backend: str) -> list[Aggregate]:
    """Return a snapshot that is being taken."""
    volume, snapshot_id = available(backend), uuid4()
    volume.add_snapshot(snapshot_id, force=False)
    of = {"volume_id": volume.id, "backend": backend, "size_gib": volume.size_gib}
    return [Snapshot.create(snapshot_id, **of), volume]  # type: ignore[arg-type]


def taken(backend: str) -> tuple[Snapshot, Volume]:
    snapshot, volume = being_taken(backend)
    assert isinstance(snapshot, Snapshot)
    assert isinstance(volume, Volume)
    snapshot.report(1, Done(location="/there"))
    return snapshot, volume


def being_removed(backend: str) -> list[Aggregate]:
    """Return a snapshot that is being deleted."""
    snapshot, volume = taken(backend)
    snapshot.delete()
    return [snapshot, volume]


def going_after_its_snapshot(backend: str) -> list[Aggregate]:
    snapshot, volume = taken(backend)
    volume.cascade(force=False)
    return [volume, snapshot]


def copied_from_a_snapshot(backend: str) -> list[Aggregate]:
    snapshot, volume = taken(backend)
    copy_id = uuid4()
    snapshot.begin_copy(copy_id)
    return [copy(copy_id, backend, {"snapshot": snapshot.id}), snapshot, volume]


def cloned(backend: str) -> list[Aggregate]:
    volume, copy_id = available(backend), uuid4()
    volume.begin_copy(copy_id)
    return [copy(copy_id, backend, {"volume": volume.id}), volume]


def copy(copy_id: UUID, backend: str, source: dict[str, UUID]) -> Volume:
    return Volume.create(copy_id, size_gib=1, backend=backend, source=source)


def reverting(backend: str) -> list[Aggregate]:
    snapshot, volume = taken(backend)
    volume.revert(snapshot.id, snapshot.created_at, snapshot.size_gib)
    snapshot.restore()
    return [volume, snapshot]


def grouped(backend: str) -> tuple[Group, Volume]:
    volume, group = available(backend), Group.create(uuid4(), backend=backend)
    volume.join(group.id)
    group.update(added=[volume.id])
    return group, volume


def going_with_its_members(backend: str) -> list[Aggregate]:
    group, volume = grouped(backend)
    group.delete(delete_volumes=True)
    volume.delete_with_group()
    return [group, volume]


def being_taken_together(backend: str) -> list[Aggregate]:
    """Return a group snapshot that is being taken."""
    group, volume = grouped(backend)
    together, one = uuid4(), uuid4()
    group.add_snapshot(together)
    volume.add_snapshot(one, force=True)
    of = {"backend": backend, "volume_id": volume.id, "size_gib": volume.size_gib}
    snapshot = Snapshot.create_in_group(one, group_snapshot_id=together, **of)
    asked = GroupSnapshot.create(
        together,
        group_id=group.id,
        backend=backend,
        consistent=False,
        members=[Member(one, volume.id, volume.size_gib)],
    )
    return [asked, group, volume, snapshot]


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
TOGETHER: dict[Callable[[str], list[Aggregate]], str] = {
    being_taken:              "available",
    being_removed:            "deleted",
    going_after_its_snapshot: "deleted",
    copied_from_a_snapshot:   "available",
    cloned:                   "available",
    reverting:                "available",
    going_with_its_members:   "deleted",
    being_taken_together:     "available",
}
# fmt: on


def write(recorder: LogRecorder, aggregates: Sequence[Aggregate]) -> Written:
    """Write the histories of aggregates and the room that they take."""
    encode, written = LogMapper().to_stored_event, Written()
    for start in range(0, len(aggregates), PAGE):
        page = aggregates[start : start + PAGE]
        events: list[Event] = [e for each in page for e in each.collect_events()]
        parts = {e.adds_part: e.originator_id for e in events if e.adds_part}
        room = Counter[str]()
        for each in page:
            room[each.backend] += each.allocated_gib
        stored = list(map(encode, events))
        batch = Batch(stored, parts=parts, taken=dict(room))
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
