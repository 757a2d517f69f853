"""One hash for all that is: whatever differs, differs in it, and nothing else does."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest

from domain.aggregate import Aggregate, Done
from domain.log import AGGREGATES
from domain.provenance import MOMENT, Moment, Provenance
from domain.volume import Volume
from projections.digest import STATE, digest, line

KEY = UUID("6b1c0000-0000-4000-8000-000000000001")
NEVER_TOLD = {"id", "_pending"}


def volume(key: UUID = KEY, size_gib: int = 1) -> Volume:
    MOMENT.set(Moment(datetime(2026, 1, 31, tzinfo=UTC), Provenance()))
    made = Volume.create(key, size_gib=size_gib, backend="files", name="db")
    made.report(1, Done(location="/volumes/db"))
    made.hold(UUID(int=7), instance="web-1")
    made.connect(UUID(int=7), {"host": "node-1", "b": 1, "a": [1.5, None]})
    return made


def test_it_is_what_it_was() -> None:
    told = line(str(KEY).encode(), volume())

    assert told.startswith(b'volume 6b1c0000-0000-4000-8000-000000000001 {"allocated')
    assert b'"connector":{"a":[1.5,null],"b":1,"host":"node-1"}' in told
    assert digest([volume()]) == (
        "3c04df66c46b824d76f503b83f0dca2d86c668eb5959ef3c536166efc122ff32"
    )


def test_the_order_does_not_count() -> None:
    others = [volume(UUID(int=n)) for n in range(600)]

    assert digest(others) == digest(reversed(others))


def test_each_difference_counts() -> None:
    other, moved = volume(), volume()
    other.update(description="another")
    moved.in_flight.clear()

    assert len({digest(those) for those in ([volume()], [other], [moved], [])}) == 4
    assert digest([volume(size_gib=2)]) != digest([volume()])
    assert digest([volume(UUID(int=1))]) != digest([volume()])


@pytest.mark.parametrize("noun", AGGREGATES)
def test_all_that_an_aggregate_knows_is_in_it(noun: str) -> None:
    assigned = vars(AGGREGATES[noun](KEY))
    declared = {
        name
        for kind in AGGREGATES[noun].__mro__
        if issubclass(kind, Aggregate)
        for name in kind.__annotations__
        if not name[0].isupper()
    }

    assert (assigned.keys() | declared) - NEVER_TOLD - {"backend", "allocated_gib"} == (
        set(STATE[noun]) - {"backend", "allocated_gib"}
    )
