"""What happened, as the log has it: histories, and things as they were."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

import msgspec
from marshmallow import ValidationError
from msgspec.structs import asdict

from adapters.postgres import looking_back
from adapters.postgres.recorder import LogRecorder, Written
from domain import log as language
from domain.aggregate import Aggregate, Event
from domain.backend import id_of
from projections import resources
from service.deciding.command import NotFound
from service.deciding.log import Log

A = TypeVar("A")

LARGEST_PAGE = 700_000  # bytes; NATS carries 1 MiB by default
OVERHEAD = 300  # bytes that an item may have beyond what is stored of it

# What every event has stands beside its data, not in it.
COMMON = frozenset(Event.__struct_fields__) - {"status"}
# What every event changes.
COUNTED = {"version", "updated_at"}


class Wanted(msgspec.Struct, frozen=True):
    """Which events of a history are asked for: those of which all of this is so."""

    since: datetime | None = None
    until: datetime | None = None
    actor: str | None = None
    request_id: str | None = None
    event: str | None = None

    def includes(self, event: Event) -> bool:
        """Tell whether an event is asked for."""
        by = event.provenance
        return (
            (self.since is None or event.timestamp >= self.since)
            and (self.until is None or event.timestamp <= self.until)
            and self.actor in (None, by.actor)
            and self.request_id in (None, by.request_id)
            and self.event in (None, event.TOPIC)
        )


class NotYet(NotFound):
    """It is in the log, but only since after the position that was asked about."""

    def __init__(self, noun: str, key: object, position: int, since: int) -> None:
        super().__init__(noun, key)
        self.position = position
        self.since = since

    def __str__(self) -> str:
        return (
            f"{self.noun} {self.key} was not there yet at position {self.position}; "
            f"it began at {self.since}"
        )


class Subject(NamedTuple):
    """What a history is about: an aggregate, or a part of one."""

    aggregate_id: UUID
    part_id: UUID | None = None

    def concerns(self, event: Event) -> bool:
        """Tell whether an event of the aggregate is about it.

        An outcome does not always name a part; its intent did, but those that end
        one do.
        """
        return self.part_id in (None, getattr(event, "attachment_id", None))

    def seen(self, aggregate: Aggregate | None) -> dict[str, Any]:
        """Return what callers see of it, nothing where it is not there yet."""
        if aggregate is None or not has(aggregate, self.part_id):
            return {}
        seen: dict[str, Any] = msgspec.to_builtins(shown(aggregate, self.part_id))
        return seen


async def of(
    log: Log, noun: str, key: UUID | str, limit: int, cursor: str | None, **wanted: Any
) -> dict[str, Any]:
    """Return a page of the history of a resource, oldest first.

    Raises `NotFound`, or `ValidationError` for a cursor that none of ours is.
    """
    after = position_of(cursor)
    subject = await about(log, key)
    await check_is(log, noun, key, subject)
    found = lines(log.recorder, subject, Wanted(**wanted), after)
    return await log.read(page, found, limit, after)


async def about(log: Log, key: UUID | str) -> Subject:
    """Return what an id, or a backend's name, may stand for."""
    named = key if isinstance(key, UUID) else id_of(key)
    wholes = await log.read(log.recorder.wholes, [named])
    whole = wholes.get(named)
    return Subject(whole, named) if whole else Subject(named)


async def check_is(log: Log, noun: str, key: UUID | str, subject: Subject) -> None:
    """Raise `NotFound` unless there is or was such a thing."""
    whole = "volume" if noun == "attachment" else noun
    begun = await log.read(log.recorder.history, subject.aggregate_id, 1, 1)
    is_part = subject.part_id is not None
    if not begun or begun[0].topic.partition(".")[0] != whole:
        raise NotFound(noun, key)
    if is_part is not (noun == "attachment"):
        raise NotFound(noun, key)


def lines(
    recorder: LogRecorder, subject: Subject, wanted: Wanted, after: int
) -> Iterator[tuple[int, bytes]]:
    """Yield a history behind a position, line by line, telling what each changed.

    What an event changed is known only to who has all before it; so even what is
    not asked for is read.
    """
    aggregate, seen = None, subject.seen(None)
    for written in looking_back.history(recorder, subject.aggregate_id):
        event = language.decode(written.topic, written.state)
        told = (
            written.position > after
            and subject.concerns(event)
            and wanted.includes(event)
        )
        before = (seen or subject.seen(aggregate)) if told else {}
        aggregate = event.mutate(aggregate)
        seen = subject.seen(aggregate) if told else {}
        if told:
            changed = differences(before, seen)
            yield written.position, encode(item(written, event) | {"changed": changed})


