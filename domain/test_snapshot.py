"""Snapshots, given what happened before."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from domain.aggregate import Done, NotDone, NotInFlight
from domain.lifecycle import Refused
from domain.snapshot import Snapshot, SnapshotStatus

S = SnapshotStatus
BUSY = NotDone("busy", "something reads it", busy=True)
FAILED = NotDone("driver_failed", "the disk is broken")
ASKS = pytest.mark.parametrize("ask", [Snapshot.delete, Snapshot.unmanage])


def asked() -> Snapshot:
    """Return a snapshot that is being taken."""
    about: Any = {"volume_id": uuid4(), "backend": "files", "size_gib": 2}
    return Snapshot.create(uuid4(), **about)


def taken() -> Snapshot:
    snapshot = asked()
    settle(snapshot, Done(location="/there"))
    return snapshot


def settle(snapshot: Snapshot, result: Done | NotDone) -> None:
    """Let the backend tell what came of what it was asked last."""
    snapshot.report(max(snapshot.in_flight), result)


@ASKS
def test_asking_for_what_goes_or_has_gone_adds_nothing(ask: Any) -> None:
    snapshot = taken()

    for _ in range(2):
        ask(snapshot)
    assert snapshot.version == 3
    settle(snapshot, Done())
    ask(snapshot)

    assert (snapshot.version, snapshot.status) == (4, S.DELETED)
    assert snapshot.allocated_gib == 0


def test_one_that_is_being_taken_goes_by_force_alone_and_is_taken_no_more() -> None:
    snapshot = asked()

    for ask in (snapshot.check_goes, snapshot.delete):
        with pytest.raises(Refused):
            ask(force=False)
    snapshot.check_goes(force=True)
    snapshot.delete(force=True)

    assert snapshot.status == S.DELETING
    with pytest.raises(NotInFlight):
        snapshot.report(1, Done(location="/there"))


@pytest.mark.parametrize(
    ("ask", "why", "event", "status"),
    [
        (Snapshot.delete, BUSY, Snapshot.DeletionPutOff, S.AVAILABLE),
        (Snapshot.delete, FAILED, Snapshot.DeletionFailed, S.ERROR_DELETING),
        (Snapshot.unmanage, BUSY, Snapshot.UnmanagingPutOff, S.AVAILABLE),
        (Snapshot.unmanage, FAILED, Snapshot.UnmanagingFailed, S.ERROR_DELETING),
    ],
)
def test_one_that_is_in_use_is_as_before_and_one_that_failed_to_go_is_not(
    ask: Any, why: NotDone, event: type, status: SnapshotStatus
) -> None:
    snapshot = taken()

    ask(snapshot)
    settle(snapshot, why)

    assert type(snapshot.collect_events()[-1]) is event
    assert (snapshot.status, snapshot.allocated_gib) == (status, 2)


@ASKS
def test_one_that_failed_to_go_can_be_asked_to_go_and_is_not_whole_for_being_in_use(
    ask: Any,
) -> None:
    snapshot = taken()

    for why in (FAILED, BUSY):
        ask(snapshot)
        settle(snapshot, why)

    assert snapshot.status == S.ERROR_DELETING


def test_one_that_could_not_be_taken_takes_no_room_and_can_be_deleted() -> None:
    snapshot = asked()

    settle(snapshot, FAILED)
    assert (snapshot.status, snapshot.allocated_gib) == (S.ERROR, 0)
    snapshot.delete()

    assert snapshot.status == S.DELETING


def test_only_taking_it_tells_how_much_of_it_there_is() -> None:
    snapshot, going = asked(), taken()
    going.delete()

    snapshot.progress(1, 40)
    going.progress(max(going.in_flight), 40)

    assert (snapshot.percent, going.percent) == (40, 100)
    assert going.status == S.DELETING


def test_whoever_waits_does_so_until_it_is_taken_restored_or_gone() -> None:
    snapshot = asked()
    seen = [snapshot.unsettled]

    settle(snapshot, Done(location="/there"))
    seen.append(snapshot.unsettled)
    snapshot.restore()
    seen.append(snapshot.unsettled)
    snapshot.end_restoration()
    seen.append(snapshot.unsettled)
    snapshot.delete()
    seen.append(snapshot.unsettled)

    assert seen == [True, False, True, False, True]
