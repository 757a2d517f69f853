"""Subjects under `group_snapshot`, and `cgsnapshot`: what groups held together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid5

from marshmallow import fields, validate

from domain.group import Group
from domain.group_snapshot import GroupSnapshot, GroupSnapshotStatus, Member
from domain.lifecycle import about
from domain.snapshot import Snapshot
from domain.volume import Volume
from projections import resources
from service.audit import history
from service.deciding import placing
from service.deciding.command import Decision
from service.endpoints.endpoint import endpoint, query
from service.endpoints.groups import consistent
from service.messages.schema import (
    NAME,
    TEXT,
    WORD,
    History,
    List,
    Message,
    StrictUUID,
    chosen_id,
)

if TYPE_CHECKING:
    from service.replica import Replica


class One(Message):
    group_snapshot_id = StrictUUID(required=True, data_key="id")


class Create(Message):
    group_snapshot_id = chosen_id()
    group_id = StrictUUID(required=True)
    name = fields.String(load_default="", validate=NAME)
    description = fields.String(load_default="", validate=TEXT)


@endpoint("group_snapshot.create", takes=Create(), gives=resources.group_snapshot)
def create(
    log: Decision, group_snapshot_id: UUID, group_id: UUID, **said: Any
) -> GroupSnapshot:
    """Ask for what all members hold to be kept; of a consistent group at one moment.

    Hosts may be writing.
    """
    group = log.get(Group, group_id)
    group.add_snapshot(group_snapshot_id)
    volumes = log.all(Volume, group.volumes)
    placing.check_room(log, *((each, each.size_gib) for each in volumes))
    members = [
        Member(uuid5(group_snapshot_id, str(each.id)), each.id, each.size_gib)
        for each in volumes
    ]
    made = log.add(  # before its snapshots: it is its id that somebody has chosen
        GroupSnapshot.create(
            group_snapshot_id,
            group_id=group_id,
            backend=group.backend,
            consistent=group.consistent,
            members=members,
            **said,
        )
    )
    for volume, member in zip(volumes, members, strict=True):
        with about("volume", volume.id):
            volume.add_snapshot(member.snapshot_id, force=True)
        log.add(
            Snapshot.create_in_group(
                member.snapshot_id,
                backend=group.backend,
                volume_id=volume.id,
                group_snapshot_id=group_snapshot_id,
                size_gib=volume.size_gib,
                **said,
            )
        )
    return made


@endpoint("group_snapshot.delete", takes=One(), gives=resources.group_snapshot)
def delete(log: Decision, group_snapshot_id: UUID) -> GroupSnapshot:
    """Ask for all of the snapshots to be removed, or none where one is needed."""
    asked = log.get(GroupSnapshot, group_snapshot_id)
    before = asked.version
    asked.delete()
    if asked.version != before:
        for snapshot in log.all(Snapshot, asked.snapshots):
            with about("snapshot", snapshot.id):
                snapshot.delete(with_group=True)
    return asked


@endpoint(
    "group_snapshot.show", takes=One(), gives=resources.group_snapshot, query=True
)
def show(log: Decision, group_snapshot_id: UUID) -> GroupSnapshot:
    """Look at a group snapshot as it is now."""
    return log.get(GroupSnapshot, group_snapshot_id)


class Find(List):
    status = fields.String(validate=validate.OneOf([*map(str, GroupSnapshotStatus)]))
    backend = fields.String(validate=WORD)
    name = fields.String(validate=NAME)
    group_id = StrictUUID()


@query("group_snapshot.list", takes=Find())
async def find(replica: Replica, **asked: Any) -> dict[str, Any]:
    """List group snapshots in the order of their creation."""
    return await replica.reading.listed("group_snapshots", asked)


class HistoryOf(History):
    taken_id = StrictUUID(required=True, data_key="id")


@query("group_snapshot.history", takes=HistoryOf())
async def show_history(
    replica: Replica, taken_id: UUID, **asked: Any
) -> dict[str, Any]:
    """List everything that ever happened to a group snapshot, oldest first."""
    return await history.of(replica.log, "group_snapshot", taken_id, **asked)


ENDPOINTS = (
    create,
    delete,
    show,
    find,
    show_history,
    create.also("cgsnapshot.create", consistent(create, group="group_id")),
    delete.also("cgsnapshot.delete", consistent(delete, taken="group_snapshot_id")),
)
