"""Read models in a real PostgreSQL: what is kept of a page, and what is found."""

from __future__ import annotations

from dataclasses import replace
from operator import attrgetter
from types import SimpleNamespace
from typing import Any

import pytest

from adapters.postgres.read_models import Failure, Kept, PostgresReadModels
from projections.reading import ReadModel, Row, Touched
from service.manager import VolumeManager

THINGS = ReadModel(
    "things",
    ("status", "since"),
    attrgetter("aggregate.rows"),
    nouns=frozenset({"thing"}),
    ended=attrgetter("aggregate.ended"),
    aging="status",
)
FAILURE = Failure(8, "thing.made", "nobody knows")


def page(*rows: Row, ended: tuple[str, ...] = ()) -> list[Touched]:
    """Return what a page has touched, of which these rows are made."""
    thing: Any = SimpleNamespace(rows=rows, ended=ended)
    return [Touched(thing, "", [])]


def row(key: str, created: int = 1, *, since: str = "1", **more: Any) -> Row:
    status = more.pop("status", "waits")
    told = {"version": 3, "hidden": False, "body": None} | more
    return Row(key, created, filters={"status": status, "since": since}, **told)


@pytest.fixture
def known(manager: VolumeManager) -> PostgresReadModels:
    known = PostgresReadModels(manager.recorder.datastore, [THINGS])
    known.create_tables()
    return known


def keys(known: PostgresReadModels, after: tuple[int, str] = (0, "")) -> list[str]:
    asked: dict[str, Any] = {"hidden": False, "after": after, "limit": 3}
    return [found.key for found in known.find("things", {}, **asked).rows]


def test_what_a_thing_has_come_to_at_the_same_version_is_kept(
    known: PostgresReadModels,
) -> None:
    """What goes on waits anew, and is the same intent of the same version."""
    known.store(known.kept(), page(row("a", since="1")), 1)

    known.store(known.kept(), page(row("a", since="2")), 2)

    assert known.oldest("things", ["waits"]) == {"waits": "2"}


def test_who_is_not_where_the_page_begins_ends_nothing(
    known: PostgresReadModels,
) -> None:
    before = known.kept()
    known.store(before, page(row("a"), row("b")), 1)

    moved = known.store(before, page(ended=("a",)), 2)

    assert not moved
    assert keys(known) == ["a", "b"]
    assert known.store(known.kept(), page(ended=("a",)), 2)
    assert keys(known) == ["b"]


def test_a_table_that_fails_stops_and_not_the_one_that_is_read(
    known: PostgresReadModels,
) -> None:
    built = known.rebuild("things")

    known.stop(built, FAILURE)

    assert known.kept() == [Kept("things", 1, 0, None), Kept("things", 2, 0, FAILURE)]


def test_a_table_that_has_stopped_while_it_was_built_is_begun_anew(
    known: PostgresReadModels,
) -> None:
    known.stop(known.rebuild("things"), FAILURE)

    assert known.rebuild("things") == Kept("things", 3, 0, None)
    assert [kept.generation for kept in known.kept()] == [1, 3]


def test_a_table_that_another_has_gone_on_with_does_not_stop(
    known: PostgresReadModels,
) -> None:
    [before] = known.kept()
    known.store([before], page(row("a")), 1)

    known.stop(before, FAILURE)

    assert known.kept() == [Kept("things", 1, 1, None)]


def test_while_a_table_is_built_the_one_before_is_read(
    known: PostgresReadModels,
) -> None:
    known.store(known.kept(), page(row("a")), 7)
    known.rebuild("things")

    found = known.find("things", {}, hidden=False, after=(0, ""), limit=3)

    assert (found.generation, found.position) == (1, 7)


def test_what_an_earlier_edition_made_is_made_anew_once(
    known: PostgresReadModels, manager: VolumeManager
) -> None:
    of_edition_2 = [replace(THINGS, edition=2)]
    newer = PostgresReadModels(manager.recorder.datastore, of_edition_2)

    def renewed() -> list[int]:
        newer.renew()
        return [kept.generation for kept in newer.kept()]

    assert renewed() == [1, 2]
    assert renewed() == [1, 2]
    newer.swap(newer.kept()[1])
    assert renewed() == [2]


def test_what_has_taken_its_place_already_stays_there(
    known: PostgresReadModels,
) -> None:
    built = known.rebuild("things")
    known.swap(built)
    known.store([built], page(row("a")), 1)

    known.swap(built)

    assert keys(known) == ["a"]


def test_pages_have_each_row_once_in_order(known: PostgresReadModels) -> None:
    made = [row("d", 1), row("b", 2), row("c", 2), row("a", 2), row("e", 9)]
    known.store(known.kept(), page(*made, row("f", 3, hidden=True)), 9)

    assert keys(known) == ["d", "a", "b"]
    assert keys(known, (2, "b")) == ["c", "e"]


def test_what_has_stayed_for_too_long_is_overdue(known: PostgresReadModels) -> None:
    made = [row("a", since="3"), row("b", since="4"), row("c", since="5")]
    other = row("d", since="1", status="rests")
    known.store(known.kept(), page(*made, other), 1)

    overdue = known.overdue("things", {"waits": "4", "rests": "1"})

    assert [found.key for found in overdue] == ["a"]
    assert known.oldest("things", ["waits", "left"]) == {"waits": "3", "left": None}
