"""Subjects under `group`, and `consistency_group`: volumes that belong together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid5

from marshmallow import ValidationError, fields, validate, validates_schema

from domain.backend import Backend, id_of
from domain.group import Group, GroupStatus, Inconsistent
from domain.group_snapshot import GroupSnapshot
from domain.lifecycle import about
from domain.snapshot import Snapshot
from domain.volume import Volume
from projections import resources
from service.audit import history
from service.deciding import copying, placing
from service.deciding.command import Decision, NotFound
from service.endpoints.endpoint import Endpoint, endpoint, query
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
)

if TYPE_CHECKING:
    from service.replica import Replica

MOST_AT_ONCE = 500  # volumes that one message adds or removes


class One(Message):
    group_id = StrictUUID(required=True, data_key="id")


class CreateConsistent(Message):
    group_id = chosen_id()
    backend = fields.String(required=True, validate=WORD)
    name = fields.String(load_default="", validate=NAME)
    description = fields.String(load_default="", validate=TEXT)
    volume_types = fields.List(fields.String(validate=WORD), load_default=list)


class Create(CreateConsistent):
    consistent = StrictBoolean(load_default=False)


@endpoint("group.create", takes=Create(), gives=resources.group)
def create(log: Decision, group_id: UUID, **described: Any) -> Group:
    """Make a group; a `consistent` one where its backend can keep the promise."""
    return made(log, group_id, described)


@endpoint("consistency_group.create", takes=CreateConsistent(), gives=resources.group)
def create_consistent(log: Decision, group_id: UUID, **described: Any) -> Group:
    """Make a group whose snapshots are taken at one moment."""
    return made(log, group_id, described | {"consistent": True})


def made(log: Decision, group_id: UUID, described: dict[str, Any]) -> Group:
    """Return a new group, or raise `NotFound` or `Inconsistent`."""
    for kind in described["volume_types"]:
        if kind not in log.room.volume_types:
            raise NotFound("volume_type", kind)
    name = described["backend"]
    log.get(Backend, id_of(name), name)
    if described["consistent"] and not log.room.keeps_groups_consistent(name):
        raise Inconsistent(name)
    return log.add(Group.create(group_id, **described))


class CreateFromSource(Message):
    group_id = chosen_id()
    group_snapshot_id = StrictUUID(load_default=None, allow_none=True)
    source_id = StrictUUID(load_default=None, allow_none=True, data_key="group_id")
    name = fields.String(load_default="", validate=NAME)
    description = fields.String(load_default="", validate=TEXT)

    @validates_schema
    def one_source(self, data: dict[str, Any], **_: Any) -> None:
        if (data["group_snapshot_id"] is None) == (data["source_id"] is None):
            raise ValidationError("Give either this or group_id.", "group_snapshot_id")


@endpoint("group.create_from_source", takes=CreateFromSource(), gives=resources.group)
def create_from_source(
    log: Decision,
    group_id: UUID,
    group_snapshot_id: UUID | None,
    source_id: UUID | None,
    **described: Any,
) -> Group:
    """Make a group of another's members, or of a snapshot of them: each of its own."""
    if group_snapshot_id:
        taken = log.get(GroupSnapshot, group_snapshot_id)
        taken.check_source()
        origin = log.get(Group, taken.group_id)
        log.all(Volume, taken.snapshots.values())
        sources = [{"snapshot": each.id} for each in log.all(Snapshot, taken.snapshots)]
        source = {"group_snapshot": group_snapshot_id}
    else:
        assert source_id
        origin = log.get(Group, source_id)
        origin.check_source()
        sources = [{"volume": each.id} for each in log.all(Volume, origin.volumes)]
        source = {"group": source_id}
    made = volumes_of(log, group_id, sources)
    group = Group.create_from(
        group_id,
        backend=origin.backend,
        consistent=origin.consistent,
        volume_types=origin.volume_types,
        source=source,
        volumes=[volume.id for volume in made],
        **described,
    )
    log.add(group)
    for volume in made:
        log.add(volume)
    return group


def volumes_of(
    log: Decision, group_id: UUID, sources: Sequence[dict[str, UUID]]
) -> list[Volume]:
    """Return the volumes of a new group, one for each source."""
    plain: dict[str, Any] = {
        "name": "",
        "description": "",
        "project": "",
        "size_gib": None,
        "backend": None,
        "volume_type": None,
        "multiattach": None,
        "metadata": {},
    }
    described = []
    for source in sources:
        _, of = copying.found(log, source)
        volume_id = uuid5(group_id, str(of.id))
        said = plain | {"name": of.name, "project": of.project, "group_id": group_id}
        asked = copying.described(log, volume_id, source, said)
        described.append((volume_id, of, asked))
    placed = [(key, placing.place(log, asked)) for key, _, asked in described]
    # After each by itself: it is the limit of all that the transaction confirms.
    placing.check_room(log, *((of, asked["size_gib"]) for _, of, asked in described))
    return [Volume.create(volume_id, **asked) for volume_id, asked in placed]


