"""Subjects under `projection`: how the read models do, and making one anew."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from marshmallow import fields

from service.deciding.command import NotFound
from service.endpoints.endpoint import query
from service.keeping.standing import standings
from service.messages.schema import WORD, Message

if TYPE_CHECKING:
    from service.replica import Replica


class UnknownProjection(NotFound):
    """There is no such read model."""

    def __init__(self, name: str, known: list[str]) -> None:
        super().__init__("projection", name)
        self.known = known

    def __str__(self) -> str:
        return f"{super().__str__()}; there are {', '.join(self.known)}"


@query("projection.list", takes=Message())
async def find(replica: Replica) -> dict[str, Any]:
    """List the read models: how far behind the log each is, and how it does."""
    recorder = replica.log.recorder
    found = await replica.log.read(standings, replica.reading.tables, recorder)
    newest = await replica.log.read(recorder.max_notification_id)
    return {"items": found, "next": None, "position": newest or 0}


class Rebuild(Message):
    name = fields.String(required=True, validate=WORD)


@query("projection.rebuild", takes=Rebuild())
async def rebuild(replica: Replica, name: str) -> dict[str, Any]:
    """Make a read model anew from the log; readers see the old one until it is done.

    One that is being made already goes on.
    """
    known = replica.reading.tables
    if name not in known.models:
        raise UnknownProjection(name, sorted(known.models))
    built = await replica.log.read(known.rebuild, name)
    return {"name": name, "generation": built.generation}


ENDPOINTS = (find, rebuild)
