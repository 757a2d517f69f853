"""Subjects under `audit`: what was, and whether the log is what was written."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from marshmallow import ValidationError, fields, validate, validates_schema

from adapters.postgres.exporting import of_recorder
from adapters.postgres.looking_back import position_at
from adapters.postgres.reading import verify
from adapters.postgres.recorder import LogRecorder
from domain.chain import Broken
from projections.replaying import NotALog
from service.audit import causes, history, past
from service.audit.replaying import SPAWNED, replay, summary
from service.deciding.command import Unavailable
from service.endpoints import (
    attachments,
    backends,
    group_snapshots,
    groups,
    snapshots,
    volumes,
)
from service.endpoints.endpoint import query
from service.messages.schema import (
    NAME,
    POSITION,
    WORD,
    Instant,
    Message,
    Page,
    StrictInteger,
    StrictUUID,
    check_end,
)

if TYPE_CHECKING:
    from service.replica import Replica

FROM = validate.Range(min=0, max=2**62)  # 0: before all


class Moment(Message):
    time = Instant(load_default=None)
    position = StrictInteger(validate=POSITION, load_default=None)

    @validates_schema
    def one_moment(self, data: dict[str, Any], **_: Any) -> None:
        if (data.get("time") is None) == (data.get("position") is None):
            raise ValidationError("Give either a time or a position.", "time")


class Then(Moment):
    key = fields.String(required=True, validate=WORD, data_key="id")


@query("audit.state_at", takes=Then())
async def state_at(
    replica: Replica, key: str, time: datetime | None, position: int | None
) -> dict[str, Any]:
    """Look at a resource as it was at a time, or after a position of the log."""
    then = await moment(replica, await replica.log.newest(), time, position)
    return await history.state_at(replica.log, id_or_name(key), then)


# What the list of today takes.
FINDS: dict[str, Message] = {
    "volume": volumes.Find(),
    "attachment": attachments.Find(),
    "snapshot": snapshots.Find(),
    "group": groups.Find(),
    "group_snapshot": group_snapshots.Find(),
    "backend": backends.Find(),
}


class At(Moment, Page):
    OWN = ("noun", "time", "position", "limit", "cursor")
    noun = fields.String(required=True, validate=validate.OneOf([*past.LISTS]))
    status = fields.String(validate=WORD)
    backend = fields.String(validate=WORD)
    project = fields.String(validate=NAME)
    name = fields.String(validate=NAME)
    host = fields.String(validate=WORD)
    instance = fields.String(validate=WORD)
    volume_id = StrictUUID()
    group_id = StrictUUID()
    group_snapshot_id = StrictUUID()

    @validates_schema
    def of_the_noun(self, data: dict[str, Any], **_: Any) -> None:
        filters = past.LISTS[data["noun"]].filters
        if unknown := [name for name in data if name not in {*At.OWN, *filters}]:
            takes = f"{data['noun']}.list, which takes {', '.join(sorted(filters))}"
            raise ValidationError(f"No filter of {takes}.", unknown[0])
        asked = {name: data[name] for name in {"status"} & data.keys()}
        if wrong := FINDS[data["noun"]].validate(asked):
            raise ValidationError(wrong)


@query("audit.at", takes=At())
async def listed_at(
    replica: Replica,
    noun: str,
    time: datetime | None,
    position: int | None,
    limit: int,
    cursor: str | None,
    **asked: Any,
) -> dict[str, Any]:
    """List what a list would have told at a time, or after a position of the log.

    A time stands for the position before the first event that is later, so that
    whatever is asked about it is asked about one state of the log.
    """
    newest = await replica.log.newest()
    then = await moment(replica, newest, time, position)
    place = past.place_in(cursor, past.Place) if cursor else past.Place(then)
    past.check(place.position, then, newest)
    wanted = {name: str(value) for name, value in asked.items()}
    return await past.list_at(replica.log, replica.reading, noun, place, wanted, limit)


class Diff(Page):
    since = Instant(load_default=None)
    until = Instant(load_default=None)
    first = StrictInteger(validate=FROM, load_default=None, data_key="from")
    last = StrictInteger(validate=FROM, load_default=None, data_key="to")
    noun = fields.String(load_default=None, validate=validate.OneOf([*past.LISTS]))

    @validates_schema
    def two_moments(self, data: dict[str, Any], **_: Any) -> None:
        if (data.get("since") is None) == (data.get("first") is None):
            raise ValidationError("Give either `since` or `from`.", "since")
        if None not in (data.get("until"), data.get("last")):
            raise ValidationError("Give either `until` or `to`.", "until")


@query("audit.diff", takes=Diff())
async def diff(
    replica: Replica, noun: str | None, limit: int, cursor: str | None, **moments: Any
) -> dict[str, Any]:
    """Tell what is different between two times, or positions, of each resource.

    The second is now unless it is given. What changed and changed back is not told.
    """
    newest = await replica.log.newest()
    first, last = ("since", "from"), ("until", "to")
    since = await moment(replica, newest, moments["since"], moments["first"], first)
    until = newest
    if moments["until"] or moments["last"] is not None:
        until = await moment(replica, newest, moments["until"], moments["last"], last)
    if until < since:
        said = last[0] if moments["until"] else last[1]
        raise ValidationError("Must not be before the first.", said)
    between = past.Between(since, until)
    if cursor:
        between = past.place_in(cursor, past.Between)
        past.check(between.since, since, newest)
        past.check(between.until, until, newest)
    asked = replica.log.recorder, between, noun, limit
    return await replica.log.read(past.differing, *asked)


class Why(Message):
    key = fields.String(validate=WORD, data_key="id")
    position = StrictInteger(validate=POSITION, load_default=None)
    request_id = fields.String(load_default=None, validate=WORD)

    @validates_schema
    def one_thing(self, data: dict[str, Any], **_: Any) -> None:
        if ("key" in data) == (data.get("request_id") is not None):
            raise ValidationError("Give either an id or a request's.", "id")


@query("audit.why", takes=Why())
async def why(
    replica: Replica, position: int | None, request_id: str | None, key: str = ""
) -> dict[str, Any]:
    """Tell what led to a resource's status, or to its event at a position.

    It is told as a tree: from the request to what it asked of a backend, the commands
    that ran on the host, their outcome, and all that followed, of whatever resource.
    """
    if request_id is not None:
        return await causes.followed(replica.log, request_id)
    return await causes.why(replica.log, id_or_name(key), position)


class Verify(Message):
    first = StrictInteger(validate=POSITION, load_default=1, data_key="from")
    last = StrictInteger(validate=POSITION, load_default=None, data_key="to")
    limit = StrictInteger(validate=POSITION, load_default=None)


@query("audit.verify", takes=Verify())
async def verified(
    replica: Replica, first: int, last: int | None, limit: int | None
) -> dict[str, Any]:
    """Tell whether the log, or a part of it, is what was written."""
    if last is not None and last < first:
        raise ValidationError("Must not be before `from`.", "to")
    newest = await replica.log.newest()
    check_end(first, max(newest, 1), "from")  # the first, though there is none yet
    check_end(last or 0, newest, "to")
    if limit is not None:  # as far as there is something
        last = min(last or newest, newest, first + limit - 1)
    if _verifying.locked():
        raise Unavailable("another verification is under way; ask again later")
    async with _verifying:
        found = await replica.log.read(verify, replica.log.recorder, first, last)
    return {
        "intact": found.first_bad is None,
        "from": found.first,
        "to": found.last,
        "events": found.events,
        "newest": newest,
        "before": found.before.hex(),
        "chain": found.chain.hex(),
        "first_bad": found.first_bad,
        "detail": found.detail,
    }


class Digest(Message):
    position = StrictInteger(validate=POSITION, load_default=None)


@query("audit.digest", takes=Digest())
async def digested(replica: Replica, position: int | None) -> dict[str, Any]:
    """Tell what the log comes to: how many of what, and one hash for all of it."""
    check_end(position or 0, await replica.log.newest(), "position")
    if _digesting.locked():
        raise Unavailable("another digest is being made; ask again later")
    async with _digesting:
        return await replica.log.read(digest_of, replica.log.recorder, position)


def digest_of(recorder: LogRecorder, position: int | None) -> dict[str, Any]:
    """Replay the log in processes of their own, which leaves ours to the callers."""
    try:
        return summary(replay(of_recorder(recorder, position), how=SPAWNED))
    except NotALog as wrong:
        if wrong.position:
            raise Broken(wrong.position) from wrong
        raise Unavailable(f"{wrong.why}; it comes to nothing") from wrong


async def moment(
    replica: Replica,
    newest: int,
    time: datetime | None,
    position: int | None,
    names: tuple[str, str] = ("time", "position"),
) -> int:
    """Return the position that is meant, be it by a time: none behind the newest.

    `names` are what the message calls the two.
    """
    by_time, by_position = names
    if time is None:
        assert position is not None
        check_end(position, newest, by_position)
        return position
    if time > datetime.now(UTC):
        raise ValidationError("that is yet to come", by_time)
    return min(newest, await replica.log.read(position_at, replica.log.recorder, time))


def id_or_name(key: str) -> UUID | str:
    """Return the UUID that the text is, or the text: a backend's name."""
    try:
        return UUID(key)
    except ValueError:
        return key


# It reads the whole log, and keeps a thread as long.
_verifying = asyncio.Lock()
_digesting = asyncio.Lock()

ENDPOINTS = (state_at, listed_at, diff, why, verified, digested)
