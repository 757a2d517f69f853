"""`holdfast attachment`: the hold that one instance or host has on a volume."""

from __future__ import annotations

import typer

from service.cli import names, show
from service.cli.arguments import (
    Attachment,
    ChosenId,
    Connector,
    Holder,
    Host,
    Initiator,
    Instance,
    Ip,
    Mode,
    Mountpoint,
    Nqn,
    Only,
    OnlyOf,
    Status,
    Volume,
    connector_of,
    object_of,
)
from service.cli.client import Service
from service.cli.options import Answer, Cursor, Limit, command, question

app = typer.Typer(
    name="attachment", help="Who holds which volume, and how.", no_args_is_help=True
)


@command(app, "create", show.fields)
def create(  # noqa: PLR0913 - one option for each field of the request
    service: Service,
    volume: Volume,
    *,
    instance: Instance = None,
    host: Holder = None,
    mode: Mode = None,
    connector: Connector = None,
    attachment_id: ChosenId = None,
) -> Answer:
    """Promise a volume to an instance or a host."""
    return service.ask(
        "attachment.create",
        id=attachment_id,
        volume_id=names.volume(service, volume),
        instance=instance,
        host=host,
        mode=mode,
        connector=object_of(connector, "--connector") if connector else None,
    )


@command(app, "update", show.fields)
def update(  # noqa: PLR0913 - one option for each part of a connector
    service: Service,
    attachment: Attachment,
    *,
    host: Host = None,
    initiator: Initiator = None,
    nqn: Nqn = None,
    ip: Ip = None,
    connector: Connector = None,
    mountpoint: Mountpoint = None,
) -> Answer:
    """Let the attachment's host reach the volume, and tell how."""
    named = connector_of(connector, host=host, initiator=initiator, nqn=nqn, ip=ip)
    return service.ask(
        "attachment.update",
        id=names.attachment(service, attachment),
        connector=named,
        mountpoint=mountpoint,
    )


@command(app, "complete", show.fields)
def complete(service: Service, attachment: Attachment) -> Answer:
    """Note that the host uses the volume."""
    return service.ask("attachment.complete", id=names.attachment(service, attachment))


@command(app, "delete", show.fields)
def delete(service: Service, attachment: Attachment) -> Answer:
    """End an attachment, once its host no longer reaches the volume."""
    return service.ask("attachment.delete", id=names.attachment(service, attachment))


@question(app, "show", show.fields)
def show_one(service: Service, attachment: Attachment) -> Answer:
    """Look at an attachment as it is now."""
    return service.ask("attachment.show", id=names.attachment(service, attachment))


@question(app, "list", show.listed(show.ATTACHMENTS))
def find(  # noqa: PLR0913 - one option for each filter
    service: Service,
    *,
    volume: OnlyOf = None,
    status: Status = None,
    instance: Only = None,
    host: Only = None,
    backend: Only = None,
    project: Only = None,
    limit: Limit = None,
    cursor: Cursor = None,
) -> Answer:
    """List who holds what, in the order of creation."""
    return service.whole(
        "attachment.list",
        limit,
        cursor=cursor,
        volume_id=names.volume(service, volume) if volume else None,
        status=status,
        instance=instance,
        host=host,
        backend=backend,
        project=project,
    )


@question(app, "history", show.history)
def history(
    service: Service,
    attachment: Attachment,
    *,
    limit: Limit = None,
    cursor: Cursor = None,
) -> Answer:
    """List what happened to a volume that concerns the attachment."""
    key = names.attachment(service, attachment)
    return service.whole("attachment.history", limit, cursor=cursor, id=key)