def page(found: Iterator[tuple[int, bytes]], limit: int, after: int) -> dict[str, Any]:
    """Return as many lines as are asked for and fit into a message, one at least."""
    items: list[msgspec.Raw] = []
    room, last, more = LARGEST_PAGE, after, False
    for position, line in found:
        room -= len(line)
        if more := len(items) == limit or bool(items and room < 0):
            break
        items.append(msgspec.Raw(line))
        last = position
    following = covered(str(last)) if more else None
    return {"items": items, "next": following, "position": last}


def differences(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """Return the fields that have another value, with both; an absent one is null."""
    return {
        name: {"before": had, "after": has}
        for name, has in after.items()
        if name not in COUNTED and (had := before.get(name)) != has and (had or has)
    }


def item(event: Written, happened: Event) -> dict[str, Any]:
    """Return one line of a history."""
    provenance = happened.provenance
    data: dict[str, Any] = msgspec.json.decode(event.state)
    return {
        "position": event.position,
        "version": happened.originator_version,
        "event": event.topic,
        "at": resources.instant(happened.timestamp),
        "actor": provenance.actor or None,
        "reason": provenance.reason or None,
        "request_id": provenance.request_id or None,
        "causation_id": provenance.causation_id or None,
        "trace_id": provenance.trace_id or None,
        "recorded_by": provenance.recorded_by or "serve",
        "data": {k: v for k, v in data.items() if k not in COMMON},
    }


async def state_at(log: Log, key: UUID | str, position: int) -> dict[str, Any]:
    """Return a resource as it was after a position of the log.

    Raises `NotYet`, and `NotFound` for what never was.
    """
    subject = await about(log, key)
    return await log.read(as_it_was, log.recorder, key, subject, position)


def as_it_was(
    recorder: LogRecorder, key: UUID | str, subject: Subject, position: int
) -> dict[str, Any]:
    """Fold a resource up to a position."""
    aggregate, last = None, 0
    for topic, state, at in looking_back.history(
        recorder, subject.aggregate_id, position
    ):
        aggregate, last = language.decode(topic, state).mutate(aggregate), at
    if not aggregate or not has(aggregate, subject.part_id):
        raise not_there(recorder, key, subject, position)
    return asdict(shown(aggregate, subject.part_id)) | {"position": last}


def not_there(
    recorder: LogRecorder, key: UUID | str, subject: Subject, position: int
) -> NotFound:
    """Return why something was not there at a position: it was not yet, or never."""
    for written in looking_back.history(recorder, subject.aggregate_id):
        event = language.decode(written.topic, written.state)
        if subject.part_id in (None, event.adds_part):
            whole = written.topic.partition(".")[0]
            noun = "attachment" if subject.part_id else whole
            return NotYet(noun, key, position, written.position)
    return NotFound("resource", key)


def shown(aggregate: Any, part_id: UUID | None) -> Any:
    """Return an aggregate, or a part of it, as callers see it."""
    if part_id:
        return resources.attachment(aggregate, part_id)
    return VIEWS[type(aggregate)](aggregate)


def has(aggregate: Any, part_id: UUID | None) -> bool:
    """Tell whether an aggregate has a part, or had; all have themselves."""
    return part_id is None or part_id in aggregate.attachments | aggregate.gone


def fitting(found: Sequence[A], size: Callable[[A], int]) -> list[A]:
    """Return as many of what was found as fit into one message, one at least."""
    page, room = list(found[:1]), LARGEST_PAGE - sum(map(size, found[:1]))
    for each in found[1:]:
        room -= size(each) + OVERHEAD
        if room < 0:
            break
        page.append(each)
    return page


def position_of(cursor: str | None) -> int:
    """Return the position that a history's cursor stands for."""
    if cursor is None:
        return 0
    position = uncovered(cursor)
    if not position.isdecimal() or len(position) > 18:  # noqa: PLR2004 - a bigint
        raise ValidationError("Must be the `next` of an earlier answer.", "cursor")
    return int(position)


def covered(place: str) -> str:
    """Return a place as a cursor: nothing that a caller would take apart."""
    return base64.urlsafe_b64encode(place.encode()).decode()


def uncovered(cursor: str) -> str:
    """Return the place in a cursor, empty if it is none of ours."""
    try:
        return base64.b64decode(cursor.encode(), b"-_", validate=True).decode()
    except (ValueError, binascii.Error):
        return ""


encode = msgspec.json.Encoder().encode
VIEWS: dict[type[Aggregate], Callable[[Any], Any]] = {
    kind: getattr(resources, noun) for noun, kind in language.AGGREGATES.items()
}
