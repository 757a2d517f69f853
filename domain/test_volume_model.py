"""A volume under any sequence of commands, held to what must always be so."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial, reduce
from typing import Any
from uuid import UUID

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from domain import log
from domain.aggregate import Done, Event, NotDone, NotInFlight
from domain.attachment import AttachStatus, connector_mode, same_way
from domain.holding import UnknownAttachment, strongest
from domain.lifecycle import Refused
from domain.provenance import MOMENT, Moment, Provenance
from domain.volume import Undersized, Volume
from domain.volume_status import AT_REST, GOING, SHOWN, UNDER_WAY, Status

INSTANCES = st.sampled_from(["web-1", "web-2"])
HOSTS = st.sampled_from(["node-1", "node-2"])
MODES = st.sampled_from([None, "rw", "ro"])
IDS = st.sampled_from([UUID(int=n) for n in range(4)])
DONE = Done(location="/volumes/db", connection={"data": {}}, found=True, size_gib=1)
FAILED = NotDone("driver_failed", "broken")
BUSY = NotDone("busy", "in use", busy=True)
RESULTS = st.sampled_from([DONE, Done(connection={"data": {}}), FAILED, BUSY])
NAMED = {"source-name": "db"}
Begin = Callable[..., Volume]
BEGINNINGS: list[Begin] = [
    partial(Volume.create, size_gib=1),
    partial(Volume.create, size_gib=1, multiattach=True),
    partial(Volume.manage, reference=NAMED),
]
BEGIN = st.sampled_from(BEGINNINGS)
SNAPSHOT = UUID(int=70)
ENOUGH = 5  # events of a volume before it may go, or most would be soon gone


class AnyVolume(RuleBasedStateMachine):
    """Commands in any order; what is refused changes nothing.

    Its backend has one `answer` for a while, at once, or hardly any work would ever
    come to its end; None where it takes its time.
    """

    answer: Done | NotDone | None = DONE

    def __init__(self) -> None:
        super().__init__()
        MOMENT.set(Moment(datetime(2026, 1, 1, tzinfo=UTC), Provenance("model")))
        self.history: list[Event] = []
        self._begin(BEGINNINGS[0])

    @initialize(begin=BEGIN, answer=st.sampled_from([DONE, DONE, None]))
    def begin(self, begin: Begin, answer: Done | None) -> None:
        self.answer = answer
        self._begin(begin)

    @precondition(lambda self: self.volume.status == Status.DELETED)
    @rule(begin=BEGIN)
    def begin_anew(self, begin: Begin) -> None:
        """Have another volume, for nothing happens any more to one that is gone."""
        self.teardown()
        self._begin(begin)

    @rule(answer=st.sampled_from([None, DONE, FAILED, FAILED, BUSY]))
    def turn(self, answer: Done | NotDone | None) -> None:
        self.answer = answer
        self._settle()

    @rule(data=st.data(), result=RESULTS)
    def report(self, data: st.DataObject, result: Done | NotDone) -> None:
        version = data.draw(st.sampled_from([*sorted(self.volume.in_flight), 1]))
        with suppress(NotInFlight):
            self.volume.report(version, result)  # never refused: it has happened
        assert version not in self.volume.in_flight
        self.history += self.volume.collect_events()

    @rule(size_gib=st.integers(1, 4))
    def extend(self, size_gib: int) -> None:
        self._try(lambda: self.volume.extend(size_gib))

    @precondition(lambda self: len(self.history) > ENOUGH)
    @rule()
    def unmanage(self) -> None:
        held = not self.volume.detached
        self._try(self.volume.unmanage)
        assert not (held and self.volume.status == Status.UNMANAGING)

    @rule()
    def manage_again(self) -> None:
        self._try(lambda: self.volume.manage_again(backend="files", reference=NAMED))

    @precondition(lambda self: len(self.history) > ENOUGH)
    @rule(force=st.booleans())
    def delete(self, *, force: bool) -> None:
        held = not self.volume.detached
        self._try(lambda: self.volume.delete(force=force))
        assert not (held and self.volume.status == Status.DELETING)

    @rule(readonly=st.booleans(), name=st.sampled_from(["", "db"]))
    def update(self, *, readonly: bool, name: str) -> None:
        self._try(lambda: self.volume.update(readonly=readonly, name=name))

    @rule()
    def reserve(self) -> None:
        self._try(self.volume.reserve)

    @rule()
    def unreserve(self) -> None:
        promises = self._promised()
        self._try(self.volume.unreserve)
        assert self._promised() == max(0, promises - 1)

    @rule(instance=INSTANCES, mode=MODES)
    def attach(self, instance: str, mode: str | None) -> None:
        self._try(lambda: self.volume.attach(instance=instance, mode=mode))

    @rule(attachment_id=IDS, instance=INSTANCES, mode=MODES)
    def hold(self, attachment_id: UUID, instance: str, mode: str | None) -> None:
        known = self.volume.attachments | self.volume.gone
        if attachment_id not in known:
            self._try(
                lambda: self.volume.hold(attachment_id, instance=instance, mode=mode)
            )

    @rule(data=st.data(), host=HOSTS)
    def connect(self, data: st.DataObject, host: str) -> None:
        attachment_id = self._some(data)
        self._try(lambda: self.volume.connect(attachment_id, {"host": host}))

    @rule(
        data=st.data(),
        command=st.sampled_from(
            [
                "complete",
                "begin_detaching",
                "roll_detaching",
                "detach",
                "expire",
                "look_for_session",
            ]
        ),
    )
    def move(self, data: st.DataObject, command: str) -> None:
        attachment_id = self._some(data)
        self._try(lambda: getattr(self.volume, command)(attachment_id))

    @rule()
    def take_everybody_off(self) -> None:
        """Let nobody have it, or it would hardly ever be free to go."""
        for attachment_id in [*self.volume.attachments]:
            self._try(partial(self.volume.detach, attachment_id))
        self._try(self.volume.unexport)

    @rule()
    def snapshot(self) -> None:
        if SNAPSHOT not in self.volume.snapshots:
            self._try(lambda: self.volume.add_snapshot(SNAPSHOT, force=True))

    @rule()
    def remove_snapshot(self) -> None:
        self._try(lambda: self.volume.remove_snapshot(SNAPSHOT))

    @rule()
    def revert(self) -> None:
        at, size_gib = self.volume.created_at, self.volume.size_gib
        self._try(lambda: self.volume.revert(SNAPSHOT, at, size_gib))

    @rule(host=HOSTS)
    def export(self, host: str) -> None:
        self._try(lambda: self.volume.export({"host": host}))

    @rule(host=st.one_of(st.none(), HOSTS), force=st.booleans())
    def unexport(self, host: str | None, *, force: bool) -> None:
        connector = {"host": host} if host else None
        self._try(lambda: self.volume.unexport(connector, force=force))

    @invariant()
    def a_volume_at_rest_shows_its_strongest_attachment(self) -> None:
        if self.volume.status in AT_REST:
            shown = SHOWN[strongest(self.volume.attachments, {})]
            assert self.volume.status == shown

    @invariant()
    def work_in_progress_has_somebody_at_work(self) -> None:
        if self.volume.status in UNDER_WAY:
            assert self.volume.in_flight

    @invariant()
    def a_host_is_let_in_for_a_hold_that_is_there(self) -> None:
        for intent in self.volume.in_flight.values():
            if isinstance(intent, Volume.ConnectionStarted):
                assert intent.attachment_id in self.volume.attachments

    @invariant()
    def one_hold_of_an_ordinary_volume_at_a_time_is_attached(self) -> None:
        if self.volume.multiattach:
            return
        instances = {a.instance for a in self.volume.attachments.values()}
        assert len(instances - {None}) <= 1 or any(
            a.status == "error_attaching" for a in self.volume.attachments.values()
        )

    @invariant()
    def nobody_reaches_what_is_disconnected_or_is_about_to(self) -> None:
        if self.volume.status == Status.AVAILABLE and self.volume.disconnected:
            ways = Volume.ConnectionStarted, Volume.ExportStarted
            asked = self.volume.in_flight.values()
            assert not [intent for intent in asked if isinstance(intent, ways)]
            assert not self.volume.connectors

    @invariant()
    def who_is_attached_and_was_told_how_reaches_it(self) -> None:
        if self.volume.status not in GOING:
            ways = self.volume.connectors
            for held in self.volume.attachments.values():
                if held.connected and held.attached:
                    assert any(same_way(held.connector, way) for way in ways)

    @invariant()
    def who_reaches_what_is_read_only_reads(self) -> None:
        if self.volume.readonly:
            assert {connector_mode(way) for way in self.volume.connectors} <= {"ro"}

    @invariant()
    def nothing_is_gone_and_here(self) -> None:
        assert not self.volume.attachments.keys() & self.volume.gone.keys()

    @invariant()
    def what_is_gone_takes_no_room(self) -> None:
        gone = self.volume.status == Status.DELETED
        assert (self.volume.allocated_gib == 0) >= gone

    def _begin(self, begin: Begin) -> None:
        self.volume = begin(UUID(int=99), backend="files")
        self.history = self.volume.collect_events()
        self._settle()

    def teardown(self) -> None:
        self.history += self.volume.collect_events()
        written = [(e.TOPIC, log.encode(e)) for e in self.history]
        read: list[Any] = [log.decode(topic, state) for topic, state in written]
        replayed: Any = reduce(lambda before, e: e.mutate(before), read, None)
        assert vars(replayed) == vars(self.volume)

    def _promised(self) -> int:
        """Return how many holds are promised to whoever attaches next."""
        held = self.volume.attachments.values()
        return sum(a.nameless and a.status == AttachStatus.ATTACHING for a in held)

    def _some(self, data: st.DataObject) -> UUID:
        known = [*self.volume.attachments, *self.volume.gone, UUID(int=50)]
        return data.draw(st.sampled_from(known))

    def _try(self, command: Any) -> None:
        """Let a refusal be a refusal: then nothing was recorded."""
        version = self.volume.version
        try:
            command()
        except (Refused, Undersized, UnknownAttachment):
            assert self.volume.version == version
        self.history += self.volume.collect_events()
        self._settle()

    def _settle(self) -> None:
        """Let the backend answer all that it was asked."""
        while self.answer and self.volume.in_flight:
            self.volume.report(max(self.volume.in_flight), self.answer)
            self.history += self.volume.collect_events()


def test_the_model_comes_to_every_status() -> None:
    come_to = set[str]()

    class Noting(AnyVolume):
        def teardown(self) -> None:
            super().teardown()
            come_to.update(event.status for event in self.history)

    same = settings(max_examples=250, derandomize=True, database=None)
    run_state_machine_as_test(Noting, settings=same)

    assert {*Status} - come_to == {Status.MAINTENANCE}


AnyVolume.TestCase.settings = settings(max_examples=150, stateful_step_count=50)
TestAnyVolume = AnyVolume.TestCase
