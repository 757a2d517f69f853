"""`holdfast volume`: everything that can be asked of a volume."""

from __future__ import annotations

from typing import Annotated

import typer

from service.cli import names, show
from service.cli.arguments import (
    ChosenId,
    Connector,
    Description,
    Holder,
    Host,
    Initiator,
    Instance,
    Ip,
    Metadata,
    Mode,
    Mountpoint,
    Name,
    Nqn,
    Only,
    OnlyOf,
    Size,
    Status,
    Volume,
    connector_of,
    metadata_of,
)
from service.cli.client import Service
from service.cli.options import Answer, Cursor, Limit, command, question

# fmt: off
Backend = Annotated[str | None, typer.Option(
    help="Where it is made; otherwise where there is most room.")]
Project = Annotated[str | None, typer.Option(help="Whose it is.")]
Type = Annotated[str | None, typer.Option("--type", help="Its volume type.")]
Snapshot = Annotated[str | None, typer.Option(metavar="SNAPSHOT",
    help="Made of it; as large as it is, if no size is said.")]
SourceVolume = Annotated[str | None, typer.Option(metavar="VOLUME",
    help="Made of what it holds now; as large, if no size is said.")]
Image = Annotated[str | None, typer.Option(metavar="ID", help="Made of it.")]
Group = Annotated[str | None, typer.Option(metavar="GROUP",
    help="Which group it is a member of.")]
From = Annotated[str | None, typer.Option("--attachment", metavar="ATTACHMENT",
    help="Which attachment, where there are several.")]
Multiattach = Annotated[bool | None, typer.Option(
    help="Several may hold it at once; of a copy, as its source if not said.")]
Readonly = Annotated[bool | None, typer.Option("--readonly/--writable",
    help="Nobody may write to it.")]
Bootable = Annotated[bool | None, typer.Option(help="Something starts from it.")]
Force = Annotated[bool, typer.Option("--force",
    help="Even in a status that speaks against it.")]
Cascade = Annotated[bool, typer.Option("--cascade", help="Its snapshots as well.")]
# fmt: on

app = typer.Typer(
    name="volume", help="Volumes, and who may use them.", no_args_is_help=True
)


@command(app, "create", show.fields)
def create(  # noqa: PLR0913 - one option for each field of the request
    service: Service,
    name: Annotated[str, typer.Argument(help="What it is called.")] = "",
    *,
    size: Annotated[int | None, typer.Option(metavar="GIB", help="Whole GiB.")] = None,
    backend: Backend = None,
    volume_type: Type = None,
    project: Project = None,
    description: Description = None,
    snapshot: Snapshot = None,
    source_volume: SourceVolume = None,
    image: Image = None,
    group: Group = None,
    multiattach: Multiattach = None,
    metadata: Metadata = None,
    volume_id: ChosenId = None,
) -> Answer:
    """Ask for a volume that a backend will make, empty or of what is there."""
    given = {"snapshot": snapshot, "volume": source_volume, "image": image}
    said = {noun: key for noun, key in given.items() if key is not None}
    if len(said) > 1:
        raise typer.BadParameter("say one: --snapshot, --source-volume or --image")
    if size is None and not said:
        raise typer.BadParameter("say how large: --size GIB")
    return service.ask(
        "volume.create",
        id=volume_id,
        size_gib=size,
        name=name,
        backend=backend,
        volume_type=volume_type,
        project=project,
        description=description,
        source=source_of(service, said),
        group_id=group and names.group(service, group),
        multiattach=multiattach,
        metadata=metadata_of(metadata),
    )


def source_of(service: Service, said: dict[str, str]) -> dict[str, str] | None:
    """Return what a volume is made of, as the request says it."""
    ids = {"snapshot": names.snapshot, "volume": names.volume}
    return {
        noun: ids[noun](service, key) if noun in ids else key
        for noun, key in said.items()
    } or None


