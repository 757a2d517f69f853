"""Lists as they were, and what changed between two moments: folds of parts of the log.

What a list had at a position is what its read model makes of every resource as that was
then. The read model itself only says which resources there are, and in which order:
each is folded alone, and a bounded number of them for one question.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Annotated, Any, NamedTuple, TypeVar
from uuid import UUID

import msgspec
from marshmallow import ValidationError

from adapters.postgres import looking_back
from adapters.postgres.read_models import Found
from adapters.postgres.recorder import LogRecorder, Written
from domain import log as language
from domain.aggregate import Aggregate, Event
from domain.attachment import AttachStatus
from domain.backend import id_of
from domain.volume import Volume
from projections.attachment_status import ATTACHMENTS
from projections.capabilities import BACKENDS
from projections.group_snapshots import GROUP_SNAPSHOTS
from projections.groups import GROUPS
from projections.reading import ReadModel, Row, Touched
from projections.snapshots import SNAPSHOTS
from projections.volumes import VOLUMES
from service.audit.history import (
    LARGEST_PAGE,
    OVERHEAD,
    Subject,
    covered,
    differences,
    encode,
    uncovered,
)
from service.deciding.command import noun_of
from service.deciding.log import Log
from service.reading import Reading

MOST_FOLDED = 200  # resources at once
MOST_LOOKED_AT = 2_000  # of which a filter may let none pass
LISTS: dict[str, ReadModel] = {
    "volume": VOLUMES,
    "attachment": ATTACHMENTS,
    "snapshot": SNAPSHOTS,
    "group": GROUPS,
    "group_snapshot": GROUP_SNAPSHOTS,
    "backend": BACKENDS,
}
GONE = {"deleted", AttachStatus.DETACHED}
Position = Annotated[int, msgspec.Meta(ge=0, lt=looking_back.NOW)]
OrNone = Annotated[int, msgspec.Meta(ge=-1, lt=looking_back.NOW)]  # before the first
P = TypeVar("P", bound=NamedTuple)
Resources = dict[tuple[str, str], dict[str, Any]]

NO_CURSOR = "Must be the `next` of an earlier answer to the same question."


class Place(NamedTuple):
    """Where a list as it was goes on: as of which position, behind which row."""

    position: Position
    created: OrNone = -1
    key: str = ""


class Between(NamedTuple):
    """Where differences go on: of which two positions, behind which, and how many.

    What is told of an aggregate may not fit into one answer.
    """

    since: Position
    until: Position
    after: Position = 0
    given: Position = 0


async def list_at(
    log: Log,
    reading: Reading,
    noun: str,
    place: Place,
    asked: Mapping[str, str],
    limit: int,
) -> dict[str, Any]:
    """Return a page of a list as it was; one below its limit may still go on.

    Raises `Unavailable` where the read model has stopped, or is not there yet.
    """
    model, position, page = LISTS[noun], place.position, Page(limit)
    about = {"noun": noun, "position": position}
    for _ in range(MOST_LOOKED_AT // MOST_FOLDED):
        there, *_ = await reading.found(
            model.name,
            position,
            {},
            hidden=True,
            after=place[1:],
            limit=MOST_FOLDED,
        )
        begun = [row for row in there if row.created <= position]
        for row in await log.read(rows_at, log.recorder, model, begun, position):
            if matches(row, asked) and not page.takes(row.body):
                return page.told(place) | about
            place = Place(position, row.created, row.key)
        if len(begun) < MOST_FOLDED:
            return page.told(None) | about
        # It goes on even where the log has lost what the read model knows.
        place = Place(position, begun[-1].created, begun[-1].key)
    return page.told(place) | about


class Page:
    """What is told in one answer."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._room = LARGEST_PAGE
        self._items: list[msgspec.Raw] = []

    def takes(self, told: Any) -> bool:
        """Take something in if there is room for it; for the first there is."""
        body = encode(told)
        room = self._room - len(body) - OVERHEAD
        if len(self._items) == self._limit or (self._items and room < 0):
            return False
        self._items.append(msgspec.Raw(body))
        self._room = room
        return True

    def told(self, place: tuple[Any, ...] | None) -> dict[str, Any]:
        """Return the items, and the cursor that goes on behind a place."""
        following = covered(encode(place).decode()) if place else None
        return {"items": self._items, "next": following}


