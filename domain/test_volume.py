"""Volumes, given what happened before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import reduce
from typing import Any
from uuid import UUID, uuid4

import pytest

from domain import log
from domain.aggregate import (
    Done,
    Event,
    Intent,
    NotDone,
    NotInFlight,
    Outcome,
    OutOfOrder,
)
from domain.attachment import ATTACHMENT, AttachStatus
from domain.holding import UnknownAttachment
from domain.lifecycle import Lifecycle, Refused
from domain.provenance import MOMENT, Provenance, Ran
from domain.volume import Undersized, Volume
from domain.volume_status import ALREADY_MANAGED, LIFECYCLE, SHOWN, Status

DONE = Done(location="/volumes/db", connection={"data": {}}, found=True)
FAILED = NotDone("driver_failed", "the disk is broken")
CONNECTOR = {"host": "node-1"}


def available(**described: Any) -> Volume:
    volume = Volume.create(uuid4(), size_gib=1, backend="files", **described)
    settle(volume, DONE)
    return volume


def settle(volume: Volume, result: Done | NotDone) -> None:
    """Report the newest of what is in flight."""
    volume.report(max(volume.in_flight), result)


def connected(volume: Volume, instance: str = "web-1") -> UUID:
    """Let an instance attach, the new way."""
    attachment_id = uuid4()
    volume.hold(attachment_id, instance=instance)
    volume.connect(attachment_id, CONNECTOR)
    settle(volume, DONE)
    volume.complete(attachment_id)
    return attachment_id


def replayed(history: Sequence[Event]) -> Volume:
    volume: Any = reduce(lambda before, event: event.mutate(before), history, None)
    return volume  # type: ignore[no-any-return]


def test_a_refused_command_records_nothing() -> None:
    volume = available()
    volume.collect_events()

    with pytest.raises(Refused, match="cannot complete while available"):
        LIFECYCLE.after("complete", volume)

    assert volume.collect_events() == []


def test_replaying_the_log_gives_the_same_volume() -> None:
    volume = available()
    volume.detach(connected(volume))
    settle(volume, DONE)
    volume.extend(2)

    history = volume.collect_events()

    assert vars(replayed(history)) == vars(volume)


def test_replay_does_not_consult_the_lifecycle(monkeypatch: pytest.MonkeyPatch) -> None:
    volume = available()
    volume.reserve()
    history = volume.collect_events()
    for table in (LIFECYCLE, ATTACHMENT):
        monkeypatch.setattr(table, "after", lambda *_: pytest.fail("asked"))

    assert replayed(history).status == Status.ATTACHING


def test_an_event_is_not_applied_out_of_order() -> None:
    created, finished = available().collect_events()

    with pytest.raises(OutOfOrder):
        finished.mutate(replayed([created, finished]))


def test_the_strongest_attachment_is_shown() -> None:
    volume = available(multiattach=True)
    first = connected(volume)
    volume.hold(uuid4(), instance="web-2")

    volume.begin_detaching(first)

    assert volume.status == Status.DETACHING


def test_no_mode_is_promised_against_a_read_only_volume() -> None:
    volume = available()
    volume.update(readonly=True)

    with pytest.raises(Refused, match="not writable"):
        volume.attach(instance="web-1", mode="rw")
    with pytest.raises(Refused, match="not writable"):
        volume.hold(uuid4(), instance="web-1", mode="rw")
    volume.attach(instance="web-1")

    [attachment] = volume.attachments.values()
    assert attachment.mode == "ro"


def test_what_was_promised_in_one_mode_is_not_attached_in_another() -> None:
    volume = available()
    volume.hold(uuid4(), instance="web-1", mode="rw")

    with pytest.raises(Refused, match="not attached as rw"):
        volume.attach(instance="web-1", mode="ro")


def test_what_was_promised_in_one_mode_is_attached_in_that() -> None:
    volume = available()
    volume.hold(attachment_id := uuid4(), instance="web-1", mode="ro")
    volume.connect(attachment_id, CONNECTOR)
    settle(volume, DONE)

    volume.attach(instance="web-1")

    assert volume.attachments[attachment_id].mode == "ro"


def test_a_connection_says_of_what_it_is_and_how_to_use_it() -> None:
    volume = available()
    volume.hold(attachment_id := uuid4(), instance="web-1", mode="ro")
    volume.connect(attachment_id, CONNECTOR)
    told = {"driver_volume_type": "iscsi", "data": {"target_lun": 1}}

    settle(volume, Done(connection=told))

    used = {"volume_id": str(volume.id), "access_mode": "ro", "encrypted": False}
    assert volume.attachments[attachment_id].connection == {
        "driver_volume_type": "iscsi",
        "data": {"target_lun": 1, **used},
    }


@pytest.mark.parametrize("mode", [None, "ro"])
def test_attaching_again_adds_nothing(mode: str | None) -> None:
    volume = available()
    volume.attach(instance="web-1", mode="ro")
    version = volume.version

    volume.attach(instance="web-1", mode=mode)

    assert volume.version == version


def test_a_promise_without_a_name_is_claimed_by_whoever_attaches() -> None:
    volume = available()
    volume.reserve()

    volume.attach(instance="web-1")

    holds = volume.attachments.values()
    assert [(a.instance, a.mode) for a in holds] == [("web-1", "rw")]


def test_a_promise_with_a_name_is_not_claimed_by_another() -> None:
    volume = available()
    volume.hold(uuid4(), instance="web-1")

    with pytest.raises(Refused, match="cannot attach while reserved, not multiattach"):
        volume.attach(instance="web-2")


def test_a_host_that_is_let_in_for_one_instance_is_not_claimed_by_another() -> None:
    volume = connecting()

    with pytest.raises(Refused, match="cannot attach while attaching, not multi"):
        volume.attach(instance="web-2")


@pytest.mark.parametrize("connects", [False, True])
def test_unreserving_leaves_named_holds_alone(*, connects: bool) -> None:
    volume = connecting() if connects else available()
    if not connects:
        volume.hold(uuid4(), instance="web-1")
    version = volume.version

    volume.unreserve()

    assert volume.version == version


def test_unreserving_leaves_a_host_alone_that_uses_the_volume() -> None:
    volume = available()
    volume.look_for_session(let_in(volume))
    settle(volume, DONE)
    version = volume.version

    volume.unreserve()

    assert (volume.version, volume.status) == (version, Status.IN_USE)


def let_in(volume: Volume, host: str = "node-1") -> UUID:
    """Reserve for nobody in particular, and let a host reach the volume for it."""
    volume.reserve()
    attachment_id = [*volume.attachments][-1]
    volume.connect(attachment_id, {"host": host})
    settle(volume, DONE)
    return attachment_id


def test_unreserving_takes_the_way_back_that_a_host_was_given() -> None:
    volume = available()
    attachment_id = let_in(volume)

    volume.unreserve()

    assert volume.attachments[attachment_id].status == AttachStatus.DETACHING
    settle(volume, DONE)
    assert (volume.status, volume.attachments) == (Status.AVAILABLE, {})


def test_unreserving_drops_what_no_host_was_let_in_for_first() -> None:
    volume = available(multiattach=True)
    attachment_id = let_in(volume)
    volume.reserve()

    volume.unreserve()

    assert [*volume.attachments] == [attachment_id]
    assert not volume.in_flight


def test_a_promise_is_not_claimed_by_another_host_than_it_was_connected_from() -> None:
    volume = available()
    let_in(volume, "node-1")

    with pytest.raises(Refused, match="cannot attach while attaching, not multiattach"):
        volume.attach(host="node-2")


@pytest.mark.parametrize("holder", [{"host": "node-1"}, {"instance": "web-1"}])
def test_a_promise_is_claimed_by_the_host_that_it_was_connected_from(
    holder: dict[str, str],
) -> None:
    volume = available()
    attachment_id = let_in(volume, "node-1")

    volume.attach(**holder)

    assert volume.attachments[attachment_id].status == AttachStatus.ATTACHED


def test_an_instance_is_attached_where_it_was_connected() -> None:
    volume = connecting()

    with pytest.raises(Refused, match="not reached from node-2"):
        volume.attach(instance="web-1", host="node-2")
    volume.attach(instance="web-1", host="node-1")

    assert volume.status == Status.IN_USE


def test_a_host_may_call_itself_otherwise_than_its_caller_does() -> None:
    volume = available()
    volume.hold(attachment_id := uuid4(), host="compute-1")
    volume.connect(attachment_id, CONNECTOR)
    settle(volume, DONE)

    volume.attach(host="compute-1")

    assert volume.attachments[attachment_id].status == AttachStatus.ATTACHED


def test_another_host_has_a_hold_of_its_own_on_a_volume_that_may_be_shared() -> None:
    volume = available(multiattach=True)
    let_in(volume, "node-1")

    volume.attach(host="node-2")

    assert [a.host for a in volume.attachments.values()] == [None, "node-2"]


def test_among_several_holds_the_one_meant_is_named() -> None:
    volume = available(multiattach=True)
    first = connected(volume)
    connected(volume, "web-2")

    with pytest.raises(Refused, match="not attachment_id given"):
        volume.detach()
    volume.detach(first)

    assert volume.attachments[first].status == AttachStatus.DETACHING


def test_of_what_nobody_holds_nothing_is_taken() -> None:
    volume = available()
    version = volume.version

    volume.detach()
    with pytest.raises(Refused, match="while available, not attached"):
        volume.begin_detaching()

    assert volume.version == version


def test_an_attachment_that_never_was_is_unknown() -> None:
    with pytest.raises(UnknownAttachment):
        available().detach(uuid4())


@pytest.mark.parametrize(
    ("command", "asks"),
    [
        ("connect", lambda volume, key: volume.connect(key, CONNECTOR)),
        ("complete", Volume.complete),
        ("begin_detaching", Volume.begin_detaching),
        ("roll_detaching", Volume.roll_detaching),
    ],
)
def test_what_is_asked_of_a_hold_that_is_gone_is_refused_by_name(
    command: str, asks: Callable[[Volume, UUID], None]
) -> None:
    volume = available()
    attachment_id = connected(volume)
    volume.detach(attachment_id)
    settle(volume, DONE)

    with pytest.raises(Refused) as refused:
        asks(volume, attachment_id)

    assert refused.value.command == command
    assert refused.value.status == AttachStatus.DETACHED


def test_letting_go_twice_adds_nothing() -> None:
    volume = available()
    attachment_id = connected(volume)
    volume.detach(attachment_id)
    settle(volume, DONE)
    version = volume.version

    volume.detach(attachment_id)

    assert volume.version == version


def test_letting_go_again_while_a_backend_is_at_it_adds_nothing() -> None:
    volume = available()
    attachment_id = connected(volume)
    volume.detach(attachment_id)

    volume.detach(attachment_id)
    settle(volume, DONE)

    assert (volume.status, volume.in_flight) == (Status.AVAILABLE, {})


def test_letting_go_of_what_was_never_connected_asks_no_backend() -> None:
    volume = available()
    volume.hold(attachment_id := uuid4(), instance="web-1")

    volume.detach(attachment_id)

    assert (volume.status, volume.in_flight) == (Status.AVAILABLE, {})


def test_a_host_that_could_not_be_taken_off_still_holds_the_volume() -> None:
    volume = available()
    volume.detach(connected(volume))

    settle(volume, FAILED)

    assert volume.status == Status.IN_USE
    with pytest.raises(Refused):
        volume.delete(force=True)


def test_who_never_got_on_may_try_anew() -> None:
    volume = available()
    volume.hold(first := uuid4(), instance="web-1")
    volume.connect(first, CONNECTOR)
    settle(volume, FAILED)

    connected(volume)
    volume.attach(instance="web-1")

    assert volume.attachments[first].status == AttachStatus.ERROR_ATTACHING
    assert volume.status == Status.IN_USE


def test_a_host_that_never_got_on_does_not() -> None:
    volume = available()
    volume.hold(attachment_id := uuid4(), instance="web-1")
    volume.connect(attachment_id, CONNECTOR)

    settle(volume, FAILED)

    assert volume.attachments[attachment_id].status == AttachStatus.ERROR_ATTACHING
    assert volume.status == Status.AVAILABLE


@pytest.mark.parametrize(
    ("begin", "ended"),
    [(Volume.delete, "deleted"), (Volume.unmanage, "no longer managed")],
)
def test_who_never_got_on_holds_nothing_of_a_volume_that_is_gone(
    begin: Callable[[Volume], None], ended: str
) -> None:
    volume = available()
    volume.hold(attachment_id := uuid4(), instance="web-1")
    volume.connect(attachment_id, CONNECTOR)
    settle(volume, FAILED)

    begin(volume)
    settle(volume, DONE)

    released = [e for e in volume.collect_events() if isinstance(e, Volume.Released)]
    assert [e.why.endswith(ended) for e in released] == [True]
    assert volume.attachments == {}
    assert volume.gone[attachment_id].status == AttachStatus.DETACHED


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize(
    "command",
    [
        lambda volume: volume.attach(instance="web-1"),
        lambda volume: volume.complete(*volume.attachments),
    ],
)
def test_nobody_is_attached_by_a_way_that_is_still_being_given(
    command: Callable[[Volume], None], *, before: bool
) -> None:
    volume = connecting() if before else available()
    if not before:
        volume.hold(uuid4(), instance="web-1")
    [held] = volume.attachments
    volume.connect(held, CONNECTOR)

    with pytest.raises(Refused, match="while attaching, not connected"):
        command(volume)
    settle(volume, FAILED)

    assert volume.status == Status.AVAILABLE


@pytest.mark.parametrize(
    "command",
    [
        lambda volume: volume.update(readonly=True),
        lambda volume: volume.revert(UUID(int=5), MOMENT.get().timestamp, 1),
        lambda volume: volume.delete(),
        lambda volume: volume.unmanage(),
    ],
)
@pytest.mark.parametrize("given", [False, True])
def test_a_host_that_has_a_way_or_is_being_given_one_finds_the_volume_as_it_was(
    command: Callable[[Volume], None], *, given: bool
) -> None:
    volume = available()
    volume.export(CONNECTOR)
    if given:
        settle(volume, DONE)

    with pytest.raises(Refused, match="not disconnected"):
        command(volume)
    volume.unexport(CONNECTOR)
    settle(volume, DONE)
    volume.update(readonly=True)


def test_an_export_that_another_hold_reaches_the_volume_by_is_shared() -> None:
    volume = available(multiattach=True)
    first = connected(volume)
    connected(volume, "web-2")

    volume.detach(first)

    [intent] = volume.in_flight.values()
    assert isinstance(intent, Volume.DisconnectionStarted)
    assert intent.shared


def test_an_ordinary_volume_is_connected_for_one_hold_at_a_time() -> None:
    volume = available()
    connected(volume)
    volume.hold(second := uuid4(), instance="web-1")

    with pytest.raises(Refused, match="cannot connect while in-use, not multiattach"):
        volume.connect(second, {"host": "node-2"})


@pytest.mark.parametrize("command", ["attach", "connect", "detach"])
def test_nothing_is_attached_or_taken_off_in_maintenance(command: str) -> None:
    volume = available()
    volume.status = Status.MAINTENANCE

    with pytest.raises(Refused, match="while maintenance"):
        LIFECYCLE.after(command, volume)


@pytest.mark.parametrize(
    "asked",
    [
        lambda volume, _: volume.attach(instance="web-1"),
        lambda volume, held: volume.connect(held, CONNECTOR),
        Volume.begin_detaching,
        Volume.roll_detaching,
        Volume.detach,
    ],
)
def test_a_hold_stays_as_it_is_in_maintenance(
    asked: Callable[[Volume, UUID], None],
) -> None:
    volume = available()
    attachment_id = connected(volume)
    if asked is Volume.roll_detaching:
        volume.begin_detaching()
    volume.status = Status.MAINTENANCE
    version = volume.version

    with pytest.raises(Refused, match="while maintenance"):
        asked(volume, attachment_id)

    assert volume.version == version


@pytest.mark.parametrize("size_gib", [1, 0, -1])
def test_a_volume_only_grows(size_gib: int) -> None:
    with pytest.raises(Undersized):
        available().extend(size_gib)


def test_a_volume_that_could_not_grow_can_be_asked_to_again() -> None:
    volume = available()
    connected(volume)
    volume.extend(2)
    settle(volume, FAILED)
    assert (volume.status, volume.size_gib) == (Status.ERROR_EXTENDING, 1)

    volume.extend(2)
    settle(volume, DONE)

    assert (volume.status, volume.size_gib) == (Status.IN_USE, 2)


@pytest.mark.parametrize(
    "asked",
    [Volume.delete, lambda volume: volume.delete(force=True), Volume.unmanage],
)
def test_a_held_volume_that_could_not_grow_stays(
    asked: Callable[[Volume], None],
) -> None:
    volume = available()
    volume.attach(instance="web-1")
    volume.extend(2)
    settle(volume, FAILED)

    with pytest.raises(Refused, match="while error_extending, not d"):
        asked(volume)

    assert volume.status == Status.ERROR_EXTENDING


def test_who_was_turned_away_and_is_going_keeps_no_volume() -> None:
    volume = available()
    volume.hold(attachment_id := uuid4(), instance="web-1")
    volume.connect(attachment_id, CONNECTOR)
    settle(volume, FAILED)
    volume.detach(attachment_id)

    volume.delete()
    settle(volume, DONE)

    assert (volume.status, volume.attachments) == (Status.DELETED, {})


def broken() -> Volume:
    volume = Volume.create(uuid4(), size_gib=1, backend="files")
    settle(volume, FAILED)
    return volume


def not_grown() -> Volume:
    volume = available()
    volume.extend(2)
    settle(volume, FAILED)
    return volume


@pytest.mark.parametrize("made", [available, broken, not_grown])
@pytest.mark.parametrize("asked", [Volume.delete, Volume.unmanage])
def test_a_busy_volume_is_what_it_was(
    made: Callable[[], Volume], asked: Callable[[Volume], None]
) -> None:
    volume = made()
    before = volume.status
    asked(volume)

    settle(volume, NotDone("busy", "process 7 has it open", busy=True))

    assert volume.status == before


def test_asking_for_deletion_twice_adds_nothing() -> None:
    volume = available()
    volume.delete()
    version = volume.version

    volume.delete()
    settle(volume, DONE)
    volume.delete()

    assert volume.version == version + 1


def test_asking_to_forget_twice_adds_nothing() -> None:
    volume = available()
    volume.unmanage()
    version = volume.version

    volume.unmanage()
    settle(volume, DONE)
    volume.unmanage()

    assert volume.version == version + 1


def test_saying_what_is_so_already_adds_nothing() -> None:
    volume = available(name="db")
    volume.collect_events()

    volume.update(name="db", readonly=False)
    assert volume.collect_events() == []

    volume.attach(instance="web-1")
    volume.update(name="db", description="of the shop")

    [*_, updated] = volume.collect_events()
    assert b'"description"' in log.encode(updated)
    assert b'"name"' not in log.encode(updated)


@pytest.mark.parametrize("force", [False, True])
def test_a_deletion_says_whether_it_is_forced_and_how_it_was_cleared(
    *, force: bool
) -> None:
    volume = available()

    volume.delete(force=force)
    settle(volume, Done(cleared="zeroed"))

    *_, asked, deleted = volume.collect_events()
    assert isinstance(asked, Volume.DeletionStarted)
    assert isinstance(deleted, Volume.Deleted)
    assert (asked.force, deleted.cleared) == (force, "zeroed")


@pytest.mark.parametrize(
    ("asked", "progressed"),
    [
        (Volume.delete, Volume.DeletionProgressed),
        (lambda volume: volume.extend(2), None),
        (lambda volume: volume.export(CONNECTOR), None),
    ],
)
def test_it_is_noted_how_far_that_is_which_may_take_long(
    asked: Callable[[Volume], None], progressed: type[Event] | None
) -> None:
    volume = available()
    asked(volume)
    version = volume.version

    volume.progress(version, 50)

    told = [(type(e), e.percent) for e in volume.news(version)]  # type: ignore[attr-defined]
    assert told == ([(progressed, 50)] if progressed else [])
    assert version in volume.in_flight


GO = pytest.mark.parametrize("asked", [Volume.delete, Volume.unmanage])


@GO
@pytest.mark.parametrize("again", [Volume.delete, lambda v: v.delete(force=True)])
def test_what_could_not_go_can_be_asked_to_again(
    asked: Callable[[Volume], None], again: Callable[[Volume], None]
) -> None:
    volume = available()
    asked(volume)
    settle(volume, FAILED)

    again(volume)
    settle(volume, DONE)

    assert volume.status == Status.DELETED


def test_what_could_not_be_let_go_of_can_be_asked_to_again() -> None:
    volume = available()
    volume.unmanage()
    settle(volume, FAILED)

    volume.unmanage()
    settle(volume, DONE)

    assert (volume.status, volume.let_go) == (Status.DELETED, True)


@GO
@pytest.mark.parametrize("gone", [False, True])
def test_of_what_goes_nothing_else_is_said(
    asked: Callable[[Volume], None], *, gone: bool
) -> None:
    volume = available()
    asked(volume)
    if gone:
        settle(volume, DONE)

    with pytest.raises(Refused, match="cannot update"):
        volume.update(name="db")


LEAVES: list[Callable[[Volume], None]] = [
    Volume.delete,
    Volume.unmanage,
    Volume.delete_with_group,
    lambda volume: volume.cascade(force=True),
]


@pytest.mark.parametrize("asked", LEAVES)
def test_what_is_being_copied_goes_by_no_way(asked: Callable[[Volume], None]) -> None:
    volume = available()
    volume.begin_copy(copy_id := uuid4())

    with pytest.raises(Refused, match=f"not without volume {copy_id}"):
        asked(volume)
    volume.end_copy(copy_id)
    asked(volume)

    assert volume.status in (Status.DELETING, Status.UNMANAGING)


def test_a_member_with_a_snapshot_does_not_go_with_its_group() -> None:
    volume = available()
    volume.add_snapshot(snapshot_id := uuid4(), force=False)

    with pytest.raises(Refused, match=f"not without snapshot {snapshot_id}"):
        volume.delete_with_group()


def test_a_member_does_not_go_with_its_snapshots_alone() -> None:
    volume = available(group_id=uuid4())

    with pytest.raises(Refused, match="not outside group"):
        volume.cascade(force=False)


def test_a_cascade_of_what_is_gone_adds_nothing() -> None:
    volume = available()
    volume.delete()
    settle(volume, DONE)
    version = volume.version

    volume.cascade(force=False)

    assert volume.version == version


def test_a_reversion_that_failed_needs_the_snapshot_that_it_was_to() -> None:
    volume = available()
    older, latest = uuid4(), uuid4()
    for each in (older, latest):
        volume.add_snapshot(each, force=False)
    volume.revert(latest, MOMENT.get().timestamp, 1)
    settle(volume, FAILED)

    assert volume.needs(older) == []
    assert volume.needs(latest)


def test_a_volume_is_not_reverted_to_a_snapshot_of_another() -> None:
    with pytest.raises(Refused, match="not the volume that snapshot"):
        available().revert(uuid4(), MOMENT.get().timestamp, 1)


def test_a_forced_deletion_makes_other_work_moot() -> None:
    volume = Volume.create(uuid4(), size_gib=1, backend="files")

    volume.delete(force=True)

    assert list(volume.in_flight) == [2]
    with pytest.raises(NotInFlight):
        volume.report(1, DONE)


def test_an_outcome_is_asked_for_by_whoever_asked_for_the_work() -> None:
    *_, finished = available().collect_events()

    assert finished.provenance.actor == "test"


def test_a_volume_takes_what_was_asked_until_that_failed() -> None:
    volume = available()
    volume.extend(5)
    assert volume.allocated_gib == 5

    settle(volume, FAILED)

    assert volume.allocated_gib == 1


def given_up() -> Volume:
    """Return a volume that one backend could not make, and another one is to make."""
    volume = Volume.create(uuid4(), size_gib=3, backend="files", project="shop")
    volume.update(name="db")
    volume.reschedule(1, FAILED, backend="spare", considered=[])
    return volume


def test_what_one_backend_could_not_make_another_one_is_asked_for() -> None:
    volume = given_up()

    assert (volume.status, volume.backend) == (Status.CREATING, "spare")
    assert (volume.name, volume.project, volume.allocated_gib) == ("db", "shop", 3)
    assert volume.error
    assert volume.error.code == FAILED.code
    [intent] = volume.in_flight.values()
    assert volume.created_at == intent.timestamp
    with pytest.raises(NotInFlight):
        volume.report(1, DONE)

    settle(volume, DONE)
    assert volume.status == Status.AVAILABLE
    assert vars(volume)["error"] is None


def test_what_nobody_could_make_has_failed() -> None:
    volume = given_up()

    settle(volume, FAILED)

    assert (volume.status, volume.allocated_gib) == (Status.ERROR, 0)


def test_who_asked_for_a_volume_has_asked_every_backend_for_it() -> None:
    MOMENT.set(MOMENT.get()._replace(provenance=Provenance(actor="ana")))
    volume = Volume.create(uuid4(), size_gib=3, backend="files")
    MOMENT.set(MOMENT.get()._replace(provenance=Provenance(recorded_by="agent files")))
    volume.reschedule(1, FAILED, backend="spare", considered=[])

    told = [each.provenance for each in volume.collect_events()]
    assert [each.actor for each in told] == ["ana"] * 3
    assert [each.recorded_by for each in told] == ["", *["agent files"] * 2]


@pytest.mark.parametrize(
    ("lifecycle", "statuses"), [(LIFECYCLE, Status), (ATTACHMENT, AttachStatus)]
)
@pytest.mark.parametrize("answers", [True, False])
def test_the_compiled_table_answers_like_the_machine(
    lifecycle: Lifecycle[Any], statuses: type[Any], *, answers: bool
) -> None:
    class Anything:
        def __getattr__(self, _: str) -> bool:
            return answers

    for status in statuses:
        asked = Anything()
        asked.status = status  # type: ignore[attr-defined]
        for command in lifecycle.commands:
            trigger = lifecycle.machine.events[command]
            rows = trigger.transitions.get(status.name, [])
            allowed = [row for row in rows if answers or not row.conditions]
            if allowed:
                to = statuses[str(allowed[0].dest)]
                assert lifecycle.after(command, asked) == to
            else:
                with pytest.raises(Refused):
                    lifecycle.after(command, asked)


@pytest.mark.parametrize("answer", [DONE, Done(), FAILED])
def test_a_look_ends_though_its_attachment_is_gone(answer: Done | NotDone) -> None:
    volume = available()
    attachment_id = connected(volume)
    volume.begin_detaching(attachment_id)
    volume.look_for_session(attachment_id)
    look = volume.version
    volume.detach(attachment_id)
    volume.report(volume.version, DONE)

    volume.report(look, answer)

    assert (volume.in_flight, volume.status) == ({}, Status.AVAILABLE)
    assert volume.gone[attachment_id].ended == volume.version - 1


def test_a_connection_that_was_not_told_of_ends_with_the_disconnection() -> None:
    volume = available()
    attachment_id = uuid4()
    volume.hold(attachment_id, instance="web-1")
    volume.connect(attachment_id, CONNECTOR)
    connection = volume.version
    volume.detach(attachment_id)

    volume.report(volume.version, DONE)

    assert (volume.in_flight, volume.status) == ({}, Status.AVAILABLE)
    with pytest.raises(NotInFlight):
        volume.report(connection, DONE)


@pytest.mark.parametrize(("found", "held"), [(True, 1), (False, 0)])
def test_a_look_ends_the_hold_of_a_host_that_does_not_use_the_volume(
    found: bool,  # noqa: FBT001
    held: int,
) -> None:
    volume = connecting()
    volume.look_for_session(*volume.attachments)

    settle(volume, Done(found=found))

    assert (len(volume.attachments), len(volume.gone)) == (held, 1 - held)
    assert volume.status == (Status.IN_USE if found else Status.AVAILABLE)


def test_who_says_that_it_uses_the_volume_is_not_looked_for() -> None:
    volume = available()
    attachment_id = connected(volume)

    with pytest.raises(Refused, match="cannot look_for_session while attached"):
        volume.look_for_session(attachment_id)


@pytest.mark.parametrize(
    "asked",
    [
        lambda volume: volume.complete([*volume.attachments][-1]),
        lambda volume: volume.attach(instance="web-2"),
    ],
)
def test_nobody_begins_to_use_a_volume_that_is_growing(
    asked: Callable[[Volume], None],
) -> None:
    volume = available(multiattach=True)
    connected(volume)
    volume.hold(second := uuid4(), instance="web-2")
    volume.connect(second, CONNECTOR)
    settle(volume, DONE)
    volume.extend(2)

    with pytest.raises(Refused, match="while extending"):
        asked(volume)


def test_a_look_does_not_end_what_was_asked_for_since() -> None:
    volume = available()
    attachment_id = connected(volume)
    volume.begin_detaching(attachment_id)
    volume.look_for_session(attachment_id)
    look = volume.version
    volume.roll_detaching(attachment_id)
    volume.connect(attachment_id, {"host": "node-1"})

    volume.report(look, Done(found=False))

    assert volume.attachments[attachment_id].status == AttachStatus.ATTACHED


def test_a_look_does_not_end_a_hold_whose_host_is_let_in_once_more() -> None:
    volume = connecting()
    [attachment_id] = volume.attachments
    volume.look_for_session(attachment_id)
    look = volume.version
    volume.connect(attachment_id, CONNECTOR)

    volume.report(look, Done(found=False))
    settle(volume, DONE)

    assert volume.attachments[attachment_id].status == AttachStatus.ATTACHING


def test_a_promise_that_nobody_used_ends() -> None:
    volume = available()
    volume.hold(attachment_id := uuid4(), instance="web-1")

    volume.expire(attachment_id)

    assert volume.status == Status.AVAILABLE
    assert volume.gone[attachment_id].status == AttachStatus.DETACHED


def promised() -> Volume:
    volume = available()
    volume.reserve()
    return volume


def connecting() -> Volume:
    volume = available()
    volume.hold(attachment_id := uuid4(), instance="web-1")
    volume.connect(attachment_id, CONNECTOR)
    settle(volume, DONE)
    return volume


def letting_go() -> Volume:
    volume = available()
    volume.attach(instance="web-1")
    volume.begin_detaching()
    return volume


@pytest.mark.parametrize(
    ("begun", "said"),
    [
        (promised, lambda volume: volume.attach(instance="web-1")),
        (connecting, lambda volume: volume.complete(*volume.attachments)),
        (letting_go, lambda volume: volume.roll_detaching()),
    ],
)
def test_a_look_does_not_end_what_its_holder_has_said_since(
    begun: Callable[[], Volume], said: Callable[[Volume], None]
) -> None:
    volume = begun()
    volume.look_for_session(*volume.attachments)
    look = volume.version
    said(volume)

    volume.report(look, Done(found=False))

    assert (volume.in_flight, volume.status) == ({}, Status.IN_USE)


def test_what_was_told_of_a_hold_stays_where_nothing_else_is_said() -> None:
    volume = available()
    told = {"host": "node-1", "mode": "ro"}
    volume.hold(attachment_id := uuid4(), instance="web-1", **told)
    volume.connect(attachment_id, CONNECTOR, mountpoint="/dev/vdb")
    settle(volume, DONE)
    volume.connect(attachment_id, CONNECTOR)
    settle(volume, DONE)
    known = volume.attachments[attachment_id]

    volume.complete(attachment_id)

    told = told | {"instance": "web-1", "mountpoint": "/dev/vdb"}
    attached = volume.attachments[attachment_id]
    assert known.mountpoint == "/dev/vdb"
    assert {name: getattr(attached, name) for name in told} == told


def test_who_attaches_says_where_and_how() -> None:
    volume = available()
    volume.reserve()

    volume.attach(host="node-1", mode="ro", mountpoint="/dev/vdb")

    [attached] = volume.attachments.values()
    assert (attached.host, attached.mode) == ("node-1", "ro")
    assert attached.mountpoint == "/dev/vdb"


def test_saying_twice_that_the_host_uses_it_adds_nothing() -> None:
    volume = available()
    attachment_id = connected(volume)
    version = volume.version

    volume.complete(attachment_id)

    assert volume.version == version


def test_a_hold_is_of_one_host() -> None:
    volume = available()
    attachment_id = connected(volume)

    with pytest.raises(Refused, match="not reached from node-1"):
        volume.connect(attachment_id, {"host": "node-2"})


def test_an_instance_that_is_attached_is_not_told_of_another_mode() -> None:
    volume = available()
    volume.attach(instance="web-1", mode="ro")

    with pytest.raises(Refused, match="not attached as rw"):
        volume.attach(instance="web-1", mode="rw")


def test_a_host_that_is_being_taken_off_does_not_stay() -> None:
    volume = available()
    attachment_id = connected(volume)
    volume.detach(attachment_id)

    with pytest.raises(Refused):
        volume.roll_detaching(attachment_id)


def test_no_machine_keeps_a_volume_alive() -> None:
    assert not LIFECYCLE.machine.models


def test_every_attachment_status_has_its_place() -> None:
    assert set(SHOWN) == set(AttachStatus)


def managing() -> Volume:
    return Volume.manage(uuid4(), backend="files", reference={"source-name": "db"})


def not_managed() -> Volume:
    volume = managing()
    settle(volume, FAILED)
    return volume


def managed() -> Volume:
    volume = managing()
    settle(volume, Done(location="/volumes/db", size_gib=3))
    return volume


def test_a_volume_that_was_not_taken_over_says_what_can_be_done() -> None:
    error = not_managed().error

    assert error
    assert error.message.startswith(f"{FAILED.message}; manage it again under this id")


def test_a_volume_takes_its_room_once_its_size_is_known() -> None:
    assert (managing().size_gib, managing().allocated_gib) == (0, 0)
    assert (managed().size_gib, managed().allocated_gib) == (3, 3)


@pytest.mark.parametrize("begin", [managing, not_managed])
@pytest.mark.parametrize("busy", [True, False])
def test_what_was_never_ours_is_let_go_and_never_deleted(
    begin: Callable[[], Volume], *, busy: bool
) -> None:
    volume = begin()

    volume.delete(force=True)
    settle(volume, NotDone("driver_failed", "the disk is broken", busy=busy))
    assert volume.status == Status.ERROR_MANAGING
    volume.delete()

    asked = [type(e) for e in volume.collect_events() if isinstance(e, Intent)]
    assert asked == [
        Volume.ManagingStarted,
        Volume.UnmanagingStarted,
        Volume.UnmanagingStarted,
    ]


def test_what_others_have_is_left_alone_however_often_it_is_let_go_of() -> None:
    volume = managing()
    settle(volume, NotDone(ALREADY_MANAGED, "somebody has it"))

    volume.unmanage()
    settle(volume, FAILED)
    volume.unmanage()

    asked = [
        i for i in volume.in_flight.values() if i.TOPIC.endswith("unmanaging_started")
    ]
    assert [(i.left_alone, i.never_ours) for i in asked] == [(True, False)]  # type: ignore[attr-defined]


def test_what_comes_of_taking_over_after_it_was_let_go_changes_nothing() -> None:
    volume = managing()
    volume.delete(force=True)

    with pytest.raises(NotInFlight):
        volume.report(1, Done(location="/volumes/db", size_gib=3))

    assert volume.status == Status.UNMANAGING


def test_a_volume_as_the_log_has_it_is_what_it_was() -> None:
    history = available().collect_events()
    read = replayed([log.decode(e.TOPIC, log.encode(e)) for e in history])
    read.delete()

    settle(read, NotDone("busy", "in use", busy=True))

    assert read.status == Status.AVAILABLE


def test_a_volume_that_was_let_go_may_come_back() -> None:
    volume = managed()
    volume.unmanage()
    settle(volume, Done(reference={"source-name": "volume-1"}))
    assert (volume.status, volume.allocated_gib) == (Status.DELETED, 0)

    volume.manage_again(backend="files", reference={"source-name": "volume-1"})
    settle(volume, Done(location="/volumes/db", size_gib=4))

    assert (volume.status, volume.allocated_gib) == (Status.AVAILABLE, 4)
    history = volume.collect_events()
    assert vars(replayed(history)) == vars(volume)
    assert not [event for event in history if isinstance(event, Volume.Updated)]


def test_a_volume_that_comes_back_is_as_writable_as_others() -> None:
    volume = managed()
    volume.update(readonly=True)
    volume.unmanage()
    settle(volume, DONE)

    volume.manage_again(backend="files", reference={"source-name": "volume-1"})
    settle(volume, Done(location="/volumes/db", size_gib=4))

    assert (volume.readonly, volume.status) == (False, Status.AVAILABLE)
    assert vars(replayed(volume.collect_events())) == vars(volume)


def after_failing(code: str) -> Volume:
    volume = managing()
    settle(volume, NotDone(code, "it was not taken over"))
    return volume


def let_go_of() -> Volume:
    volume = after_failing("deadline")
    volume.delete()
    settle(volume, DONE)
    return volume


def not_let_go_of(code: str = "invalid_reference") -> Volume:
    volume = after_failing(code)
    volume.delete()
    settle(volume, FAILED)
    return volume


@pytest.mark.parametrize(
    "begin",
    [
        lambda: after_failing("deadline"),
        lambda: after_failing("driver_failed"),
        not_let_go_of,
    ],
)
def test_what_may_have_been_taken_over_is_not_asked_of_another_backend(
    begin: Callable[[], Volume],
) -> None:
    volume = begin()

    with pytest.raises(Refused, match="not on backend files, which may have taken"):
        volume.manage_again(backend="lvm", reference={"source-name": "db"})
    volume.manage_again(backend="files", reference={"source-name": "db"})

    assert volume.backend == "files"


@pytest.mark.parametrize(
    "begin",
    [
        lambda: after_failing("invalid_reference"),
        lambda: after_failing(ALREADY_MANAGED),
        let_go_of,
        lambda: not_let_go_of(ALREADY_MANAGED),
    ],
)
def test_of_what_was_not_taken_over_another_backend_may_be_asked(
    begin: Callable[[], Volume],
) -> None:
    volume = begin()

    volume.manage_again(backend="lvm", reference={"source-name": "db"})

    assert volume.backend == "lvm"


@pytest.mark.parametrize(
    ("code", "in_vain"),
    [("deadline", [0, 1, 2]), ("invalid_reference", [1, 2]), (ALREADY_MANAGED, [1, 2])],
)
def test_what_takes_over_again_is_told_when_that_was_tried_in_vain(
    code: str, in_vain: list[int]
) -> None:
    volume = managing()
    for why in ("deadline", code, "deadline"):
        later()
        settle(volume, NotDone(why, "it was not taken over"))
        volume.manage_again(backend="files", reference={"source-name": "db"})

    asked = [
        e for e in volume.collect_events() if isinstance(e, Volume.ManagingStarted)
    ]
    times = [each.timestamp for each in asked]
    assert asked[-1].in_vain == [times[which] for which in in_vain]
    assert asked[-1].earlier == times[2]  # for an agent of an earlier version


def later() -> None:
    """Let a second go by."""
    moment = MOMENT.get()
    MOMENT.set(moment._replace(timestamp=moment.timestamp + timedelta(seconds=1)))


def test_a_volume_that_was_deleted_does_not_come_back() -> None:
    volume = managed()
    volume.unmanage()
    settle(volume, DONE)
    volume.manage_again(backend="files", reference={"source-name": "volume-1"})
    settle(volume, DONE)
    volume.delete()
    settle(volume, DONE)

    with pytest.raises(Refused, match="not let_go"):
        volume.manage_again(backend="files", reference={"source-name": "volume-1"})


def test_an_outcome_says_what_was_run_for_it() -> None:
    volume = Volume.create(uuid4(), size_gib=1, backend="fast")
    ran = Ran("lvcreate -n volume-1", 3.5, 0)
    MOMENT.set(MOMENT.get()._replace(ran=(ran,)))

    settle(volume, DONE)

    [asked, outcome] = volume.collect_events()
    assert isinstance(outcome, Outcome)
    assert outcome.commands == (ran,)
    assert log.decode(outcome.TOPIC, log.encode(outcome)) == outcome
    assert b"commands" not in log.encode(asked)


def test_an_outcome_for_which_nothing_was_run_says_nothing_of_it() -> None:
    outcome = available().collect_events()[-1]

    assert b"commands" not in log.encode(outcome)
