"""Every status in between has its deadline, and what happens then."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest

from adapters.jetstream.stream import PUBLISHED
from adapters.postgres.batch import Batch
from adapters.postgres.read_models import Found
from adapters.postgres.reading import rebuilt
from adapters.tasks import ended
from domain import log as language
from domain.aggregate import Aggregate, Done, NotDone
from domain.attachment import AttachStatus
from domain.backend import Administration, Backend, Told
from domain.drift import VOLUME, Drift, Remedy, Subject
from domain.group import Group
from domain.group_snapshot import GroupSnapshot, Member
from domain.provenance import MOMENT, Moment, Provenance
from domain.snapshot import Snapshot, SnapshotStatus
from domain.volume import Volume
from domain.volume_status import Status
from service.deciding.command import Command, Decision, Part, Unavailable, Unreadable
from service.deciding.log import Log
from service.deciding.room import Room
from service.keeping import watcher
from service.keeping.projecting import tables
from service.keeping.standing import measured
from service.keeping.test_projecting import caught_up, projecting, stored, until
from service.keeping.watcher import HOLDS, WORK, Watcher
from service.manager import VolumeManager
from service.settings import Deadlines
from service.testing.callers import eventually

# Each its own, so that none can be taken for another's.
DEADLINES = Deadlines(
    creating=100,
    extending=200,
    deleting=300,
    reserved=400,
    attaching=500,
    detaching=600,
    managing=700,
    unmanaging=800,
    reverting=900,
)
HOST = {"host": "node-1"}
KEY = UUID(int=7)
SNAPSHOT, GROUP, TOGETHER = UUID(int=8), UUID(int=9), UUID(int=10)


def being_made() -> Volume:
    return Volume.create(uuid4(), size_gib=1, backend="files")


def rescheduled() -> Volume:
    volume = Volume.create(uuid4(), size_gib=1, backend="full")
    why = NotDone("broken", "it broke")
    volume.reschedule(1, why, backend="files", considered=[])
    return volume


def being_managed() -> Volume:
    named = {"source-name": "db"}
    return Volume.manage(uuid4(), backend="files", reference=named)


def available() -> Volume:
    volume = being_made()
    volume.report(1, Done(location="/volumes/db"))
    return volume


def reserved() -> Volume:
    volume = available()
    volume.hold(KEY, host="node-1")
    return volume


def connecting() -> Volume:
    volume = reserved()
    volume.connect(KEY, HOST)
    return volume


def connected() -> Volume:
    volume = connecting()
    volume.report(volume.version, Done(connection={"driver_volume_type": "local"}))
    return volume


def attached() -> Volume:
    volume = connected()
    volume.complete(KEY)
    return volume


def snapshotted() -> list[Aggregate]:
    """Return a snapshot that is being taken, and its volume."""
    volume = available()
    volume.add_snapshot(SNAPSHOT, force=False)
    of = {"volume_id": volume.id, "backend": "files", "size_gib": 1}
    return [Snapshot.create(SNAPSHOT, **of), volume]  # type: ignore[arg-type]


def managed_snapshot() -> list[Aggregate]:
    _, volume = snapshotted()
    of = {"volume_id": volume.id, "backend": "files", "size_gib": 1}
    named = {"source-name": "old"}
    return [Snapshot.manage(SNAPSHOT, reference=named, **of), volume]  # type: ignore[arg-type]


def then(ask: Callable[[Snapshot], None]) -> Callable[[], list[Aggregate]]:
    """Return what makes a snapshot, taken, and then asks something of it."""

    def begin() -> list[Aggregate]:
        snapshot, volume = snapshotted()
        assert isinstance(snapshot, Snapshot)
        snapshot.report(1, Done(location="/there"))
        ask(snapshot)
        return [snapshot, volume]

    return begin


def reverting() -> list[Aggregate]:
    snapshot, volume = then(lambda taken: taken.restore())()
    assert isinstance(volume, Volume)
    volume.revert(snapshot.id, datetime.now(UTC), 1)
    return [volume, snapshot]


def cascading() -> list[Aggregate]:
    snapshot, volume = then(lambda _: None)()
    assert isinstance(volume, Volume)
    volume.cascade(force=False)
    return [volume, snapshot]


def grouped() -> list[Aggregate]:
    """Return a group and its member."""
    volume, group = available(), Group.create(GROUP, backend="files")
    volume.join(group.id)
    group.update(added=[volume.id])
    return [group, volume]


def going_group() -> list[Aggregate]:
    group, volume = grouped()
    assert isinstance(group, Group)
    assert isinstance(volume, Volume)
    group.delete(delete_volumes=True)
    volume.delete_with_group()
    return [group, volume]


def group_snapshotted() -> list[Aggregate]:
    group, volume = grouped()
    of = {"backend": "files", "size_gib": 1, "volume_id": volume.id}
    taken = GroupSnapshot.create(
        TOGETHER,
        group_id=group.id,
        backend="files",
        consistent=False,
        members=[Member(SNAPSHOT, volume.id, 1)],
    )
    one = Snapshot.create_in_group(SNAPSHOT, group_snapshot_id=TOGETHER, **of)
    return [taken, group, volume, one]


def being_initialized() -> Backend:
    backend = Backend.taken_over("files", 1, "holder", "node-1")
    backend.initialize()
    return backend


def being_repaired() -> Backend:
    backend = Backend.taken_over("files", 1, "holder", "node-1")
    told = Told(
        drift=Drift.SIZE,
        expected="2 GiB",
        found="1 GiB",
        remedy=Remedy.GROW,
        seen=None,
        explained_by=None,
        cause=None,
    )
    backend.compare(Subject(VOLUME, str(UUID(int=7))), [told], [])
    [found] = backend.drift.values()
    backend.repair(found, turn=UUID(int=7))
    return backend


def after(begun: Callable[[], Volume], ask: Callable[[Volume], None]) -> Any:
    """Return what makes a volume and then asks something of it."""

    def begin() -> Volume:
        volume = begun()
        ask(volume)
        return volume

    return begin


@dataclass(frozen=True)
class Case:
    """How it comes to wait, for how long at most, and what is recorded then."""

    begin: Callable[[], Aggregate | list[Aggregate]]  # with those it concerns
    meanwhile: str  # the status, of the attachment where it is one's
    deadline: str
    recorded: str
    status: str


# fmt: off
CASES = {
    # The agent owes a word.
    "volume.created": Case(
        being_made, "creating", "creating", "volume.creation_failed", "error"),
    "volume.rescheduled": Case(
        rescheduled, "creating",
        "creating", "volume.creation_failed", "error"),
    "volume.extension_started": Case(
        after(available, lambda v: v.extend(2)), "extending",
        "extending", "volume.extension_failed", "error_extending"),
    "volume.deletion_started": Case(
        after(available, lambda v: v.delete()), "deleting",
        "deleting", "volume.deletion_failed", "error_deleting"),
    "volume.managing_started": Case(
        being_managed, "managing",
        "managing", "volume.managing_failed", "error_managing"),
    "volume.unmanaging_started": Case(
        after(available, lambda v: v.unmanage()), "unmanaging",
        "unmanaging", "volume.unmanaging_failed", "error_unmanaging"),
    "volume.connection_started": Case(
        connecting, "attaching", "attaching", "volume.connection_failed", "available"),
    "volume.export_started": Case(
        after(available, lambda v: v.export(HOST)), "available",
        "attaching", "volume.export_failed", "available"),
    "volume.disconnection_started": Case(
        after(attached, lambda v: v.detach(KEY)), "detaching",
        "detaching", "volume.disconnection_failed", "in-use"),
    "volume.export_removal_started": Case(
        after(available, lambda v: v.unexport()), "available",
        "detaching", "volume.export_removal_failed", "available"),
    "volume.session_looked_for": Case(
        after(connected, lambda v: v.look_for_session(KEY)), "attaching",
        "detaching", "volume.session_unclear", "attaching"),
    "volume.reversion_started": Case(
        reverting, "reverting", "reverting", "volume.reversion_failed", "error"),
    "volume.cascade_started": Case(
        cascading, "deleting", "deleting", "volume.cascade_put_off", "available"),
    "snapshot.created": Case(
        snapshotted, "creating", "creating", "snapshot.creation_failed", "error"),
    "snapshot.managing_started": Case(
        managed_snapshot, "creating",
        "managing", "snapshot.creation_failed", "error"),
    "snapshot.deletion_started": Case(
        then(lambda taken: taken.delete()), "deleting",
        "deleting", "snapshot.deletion_failed", "error_deleting"),
    "snapshot.unmanaging_started": Case(
        then(lambda taken: taken.unmanage()), "unmanaging",
        "unmanaging", "snapshot.unmanaging_failed", "error_deleting"),
    "group.deletion_started": Case(
        going_group, "deleting", "deleting", "group.deletion_put_off", "available"),
    "group_snapshot.created": Case(
        group_snapshotted, "creating",
        "creating", "group_snapshot.creation_failed", "error"),
    "backend.initialization_started": Case(
        being_initialized, "enabled",
        "creating", "backend.initialization_failed", "enabled"),
    "backend.repair_started": Case(
        being_repaired, "enabled",
        "deleting", "backend.repair_failed", "enabled"),
    # The caller does.
    "reserved": Case(
        reserved, "reserved", "reserved", "volume.released", "available"),
    "attaching": Case(
        connected, "attaching", "attaching", "volume.session_looked_for", "attaching"),
    "detaching": Case(
        after(attached, lambda v: v.begin_detaching(KEY)), "detaching",
        "detaching", "volume.session_looked_for", "detaching"),
}
# fmt: on


def status_of(aggregate: Any) -> str:
    """Return the status of the only attachment, or else of the whole."""
    held = list(getattr(aggregate, "attachments", {}).values())
    return str(held[0].status if held else aggregate.status)


def begun(case: Case, seconds: float) -> list[Aggregate]:
    """Let it come to wait so many seconds before its deadline; others follow it."""
    ago = getattr(DEADLINES, case.deadline) - seconds
    then = datetime.now(UTC) - timedelta(seconds=ago)
    MOMENT.set(Moment(then, Provenance(actor="web-1", request_id="key 1")))
    made = case.begin()
    return made if isinstance(made, list) else [made]


def watched(manager: VolumeManager, aggregates: list[Aggregate]) -> list[Any]:
    """Return what a keeper that begins only now lets happen to the first."""
    recorder, known = manager.recorder, tables(manager.recorder)
    aggregate, *_ = aggregates
    written = stored(aggregates)
    own = [event for event in written if event.originator_id == aggregate.id]
    parts = dict.fromkeys(getattr(aggregate, "attachments", ()), aggregate.id)
    based_on = {each.id: 0 for each in aggregates}
    recorder.append(Batch(written, based_on, parts=parts))

    async def scenario() -> None:
        async with Log(recorder).running() as log:
            await Watcher(log, known, DEADLINES).look()

            async def all_is_decided() -> bool:
                return not log.unanswered

            await eventually(all_is_decided)

    with projecting(known, recorder):
        until(lambda: caught_up(known, recorder))
        asyncio.run(scenario())
    history = list(language.decoded(recorder.history(aggregate.id)))
    return [event for event, _ in history[len(own) :]]


@pytest.mark.parametrize("waits", CASES)
def test_what_is_overdue_does_not_stay_as_it_is(
    manager: VolumeManager, waits: str
) -> None:
    case = CASES[waits]
    aggregate, *others = begun(case, -30)
    assert status_of(aggregate) == case.meanwhile

    [happened] = watched(manager, [aggregate, *others])

    assert case.recorded == happened.TOPIC
    assert happened.status == case.status
    assert happened.provenance.recorded_by == "watcher"
    if waits in WORK:
        allowed = getattr(DEADLINES, case.deadline)
        assert happened.code == "deadline"
        assert f"backend files has not done it within {allowed} s" in happened.message
        assert happened.provenance.request_id == "key 1"
        assert happened.intent not in rebuilt(manager.recorder)[aggregate.id].in_flight
    else:
        assert happened.provenance.reason == "its deadline has passed"


@pytest.mark.parametrize("waits", CASES)
def test_what_has_time_is_left_alone(manager: VolumeManager, waits: str) -> None:
    assert watched(manager, begun(CASES[waits], 30)) == []


@pytest.mark.parametrize("waits", ["volume.deletion_started", "backend.repair_started"])
@pytest.mark.parametrize(("seconds", "given_up"), [(30, []), (330, ["deadline"])])
def test_what_clears_and_goes_on_has_its_time_from_its_last_word(
    manager: VolumeManager, waits: str, seconds: float, given_up: list[str]
) -> None:
    [clearing] = begun(CASES[waits], -600)
    then = datetime.now(UTC) - timedelta(seconds=seconds)
    MOMENT.set(Moment(then, Provenance()))
    clearing.progress(clearing.version, 7)

    assert [happened.code for happened in watched(manager, [clearing])] == given_up


@pytest.mark.parametrize(
    ("then", "status"),
    [
        (lambda _: None, "error_deleting"),
        (lambda clearing: clearing.progress(3, 7), "deleting"),
        (lambda clearing: clearing.report(3, Done()), "deleted"),
    ],
)
def test_what_has_gone_on_since_it_was_found_late_is_not_given_up(
    then: Callable[[Volume], None], status: str
) -> None:
    [clearing] = begun(CASES["volume.deletion_started"], -600)
    assert isinstance(clearing, Volume)
    about = {"backend": "files", "since": clearing.updated_at.isoformat()}
    MOMENT.set(Moment(datetime.now(UTC), Provenance()))
    then(clearing)
    row = Found(f"{clearing.id}/3", 1, about, b"")

    unkept: Any = None
    decide = Watcher(unkept, unkept, DEADLINES)._give_up(row, 300)
    decide(Decision({clearing.id: clearing}, Room()))

    assert clearing.status == status


@pytest.mark.parametrize(
    ("seconds", "then", "status"),
    [
        (-30, lambda volume: volume.detach(KEY), "available"),
        (-30, lambda volume: volume.connect(KEY, HOST), "attaching"),
        (30, lambda _: None, "reserved"),
    ],
)
def test_a_promise_that_was_kept_or_renewed_since_it_was_found_late_stays(
    seconds: float, then: Callable[[Volume], None], status: str
) -> None:
    [promised] = begun(CASES["reserved"], seconds)
    assert isinstance(promised, Volume)
    then(promised)
    before = promised.version
    row = Found(str(KEY), 1, {}, b"")

    unkept: Any = None
    late = AttachStatus.RESERVED, Volume.expire, DEADLINES.reserved
    decide = Watcher(unkept, unkept, DEADLINES)._about(row, *late)
    decide(Decision({promised.id: promised, Part(KEY.int): promised.id}, Room()))

    assert (status_of(promised), promised.version) == (status, before)


def test_a_host_is_not_looked_after_while_a_backend_works_for_it(
    manager: VolumeManager,
) -> None:
    [leaving] = begun(CASES["detaching"], -30)
    assert isinstance(leaving, Volume)
    MOMENT.set(Moment(datetime.now(UTC), Provenance()))
    leaving.detach(KEY)

    assert watched(manager, [leaving]) == []


def test_what_cannot_be_decided_about_what_is_overdue_is_said_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    asked: list[Command] = []
    log: Any = SimpleNamespace(submit=asked.append)

    def broken(_: Decision) -> None:
        raise ZeroDivisionError

    Watcher(log, log, DEADLINES)._submit(1, broken)
    reply = asked[0].decide(Decision({}, Room()))

    assert reply.code == 500
    assert "ZeroDivisionError" in caplog.text


def test_what_is_overdue_and_cannot_be_read_is_not_told_of_every_second(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Poisoned:
        """A log with work that is overdue, of something that nobody can read."""

        def __init__(self) -> None:
            about = {"topic": "volume.created", "backend": "files", "since": ""}
            self.rows = {"in_flight": [Found(f"{KEY}/1", 7, about, b"")]}
            self.decisions = 0

        async def read(self, _: Any, name: str, __: Any) -> list[Found]:
            return self.rows.get(name, [])

        def submit(self, command: Command) -> None:
            self.decisions += 1
            command.decide(Decision({KEY: Unreadable()}, Room()))

    poisoned: Any = Poisoned()
    poisoned.overdue = None
    watching = Watcher(poisoned, poisoned, DEADLINES)
    for _ in range(3):
        asyncio.run(watching.look())

    assert (poisoned.decisions, caplog.text.count("fault ")) == (1, 1)

    monkeypatch.setattr(watcher, "FAULT_AGAIN", -1.0)
    again = Watcher(poisoned, poisoned, DEADLINES)
    for _ in range(3):
        asyncio.run(again.look())

    assert poisoned.decisions == 4


def test_what_is_overdue_is_looked_for_again_once_the_log_is_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Away:
        """A log that is away at first, and then has nothing that is overdue."""

        reads = 0

        async def read(self, *_: Any) -> list[Found]:
            self.reads += 1
            if self.reads == 1:
                raise Unavailable
            return []

    async def scenario() -> None:
        away: Any = Away()
        watching = asyncio.ensure_future(Watcher(away, away, DEADLINES).run())

        async def all_was_read_twice() -> bool:
            return bool(watching.done() or away.reads > 4)

        away.overdue = None
        await eventually(all_was_read_twice)
        assert not watching.done()
        await ended(watching)

    monkeypatch.setattr(watcher, "EVERY", 0.01)
    asyncio.run(scenario())


@pytest.mark.parametrize("waits", CASES)
def test_the_age_of_what_waits_is_told(manager: VolumeManager, waits: str) -> None:
    case = CASES[waits]
    watched(manager, begun(case, 30))

    told = measured(tables(manager.recorder), manager.recorder, 0)

    allowed = getattr(DEADLINES, case.deadline)
    assert allowed - 30 <= told.oldest[waits] < allowed
    assert set(told.oldest) == set(CASES)


def test_a_stream_that_nobody_has_looked_at_is_not_called_late(
    manager: VolumeManager,
) -> None:
    watched(manager, begun(CASES["volume.created"], 30))
    known, recorder = tables(manager.recorder), manager.recorder

    unknown, late = (measured(known, recorder, last) for last in (None, 0))

    assert PUBLISHED not in unknown.lags | unknown.behind
    assert late.lags[PUBLISHED] > 0


def test_room_that_was_taken_for_nothing_is_given_back(manager: VolumeManager) -> None:
    [volume] = begun(CASES["volume.created"], -30)

    watched(manager, [volume])

    assert rebuilt(manager.recorder)[volume.id].allocated_gib == 0


def test_all_that_can_wait_has_its_deadline_and_its_case() -> None:
    statuses = [*Status, *SnapshotStatus, *AttachStatus, *Administration]
    working = {str(s) for s in statuses if s.endswith("ing")}
    between = {s for s in working if not s.startswith("error_")} | {"reserved"}
    between -= {"restoring"}  # as long as its volume is reverting

    assert WORK.keys() == set(language.INTENTS)
    assert CASES.keys() == WORK.keys() | HOLDS.keys()
    assert between <= {case.meanwhile for case in CASES.values()}
    assert {c.deadline for c in CASES.values()} == {f.name for f in fields(Deadlines)}
