"""Backends, given what happened before."""

from __future__ import annotations

from datetime import timedelta
from functools import reduce
from typing import Any
from uuid import UUID

import pytest

from domain.aggregate import Done, NotDone, NotInFlight, Outcome
from domain.backend import MOST_DRIFT, Administration, Backend, LeaseLost, Told, id_of
from domain.drift import Drift, Remedy, Subject
from domain.provenance import MOMENT


def announced() -> Backend:
    backend = Backend.taken_over("files", 1, "disk 7 of node-1", "node-1")
    backend.announce("node-1", "FileDriver", "local")
    return backend


def test_a_new_backend_is_enabled() -> None:
    assert announced().status == Administration.ENABLED


def test_announcing_what_is_known_adds_nothing() -> None:
    backend = announced()

    backend.announce("node-1", "FileDriver", "local")

    assert backend.version == 2


def test_what_an_agent_does_not_know_yet_changes_nothing() -> None:
    backend = announced()

    backend.announce("node-1", "FileDriver", None)

    assert (backend.version, backend.storage_protocol) == (2, "local")


def test_a_backend_that_moved_says_so() -> None:
    backend = announced()

    backend.announce("node-2", "FileDriver", "local")

    assert (backend.version, backend.host) == (3, "node-2")


def test_whoever_takes_a_backend_over_ends_the_lease_before() -> None:
    backend = announced()

    backend.take_lease(2, "disk 9 of node-2", "node-2")

    backend.check_lease(2)
    with pytest.raises(LeaseLost):
        backend.check_lease(1)


def test_a_disabled_backend_is_taken_over_as_it_is() -> None:
    backend = announced()
    backend.disable("a disk is being replaced")

    backend.take_lease(2, "disk 9 of node-2", "node-2")

    assert backend.status == Administration.DISABLED


@pytest.mark.parametrize("number", [0, 1, 4, 5])
def test_the_number_of_a_lease_only_grows(number: int) -> None:
    backend = announced()
    backend.take_lease(5, "disk 9 of node-2", "node-2")

    with pytest.raises(LeaseLost):
        backend.take_lease(number, "disk 7 of node-1", "node-1")


def test_disabling_twice_for_one_reason_adds_nothing() -> None:
    backend = announced()
    backend.disable("a disk is being replaced")
    version = backend.version

    backend.disable("a disk is being replaced")

    assert backend.version == version


def test_enabling_clears_the_reason() -> None:
    backend = announced()
    backend.disable("a disk is being replaced")

    backend.enable()

    assert (backend.status, backend.disabled_reason) == (Administration.ENABLED, None)


@pytest.mark.parametrize("result", [Done(), NotDone("out_of_sight", "no disk")])
def test_initializing_is_settled_once(result: Done | NotDone) -> None:
    backend = announced()
    backend.initialize()
    backend.report(3, result)

    with pytest.raises(NotInFlight):
        backend.report(3, result)


def test_enabling_what_is_enabled_adds_nothing() -> None:
    backend = announced()

    backend.enable()

    assert backend.version == 2


def test_a_storage_that_is_usable_again_has_no_error() -> None:
    backend = announced()
    backend.initialize()
    backend.report(3, NotDone("out_of_sight", "no disk"))
    assert backend.error

    backend.initialize()
    backend.report(5, Done())

    assert backend.error is None


def test_a_pool_that_fills_and_is_relieved_says_so_once_at_each_threshold() -> None:
    backend = announced()
    backend.collect_events()

    for percent in (50, 81, 82, 91, 79, 50, 50):
        backend.measure_pool({"data": percent, "metadata": 1})

    told = backend.collect_events()
    seen: Any = [(type(each), each.part, each.threshold) for each in told]  # type: ignore[attr-defined]
    assert seen == [
        (Backend.PoolFilled, "data", 80),
        (Backend.PoolFilled, "data", 90),
        (Backend.PoolRelieved, "data", 80),
        (Backend.PoolRelieved, "data", 0),
    ]


def test_replaying_the_log_gives_the_same_backend() -> None:
    backend = announced()
    backend.disable("a disk is being replaced")
    backend.initialize()
    backend.report(4, NotDone("out_of_sight", "no disk"))

    history = backend.collect_events()
    replayed: Any = reduce(lambda before, event: event.mutate(before), history, None)

    assert vars(replayed) == vars(backend)


def test_a_name_has_one_id() -> None:
    assert id_of("files") == id_of("files") != id_of("lvm")


IT = Subject("volume", str(UUID(int=7)))
ALL = [*Drift]
MISSING = Told(
    drift=Drift.OBJECT_MISSING,
    expected="2 GiB",
    found="nothing",
    remedy=Remedy.BY_HAND,
    seen=None,
    explained_by=None,
    cause=7,
)


