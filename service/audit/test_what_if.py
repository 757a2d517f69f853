"""Decisions taken again from the log, as they were and under another policy."""

from __future__ import annotations

import random
from contextlib import suppress
from typing import Any
from uuid import uuid4

import pytest

from domain.aggregate import Done, Event, NotDone
from domain.log import encode
from domain.placement import NoCapacity
from domain.volume import Volume
from projections.replaying import Lines, Share, replayed
from projections.testing import lines_of, text_of
from projections.what_if import Unclear, WhatIf, policy
from service.deciding.placing import check_room, place, rescheduled, room_of
from service.deciding.test_placing import ASKED, but, decision

THIN: dict[str, Any] = {
    "total_capacity_gb": 100.0,
    "free_capacity_gb": 100.0,
    "max_over_subscription_ratio": 2.0,
}
THICK: dict[str, Any] = {
    "thin_provisioning_support": False,
    "thick_provisioning_support": True,
}


class Installation:
    """Two backends of 100 GiB, thin ones that may be promised twice, and a log."""

    def __init__(self, **first: Any) -> None:
        names = ("one", "two")
        self.log = decision(names, one=but(**THIN | first), two=but(**THIN))
        self.volumes: list[Volume] = []
        self.events: list[Event] = []

    def create(
        self, size_gib: int, backend: str | None = None, *, fails: bool = False
    ) -> Volume:
        """Make a volume; one that `fails` is made elsewhere, if it can be."""
        asked = ASKED | {"size_gib": size_gib, "backend": backend}
        made = Volume.create(uuid4(), **place(self.log, asked))
        self.volumes.append(made)
        self._happened(made, 0)
        if fails and rescheduled(self.log, made, 1, NotDone("broken", "it broke")):
            [before] = made.given_up
            self.log.room.allocated[before] -= size_gib
            self._happened(made, 0)
        made.report(max(made.in_flight), Done(location="/volumes/x"))
        self._happened(made, made.allocated_gib)
        return made

    def extend(self, volume: Volume, more_gib: int) -> None:
        before = volume.allocated_gib
        check_room(self.log, (volume, more_gib))
        volume.extend(volume.size_gib + more_gib, room_of(self.log, volume))
        self._happened(volume, before)
        volume.report(volume.version, Done())
        self._happened(volume, volume.allocated_gib)

    def delete(self, volume: Volume) -> None:
        before = volume.allocated_gib
        volume.delete()
        volume.report(volume.version, Done())
        self.volumes.remove(volume)
        self._happened(volume, before)

    def with_policy(self, *said: str) -> WhatIf:
        lines = lines_of(self.events)
        judged = WhatIf(policy(list(said)))
        read = Lines([text_of(lines)])
        replayed(read, len(lines), Share(0, 1), {}, heard=judged.happened)
        return judged

    def measured(self, **told: Any) -> None:
        """Have the first backend tell something else from now on."""
        anew = decision(("one",), one=but(**THIN | told))
        self.log.room.measured |= anew.room.measured

    def _happened(self, volume: Volume, before: int) -> None:
        self.events += volume.collect_events()
        taken = self.log.room.allocated
        now = taken.get(volume.backend, 0) + volume.allocated_gib - before
        taken[volume.backend] = now


def differing(judged: WhatIf) -> list[tuple[int, str, str]]:
    return [(each.size_gib, each.backend, each.would) for each in judged.differing]


@pytest.mark.parametrize("seed", range(20))
def test_with_nothing_changed_nothing_differs(seed: int) -> None:
    dice = random.Random(seed)
    here = Installation(**dice.choice([{}, THICK, {"reserved_percentage": 10}]))

    for _ in range(100):
        with suppress(NoCapacity):
            if here.volumes and dice.random() < 0.3:
                here.delete(dice.choice(here.volumes))
            elif here.volumes and dice.random() < 0.3:
                here.extend(dice.choice(here.volumes), dice.randrange(1, 20))
            else:
                named = dice.choice([None, None, "one", "two"])
                fails = dice.random() < 0.2
                here.create(dice.randrange(1, 40), named, fails=fails)

    judged = here.with_policy()
    assert judged.judged > 20
    assert (judged.untold, judged.differing) == (0, [])


def test_a_volume_would_have_found_no_room() -> None:
    here = Installation()
    here.create(90, "one")
    here.create(11, "one")

    assert differing(here.with_policy("max_over_subscription_ratio=1")) == [
        (11, "one", "")
    ]


