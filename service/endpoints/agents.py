"""Subjects under `agent`: what a backend's agent tells, signed with the agents' key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from marshmallow import fields, validate

from domain.aggregate import Aggregate, Done, NotDone
from domain.backend import Backend, id_of
from domain.log import AGGREGATES
from projections import resources
from service.endpoint import endpoint, query
from service.log import Decision
from service.schema import (
    WORD,
    Message,
    StrictBoolean,
    StrictInteger,
    StrictUUID,
)

if TYPE_CHECKING:
    from service.replica import Replica


class Announce(Message):
    name = fields.String(required=True, validate=WORD)
    host = fields.String(required=True, validate=WORD)
    driver = fields.String(required=True, validate=WORD)
    storage_protocol = fields.String(required=True, validate=WORD)


@endpoint("agent.announce", takes=Announce(), gives=resources.backend, signed=True)
def announce(
    log: Decision, name: str, host: str, driver: str, storage_protocol: str
) -> Backend:
    """Take in a backend, or note that it is served from elsewhere."""
    known = log.find(Backend, id_of(name))
    if known is None:
        return log.add(Backend.announced(name, host, driver, storage_protocol))
    known.announce(host, driver, storage_protocol)
    return known


class Report(Message):
    noun = fields.String(required=True, validate=validate.OneOf(list(AGGREGATES)))
    aggregate_id = StrictUUID(required=True, data_key="id")
    intent = StrictInteger(required=True, validate=validate.Range(min=1))


class ReportDone(Report):
    location = fields.String(load_default="")
    connection = fields.Dict(load_default=None, allow_none=True)
    found = StrictBoolean(load_default=False)


def bare(seen: Aggregate, *_: Any) -> dict[str, Any]:
    """Return as much as an agent wants to know."""
    return {"id": seen.id, "status": seen.status, "version": seen.version}


@endpoint("agent.done", takes=ReportDone(), gives=bare, signed=True)
def done(
    log: Decision, noun: str, aggregate_id: UUID, intent: int, **told: Any
) -> Aggregate:
    """Accept that a backend did what it was asked."""
    reported: Any = log.get(AGGREGATES[noun], aggregate_id)
    reported.report(intent, Done(**told))
    return reported  # type: ignore[no-any-return]


class ReportNotDone(Report):
    code = fields.String(required=True, validate=WORD)
    message = fields.String(required=True)
    busy = StrictBoolean(load_default=False)


@endpoint("agent.not_done", takes=ReportNotDone(), gives=bare, signed=True)
def not_done(
    log: Decision, noun: str, aggregate_id: UUID, intent: int, **told: Any
) -> Aggregate:
    """Accept that a backend could not do what it was asked."""
    reported: Any = log.get(AGGREGATES[noun], aggregate_id)
    reported.report(intent, NotDone(**told))
    return reported  # type: ignore[no-any-return]


class InFlight(Message):
    name = fields.String(required=True, validate=WORD)
    after = StrictInteger(required=True, validate=validate.Range(min=0))


@query("agent.in_flight", takes=InFlight(), signed=True)
async def in_flight(replica: Replica, name: str, after: int) -> dict[str, Any]:
    """List what is asked of a backend and not settled, in the order of the log."""
    return await replica.reading.in_flight(name, after)


ENDPOINTS = (announce, done, not_done, in_flight)