@question(app, "list", show.listed(show.VOLUMES))
def find(  # noqa: PLR0913 - one option for each filter
    service: Service,
    *,
    status: Status = None,
    name: Only = None,
    backend: Only = None,
    project: Only = None,
    group: OnlyOf = None,
    limit: Limit = None,
    cursor: Cursor = None,
) -> Answer:
    """List volumes in the order of their creation."""
    return service.whole(
        "volume.list",
        limit,
        cursor=cursor,
        status=status,
        name=name,
        backend=backend,
        project=project,
        group_id=group and names.group(service, group),
    )


@question(app, "show", show.fields)
def show_one(service: Service, volume: Volume) -> Answer:
    """Look at a volume as it is now."""
    return service.ask("volume.show", id=names.volume(service, volume))


@command(app, "update", show.fields)
def update(  # noqa: PLR0913 - one option for each field of the request
    service: Service,
    volume: Volume,
    *,
    name: Name = None,
    description: Description = None,
    metadata: Metadata = None,
    readonly: Readonly = None,
    bootable: Bootable = None,
) -> Answer:
    """Change what is said about a volume; metadata is replaced as a whole."""
    return service.ask(
        "volume.update",
        id=names.volume(service, volume),
        name=name,
        description=description,
        metadata=metadata_of(metadata),
        readonly=readonly,
        bootable=bootable,
    )


@command(app, "extend", show.fields)
def extend(service: Service, volume: Volume, *, size: Size) -> Answer:
    """Ask for more room, of a volume in use as well."""
    return service.ask("volume.extend", id=names.volume(service, volume), size_gib=size)


@command(app, "delete", show.fields)
def delete(
    service: Service, volume: Volume, *, force: Force = False, cascade: Cascade = False
) -> Answer:
    """Ask for a volume to be removed, with everything on it."""
    return service.ask(
        "volume.delete",
        id=names.volume(service, volume),
        force=force or None,
        cascade=cascade or None,
    )


@command(app, "revert", show.fields)
def revert(
    service: Service,
    volume: Volume,
    snapshot: Annotated[
        str, typer.Argument(metavar="SNAPSHOT", help="Its latest: name, id or such.")
    ],
) -> Answer:
    """Ask for a volume to hold again what its latest snapshot does."""
    volume_id = names.volume(service, volume)
    snapshot_id = names.snapshot(service, snapshot, volume_id)
    return service.ask("volume.revert", id=volume_id, snapshot_id=snapshot_id)


@command(app, "manage", show.fields)
def manage(  # noqa: PLR0913 - one option for each field of the request
    service: Service,
    backend: Annotated[str, typer.Argument(help="Which backend has it.")],
    reference: Annotated[
        str, typer.Argument(help="What it is called there; `manageable` lists it.")
    ],
    *,
    name: Name = None,
    volume_type: Type = None,
    project: Project = None,
    description: Description = None,
    metadata: Metadata = None,
    volume_id: ChosenId = None,
) -> Answer:
    """Take storage over as a volume, with all that is on it."""
    return service.ask(
        "volume.manage",
        id=volume_id,
        backend=backend,
        reference={"source-name": reference},
        name=name,
        volume_type=volume_type,
        project=project,
        description=description,
        metadata=metadata_of(metadata),
    )


@command(app, "unmanage", show.fields)
def unmanage(service: Service, volume: Volume) -> Answer:
    """Forget a volume and leave its storage, with all that is on it."""
    return service.ask("volume.unmanage", id=names.volume(service, volume))


@question(app, "manageable", show.listed(show.MANAGEABLE))
def manageable(
    service: Service,
    backend: Annotated[str, typer.Argument(help="Its name.")],
    *,
    limit: Limit = None,
    cursor: Cursor = None,
) -> Answer:
    """List what a backend has that is or could be a volume."""
    return service.whole("volume.manageable", limit, cursor=cursor, backend=backend)


@command(app, "reserve", show.fields)
def reserve(service: Service, volume: Volume) -> Answer:
    """Promise a volume to whoever attaches it next."""
    return service.ask("volume.reserve", id=names.volume(service, volume))


