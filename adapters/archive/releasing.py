"""A log with every event that there is, to be kept: what every later version must read.

    python -m adapters.archive.releasing NAME

writes `released/NAME.jsonl.zst` from what some hundred things went through. It is
run once for a release that has new events or new fields; what it wrote before is
never written again.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

from adapters.archive.writing import write
from domain.aggregate import Aggregate, Done, Event, NotDone, NotInFlight
from domain.backend import Backend
from domain.drift import Drift, Remedy, Subject
from domain.group import Group
from domain.group_snapshot import GroupSnapshot, Member
from domain.holding import UnknownAttachment
from domain.lifecycle import Refused
from domain.log import EVENTS
from domain.provenance import MOMENT, Moment, Provenance
from domain.snapshot import Snapshot
from domain.volume import Undersized, Volume
from projections.testing import lines_of, text_of

RELEASED = Path(__file__).with_name("released")
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
SPACE = UUID("6b1c0000-0000-4000-8000-000000000001")
MOST = 20_000  # events
HOST = {"host": "node-1", "initiator": "iqn.2026-01.example:é", "ips": [1.5, None]}
CONNECTION = {"driver_volume_type": "local", "data": {"device_path": "/dev/vg/é"}}
DONE = Done(
    location="/volumes/db",
    connection=CONNECTION,
    found=True,
    size_gib=3,
    cleared="zero",
)
RESULTS = [
    DONE,
    DONE,
    Done(location="/volumes/é", consistent=True, reference={"source-name": "disk-1"}),
    NotDone("driver_failed", "the disk is “broken”"),
    NotDone("busy", "it is in use", busy=True),
]
FAILED = RESULTS[3]
assert isinstance(FAILED, NotDone)


class World:
    """Things that happen to each other, by dice that always fall the same."""

    def __init__(self) -> None:
        self.dice = random.Random(2)
        self.events: list[Event] = []
        self.asks()
        self.things: list[Any] = [Backend.taken_over("files", 1, "shelf", "node-1")]
        self.events += self.things[0].collect_events()

    def goes_on(self) -> None:
        """Let something happen, or be refused."""
        self.asks()
        if self.dice.random() < 0.03:  # noqa: PLR2004 - of a hundred deeds
            self.things.append(thing := self.dice.choice(NEW)(self))
        else:
            thing = self.dice.choice([self.things[0], *self.things[-25:]])
            with suppress(*REFUSALS):
                self.dice.choice(DEEDS[type(thing)])(thing, self)
        self.events += thing.collect_events()

    def asks(self) -> None:
        """Let somebody ask, a second later."""
        number = len(self.events)
        asked = Provenance(actor="ana", reason="“why”", request_id=f"request {number}")
        MOMENT.set(Moment(NOON + timedelta(seconds=number, microseconds=number), asked))

    def id(self) -> UUID:
        """Return an id that nothing has."""
        return uuid5(SPACE, f"{self.dice.random()}")

    def any(self, kind: type[Aggregate]) -> UUID:
        """Return the id of something there is, or might be."""
        of_kind = [thing.id for thing in self.things[-99:] if isinstance(thing, kind)]
        return self.dice.choice(of_kind) if of_kind else self.id()


REFUSALS = (Refused, NotInFlight, Undersized, UnknownAttachment, IndexError)
Deed = Callable[[Any, World], object]


def report(it: Any, world: World) -> None:
    """Have a backend say what came of something."""
    it.report(world.dice.choice(list(it.in_flight)), world.dice.choice(RESULTS))


def progress(it: Any, world: World) -> None:
    """Have a backend say how far something is."""
    it.progress(world.dice.choice(list(it.in_flight)), world.dice.randrange(100))


def held(it: Volume, world: World) -> UUID:
    """Return the id of one of a volume's attachments."""
    return world.dice.choice(list(it.attachments))


def compare(it: Backend, world: World) -> None:
    """Have a sweep find something, or nothing any more."""
    grown = {"drift": Drift.SIZE, "expected": "1 GiB", "found": "2 GiB"}
    findings: Any = world.dice.choice([[], [grown | {"remedy": Remedy.GROW}]])
    it.compare(Subject("volume", str(it.id)), findings, [Drift.SIZE])


def repair(it: Backend, world: World) -> None:
    """Ask for a finding to be repaired."""
    it.repair(world.dice.choice(list(it.drift.values())), turn=it.id, size_gib=1)


def revert(it: Volume, world: World) -> None:
    """Ask for the latest snapshot's content."""
    if not it.snapshots:
        it.add_snapshot(world.id(), force=False)
    it.revert([*it.snapshots][-1], NOON, it.size_gib)


