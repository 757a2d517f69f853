"""Leases: one holder at a time, and numbers that only grow."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any, LiteralString

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.sql import SQL

from adapters.postgres import leases as module
from adapters.postgres.leases import LeaseHeld, Leases
from service.manager import VolumeManager

RACERS = 8
SILENT = module.TERM + module.MARGIN


class Table(Leases):
    """The table, and a clock that jumps."""

    def later(self, seconds: float) -> None:
        self._do(
            "UPDATE {leases} SET renewed_at = renewed_at - %s * interval '1s'", seconds
        )

    def age(self) -> None:
        self._do("ALTER TABLE {leases} DROP COLUMN given_back_at")

    def forget(self) -> None:
        self._do("DELETE FROM {leases}")

    def _do(self, statement: LiteralString, *values: Any) -> None:
        with self._datastore.transaction(commit=True) as cursor:
            cursor.execute(SQL(statement).format(leases=self._name), values)


@pytest.fixture
def leases(manager: VolumeManager) -> Table:
    table = Table(manager.recorder.datastore)
    table.create_table()
    return table


def test_the_first_has_number_1(leases: Table) -> None:
    assert leases.take("files", "one", "node-1", 0) == 1


def test_a_second_holder_is_refused_and_told_where_the_first_is(leases: Table) -> None:
    leases.take("files", "one", "node-1", 0)

    with pytest.raises(LeaseHeld, match=r"node-1.*lease 1"):
        leases.take("files", "two", "node-2", 0)


def test_each_backend_has_a_lease_of_its_own(leases: Table) -> None:
    leases.take("files", "one", "node-1", 0)

    assert leases.take("disks", "two", "node-2", 0) == 1
    for backend, host in {"files": "node-1", "disks": "node-2"}.items():
        with pytest.raises(LeaseHeld, match=f"{backend}.*{host}"):
            leases.take(backend, "three", "node-3", 0)


def test_the_same_holder_has_it_again_at_once_under_another_number(
    leases: Table,
) -> None:
    leases.take("files", "one", "node-1", 0)

    assert leases.take("files", "one", "node-1", 1) == 2
    with pytest.raises(LeaseHeld):
        leases.renew("files", 1)


def test_a_number_of_which_nothing_came_is_not_given_again(leases: Table) -> None:
    leases.take("files", "one", "node-1", 0)

    assert leases.take("files", "one", "node-1", 0) == 2


def test_what_is_renewed_is_not_another_s_however_long_it_lasts(leases: Table) -> None:
    number = leases.take("files", "one", "node-1", 0)
    for _ in range(5):
        leases.later(SILENT - 1)
        leases.renew("files", number)

    with pytest.raises(LeaseHeld):
        leases.take("files", "two", "node-2", 0)


def test_what_is_not_renewed_is_another_s_after_its_term(leases: Table) -> None:
    leases.take("files", "one", "node-1", 0)
    leases.later(SILENT)

    assert leases.take("files", "two", "node-2", 1) == 2


def test_what_is_not_renewed_is_nobody_else_s_for_a_margin(leases: Table) -> None:
    leases.take("files", "one", "node-1", 0)
    leases.later(module.TERM + module.MARGIN / 2)

    with pytest.raises(LeaseHeld):
        leases.take("files", "two", "node-2", 1)


def test_a_clock_that_was_set_back_keeps_nobody_waiting_for_longer(
    leases: Table,
) -> None:
    leases.take("files", "one", "node-1", 0)
    leases.later(-3600)
    with pytest.raises(LeaseHeld):
        leases.take("files", "two", "node-2", 0)
    leases.later(SILENT)

    assert leases.take("files", "two", "node-2", 1) == 2


def test_a_late_renewal_counts_while_nobody_else_came(leases: Table) -> None:
    number = leases.take("files", "one", "node-1", 0)
    leases.later(10 * SILENT)

    leases.renew("files", number)

    with pytest.raises(LeaseHeld):
        leases.take("files", "two", "node-2", 0)


def test_what_was_given_back_is_anybody_s_and_renewed_no_more(leases: Table) -> None:
    number = leases.take("files", "one", "node-1", 0)
    leases.release("files", number)

    with pytest.raises(LeaseHeld):
        leases.renew("files", number)
    assert leases.take("files", "two", "node-2", 1) == 2


def test_when_a_lease_was_last_heard_of_is_known_until_the_next_has_it(
    leases: Table,
) -> None:
    def heard_of() -> Any:
        return leases.last_heard_of("files")

    assert heard_of() is None
    number = leases.take("files", "one", "node-1", 0)
    taken = heard_of()
    leases.renew("files", number)
    renewed = heard_of()
    leases.release("files", number)
    given_back = heard_of()
    leases.release("files", number)

    assert taken < renewed < given_back == heard_of()
    leases.take("files", "two", "node-2", 1)
    assert given_back < heard_of()


def test_a_table_of_an_earlier_version_is_used_further(leases: Table) -> None:
    number = leases.take("files", "one", "node-1", 0)
    leases.age()

    leases.create_table()
    leases.release("files", number)

    assert leases.last_heard_of("files")


def test_nobody_gives_back_what_is_another_s(leases: Table) -> None:
    old = leases.take("files", "one", "node-1", 0)
    leases.later(SILENT)
    leases.take("files", "two", "node-2", 1)

    leases.release("files", old)

    with pytest.raises(LeaseHeld):
        leases.take("files", "three", "node-3", 2)


@pytest.mark.parametrize("lost", [True, False])
def test_numbers_grow_above_the_log_s_though_the_table_was_lost_or_is_old(
    leases: Table, *, lost: bool
) -> None:
    leases.take("files", "one", "node-1", 0)
    leases.later(SILENT)
    if lost:
        leases.forget()

    assert leases.take("files", "two", "node-2", 7) == 8


@pytest.mark.parametrize("before", ["never held", "given back", "run out"])
def test_of_all_who_take_it_at_once_one_has_it(leases: Table, before: str) -> None:
    if before != "never held":
        number = leases.take("files", "nobody", "node-0", 0)
        if before == "given back":
            leases.release("files", number)
        leases.later(SILENT)
    at_once = Barrier(RACERS)

    def race(racer: int) -> Any:
        at_once.wait()
        try:
            return leases.take("files", f"racer {racer}", f"node-{racer}", 0)
        except LeaseHeld as held:
            return held

    with ThreadPoolExecutor(RACERS) as threads:
        found = list(threads.map(race, range(RACERS)))

    assert sum(isinstance(each, LeaseHeld) for each in found) == RACERS - 1


HOLDERS = st.sampled_from(["one", "two"])
STEPS = st.one_of(
    st.tuples(st.just("take"), HOLDERS),
    st.tuples(st.just("renew"), HOLDERS),
    st.tuples(st.just("later"), st.sampled_from([0.5, 1.1])),
    st.tuples(st.just("release"), HOLDERS),
)


@given(steps=st.lists(STEPS, min_size=8, max_size=16))
@settings(
    max_examples=100,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_whoever_believes_to_have_it_is_the_only_one(
    leases: Table, steps: list[tuple[str, Any]]
) -> None:
    leases.forget()
    clock, last = 0.0, 0
    good: dict[str, tuple[int, float]] = {}  # each holder's number, and until when
    for step, who in steps:
        number, _ = good.get(who, (0, 0.0))
        if step == "later":
            clock += who * SILENT
            leases.later(who * SILENT)
            continue
        if step == "release":
            leases.release("files", number)
            good.pop(who, None)
            continue
        try:
            if step == "take":
                number = leases.take("files", who, who, last)
                assert number > last
                last = number
            else:
                leases.renew("files", number)
        except LeaseHeld:
            good.pop(who, None)
        else:
            good[who] = number, clock + module.TERM
        assert sum(until > clock for _, until in good.values()) <= 1
