"""Subjects under `audit`: what was, and whether the log is what was written."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from marshmallow import ValidationError, fields, validate, validates_schema

from adapters.postgres.looking_back import position_at
from adapters.postgres.reading import verify
from service import history
from service.command import Unavailable
from service.endpoint import query
from service.schema import WORD, Instant, Message, StrictInteger

if TYPE_CHECKING:
    from service.replica import Replica

POSITION = validate.Range(min=1, max=2**62)


class Then(Message):
    key = fields.String(required=True, validate=WORD, data_key="id")
    time = Instant(load_default=None)
    position = StrictInteger(validate=POSITION, load_default=None)

    @validates_schema
    def one_moment(self, data: dict[str, Any], **_: Any) -> None:
        if (data.get("time") is None) == (data.get("position") is None):
            raise ValidationError("Give either a time or a position.", "time")


@query("audit.state_at", takes=Then())
async def state_at(
    replica: Replica, key: str, time: datetime | None, position: int | None
) -> dict[str, Any]:
    """Look at a resource as it was at a time, or after a position of the log."""
    then = await moment(replica, time, position)
    return await history.state_at(replica.log, id_or_name(key), then)


class Verify(Message):
    first = StrictInteger(validate=POSITION, load_default=1, data_key="from")
    last = StrictInteger(validate=POSITION, load_default=None, data_key="to")


@query("audit.verify", takes=Verify())
async def verified(replica: Replica, first: int, last: int | None) -> dict[str, Any]:
    """Tell whether the log, or a part of it, is what was written."""
    if last is not None and last < first:
        raise ValidationError("Must not be before `from`.", "to")
    if _verifying.locked():
        raise Unavailable("another verification is under way; ask again later")
    async with _verifying:
        found = await replica.log.read(verify, replica.log.recorder, first, last)
    return {
        "intact": found.first_bad is None,
        "from": found.first,
        "to": found.last,
        "events": found.events,
        "chain": found.chain.hex(),
        "first_bad": found.first_bad,
        "detail": found.detail,
    }


async def moment(replica: Replica, time: datetime | None, position: int | None) -> int:
    """Return the position that is meant, be it by a time."""
    if time is None:
        assert position
        return position
    return await replica.log.read(position_at, replica.log.recorder, time)


def id_or_name(key: str) -> UUID | str:
    """Return the UUID that the text is, or the text: a backend's name."""
    try:
        return UUID(key)
    except ValueError:
        return key


# It reads the whole log, and keeps a thread as long.
_verifying = asyncio.Lock()

ENDPOINTS = (state_at, verified)