class Update(One):
    name = fields.String(validate=NAME)
    description = fields.String(validate=TEXT)
    added = fields.List(
        StrictUUID(),
        load_default=list,
        data_key="add_volumes",
        validate=validate.Length(max=MOST_AT_ONCE),
    )
    removed = fields.List(
        StrictUUID(),
        load_default=list,
        data_key="remove_volumes",
        validate=validate.Length(max=MOST_AT_ONCE),
    )

    @validates_schema
    def each_once(self, data: dict[str, Any], **_: Any) -> None:
        both = set(data.get("added", ())) & set(data.get("removed", ()))
        if both:
            raise ValidationError(f"{min(both)} is to be added, too.", "remove_volumes")


@endpoint("group.update", takes=Update(), gives=resources.group)
def update(
    log: Decision, group_id: UUID, added: list[UUID], removed: list[UUID], **said: Any
) -> Group:
    """Change what is said of a group, and who is in it: all of it, or nothing."""
    group = log.get(Group, group_id)
    joining, leaving = log.all(Volume, added), log.all(Volume, removed)
    for volume in joining:
        if volume.backend != group.backend:
            elsewhere = f"{volume.id} is on {volume.backend}, not on {group.backend}."
            raise ValidationError(elsewhere, "add_volumes")
    for volume in joining:
        with about("volume", volume.id):
            group.check_type(volume.volume_type)
            volume.join(group_id)
    for volume in leaving:
        with about("volume", volume.id):
            volume.leave(group_id)
    group.update(dict.fromkeys(added), dict.fromkeys(removed), **said)
    return group


class Delete(One):
    delete_volumes = StrictBoolean(load_default=False)


@endpoint("group.delete", takes=Delete(), gives=resources.group)
def delete(log: Decision, group_id: UUID, *, delete_volumes: bool) -> Group:
    """Ask for an empty group to go, or for one with volumes that nobody uses."""
    group = log.get(Group, group_id)
    before = group.version
    group.delete(delete_volumes=delete_volumes)
    if group.version != before:
        for volume in log.all(Volume, group.volumes):
            with about("volume", volume.id):
                volume.delete_with_group()
    return group


@endpoint("group.show", takes=One(), gives=resources.group, query=True)
def show(log: Decision, group_id: UUID) -> Group:
    """Look at a group as it is now."""
    return log.get(Group, group_id)


class Find(List):
    status = fields.String(validate=validate.OneOf([*map(str, GroupStatus)]))
    backend = fields.String(validate=WORD)
    name = fields.String(validate=NAME)


@query("group.list", takes=Find())
async def find(replica: Replica, **asked: Any) -> dict[str, Any]:
    """List groups in the order of their creation."""
    return await replica.reading.listed("groups", asked)


class HistoryOf(History):
    group_id = StrictUUID(required=True, data_key="id")


@query("group.history", takes=HistoryOf())
async def show_history(
    replica: Replica, group_id: UUID, **asked: Any
) -> dict[str, Any]:
    """List everything that ever happened to a group, oldest first."""
    return await history.of(replica.log, "group", group_id, **asked)


class NotConsistent(NotFound):
    """What somebody means is of a group that is not consistent."""

    def __init__(self, noun: str, key: UUID, group_id: UUID) -> None:
        super().__init__(noun, key)
        self.group_id = group_id

    def __str__(self) -> str:
        return f"{super().__str__()}: group {self.group_id} is not consistent"


def consistent(
    endpoint: Endpoint, *, group: str = "", taken: str = ""
) -> Callable[..., Any]:
    """Return a decision that is taken about consistent groups, or theirs, alone.

    `group` and `taken` are the parameters that have the id of a group that is there
    already, or of a snapshot of one.
    """

    def decide(log: Decision, **said: Any) -> Any:
        if snapshot_id := said.get(taken):
            of = log.get(GroupSnapshot, snapshot_id).group_id
            check_consistent(log, of, "cgsnapshot", snapshot_id)
        else:
            check_consistent(log, said[group], "consistency_group", said[group])
        return endpoint.decide(log, **said)

    return decide


def check_consistent(log: Decision, group_id: UUID, noun: str, key: UUID) -> None:
    """Raise `NotConsistent`, naming what was meant, unless the group is."""
    if not log.get(Group, group_id).consistent:
        raise NotConsistent(noun, key, group_id)


ENDPOINTS = (
    create,
    create_from_source,
    update,
    delete,
    show,
    find,
    show_history,
    create_consistent,
    create_from_source.also(
        "consistency_group.create_from_source",
        consistent(create_from_source, group="source_id", taken="group_snapshot_id"),
    ),
    update.also("consistency_group.update", consistent(update, group="group_id")),
    delete.also("consistency_group.delete", consistent(delete, group="group_id")),
)
