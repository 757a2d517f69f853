"""Subjects under `snapshot`: what volumes held at one moment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from marshmallow import fields, validate

from domain import reference
from domain.snapshot import Snapshot, SnapshotStatus
from domain.volume import Volume
from projections import resources
from service.audit import history
from service.deciding import placing
from service.deciding.command import Decision
from service.endpoints.endpoint import endpoint, query
from service.endpoints.volumes import FindManageable, Reference
from service.messages.schema import (
    NAME,
    TEXT,
    WORD,
    History,
    List,
    Message,
    StrictBoolean,
    StrictUUID,
    chosen_id,
    metadata_field,
)

if TYPE_CHECKING:
    from service.replica import Replica


class One(Message):
    snapshot_id = StrictUUID(required=True, data_key="id")


class Described(Message):
    snapshot_id = chosen_id()
    volume_id = StrictUUID(required=True)
    name = fields.String(load_default="", validate=NAME)
    description = fields.String(load_default="", validate=TEXT)
    metadata = metadata_field(load_default=dict)


class Create(Described):
    force = StrictBoolean(load_default=False)


@endpoint("snapshot.create", takes=Create(), gives=resources.snapshot)
def create(
    log: Decision, snapshot_id: UUID, volume_id: UUID, *, force: bool, **said: Any
) -> Snapshot:
    """Ask for what a volume holds to be kept; `force` while hosts may write it."""
    volume = log.get(Volume, volume_id)
    volume.add_snapshot(snapshot_id, force=force)
    placing.check_room(log, (volume, volume.size_gib))
    return log.add(
        Snapshot.create(
            snapshot_id,
            volume_id=volume_id,
            backend=volume.backend,
            size_gib=volume.size_gib,
            crash_consistent=not volume.disconnected,
            **said,
        )
    )


@endpoint("snapshot.show", takes=One(), gives=resources.snapshot, query=True)
def show(log: Decision, snapshot_id: UUID) -> Snapshot:
    """Look at a snapshot as it is now."""
    return log.get(Snapshot, snapshot_id)


class Update(One):
    name = fields.String(validate=NAME)
    description = fields.String(validate=TEXT)
    metadata = metadata_field()


@endpoint("snapshot.update", takes=Update(), gives=resources.snapshot)
def update(log: Decision, snapshot_id: UUID, **said: Any) -> Snapshot:
    """Change what is said about a snapshot; metadata is replaced as a whole."""
    asked = log.get(Snapshot, snapshot_id)
    asked.update(**said)
    return asked


class Delete(One):
    force = StrictBoolean(load_default=False)


@endpoint("snapshot.delete", takes=Delete(), gives=resources.snapshot)
def delete(log: Decision, snapshot_id: UUID, *, force: bool) -> Snapshot:
    """Ask for a snapshot to be removed; `force` of one that is being taken as well."""
    asked = log.get(Snapshot, snapshot_id)
    of = log.get(Volume, asked.volume_id)
    asked.delete(force=force, needed_by=of.needs(asked.id))
    return asked


class Manage(Described):
    named = fields.Nested(Reference, required=True, data_key="reference")


@endpoint("snapshot.manage", takes=Manage(), gives=resources.snapshot)
def manage(
    log: Decision,
    snapshot_id: UUID,
    volume_id: UUID,
    *,
    named: dict[str, str],
    **said: Any,
) -> Snapshot:
    """Ask for storage that a backend has to be taken over as a volume's snapshot."""
    volume = log.get(Volume, volume_id)
    volume.add_snapshot(snapshot_id, force=True)
    return log.add(
        Snapshot.manage(
            snapshot_id,
            volume_id=volume_id,
            backend=volume.backend,
            size_gib=volume.size_gib,
            reference=reference.to(named["name"]),
            **said,
        )
    )


@endpoint("snapshot.unmanage", takes=One(), gives=resources.snapshot)
def unmanage(log: Decision, snapshot_id: UUID) -> Snapshot:
    """Ask for a snapshot to be forgotten; its storage stays."""
    asked = log.get(Snapshot, snapshot_id)
    asked.unmanage()
    return asked


@query("snapshot.manageable", takes=FindManageable())
async def find_manageable(
    replica: Replica, backend: str, limit: int, cursor: str | None
) -> dict[str, Any]:
    """List what a backend has that is or could be a snapshot, by name."""
    return await replica.manageable(backend, limit, cursor, snapshots=True)


class Find(List):
    status = fields.String(validate=validate.OneOf([*map(str, SnapshotStatus)]))
    backend = fields.String(validate=WORD)
    name = fields.String(validate=NAME)
    volume_id = StrictUUID()
    group_snapshot_id = StrictUUID()


@query("snapshot.list", takes=Find())
async def find(replica: Replica, **asked: Any) -> dict[str, Any]:
    """List snapshots in the order of their creation: each volume's chain."""
    return await replica.reading.listed("snapshots", asked)


class HistoryOf(History):
    snapshot_id = StrictUUID(required=True, data_key="id")


@query("snapshot.history", takes=HistoryOf())
async def show_history(
    replica: Replica, snapshot_id: UUID, **asked: Any
) -> dict[str, Any]:
    """List everything that ever happened to a snapshot, oldest first."""
    return await history.of(replica.log, "snapshot", snapshot_id, **asked)


ENDPOINTS = (
    create,
    show,
    update,
    delete,
    manage,
    unmanage,
    find_manageable,
    find,
    show_history,
)