@command(app, "unreserve", show.fields)
def unreserve(service: Service, volume: Volume) -> Answer:
    """Take back a promise that nobody has claimed."""
    return service.ask("volume.unreserve", id=names.volume(service, volume))


@command(app, "attach", show.fields)
def attach(
    service: Service,
    volume: Volume,
    *,
    instance: Instance = None,
    host: Holder = None,
    mountpoint: Mountpoint = None,
    mode: Mode = None,
) -> Answer:
    """Note that an instance or a host uses a volume."""
    return service.ask(
        "volume.attach",
        id=names.volume(service, volume),
        instance=instance,
        host=host,
        mountpoint=mountpoint,
        mode=mode,
    )


def held(service: Service, volume: str, attachment: str | None) -> dict[str, str]:
    """Return which volume is meant, and which of its attachments."""
    one = {"id": names.volume(service, volume)}
    if attachment is None:
        return one
    return one | {"attachment_id": names.attachment(service, attachment)}


@command(app, "begin-detaching", show.fields)
def begin_detaching(
    service: Service, volume: Volume, *, attachment: From = None
) -> Answer:
    """Note that a holder is asked to let go."""
    return service.ask("volume.begin_detaching", **held(service, volume, attachment))


@command(app, "roll-detaching", show.fields)
def roll_detaching(
    service: Service, volume: Volume, *, attachment: From = None
) -> Answer:
    """Note that a holder kept the volume after all."""
    return service.ask("volume.roll_detaching", **held(service, volume, attachment))


def still_held(
    service: Service, told: Answer, attachment: str | None, **_: object
) -> Answer:
    """Return the attachment that was to end, where it has not, else the volume."""
    meant = (attachment or "").lower()
    left = [key for key in told["attachments"] if key.startswith(meant)]
    return service.look("attachment.show", id=left[0]) if left else told


@command(app, "detach", show.fields, looks=still_held)
def detach(service: Service, volume: Volume, *, attachment: From = None) -> Answer:
    """Take a volume back from a holder."""
    return service.ask("volume.detach", **held(service, volume, attachment))


@command(app, "initialize-connection", show.fields)
def initialize_connection(  # noqa: PLR0913 - one option for each part of a connector
    service: Service,
    volume: Volume,
    *,
    host: Host = None,
    initiator: Initiator = None,
    nqn: Nqn = None,
    ip: Ip = None,
    connector: Connector = None,
) -> Answer:
    """Let a host reach a volume, and tell how."""
    named = connector_of(connector, host=host, initiator=initiator, nqn=nqn, ip=ip)
    return service.ask(
        "volume.initialize_connection",
        id=names.volume(service, volume),
        connector=named,
    )


@command(app, "terminate-connection", show.fields)
def terminate_connection(  # noqa: PLR0913 - one option for each part of a connector
    service: Service,
    volume: Volume,
    *,
    host: Host = None,
    initiator: Initiator = None,
    nqn: Nqn = None,
    ip: Ip = None,
    connector: Connector = None,
    force: Force = False,
) -> Answer:
    """Take a volume away from a host."""
    named = connector_of(connector, host=host, initiator=initiator, nqn=nqn, ip=ip)
    return service.ask(
        "volume.terminate_connection",
        id=names.volume(service, volume),
        connector=named,
        force=force or None,
    )


@command(app, "remove-export", show.fields)
def remove_export(service: Service, volume: Volume) -> Answer:
    """Take a volume that nobody uses away from every host."""
    return service.ask("volume.remove_export", id=names.volume(service, volume))


@question(app, "history", show.history)
def history(
    service: Service, volume: Volume, *, limit: Limit = None, cursor: Cursor = None
) -> Answer:
    """List everything that ever happened to a volume, oldest first."""
    key = names.volume(service, volume)
    return service.whole("volume.history", limit, cursor=cursor, id=key)