# fmt: off
NEW: list[Callable[[World], Aggregate]] = [
    lambda w: Volume.create(
        w.id(), size_gib=1, backend="files", name="é", metadata={"a": "b"}),
    lambda w: Volume.create(
        w.id(), size_gib=1, backend="files", source={"snapshot": w.any(Snapshot)},
        group_id=w.any(Group), multiattach=True),
    lambda w: Volume.manage(
        w.id(), backend="files", reference={"source-name": "disk-1"}),
    lambda w: Snapshot.create(
        w.id(), volume_id=w.any(Volume), backend="files", size_gib=1),
    lambda w: Snapshot.create_in_group(
        w.id(), volume_id=w.any(Volume), backend="files", size_gib=1,
        group_snapshot_id=w.any(GroupSnapshot)),
    lambda w: Snapshot.manage(
        w.id(), volume_id=w.any(Volume), backend="files", size_gib=1,
        reference={"source-name": "snapshot-1"}),
    lambda w: Group.create(w.id(), backend="files", consistent=True),
    lambda w: Group.create_from(
        w.id(), source={"group": w.any(Group)}, volumes=[w.any(Volume), w.id()],
        backend="files", consistent=False),
    lambda w: GroupSnapshot.create(
        w.id(), group_id=w.any(Group), backend="files", consistent=True,
        members=[Member(w.any(Snapshot), w.any(Volume), 1), Member(w.id(), w.id(), 2)]),
]
DEEDS: dict[type[Aggregate], list[Deed]] = {
    Backend: [
        report, compare, compare, repair, progress,
        lambda it, w: it.take_lease(it.lease + 1, "shelf", "node-1"),
        lambda it, w: it.announce(w.dice.choice(["node-1", "node-2"]), "File", "local"),
        lambda it, w: it.enable(),
        lambda it, w: it.disable("“repairs”"),
        lambda it, w: it.initialize(),
        lambda it, w: it.measure_pool({"data": w.dice.random() * 100}),
    ],
    Volume: [
        report, report, report, report, progress, progress, revert, revert,
        lambda it, w: it.manage_again(
            backend="files", reference={"source-name": "disk-2"}),
        lambda it, w: it.unmanage(),
        lambda it, w: it.update(name=w.dice.choice("ab"), bootable=True),
        lambda it, w: it.extend(it.size_gib + 1),
        lambda it, w: it.delete(force=w.dice.random() < 1 / 2),
        lambda it, w: it.cascade(force=True),
        lambda it, w: it.begin_deletion(it.awaited),
        lambda it, w: it.call_off_deletion(it.awaited, FAILED),
        lambda it, w: it.delete_with_group(),
        lambda it, w: it.add_snapshot(w.any(Snapshot), force=True),
        lambda it, w: it.remove_snapshot(w.dice.choice([*it.snapshots])),
        lambda it, w: it.begin_copy(w.any(Volume)),
        lambda it, w: it.end_copy(w.dice.choice([*it.copies])),
        lambda it, w: it.join(w.any(Group)),
        lambda it, w: it.leave(it.group_id),
        lambda it, w: it.reserve(),
        lambda it, w: it.unreserve(),
        lambda it, w: it.attach(instance="web-1", mountpoint="/dev/vdb"),
        lambda it, w: it.hold(w.id(), host="node-1"),
        lambda it, w: it.connect(held(it, w), HOST),
        lambda it, w: it.connect(held(it, w), HOST),
        lambda it, w: it.complete(held(it, w)),
        lambda it, w: it.begin_detaching(held(it, w)),
        lambda it, w: it.roll_detaching(held(it, w)),
        lambda it, w: it.detach(held(it, w)),
        lambda it, w: it.expire(held(it, w)),
        lambda it, w: it.look_for_session(held(it, w)),
        lambda it, w: it.export(HOST),
        lambda it, w: it.unexport(HOST),
    ],
    Snapshot: [
        report, report, progress,
        lambda it, w: it.taken_in_group(),
        lambda it, w: it.not_taken_in_group(FAILED),
        lambda it, w: it.update(name="é", metadata={"a": "b"}),
        lambda it, w: it.begin_copy(w.any(Volume)),
        lambda it, w: it.end_copy(w.dice.choice([*it.copies])),
        lambda it, w: it.restore(),
        lambda it, w: it.end_restoration(),
        lambda it, w: it.delete(force=w.dice.random() < 1 / 2),
        lambda it, w: it.unmanage(),
    ],
    Group: [
        report,
        lambda it, w: it.update(added=[w.any(Volume)], name="é"),
        lambda it, w: it.update(removed=[w.dice.choice([*it.volumes])]),
        lambda it, w: it.volume_made(w.dice.choice([*it.volumes])),
        lambda it, w: it.making_failed(w.dice.choice([*it.volumes]), FAILED),
        lambda it, w: it.add_snapshot(w.any(GroupSnapshot)),
        lambda it, w: it.remove_snapshot(w.dice.choice([*it.snapshots])),
        lambda it, w: it.delete(delete_volumes=True),
        lambda it, w: it.member_gone(w.dice.choice([*it.volumes])),
        lambda it, w: it.member_stays(w.dice.choice([*it.volumes]), FAILED),
    ],
    GroupSnapshot: [
        report,
        lambda it, w: it.delete(),
        lambda it, w: it.member_gone(w.dice.choice([*it.snapshots])),
        lambda it, w: it.member_stays(w.dice.choice([*it.snapshots]), FAILED),
    ],
}
# fmt: on


def main(name: str) -> None:
    """Write a log that has every event."""
    world = World()
    while (wanted := without(world.events)) and len(world.events) < MOST:
        world.goes_on()
    events = enough(world.events)
    lines = lines_of(events)
    path = RELEASED / f"{name}.jsonl.zst"
    write(path, len(lines), [text_of(lines)])
    print(len(lines), "events, without", *wanted)  # noqa: T201


def without(events: Iterable[Event]) -> set[str]:
    """Return the topics that are in none of these events."""
    return EVENTS.keys() - {event.TOPIC for event in events}


def enough(events: list[Event]) -> list[Event]:
    """Return the events of as few things as have them all."""
    of: dict[UUID, set[str]] = {}
    for event in events:
        of.setdefault(event.originator_id, set()).add(event.TOPIC)
    kept, covered = set(), set[str]()
    for key in sorted(of, key=lambda key: len(of[key]), reverse=True):
        if not of[key] <= covered:
            kept.add(key)
            covered |= of[key]
    return [event for event in events if event.originator_id in kept]


if __name__ == "__main__":
    main(*sys.argv[1:])
