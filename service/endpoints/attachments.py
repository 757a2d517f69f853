"""Subjects under `attachment`: the hold that one instance or host has on a volume."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from marshmallow import fields, validate

from domain.attachment import AttachStatus
from domain.volume import Volume
from projections import resources
from service.audit import history
from service.deciding.command import Decision
from service.endpoints.endpoint import endpoint, query
from service.endpoints.volumes import Holder, check_usable
from service.messages.schema import (
    WORD,
    Connector,
    History,
    List,
    Message,
    StrictUUID,
    chosen_id,
)

if TYPE_CHECKING:
    from service.replica import Replica


class One(Message):
    attachment_id = StrictUUID(required=True, data_key="id")


class Create(Holder):
    attachment_id = chosen_id()
    volume_id = StrictUUID(required=True)
    connector = Connector(load_default=None, allow_none=True)


@endpoint(
    "attachment.create",
    takes=Create(),
    gives=resources.attachment,
    part="attachment_id",
    waits=True,
    connects=True,
)
def create(
    log: Decision,
    attachment_id: UUID,
    volume_id: UUID,
    connector: dict[str, Any] | None,
    **holder: Any,
) -> Volume:
    """Promise a volume to an instance or a host; with a connector, connect it."""
    asked = log.get(Volume, volume_id)
    if connector:
        check_usable(log, asked, connector)
    log.add_part(attachment_id, asked)
    asked.hold(attachment_id, **holder)
    if connector:
        asked.connect(attachment_id, connector)
    return asked


@endpoint(
    "attachment.show",
    takes=One(),
    gives=resources.attachment,
    part="attachment_id",
    query=True,
)
def show(log: Decision, attachment_id: UUID) -> Volume:
    """Look at an attachment as it is now."""
    return log.whole(Volume, attachment_id, "attachment")


class Update(One):
    connector = Connector(required=True)
    mountpoint = fields.String(load_default=None, allow_none=True, validate=WORD)


@endpoint(
    "attachment.update",
    takes=Update(),
    gives=resources.attachment,
    part="attachment_id",
    waits=True,
    connects=True,
)
def update(
    log: Decision,
    attachment_id: UUID,
    connector: dict[str, Any],
    mountpoint: str | None,
) -> Volume:
    """Let the attachment's host reach the volume, and tell how."""
    asked = log.whole(Volume, attachment_id, "attachment")
    check_usable(log, asked, connector)
    asked.connect(attachment_id, connector, mountpoint)
    return asked


@endpoint(
    "attachment.complete",
    takes=One(),
    gives=resources.attachment,
    part="attachment_id",
)
def complete(log: Decision, attachment_id: UUID) -> Volume:
    """Note that the host uses the volume."""
    asked = log.whole(Volume, attachment_id, "attachment")
    asked.complete(attachment_id)
    return asked


@endpoint(
    "attachment.delete",
    takes=One(),
    gives=resources.attachment,
    part="attachment_id",
    waits=True,
)
def delete(log: Decision, attachment_id: UUID) -> Volume:
    """End an attachment, once its host no longer reaches the volume."""
    asked = log.whole(Volume, attachment_id, "attachment")
    asked.detach(attachment_id)
    return asked


class Find(List):
    status = fields.String(validate=validate.OneOf([*map(str, AttachStatus)]))
    volume_id = StrictUUID()
    host = fields.String(validate=WORD)
    instance = fields.String(validate=WORD)
    backend = fields.String(validate=WORD)
    project = fields.String(validate=WORD)


@query("attachment.list", takes=Find())
async def find(replica: Replica, **asked: Any) -> dict[str, Any]:
    """List who holds what, in the order of creation."""
    return await replica.reading.listed("attachments", asked)


class HistoryOf(History):
    attachment_id = StrictUUID(required=True, data_key="id")


@query("attachment.history", takes=HistoryOf())
async def show_history(
    replica: Replica, attachment_id: UUID, **asked: Any
) -> dict[str, Any]:
    """List what happened to a volume that concerns the attachment, oldest first."""
    return await history.of(replica.log, "attachment", attachment_id, **asked)


ENDPOINTS = (create, show, update, complete, delete, find, show_history)