def rows_at(
    recorder: LogRecorder, model: ReadModel, begun: Sequence[Found], position: int
) -> list[Row]:
    """Return the rows that a read model has of resources as they were, in order."""
    keys = {row.key for row in begun}
    ids = [*map(id_of if model is BACKENDS else UUID, keys)]
    if model is ATTACHMENTS:
        ids = [*{*recorder.wholes(ids).values()}]
    folded = fold(looking_back.histories(recorder, ids, position))
    rows = [row for seen in folded for row in model.rows(seen) if row.key in keys]
    return sorted(rows, key=lambda row: (row.created, row.key))


def by_aggregate(
    stored: Iterable[Written],
) -> Iterator[tuple[UUID, Iterator[tuple[Event, int]]]]:
    """Yield the aggregates' ids, and of each its events and where they stand."""
    return groupby(language.decoded(stored), key=lambda each: each[0].originator_id)


def fold(stored: Iterable[Written]) -> Iterator[Touched]:
    """Yield the aggregates that events make, each of which comes as a whole."""
    for key, events in by_aggregate(stored):
        aggregate, seen = None, []
        for event, position in events:
            aggregate = event.mutate(aggregate)
            seen.append((event, position))
        assert aggregate
        yield Touched(aggregate, str(key), seen)


def matches(row: Row, asked: Mapping[str, str]) -> bool:
    """Tell whether a row is asked for, as lists of today do."""
    if row.hidden and "status" not in asked:
        return False
    return all(
        (value := row.filters[name]) is not None and str(value) == wanted
        for name, wanted in asked.items()
    )


# Differences


def differing(
    recorder: LogRecorder, between: Between, noun: str | None, limit: int
) -> dict[str, Any]:
    """Return a page of what changed between two positions, resource by resource.

    What changed and changed back is no difference; histories tell of it.
    """
    since, until, after, given = between
    page, about = Page(limit), min(limit, MOST_FOLDED)
    touched, reached = looking_back.touched(recorder, since, until, after, about)
    positions = {"from": since, "to": until}
    ids = [each.id for each in touched]
    changed = dict(changes(looking_back.histories(recorder, ids, until), since))
    for each in touched:
        told = [item for item in changed[each.id] if noun in (None, item["noun"])]
        for number, item in enumerate(told[given:], given):
            if not page.takes(item):
                return page.told(Between(since, until, after, number)) | positions
        after, given = each.position, 0
    more = Between(since, until, reached) if reached < until else None
    return page.told(more) | positions


def changes(
    stored: Iterable[Written], since: int
) -> Iterator[tuple[UUID, list[dict[str, Any]]]]:
    """Yield what is different of each aggregate since a position."""
    for key, events in by_aggregate(stored):
        yield key, list(difference(events, since))


def difference(
    events: Iterable[tuple[Event, int]], since: int
) -> Iterator[dict[str, Any]]:
    """Yield what is different of one aggregate, and of its parts."""
    aggregate: Aggregate | None = None
    before: Resources | None = None
    for event, position in events:
        if before is None and position > since:
            before = seen(aggregate)
        aggregate = event.mutate(aggregate)
    for (noun, key), now in seen(aggregate).items():
        then = (before or {}).get((noun, key), {})
        if fields := differences(then, now):
            yield {"id": key, "noun": noun, "change": word(then, now), "fields": fields}


def word(then: dict[str, Any], now: dict[str, Any]) -> str:
    """Return in a word what became of a resource."""
    went = now.get("status") in GONE and then.get("status") not in GONE
    came = not then
    return {
        (True, False): "created",
        (True, True): "created and deleted",
        (False, True): "deleted",
        (False, False): "changed",
    }[came, went]


def seen(aggregate: Any) -> Resources:
    """Return what callers see of an aggregate, and of its parts."""
    if aggregate is None:
        return {}
    whole = Subject(aggregate.id).seen(aggregate)
    found = {(noun_of(type(aggregate)), str(whole.get("id") or whole["name"])): whole}
    if isinstance(aggregate, Volume):
        for part_id in aggregate.gone | aggregate.attachments:
            part = Subject(aggregate.id, part_id).seen(aggregate)
            found["attachment", str(part_id)] = part
    return found


def place_in(cursor: str, kind: type[P]) -> P:
    """Return the place that a cursor of ours stands for."""
    try:
        return msgspec.json.decode(uncovered(cursor), type=kind)
    except msgspec.DecodeError:
        raise ValidationError(NO_CURSOR, "cursor") from None


def check(began: int, asked: int, newest: int) -> None:
    """Raise `ValidationError` for a cursor of another question.

    What is asked about the log's end has begun when that was earlier.
    """
    if began != asked and not (began < asked == newest):
        raise ValidationError(NO_CURSOR, "cursor")
