"""Whatever is said of the past is what the log gives when it is folded up to there."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
from eventsourcing.persistence import StoredEvent
from marshmallow import ValidationError

from adapters.postgres.batch import Batch
from adapters.postgres.reading import verified
from adapters.postgres.recorder import LogRecorder
from domain import log as language
from domain.aggregate import Aggregate, Done, Event, NotDone, NotInFlight
from domain.backend import Backend
from domain.group import Group
from domain.holding import UnknownAttachment
from domain.lifecycle import Refused
from domain.provenance import MOMENT, Moment, Provenance
from domain.snapshot import Snapshot
from domain.volume import Undersized, Volume
from projections import resources
from service.audit import history, past
from service.audit.history import (
    LARGEST_PAGE,
    OVERHEAD,
    NotYet,
    Subject,
    Wanted,
    as_it_was,
    covered,
)
from service.audit.past import LISTS, Between, Page, Place, differing, list_at, place_in
from service.deciding.log import Log
from service.endpoints.audit import At, diff
from service.keeping.projecting import tables
from service.keeping.test_projecting import caught_up, projecting, until
from service.manager import VolumeManager
from service.reading import Reading

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
LATER = datetime(9999, 1, 1, tzinfo=UTC)
DEEDS = 1_500
POSITIONS = 12
LIMIT = 7
DONE = Done(location="/volumes/db", connection={"data": {}}, found=True)
FAILED = NotDone("driver_failed", "the disk is broken")
VIEWS: dict[type[Any], Any] = {
    kind: getattr(resources, noun) for noun, kind in language.AGGREGATES.items()
}
# Of each noun, some of what its list can be asked for.
ASKED: dict[str, list[dict[str, str]]] = {
    "volume": [{}, {"status": "available"}, {"status": "deleted"}, {"name": "2"}],
    "attachment": [{}, {"status": "reserved"}, {"status": "detached"}],
    "snapshot": [{}, {"status": "error"}],
    "group": [{}],
    "group_snapshot": [{}],
    "backend": [{}, {"status": "disabled"}],
}


# A busy log


def busy(recorder: LogRecorder, dice: random.Random) -> None:
    """Store what some hundred things went through, all at the same time."""
    things: list[Any] = [Backend.taken_over(name, 1, "x", "node-1") for name in "ab"]
    events: list[Event] = []
    for number in range(DEEDS):
        time = NOON + timedelta(seconds=number + dice.choice([0, 0, 0, 3]))
        MOMENT.set(Moment(time, Provenance(actor=dice.choice(["ana", "bo"]))))
        thing = dice.choice(things)
        if dice.random() < 0.1:
            things.append(thing := new(things, dice))
        with suppress(Refused, NotInFlight, Undersized, UnknownAttachment):
            dice.choice(DEEDS_OF[type(thing)])(thing, dice)
        events += thing.collect_events()
    recorder.append(
        Batch(
            [
                StoredEvent(
                    event.originator_id,
                    event.originator_version,
                    event.TOPIC,
                    language.encode(event),
                )
                for event in events
            ],
            parts={e.adds_part: e.originator_id for e in events if e.adds_part},
        )
    )


def new(things: list[Any], dice: random.Random) -> Aggregate:
    volumes = [thing.id for thing in things if isinstance(thing, Volume)]
    if volumes and dice.random() < 0.3:
        of = dice.choice(volumes)
        return Snapshot.create(uuid4(), volume_id=of, backend="a", size_gib=1)
    if dice.random() < 0.1:
        return Group.create(uuid4(), backend="a")
    return Volume.create(uuid4(), size_gib=1, backend="a", name=dice.choice("123"))


def report(thing: Any, dice: random.Random) -> None:
    newest = max(thing.in_flight, default=0)
    thing.report(newest, DONE if dice.random() < 0.8 else FAILED)


def detach(thing: Any, dice: random.Random) -> None:
    if thing.attachments:
        thing.detach(dice.choice([*thing.attachments]))


def complete(thing: Any, dice: random.Random) -> None:
    if thing.attachments:
        attachment_id = dice.choice([*thing.attachments])
        thing.connect(attachment_id, {"host": "node-1"})
        report(thing, dice)
        thing.complete(attachment_id)


DEEDS_OF: dict[type[Any], list[Any]] = {
    Volume: [
        report,
        report,
        lambda it, _: it.hold(uuid4(), instance="web-1"),
        complete,
        detach,
        lambda it, dice: it.update(name=dice.choice("123"), metadata={"a": "b"}),
        lambda it, _: it.extend(it.size_gib + 1),
        lambda it, _: it.delete(),
    ],
    Snapshot: [report, lambda it, dice: it.update(name=dice.choice("123"))],
    Group: [lambda it, dice: it.update(name=dice.choice("123"))],
    Backend: [
        lambda it, _: it.enable(),
        lambda it, dice: it.disable(dice.choice("123")),
    ],
}


# What its fold gives, in the plainest way


def folded(recorder: LogRecorder, position: int) -> dict[UUID, Any]:
    """Return every aggregate as it was, in the order in which they began."""
    aggregates: dict[UUID, Any] = {}
    if position:
        for row in verified(recorder, 1, position):
            event = language.decode(row.topic, row.state)
            key = event.originator_id
            aggregates[key] = event.mutate(aggregates.get(key))
    return aggregates


def resources_of(recorder: LogRecorder, position: int) -> dict[str, dict[str, Any]]:
    """Return what callers saw of everything there was: by noun, then by id or name."""
    seen: dict[str, dict[str, Any]] = {noun: {} for noun in LISTS}
    for aggregate in folded(recorder, position).values():
        noun = next(
            n for n, k in language.AGGREGATES.items() if isinstance(aggregate, k)
        )
        view = msgspec.to_builtins(VIEWS[type(aggregate)](aggregate))
        seen[noun][view.get("id") or view["name"]] = view
        if isinstance(aggregate, Volume):
            for key in aggregate.gone | aggregate.attachments:
                part = msgspec.to_builtins(resources.attachment(aggregate, key))
                seen["attachment"][part["id"]] = part
    return seen


def expected(seen: dict[str, Any], noun: str, asked: dict[str, str]) -> list[Any]:
    """Return what a list had, sorted by what tells one from another."""
    words = {False: "enabled", True: "disabled"}
    items = []
    for view in seen[noun].values():
        status = view["status"] if noun != "backend" else words[view["disabled"]]
        gone = status in {"deleted", "detached"}
        told = view | {"status": status}
        if all(told[name] == value for name, value in asked.items()) and (
            "status" in asked or not gone
        ):
            items.append(view)
    return sorted(items, key=identity)


def identity(view: dict[str, Any]) -> str:
    return str(view.get("id") or view["name"])


# What is said


async def said(
    log: Log, reading: Reading, noun: str, position: int, asked: dict[str, str]
) -> list[Any]:
    """Return a whole list as it was, read in small pages."""
    items: list[Any] = []
    place: Place | None = Place(position)
    while place:
        page = await list_at(log, reading, noun, place, asked, LIMIT)
        assert page["position"] == position
        assert len(page["items"]) <= LIMIT
        items += map(msgspec.json.decode, page["items"])
        place = place_in(page["next"], Place) if page["next"] else None
    return items


def differences(recorder: LogRecorder, since: int, until: int, limit: int) -> list[Any]:
    items: list[Any] = []
    place: Between | None = Between(since, until)
    while place:
        page = differing(recorder, place, None, limit)
        assert len(page["items"]) <= limit
        items += map(msgspec.json.decode, page["items"])
        place = place_in(page["next"], Between) if page["next"] else None
    return items


@pytest.fixture
def dice() -> random.Random:
    return random.Random(6)


@pytest.fixture
def recorder(manager: VolumeManager, dice: random.Random) -> LogRecorder:
    """A busy log, of which the read models have read all."""
    known = tables(manager.recorder)
    busy(manager.recorder, dice)
    with projecting(known, manager.recorder):
        until(lambda: caught_up(known, manager.recorder))
    return manager.recorder


def moments(recorder: LogRecorder, dice: random.Random) -> list[int]:
    newest = recorder.max_notification_id() or 0
    return [0, 1, newest, *dice.sample(range(newest), POSITIONS)]


@pytest.mark.parametrize(("folded_at_once", "looked_at"), [(200, 2_000), (3, 12)])
def test_a_list_as_it_was_is_what_a_fold_gives(
    recorder: LogRecorder,
    dice: random.Random,
    monkeypatch: pytest.MonkeyPatch,
    folded_at_once: int,
    looked_at: int,
) -> None:
    monkeypatch.setattr(past, "MOST_FOLDED", folded_at_once)
    monkeypatch.setattr(past, "MOST_LOOKED_AT", looked_at)

    async def lists() -> int:
        total = 0
        async with Log(recorder).running() as log:
            reading = Reading(recorder, log)
            for position in moments(recorder, dice):
                seen = resources_of(recorder, position)
                for noun, asked in ((n, a) for n in ASKED for a in ASKED[n]):
                    told = await said(log, reading, noun, position, asked)
                    assert sorted(told, key=identity) == expected(seen, noun, asked)
                    total += len(told)
        return total

    assert asyncio.run(lists()) > 500


@pytest.mark.parametrize("size", [0, 1_000, 100_000])
def test_a_page_has_as_much_as_a_message_carries(size: int) -> None:
    page, told = Page(LARGEST_PAGE), "x" * size
    each = len(history.encode(told)) + OVERHEAD

    while page.takes(told):
        pass

    assert len(page.told(None)["items"]) == LARGEST_PAGE // each


def test_what_is_larger_than_a_page_has_one_of_its_own() -> None:
    page = Page(7)

    assert page.takes("x" * LARGEST_PAGE)
    assert not page.takes("x")


def test_a_list_as_it_was_has_the_order_of_today(recorder: LogRecorder) -> None:
    async def lists() -> tuple[list[Any], list[Any]]:
        async with Log(recorder).running() as log:
            reading = Reading(recorder, log)
            newest = recorder.max_notification_id() or 0
            asked = {"limit": 1000, "cursor": None, "min_position": newest}
            today = await reading.listed("volumes", asked)
            then = await said(log, reading, "volume", newest, {})
            return [msgspec.json.decode(each) for each in today["items"]], then

    today, then = asyncio.run(lists())

    assert today == then


@pytest.mark.parametrize("limit", [1, 7, 1000])
def test_what_differs_is_what_two_folds_give(
    recorder: LogRecorder, dice: random.Random, limit: int
) -> None:
    positions = sorted(moments(recorder, dice))

    for since, until_ in pairwise(positions):
        before = resources_of(recorder, since)
        after = resources_of(recorder, until_)
        told = differences(recorder, since, until_, limit)

        assert {(item["noun"], item["id"]): item["fields"] for item in told} == {
            (noun, key): fields
            for noun in after
            for key, view in after[noun].items()
            if (fields := differing_fields(before[noun].get(key), view))
        }
        assert len({(item["noun"], item["id"]) for item in told}) == len(told)


@pytest.mark.parametrize(
    ("since", "until_", "word"),
    [
        (0, 1, "created"),
        (0, 4, "created and deleted"),
        (1, 3, "changed"),
        (1, 4, "deleted"),
    ],
)
def test_what_became_of_something_is_said_in_a_word(
    since: int, until_: int, word: str
) -> None:
    volume = Volume.create(uuid4(), size_gib=1, backend="a")
    volume.report(1, DONE)
    volume.delete()
    volume.report(3, DONE)
    events = [*zip(volume.collect_events(), range(1, 5), strict=True)]

    [told] = past.difference(events[:until_], since)

    assert told["change"] == word


def test_a_way_that_a_host_has_no_more_is_gone() -> None:
    volume = Volume.create(uuid4(), size_gib=1, backend="a")
    volume.report(1, DONE)
    volume.hold(key := uuid4(), instance="web-1")
    volume.detach(key)
    events = [*zip(volume.collect_events(), range(1, 5), strict=True)]

    told = {item["noun"]: item["change"] for item in past.difference(events, 3)}

    assert told["attachment"] == "deleted"


def test_what_events_have_changed_adds_up_to_what_is_seen(
    recorder: LogRecorder,
) -> None:
    newest = recorder.max_notification_id() or 0
    for aggregate in folded(recorder, newest).values():
        for part_id in [None, *parts_of(aggregate)]:
            subject = Subject(aggregate.id, part_id)
            added: dict[str, Any] = {}
            for _, line in history.lines(recorder, subject, Wanted(), 0):
                changed = msgspec.json.decode(line)["changed"]
                for name, values in changed.items():
                    assert added.get(name) == values["before"] or not added.get(name)
                    added[name] = values["after"]

            seen = subject.seen(aggregate)
            for name in seen.keys() - {"version", "updated_at"}:
                assert added.get(name) == seen[name] or not (
                    added.get(name) or seen[name]
                )


def test_what_was_not_there_yet_says_since_when_it_is(recorder: LogRecorder) -> None:
    newest = recorder.max_notification_id() or 0
    for aggregate in folded(recorder, newest).values():
        for part_id in [None, *parts_of(aggregate)]:
            subject = Subject(aggregate.id, part_id)
            asked = recorder, part_id or aggregate.id, subject

            with pytest.raises(NotYet) as refused:
                as_it_was(*asked, 0)

            since = refused.value.since
            assert as_it_was(*asked, since)["position"] == since
            with pytest.raises(NotYet, match=f"it began at {since}"):
                as_it_was(*asked, since - 1)


def parts_of(aggregate: Any) -> list[UUID]:
    return [*(getattr(aggregate, "gone", {}) | getattr(aggregate, "attachments", {}))]


def differing_fields(
    before: dict[str, Any] | None, after: dict[str, Any]
) -> dict[str, Any]:
    had = before or {}
    return {
        name: {"before": had.get(name), "after": value}
        for name, value in after.items()
        if name not in {"version", "updated_at"}
        and had.get(name) != value
        and (had.get(name) or value)
    }


@pytest.mark.parametrize(("began", "asked"), [(5, 5), (5, 9), (9, 9)])
def test_a_question_goes_on_as_of_when_it_began(began: int, asked: int) -> None:
    past.check(began, asked, newest=9)


@pytest.mark.parametrize(("began", "asked"), [(5, 6), (7, 6), (10, 9)])
def test_a_cursor_of_another_moment_is_none(began: int, asked: int) -> None:
    with pytest.raises(ValidationError, match="the same question"):
        past.check(began, asked, newest=9)


@pytest.mark.parametrize("cursor", ["[0,-1,-1,-1]", "[-1,0,0,0]", "[0,0,-1,0]"])
def test_a_cursor_that_stands_before_the_log_is_none(cursor: str) -> None:
    with pytest.raises(ValidationError, match="the same question"):
        past.place_in(covered(cursor), past.Between)


class Nine:
    """A replica whose log has nine positions."""

    @property
    def log(self) -> Nine:
        return self

    async def newest(self) -> int:
        return 9


@pytest.mark.parametrize(
    ("said", "wrong"),
    [
        ({"since": LATER}, "since"),
        ({"first": 1, "until": LATER}, "until"),
        ({"first": 3, "last": 2}, "to"),
    ],
)
def test_a_moment_that_cannot_be_is_named_as_it_was_said(
    said: dict[str, Any], wrong: str
) -> None:
    nothing = dict.fromkeys(["noun", "cursor", "since", "until", "first", "last"])
    replica: Any = Nine()

    with pytest.raises(ValidationError) as refusal:
        asyncio.run(diff.ask(replica, limit=1, **nothing | said))  # type: ignore[arg-type]

    assert refusal.value.field_name == wrong


@pytest.mark.parametrize("noun", LISTS)
def test_a_status_that_nothing_of_the_noun_has_is_refused(noun: str) -> None:
    asked = {"noun": noun, "position": 1}

    assert At().validate(asked) == {}
    assert "Must be one of" in At().validate(asked | {"status": "banana"})["status"][0]


def test_a_status_is_one_of_the_noun_that_is_asked_for() -> None:
    asked = {"position": 1, "status": "in-use"}

    assert At().validate(asked | {"noun": "volume"}) == {}
    assert [*At().validate(asked | {"noun": "snapshot"})] == ["status"]


def test_a_filter_that_lists_of_the_noun_do_not_have_is_refused_with_those() -> None:
    asked = {"noun": "volume", "position": 1, "host": "node-1"}

    [said] = At().validate(asked)["host"]

    assert said.startswith("No filter of volume.list, which takes backend, ")
