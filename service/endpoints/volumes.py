"""Subjects under `volume`: what a caller may ask of a volume, one after another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from marshmallow import ValidationError, fields, validate, validates_schema

from domain import reference
from domain.group import Group
from domain.lifecycle import Refused, about
from domain.snapshot import Snapshot
from domain.volume import Volume
from domain.volume_status import Status
from projections import resources
from service.audit import history
from service.deciding import copying, placing
from service.deciding.command import Decision, Taken
from service.endpoints.endpoint import endpoint, query
from service.messages.schema import (
    GIB,
    NAME,
    TEXT,
    WORD,
    Connector,
    History,
    List,
    Message,
    Page,
    StrictBoolean,
    StrictInteger,
    StrictUUID,
    chosen_id,
    metadata_field,
)

if TYPE_CHECKING:
    from service.replica import Replica


class One(Message):
    volume_id = StrictUUID(required=True, data_key="id")


class Source(Message):
    snapshot = StrictUUID()
    volume = StrictUUID()
    image = fields.String(validate=WORD)

    @validates_schema
    def one_alone(self, data: dict[str, Any], **_: Any) -> None:
        if len(data) != 1:
            raise ValidationError("Must be a snapshot, a volume or an image.")


class Create(Message):
    volume_id = chosen_id()
    size_gib = StrictInteger(load_default=None, validate=GIB)
    name = fields.String(load_default="", validate=NAME)
    description = fields.String(load_default="", validate=TEXT)
    project = fields.String(load_default="", validate=NAME)
    backend = fields.String(load_default=None, allow_none=True, validate=WORD)
    volume_type = fields.String(load_default=None, allow_none=True, validate=WORD)
    source = fields.Nested(Source, load_default=None, allow_none=True)
    group_id = StrictUUID(load_default=None, allow_none=True)
    multiattach = StrictBoolean(load_default=None)  # or as its source, or false
    metadata = metadata_field(load_default=dict)


@endpoint("volume.create", takes=Create(), gives=resources.volume)
def create(
    log: Decision,
    volume_id: UUID,
    source: dict[str, Any] | None,
    group_id: UUID | None,
    **described: Any,
) -> Volume:
    """Ask for a volume that a backend will make, of a snapshot or a volume as well."""
    if not source and described["size_gib"] is None:
        raise ValidationError("Missing data for required field.", "size_gib")
    group = log.get(Group, group_id) if group_id else None
    if group:
        described |= {"backend": backend_of(group, described["backend"])}
    if source:
        described = copying.described(log, volume_id, source, described)
    if group:
        group.check_type(described["volume_type"])
        group.update(added=[volume_id])
        described |= {"group_id": group_id}
    placed = placing.place(log, described)
    return log.add(Volume.create(volume_id, **placed))


def backend_of(group: Group, said: str | None) -> str:
    """Return a group's backend, which is a new member's as well."""
    if said not in (None, group.backend):
        raise ValidationError(f"Must be its group's, {group.backend}.", "backend")
    return group.backend


@endpoint("volume.show", takes=One(), gives=resources.volume, query=True)
def show(log: Decision, volume_id: UUID) -> Volume:
    """Look at a volume as it is now."""
    return log.get(Volume, volume_id)


class Update(One):
    name = fields.String(validate=NAME)
    description = fields.String(validate=TEXT)
    metadata = metadata_field()
    readonly = StrictBoolean()
    bootable = StrictBoolean()


@endpoint("volume.update", takes=Update(), gives=resources.volume)
def update(log: Decision, volume_id: UUID, **said: Any) -> Volume:
    """Change what is said about a volume; metadata is replaced as a whole."""
    asked = log.get(Volume, volume_id)
    asked.update(**said)
    return asked


class Extend(One):
    size_gib = StrictInteger(required=True, validate=GIB)


@endpoint("volume.extend", takes=Extend(), gives=resources.volume)
def extend(log: Decision, volume_id: UUID, size_gib: int) -> Volume:
    """Ask for more room, of a volume in use as well."""
    asked = log.get(Volume, volume_id)
    before = asked.allocated_gib
    asked.extend(size_gib, placing.room_of(log, asked))
    placing.check_room(log, (asked, size_gib - before))
    return asked


class Delete(One):
    cascade = StrictBoolean(load_default=False)
    force = StrictBoolean(load_default=False)


@endpoint("volume.delete", takes=Delete(), gives=resources.volume)
def delete(log: Decision, volume_id: UUID, *, cascade: bool, force: bool) -> Volume:
    """Ask for a volume to be removed; `force` of one that is not at rest as well.

    With `cascade` its snapshots go before it: all of them, or nothing is changed.
    """
    asked = log.get(Volume, volume_id)
    if not (cascade and asked.snapshots):
        asked.delete(force=force)
        return asked
    before = asked.version
    asked.cascade(force=force)
    if asked.version != before:
        for snapshot in log.all(Snapshot, asked.snapshots):
            with about("snapshot", snapshot.id):
                snapshot.check_goes(force=force)
    return asked


class Revert(One):
    snapshot_id = StrictUUID(required=True)


@endpoint("volume.revert", takes=Revert(), gives=resources.volume)
def revert(log: Decision, volume_id: UUID, snapshot_id: UUID) -> Volume:
    """Ask for a volume to hold again what its latest snapshot does."""
    asked, snapshot = log.get(Volume, volume_id), log.get(Snapshot, snapshot_id)
    since = log.all(Snapshot, asked.snapshots_since(snapshot_id))
    failed = [each.id for each in since if each.came_to_nothing]
    asked.revert(snapshot_id, snapshot.created_at, snapshot.size_gib, failed)
    with about("snapshot", snapshot_id):
        snapshot.restore()
    return asked


class Reference(Message):
    name = fields.String(
        required=True,
        data_key=reference.SOURCE_NAME,
        validate=validate.Regexp(
            rf"(?:{reference.NAME.pattern})\Z",
            error="Letters, digits, _ and +; after the first one . and - as well; "
            "127 at most.",
        ),
    )


class Manage(Message):
    volume_id = chosen_id()
    backend = fields.String(required=True, validate=WORD)
    named = fields.Nested(Reference, required=True, data_key="reference")
    name = fields.String(load_default="", validate=NAME)
    description = fields.String(load_default="", validate=TEXT)
    project = fields.String(load_default="", validate=NAME)
    volume_type = fields.String(load_default=None, allow_none=True, validate=WORD)
    metadata = metadata_field(load_default=dict)


@endpoint("volume.manage", takes=Manage(), gives=resources.volume)
def manage(
    log: Decision, volume_id: UUID, *, named: dict[str, str], **described: Any
) -> Volume:
    """Ask for storage that a backend has to be taken over as a volume.

    An id may be asked for again where that came to nothing, or it was unmanaged.
    """
    # Its room is taken already; how much of it is told when it is taken over.
    placed = placing.place(log, described | {"size_gib": 0, "multiattach": False})
    del placed["size_gib"], placed["considered"]
    asked = placed | {"reference": reference.to(named["name"])}
    known = log.find(Volume, volume_id)
    if known is None:
        return log.add(Volume.manage(volume_id, **asked))
    try:
        known.manage_again(**asked)
    except Refused:
        if known.status == Status.ERROR_MANAGING:  # it is to stay where it is
            raise
        raise Taken(volume_id) from None
    return known


@endpoint("volume.unmanage", takes=One(), gives=resources.volume)
def unmanage(log: Decision, volume_id: UUID) -> Volume:
    """Ask for a volume to be forgotten; its storage stays, with all that is on it."""
    asked = log.get(Volume, volume_id)
    asked.unmanage()
    return asked


class FindManageable(Page):
    # Some files have names of 255 bytes.
    cursor = fields.String(load_default=None, allow_none=True, validate=TEXT)
    backend = fields.String(required=True, validate=WORD)


@query("volume.manageable", takes=FindManageable())
async def find_manageable(
    replica: Replica, backend: str, limit: int, cursor: str | None
) -> dict[str, Any]:
    """List what a backend has that is or could be a volume, by name."""
    return await replica.manageable(backend, limit, cursor)


@endpoint("volume.reserve", takes=One(), gives=resources.volume)
def reserve(log: Decision, volume_id: UUID) -> Volume:
    """Promise a volume to whoever attaches it next."""
    asked = log.get(Volume, volume_id)
    asked.reserve()
    return asked


@endpoint("volume.unreserve", takes=One(), gives=resources.volume)
def unreserve(log: Decision, volume_id: UUID) -> Volume:
    """Take back a promise that nobody has claimed, and the way that it was given."""
    asked = log.get(Volume, volume_id)
    asked.unreserve()
    return asked


class Holder(Message):
    instance = fields.String(load_default=None, allow_none=True, validate=WORD)
    host = fields.String(load_default=None, allow_none=True, validate=WORD)
    mode = fields.String(
        load_default=None, allow_none=True, validate=validate.OneOf(["rw", "ro"])
    )

    @validates_schema
    def somebody(self, data: dict[str, Any], **_: Any) -> None:
        if not (data.get("instance") or data.get("host")):
            raise ValidationError("Name an instance or a host.", "instance")


class Attach(One, Holder):
    mountpoint = fields.String(load_default=None, allow_none=True, validate=WORD)


@endpoint("volume.attach", takes=Attach(), gives=resources.volume)
def attach(log: Decision, volume_id: UUID, **holder: Any) -> Volume:
    """Attach a reserved volume, or an available one at once."""
    asked = log.get(Volume, volume_id)
    asked.attach(**holder)
    return asked


class Held(One):
    attachment_id = StrictUUID(load_default=None, allow_none=True)


@endpoint("volume.begin_detaching", takes=Held(), gives=resources.volume)
def begin_detaching(
    log: Decision, volume_id: UUID, attachment_id: UUID | None
) -> Volume:
    """Note that a holder is asked to let go."""
    asked = log.get(Volume, volume_id)
    asked.begin_detaching(attachment_id)
    return asked


@endpoint("volume.roll_detaching", takes=Held(), gives=resources.volume)
def roll_detaching(
    log: Decision, volume_id: UUID, attachment_id: UUID | None
) -> Volume:
    """Note that a holder kept the volume after all."""
    asked = log.get(Volume, volume_id)
    asked.roll_detaching(attachment_id)
    return asked


@endpoint("volume.detach", takes=Held(), gives=resources.volume)
def detach(log: Decision, volume_id: UUID, attachment_id: UUID | None) -> Volume:
    """Take a volume back from a holder."""
    asked = log.get(Volume, volume_id)
    asked.detach(attachment_id)
    return asked


class Connect(One):
    connector = Connector(required=True)


# What the targets of a protocol need to know of a host to let it in.
NEEDED = {
    "iSCSI": (
        "initiator",
        "Must name its initiator, for the volume is reached by iSCSI.",
    ),
    "nbd": ("host", "Must name its host, for the volume is reached by NBD."),
}


def check_usable(log: Decision, volume: Volume, connector: dict[str, Any]) -> None:
    """Raise `ValidationError` for a connector that no target of the backend can use.

    Where nothing is known of the backend yet, its agent tells.
    """
    needs, why = NEEDED.get(log.room.protocol(volume.backend) or "", ("", ""))
    if needs and not connector.get(needs):
        raise ValidationError(why, "connector")


def connection(event: Any) -> dict[str, Any]:
    """Return how a host reaches a volume."""
    told: dict[str, Any] = event.connection
    return told | {"volume_id": event.originator_id}


@endpoint(
    "volume.initialize_connection",
    takes=Connect(),
    gives=resources.volume,
    waits=True,
    outcome=connection,
    connects=True,
)
def initialize_connection(
    log: Decision, volume_id: UUID, connector: dict[str, Any]
) -> Volume:
    """Let a host reach a volume, and tell how."""
    asked = log.get(Volume, volume_id)
    check_usable(log, asked, connector)
    asked.export(connector)
    return asked


class Terminate(Connect):
    force = StrictBoolean(load_default=False)


@endpoint(
    "volume.terminate_connection", takes=Terminate(), gives=resources.volume, waits=True
)
def terminate_connection(
    log: Decision, volume_id: UUID, connector: dict[str, Any], *, force: bool
) -> Volume:
    """Take a volume away from a host; with `force` even if its backend fails."""
    asked = log.get(Volume, volume_id)
    asked.unexport(connector, force=force)
    return asked


@endpoint("volume.remove_export", takes=One(), gives=resources.volume, waits=True)
def remove_export(log: Decision, volume_id: UUID) -> Volume:
    """Take a volume that nobody uses away from every host."""
    asked = log.get(Volume, volume_id)
    asked.unexport()
    return asked


class Find(List):
    status = fields.String(validate=validate.OneOf([*map(str, Status)]))
    backend = fields.String(validate=WORD)
    project = fields.String(validate=NAME)
    name = fields.String(validate=NAME)
    group_id = StrictUUID()


@query("volume.list", takes=Find())
async def find(replica: Replica, **asked: Any) -> dict[str, Any]:
    """List volumes in the order of their creation."""
    return await replica.reading.listed("volumes", asked)


class HistoryOf(History):
    volume_id = StrictUUID(required=True, data_key="id")


@query("volume.history", takes=HistoryOf())
async def show_history(
    replica: Replica, volume_id: UUID, **asked: Any
) -> dict[str, Any]:
    """List everything that ever happened to a volume, oldest first."""
    return await history.of(replica.log, "volume", volume_id, **asked)


ENDPOINTS = (
    create,
    show,
    update,
    extend,
    delete,
    revert,
    manage,
    unmanage,
    find_manageable,
    reserve,
    unreserve,
    attach,
    begin_detaching,
    roll_detaching,
    detach,
    initialize_connection,
    terminate_connection,
    remove_export,
    find,
    show_history,
)