def test_what_differs_is_recorded_once_while_it_stands() -> None:
    backend = announced()

    for _ in range(2):
        backend.compare(IT, [MISSING], ALL)

    assert backend.version == 3
    [standing] = backend.drift.values()
    assert (standing.subject, standing.expected) == (IT.name, "2 GiB")


def test_what_differs_no_more_is_cleared_once() -> None:
    backend = announced()
    backend.compare(IT, [MISSING], ALL)

    for _ in range(2):
        backend.compare(IT, [], ALL)

    assert (backend.version, backend.drift) == (4, {})


@pytest.mark.parametrize(
    "now",
    [
        MISSING | {"expected": "3 GiB"},
        MISSING | {"found": "1 GiB"},
        MISSING | {"remedy": Remedy.GROW},
    ],
)
@pytest.mark.parametrize("among", [ALL, []])
def test_what_differs_in_another_way_is_found_anew(
    now: Told, among: list[Drift]
) -> None:
    backend = announced()
    backend.compare(IT, [MISSING], ALL)

    for _ in range(2):
        backend.compare(IT, [now], among)

    [*_, cleared, _] = backend.collect_events()
    assert (type(cleared), backend.version) == (Backend.DriftCleared, 5)
    [standing] = backend.drift.values()
    assert standing.is_as(now)


def test_what_is_nobodys_is_found_once_however_it_grows() -> None:
    backend = announced()
    its = Subject("object", "core")

    for number in range(3):
        backend.compare(its, [MISSING | {"found": f"core of {number} GiB"}], ALL)

    assert backend.version == 3


def test_what_was_not_looked_at_stays() -> None:
    backend = announced()
    backend.compare(IT, [MISSING], ALL)

    backend.compare(IT, [], [Drift.TRANSITION_OVERDUE])

    assert len(backend.drift) == 1


def test_a_backend_that_has_lost_everything_is_told_of_within_bounds() -> None:
    backend = announced()

    for number in range(MOST_DRIFT + 5):
        backend.compare(Subject("object", str(number)), [MISSING], ALL)

    assert len(backend.drift) == MOST_DRIFT


def later(seconds: int) -> None:
    now = MOMENT.get()
    MOMENT.set(now._replace(timestamp=now.timestamp + timedelta(seconds=seconds)))


def repairing() -> Backend:
    backend = announced()
    backend.compare(IT, [MISSING], ALL)
    [found] = backend.drift.values()
    backend.repair(found, turn=UUID(int=7))
    return backend


def test_a_repair_that_tells_how_far_it_is_goes_on() -> None:
    backend = repairing()

    later(7)
    backend.progress(backend.version, 40)

    [goes_on] = backend.repairs.values()
    assert backend.waited_for(goes_on) == backend.updated_at > goes_on.timestamp


def test_a_repair_that_goes_on_leaves_another_as_late_as_it_is() -> None:
    backend = repairing()
    backend.compare(IT, [MISSING | {"drift": Drift.SIZE}], [Drift.SIZE])
    backend.repair([*backend.drift.values()][-1], turn=UUID(int=7))
    first, second = backend.repairs.values()

    later(7)
    backend.progress(first.originator_version, 40)

    assert backend.waited_for(second) == second.timestamp


@pytest.mark.parametrize("result", [Done(), NotDone("busy", "somebody has it open")])
def test_of_a_repair_that_is_settled_nothing_is_kept(result: Done | NotDone) -> None:
    backend = repairing()
    backend.progress(4, 40)

    backend.report(4, result)

    assert backend.repairs_went_on == {}


def test_an_initialization_has_its_deadline_alone() -> None:
    backend = announced()
    backend.initialize()

    backend.progress(3, 40)

    assert backend.version == 3


def test_what_is_being_repaired_is_not_asked_for_again() -> None:
    backend = repairing()
    backend.initialize()  # is no repair

    [found] = backend.drift.values()
    backend.repair(found, turn=UUID(int=7))

    assert (backend.version, len(backend.repairs)) == (5, 1)


@pytest.mark.parametrize(
    ("told", "event"),
    [
        (Done(), Backend.Repaired),
        (NotDone("busy", "somebody has it open"), Backend.RepairFailed),
    ],
)
def test_a_repair_is_settled_and_its_finding_stands_until_it_is_seen_gone(
    told: Done | NotDone, event: type[Outcome]
) -> None:
    backend = repairing()

    backend.report(4, told)

    assert isinstance(backend.collect_events()[-1], event)
    assert (backend.repairs, len(backend.drift)) == ({}, 1)
