"""Volumes, snapshots and groups under any commands, held to what must always be so.

Decisions are taken as the service takes them, with all that follows from them, only
without a log: what is refused is undone by replaying what was not.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import reduce
from typing import Any, TypeVar
from uuid import UUID

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
)
from marshmallow import ValidationError

from domain import log as language
from domain.aggregate import Aggregate, Done, Event, NotDone, NotInFlight
from domain.backend import Backend
from domain.group import Group
from domain.group_snapshot import GroupSnapshot
from domain.lifecycle import Refused
from domain.provenance import MOMENT, Moment, Provenance
from domain.snapshot import Snapshot
from domain.volume import Undersized, Volume
from service.deciding.command import Decision, Live, NotFound, NotLive, Taken
from service.deciding.reactions import follow
from service.deciding.room import Measured, Room
from service.endpoints import group_snapshots, groups, snapshots, volumes
from service.endpoints.endpoint import Endpoint
from service.testing.deciding import WORKING, capabilities
from service.testing.programs import BACKEND

A = TypeVar("A", bound=Aggregate)
DONE = Done(location="/there", consistent=True, found=True, connection={"data": {}})
RESULTS = st.sampled_from(
    [
        DONE,
        DONE,
        None,  # not yet
        NotDone("driver_failed", "broken"),
        NotDone("busy", "in use", busy=True),
    ]
)
REFUSALS = (Refused, NotFound, Taken, ValidationError, Undersized, NotInFlight)
GONE = "deleted"


class Together(RuleBasedStateMachine):
    """Commands in any order, and reports whenever they come."""

    def __init__(self) -> None:
        super().__init__()
        self.room = Room()
        can = {"consistent_group_snapshot_enabled": True}
        told = msgspec.structs.replace(capabilities(10_000), **can)
        self.room.know(BACKEND, Measured(told, *WORKING, datetime.now(UTC)))
        self.live: Live = {}
        self.histories: dict[UUID, list[Event]] = {}
        self.number = 0
        lease = BACKEND, 1, "shelf", "node-1"
        self._decide(lambda log: log.add(Backend.taken_over(*lease)))

    @initialize(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        """Have some of everything, or most commands would be for nothing."""
        for ask in (create, create, take_snapshot, group, create_in, create_in):
            ask(self, data)
            self._settle(DONE)
        if data.draw(st.booleans()):
            take_group_snapshot(self, data)

    @rule(data=st.data(), ask=st.sampled_from(range(18)), result=RESULTS)
    def ask(self, data: st.DataObject, ask: int, result: Done | NotDone | None) -> None:
        ASKED[ask](self, data)
        if result:
            self._settle(result)

    @rule(data=st.data(), result=RESULTS.filter(bool))
    def report(self, data: st.DataObject, result: Done | NotDone) -> None:
        if waiting := self._in_flight():
            self._report(*data.draw(st.sampled_from(waiting)), result)

    # What must always be so

    @invariant()
    def a_volume_knows_its_snapshots(self) -> None:
        known = {s.id: s.volume_id for s in self._all(Snapshot) if s.status != GONE}
        of = {s: volume.id for volume in self._all(Volume) for s in volume.snapshots}
        assert known == of

    @invariant()
    def a_source_knows_what_is_made_of_it(self) -> None:
        sources = [*self._all(Volume), *self._all(Snapshot)]
        needed = {(s.id, copy) for s in sources for copy in s.copies}
        assert needed >= {
            (source, volume.id)
            for volume in self._all(Volume)
            if volume.status == "creating"
            for source in (volume.source or {}).values()
        }
        known: Any = self.live
        assert all(known[source].status != GONE for source, _ in needed)
        settled = {"available", "in-use", "error", GONE}
        assert not {known[copy].status for _, copy in needed} & settled

    @invariant()
    def a_group_knows_its_members(self) -> None:
        ours = {
            (v.group_id, v.id)
            for v in self._all(Volume)
            if v.group_id and v.status != GONE
        }
        assert ours == {(g.id, v) for g in self._all(Group) for v in g.volumes}

    @invariant()
    def what_is_gone_leaves_nothing_behind(self) -> None:
        for volume in self._all(Volume):
            if volume.status == GONE:
                assert not volume.snapshots
                assert not volume.copies
        for group in self._all(Group):
            if group.status == GONE:
                assert not group.volumes
                assert not group.snapshots

    @invariant()
    def what_is_between_is_worked_on(self) -> None:
        if not self._in_flight():
            waits = [each for each in self._all(Aggregate) if each.unsettled]
            assert [(type(w).__name__, w.status) for w in waits] == []

    def teardown(self) -> None:
        while waiting := self._in_flight():
            self._report(*waiting[0], DONE)
        self.what_is_between_is_worked_on()
        for key, history in self.histories.items():
            assert vars(replayed(history)) == vars(self.live[key])

    # How

    def some(self, data: st.DataObject, kind: type[Aggregate]) -> str:
        """Return the id of one that is there, or of one that is gone or never was."""
        known = [e.id for e in self._all(kind) if e.status != GONE or kind is Group]
        return str(data.draw(st.sampled_from(known or [UUID(int=0)])))

    def make(self, endpoint: Endpoint, **message: Any) -> None:
        """Ask for something new, by an id that is never chosen twice."""
        self.number += 1
        self.asks(endpoint, id=str(UUID(int=self.number << 64)), **message)

    def asks(self, endpoint: Endpoint, **message: Any) -> None:
        """Ask, as a caller does."""
        loaded = endpoint.load(message)
        self._decide(lambda log: endpoint.decide(log, **loaded))

    def _all(self, kind: type[A]) -> list[A]:
        return [each for each in self.live.values() if isinstance(each, kind)]

    def _in_flight(self) -> list[tuple[UUID, int]]:
        return [(e.id, v) for e in self._all(Aggregate) for v in e.in_flight]

    def _report(self, key: UUID, version: int, result: Done | NotDone) -> None:
        def decide(log: Decision) -> None:
            known: Any = log.get(Aggregate, key)
            known.report(version, result)

        self._decide(decide)
        assert version not in self.live[key].in_flight  # type: ignore[union-attr]

    def _settle(self, result: Done | NotDone) -> None:
        """Report on everything that is in flight now."""
        for key, version in self._in_flight():
            known: Any = self.live[key]
            if version in known.in_flight:
                self._report(key, version, result)

    def _decide(self, decide: Callable[[Decision], Any]) -> None:
        MOMENT.set(Moment(datetime.now(UTC), Provenance("model")))
        decision = Decision(self.live, self.room)
        try:
            decide(decision)
            follow(decision)
        except NotLive as missing:
            self._undo(decision)
            self.live |= dict.fromkeys(missing.args)
            self._decide(decide)
        except REFUSALS:
            self._undo(decision)
        else:
            for event in decision.collect():
                self.histories.setdefault(event.originator_id, []).append(event)

    def _undo(self, decision: Decision) -> None:
        for key in decision.touched:
            history = self.histories.get(key)
            self.live[key] = replayed(history) if history else None


# What is asked of a world, by chance.


def create(world: Together, data: st.DataObject) -> None:
    world.make(volumes.create, size_gib=1)


def create_in(world: Together, data: st.DataObject) -> None:
    world.make(volumes.create, size_gib=1, group_id=world.some(data, Group))


def copy(world: Together, data: st.DataObject) -> None:
    noun, kind = data.draw(
        st.sampled_from([("snapshot", Snapshot), ("volume", Volume)])
    )
    world.make(volumes.create, source={noun: world.some(data, kind)})


def delete(world: Together, data: st.DataObject) -> None:
    cascade = data.draw(st.sampled_from([True, True, False]))
    said = {"cascade": cascade, "force": data.draw(st.booleans())}
    world.asks(volumes.delete, id=world.some(data, Volume), **said)


def unmanage(world: Together, data: st.DataObject) -> None:
    world.asks(volumes.unmanage, id=world.some(data, Volume))


def extend(world: Together, data: st.DataObject) -> None:
    world.asks(volumes.extend, id=world.some(data, Volume), size_gib=3)


def attach(world: Together, data: st.DataObject) -> None:
    world.asks(volumes.attach, id=world.some(data, Volume), instance="web-1")


def detach(world: Together, data: st.DataObject) -> None:
    world.asks(volumes.detach, id=world.some(data, Volume))


def take_snapshot(world: Together, data: st.DataObject) -> None:
    of, force = world.some(data, Volume), data.draw(st.booleans())
    world.make(snapshots.create, volume_id=of, force=force)


def delete_snapshot(world: Together, data: st.DataObject) -> None:
    force = data.draw(st.booleans())
    world.asks(snapshots.delete, id=world.some(data, Snapshot), force=force)


def unmanage_snapshot(world: Together, data: st.DataObject) -> None:
    world.asks(snapshots.unmanage, id=world.some(data, Snapshot))


def revert(world: Together, data: st.DataObject) -> None:
    to = world.some(data, Snapshot)
    known: Any = world.live.get(UUID(to))
    of = str(known.volume_id) if known else to
    world.asks(volumes.revert, id=of, snapshot_id=to)


def group(world: Together, data: st.DataObject) -> None:
    consistent = data.draw(st.booleans())
    world.make(groups.create, backend=BACKEND, consistent=consistent)


def change(world: Together, data: st.DataObject) -> None:
    field = data.draw(st.sampled_from(["add_volumes", "remove_volumes"]))
    told = {field: [world.some(data, Volume), world.some(data, Volume)]}
    world.asks(groups.update, id=world.some(data, Group), **told)


def delete_group(world: Together, data: st.DataObject) -> None:
    with_volumes = data.draw(st.sampled_from([True, True, False]))
    world.asks(groups.delete, id=world.some(data, Group), delete_volumes=with_volumes)


def copy_group(world: Together, data: st.DataObject) -> None:
    field, kind = data.draw(
        st.sampled_from([("group_id", Group), ("group_snapshot_id", GroupSnapshot)])
    )
    world.make(groups.create_from_source, **{field: world.some(data, kind)})


def take_group_snapshot(world: Together, data: st.DataObject) -> None:
    world.make(group_snapshots.create, group_id=world.some(data, Group))


def delete_group_snapshot(world: Together, data: st.DataObject) -> None:
    world.asks(group_snapshots.delete, id=world.some(data, GroupSnapshot))


ASKED = [
    create,
    create_in,
    copy,
    delete,
    unmanage,
    extend,
    attach,
    detach,
    take_snapshot,
    delete_snapshot,
    unmanage_snapshot,
    revert,
    group,
    change,
    delete_group,
    copy_group,
    take_group_snapshot,
    delete_group_snapshot,
]


def replayed(history: list[Event]) -> Any:
    """Return what the log would make of it."""
    read = (language.decode(e.TOPIC, language.encode(e)) for e in history)
    first: Any = None
    return reduce(lambda before, event: event.mutate(before), read, first)


Together.TestCase.settings = settings(max_examples=150, stateful_step_count=40)
TestTogether = Together.TestCase
