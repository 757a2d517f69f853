"""Subjects under `backend`: where volumes are, and what operators do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec
from marshmallow import fields, validate

from domain.backend import Administration, Backend, id_of
from projections import resources
from service.audit import drifting, history
from service.deciding.command import Decision, Reply, Unavailable, asking
from service.deciding.room import Room
from service.endpoints.endpoint import endpoint, query
from service.messages.schema import (
    TEXT,
    WORD,
    History,
    List,
    Message,
    Page,
    Printable,
    StrictBoolean,
)

if TYPE_CHECKING:
    from service.replica import Replica


def shown(seen: Backend, _: UUID | None, room: Room) -> resources.BackendSeen:
    """Return a backend with what its agent last told."""
    return room.with_measured(resources.backend(seen))


class One(Message):
    name = fields.String(required=True, validate=WORD)


@endpoint("backend.show", takes=One(), gives=shown, query=True)
def show(log: Decision, name: str) -> Backend:
    """Look at a backend: what the log says of it, and what its agent last told."""
    return log.get(Backend, id_of(name), name)


class Find(List):
    name = fields.String(validate=WORD)
    host = fields.String(validate=WORD)
    status = fields.String(validate=validate.OneOf([*map(str, Administration)]))


@query("backend.list", takes=Find())
async def find(replica: Replica, **asked: Any) -> dict[str, Any]:
    """List the backends in the order in which they were first announced."""
    page = await replica.reading.listed("backends", asked)
    room = replica.log.room
    kind = resources.BackendSeen
    seen = (msgspec.json.decode(item, type=kind) for item in page["items"])
    page["items"] = [room.with_measured(backend) for backend in seen]
    return page


class Disable(One):
    reason = fields.String(required=True, validate=Printable(TEXT.most, least=1))


@endpoint("backend.disable", takes=Disable(), gives=shown)
def disable(log: Decision, name: str, reason: str) -> Backend:
    """Let no new volume go to a backend."""
    asked = log.get(Backend, id_of(name), name)
    asked.disable(reason)
    return asked


@endpoint("backend.enable", takes=One(), gives=shown)
def enable(log: Decision, name: str) -> Backend:
    """Let new volumes go to a backend again."""
    asked = log.get(Backend, id_of(name), name)
    asked.enable()
    return asked


@endpoint("backend.initialize", takes=One(), gives=shown, waits=True)
def initialize(log: Decision, name: str) -> Backend:
    """Let a backend's agent look at its storage anew and settle what is in flight."""
    asked = log.get(Backend, id_of(name), name)
    asked.initialize()
    return asked


class Capabilities(One):
    discover = StrictBoolean(load_default=False)


@query("backend.capabilities", takes=Capabilities())
async def capabilities(
    replica: Replica, name: str, *, discover: bool
) -> dict[str, Any]:
    """Tell what a backend can do; with `discover`, what it can do just now."""
    seen = await replica.backend(name, anew=discover)
    if seen.capabilities is None:
        raise Unavailable(f"the agent of {name} has not reported yet")
    return {
        "name": name,
        "capabilities": seen.capabilities,
        "measured_at": seen.reported_at,
    }


@query("backend.publish_capabilities", takes=One())
async def publish_capabilities(replica: Replica, name: str) -> Reply:
    """Let a backend's agent measure and tell every replica."""
    await replica.backend(name, anew=True)

    def look(log: Decision) -> Reply:
        seen = log.get(Backend, id_of(name), name)
        body = msgspec.json.encode(shown(seen, None, log.room))
        return Reply(body, aggregate_id=seen.id, version=seen.version)

    return await replica.log.submit(asking(look))


@query("backend.is_working", takes=One())
async def is_working(replica: Replica, name: str) -> dict[str, Any]:
    """Tell whether a backend can do its work, and what it waits for."""
    seen = await replica.backend(name)
    reason = replica.log.room.waits_for(name)
    return {"name": name, "working": seen.working, "reason": reason}


class Drifting(Page):
    name = fields.String(required=True, validate=WORD)


@query("backend.drift", takes=Drifting())
async def drift(replica: Replica, name: str, limit: int, cursor: str | None) -> Reply:
    """List where a backend's storage is otherwise than the log says, oldest first.

    It tells when that was last looked at (`surveyed_at`), and why not since.
    """
    return await drifting.page(replica.log, name, limit, cursor)


class Repair(One):
    apply = StrictBoolean(load_default=False)


@endpoint("backend.repair", takes=Repair(), gives=resources.repairs)
def repair(log: Decision, name: str, *, apply: bool) -> Backend:
    """Tell what is to be done about drift; with `apply`, have done what is safe."""
    asked = log.get(Backend, id_of(name), name)
    if apply:
        drifting.repair(log, asked)
    return asked


class HistoryOf(History):
    name = fields.String(required=True, validate=WORD)


@query("backend.history", takes=HistoryOf())
async def show_history(replica: Replica, name: str, **asked: Any) -> dict[str, Any]:
    """List everything that ever happened to a backend, oldest first."""
    return await history.of(replica.log, "backend", name, **asked)


ENDPOINTS = (
    show,
    find,
    enable,
    disable,
    initialize,
    capabilities,
    publish_capabilities,
    is_working,
    show_history,
    drift,
    repair,
)
