"""What happened, as the log has it: histories, and things as they were."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar
from uuid import UUID

import msgspec
from marshmallow import ValidationError
from msgspec.structs import asdict

from adapters.postgres.recorder import Written
from domain import log as language
from domain.aggregate import Aggregate, Event
from domain.backend import id_of
from projections import resources
from service.command import NotFound
from service.log import Log, replayed

A = TypeVar("A")

LARGEST_PAGE = 700_000  # bytes; NATS carries 1 MiB by default
OVERHEAD = 300  # bytes that an item may have beyond what is stored of it

# What every event has stands beside its data, not in it.
COMMON = frozenset(Event.__struct_fields__) - {"status"}


async def of(
    log: Log, noun: str, key: UUID | str, limit: int, cursor: str | None
) -> dict[str, Any]:
    """Return a page of the history of a resource, oldest first.

    Raises `NotFound`, or `ValidationError` for a cursor that none of ours is.
    """
    after = position_of(cursor)
    history = await written(log, noun, key)
    later = [event for event in history if event.position > after]
    page = fitting(later[:limit], lambda event: len(event.state))
    more = len(later) > len(page)
    return {
        "items": [item(event) for event in page],
        "next": covered(str(page[-1].position)) if more else None,
        "position": page[-1].position if page else after,
    }


async def written(log: Log, noun: str, key: UUID | str) -> list[Written]:
    """Return the events of a resource, or raise `NotFound`."""
    if isinstance(key, UUID) and noun == "attachment":
        wholes = await log.read(log.recorder.wholes, [key])
        if key not in wholes:
            raise NotFound(noun, key)
        history = await log.read(log.recorder.history, wholes[key])
        return [event for event in history if concerns(event, str(key))]
    aggregate_id = id_of(str(key)) if noun == "backend" else key
    history = await log.read(log.recorder.history, aggregate_id)
    if not history or not history[0].topic.startswith(f"{noun}."):
        raise NotFound(noun, key)
    return history


def concerns(event: Written, attachment_id: str) -> bool:
    """Tell whether an event of a volume is about the attachment.

    An outcome does not always name it; its intent did, but those that end one do.
    """
    data = msgspec.json.decode(event.state)
    return bool(data.get("attachment_id") == attachment_id)


def item(event: Written) -> dict[str, Any]:
    """Return one line of a history."""
    happened = language.decode(event.topic, event.state)
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


async def state_at(
    log: Log, key: UUID | str, reached: Callable[[Written, Event], bool]
) -> dict[str, Any]:
    """Return a resource as it was after the last event that `reached` lets pass."""
    named = key if isinstance(key, UUID) else id_of(key)
    wholes = await log.read(log.recorder.wholes, [named])
    aggregate_id = wholes.get(named, named)
    history = await log.read(log.recorder.history, aggregate_id)
    passed = until(history, reached)
    if not passed:
        raise NotFound("resource", key)
    [(aggregate, position)] = replayed(passed).values()
    part_id = named if named in wholes else None
    return asdict(shown(aggregate, part_id)) | {"position": position}


def until(
    history: Iterable[Written], reached: Callable[[Written, Event], bool]
) -> list[Written]:
    """Return the events up to a moment."""
    return [
        event
        for event in history
        if reached(event, language.decode(event.topic, event.state))
    ]


def shown(aggregate: Any, part_id: Any) -> Any:
    """Return an aggregate, or a part of it, as callers see it."""
    if part_id:
        if part_id not in aggregate.attachments | aggregate.gone:
            raise NotFound("attachment", part_id)
        return resources.attachment(aggregate, part_id)
    return VIEWS[type(aggregate)](aggregate)


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


VIEWS: dict[type[Aggregate], Callable[[Any], Any]] = {
    kind: getattr(resources, noun) for noun, kind in language.AGGREGATES.items()
}