def test_a_volume_would_have_gone_elsewhere_and_the_next_as_well() -> None:
    here = Installation(max_over_subscription_ratio=3.0)
    for size in (50, 60, 70):
        here.create(size)

    # Of one with three times its room all go there; of two alike they take turns.
    assert [volume.backend for volume in here.volumes] == ["one", "one", "two"]
    assert differing(here.with_policy("max_over_subscription_ratio=2")) == [
        (60, "one", "two"),
        (70, "two", "one"),
    ]


def test_what_was_made_elsewhere_is_judged_where_it_is() -> None:
    here = Installation()
    here.create(60, fails=True)
    here.create(60, "two")

    assert [volume.backend for volume in here.volumes] == ["two", "two"]
    assert differing(here.with_policy("max_over_subscription_ratio=1")) == [
        (60, "two", "")
    ]


def test_what_was_never_made_takes_no_room() -> None:
    here = Installation()
    here.create(60, "one")
    refused = here.create(60, "one")
    here.extend(refused, 5)
    here.create(40, "one")

    assert differing(here.with_policy("max_over_subscription_ratio=1")) == [
        (60, "one", "")
    ]


def test_what_was_never_made_is_not_judged_when_it_grows() -> None:
    here = Installation()
    here.create(60, "one")
    here.extend(here.create(60, "one"), 45)

    judged = here.with_policy("max_over_subscription_ratio=1")

    assert (judged.judged, differing(judged)) == (2, [(60, "one", "")])


def test_what_was_not_let_grow_takes_what_it_had() -> None:
    here = Installation()
    here.extend(here.create(60, "one"), 50)
    here.create(40, "one")
    here.create(1, "one")

    assert differing(here.with_policy("max_over_subscription_ratio=1")) == [
        (110, "one", ""),
        (1, "one", ""),
    ]


def test_what_was_deleted_gives_back_what_it_would_have_taken() -> None:
    here = Installation()
    here.delete(here.create(60, "one"))
    here.create(60, "one")
    grown = here.create(30, "one")
    here.extend(grown, 40)
    here.delete(grown)
    here.create(40, "one")

    assert differing(here.with_policy("max_over_subscription_ratio=1")) == [
        (70, "one", "")
    ]


def test_a_reserve_keeps_volumes_out() -> None:
    here = Installation(**THICK)
    here.create(90, "one")

    assert differing(here.with_policy("reserved_percentage=20")) == [(90, "one", "")]


@pytest.mark.parametrize(
    ("ratio", "differ"),
    [
        (1, [(10, "two", "one")]),  # which are alike then
        (3, []),
    ],
)
def test_thick_storage_is_promised_once_whatever_the_policy_of_the_thin(
    ratio: int, differ: list[tuple[int, str, str]]
) -> None:
    here = Installation(**THICK)
    here.create(10)

    judged = here.with_policy(f"max_over_subscription_ratio={ratio}")

    assert differing(judged) == differ


def test_what_was_never_made_was_not_measured_either() -> None:
    here = Installation()
    here.create(60, "one")
    here.measured(provisioned_capacity_gb=60)
    here.create(60, "one")
    here.measured(provisioned_capacity_gb=120)
    here.create(40, "one")

    assert differing(here.with_policy("max_over_subscription_ratio=1")) == [
        (60, "one", "")
    ]


def test_a_decision_that_does_not_say_what_it_knew_is_not_judged() -> None:
    here = Installation()
    old = Volume.create(uuid4(), size_gib=1, backend="one")
    here.events += old.collect_events()

    judged = here.with_policy("reserved_percentage=100")

    assert (judged.judged, judged.untold, judged.differing) == (0, 1, [])


def test_storage_that_is_there_is_taken_over_whatever_the_policy() -> None:
    here = Installation()
    managed = Volume.manage(uuid4(), backend="one", reference={"source-name": "db"})
    here.events += managed.collect_events()

    judged = here.with_policy("reserved_percentage=100")

    assert (judged.judged, judged.untold, judged.differing) == (0, 0, [])


@pytest.mark.parametrize(
    "said",
    [
        "ratio=1",
        "reserved_percentage",
        "reserved_percentage=x",
        "reserved_percentage=101",
        "max_over_subscription_ratio=nan",
        "max_over_subscription_ratio=0.5",
        "=",
        "",
    ],
)
def test_what_is_no_policy_is_said(said: str) -> None:
    with pytest.raises(Unclear):
        policy([said])


def test_what_is_said_twice_is_no_policy() -> None:
    with pytest.raises(Unclear, match="reserved_percentage is said twice"):
        policy(["reserved_percentage=5", "reserved_percentage=7"])


def test_what_was_considered_is_readable() -> None:
    here = Installation()
    here.create(10)

    assert b'"considered":[{"backend":"one","total_gib":100.0' in encode(here.events[0])
