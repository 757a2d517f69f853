"""`holdfast snapshot`: what volumes held at one moment."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated

import typer

from service.cli import names, show
from service.cli.arguments import (
    ChosenId,
    Description,
    Metadata,
    Name,
    Only,
    OnlyOf,
    Snapshot,
    Status,
    Volume,
    metadata_of,
)
from service.cli.client import Service
from service.cli.options import Answer, Cursor, Limit, command, question

# fmt: off
InUse = Annotated[bool, typer.Option("--force",
    help="Even while hosts may be writing: as after a power cut.")]
Unfinished = Annotated[bool, typer.Option("--force",
    help="Even one that is being taken.")]
# fmt: on

NOTHING_YET, WHOLE = {"creating", "error"}, "100%"

app = typer.Typer(
    name="snapshot", help="What volumes held at one moment.", no_args_is_help=True
)


@command(app, "create", show.fields)
def create(  # noqa: PLR0913 - one option for each field of the request
    service: Service,
    volume: Volume,
    *,
    name: Name = None,
    description: Description = None,
    metadata: Metadata = None,
    force: InUse = False,
    snapshot_id: ChosenId = None,
) -> Answer:
    """Ask for what a volume holds now to be kept."""
    return service.ask(
        "snapshot.create",
        id=snapshot_id,
        volume_id=names.volume(service, volume),
        name=name,
        description=description,
        metadata=metadata_of(metadata),
        force=force or None,
    )


def seen(told: Answer) -> show.Table:
    """Show snapshots: those of one volume as the chain they stand in."""
    columns = show.CHAIN if "volume_id" in told else show.SNAPSHOTS
    return show.listed(columns)(told | {"items": [*map(named, told["items"])]})


def named(item: Answer) -> Answer:
    """Return a snapshot with names for what it stands beside, as people read it."""
    before, copies = item.get("taken_after"), item.get("volumes", ())
    return item | {
        "taken_after": before and name_of(before),
        "volumes": [name_of(copy) for copy in copies],
    }


def name_of(item: Answer) -> str:
    """Return a name, or the beginning of an id where there is none."""
    return str(item["name"] or item["id"][: show.SHORT])


@question(app, "list", seen)
def find(  # noqa: PLR0913 - one option for each filter
    service: Service,
    *,
    volume: OnlyOf = None,
    group_snapshot: OnlyOf = None,
    status: Status = None,
    backend: Only = None,
    name: Only = None,
    limit: Limit = None,
    cursor: Cursor = None,
) -> Answer:
    """List snapshots, oldest first; those of a volume with what became of them."""
    volume_id = volume and names.volume(service, volume)
    taken_id = group_snapshot and names.group_snapshot(service, group_snapshot)
    told = service.whole(
        "snapshot.list",
        limit,
        cursor=cursor,
        volume_id=volume_id,
        group_snapshot_id=taken_id,
        status=status,
        backend=backend,
        name=name,
    )
    return told if volume_id is None else chained(service, volume_id, told)


def chained(service: Service, volume_id: str, told: Answer) -> Answer:
    """Return snapshots of a volume with when and after what each was taken, and copies.

    What was never taken holds nothing, and stands in no chain.
    """
    chain = filter(is_taken, names.listed(service, "snapshot", volume_id=volume_id))
    before = {later["id"]: brief(earlier) for earlier, later in pairwise(chain)}
    made: dict[str, list[Answer]] = {item["id"]: [] for item in told["items"]}
    home = service.look("volume.show", id=volume_id)["backend"]
    for copy in names.listed(service, "volume", backend=home):
        source = (copy["source"] or {}).get("snapshot")
        if source in made:
            made[source].append(brief(copy))
    items = [
        item
        | {"taken_at": item["created_at"] if is_taken(item) else None}
        | {"taken_after": before.get(item["id"]), "volumes": made[item["id"]]}
        for item in told["items"]
    ]
    return told | {"items": items, "volume_id": volume_id}


def is_taken(item: Answer) -> bool:
    """Tell whether a snapshot holds something: it has been taken, and whole."""
    return item["status"] not in NOTHING_YET and item["progress"] == WHOLE


def brief(item: Answer) -> Answer:
    """Return what tells one from others."""
    return {"id": item["id"], "name": item["name"]}


@question(app, "show", show.fields)
def show_one(service: Service, snapshot: Snapshot) -> Answer:
    """Look at a snapshot as it is now."""
    return service.ask("snapshot.show", id=names.snapshot(service, snapshot))


@command(app, "update", show.fields)
def update(
    service: Service,
    snapshot: Snapshot,
    *,
    name: Name = None,
    description: Description = None,
    metadata: Metadata = None,
) -> Answer:
    """Change what is said about a snapshot; metadata is replaced as a whole."""
    return service.ask(
        "snapshot.update",
        id=names.snapshot(service, snapshot),
        name=name,
        description=description,
        metadata=metadata_of(metadata),
    )


@command(app, "delete", show.fields)
def delete(
    service: Service, snapshot: Snapshot, *, force: Unfinished = False
) -> Answer:
    """Ask for a snapshot to be removed; its volume and its copies stay."""
    return service.ask(
        "snapshot.delete",
        id=names.snapshot(service, snapshot),
        force=force or None,
    )


@command(app, "manage", show.fields)
def manage(  # noqa: PLR0913 - one option for each field of the request
    service: Service,
    volume: Volume,
    reference: Annotated[
        str, typer.Argument(help="What it is called there; `manageable` lists it.")
    ],
    *,
    name: Name = None,
    description: Description = None,
    metadata: Metadata = None,
    snapshot_id: ChosenId = None,
) -> Answer:
    """Take storage over as a snapshot of a volume."""
    return service.ask(
        "snapshot.manage",
        id=snapshot_id,
        volume_id=names.volume(service, volume),
        reference={"source-name": reference},
        name=name,
        description=description,
        metadata=metadata_of(metadata),
    )


@command(app, "unmanage", show.fields)
def unmanage(service: Service, snapshot: Snapshot) -> Answer:
    """Forget a snapshot and leave its storage, with all that is on it."""
    return service.ask("snapshot.unmanage", id=names.snapshot(service, snapshot))


@question(app, "manageable", show.listed(show.MANAGEABLE_SNAPSHOTS))
def manageable(
    service: Service,
    backend: Annotated[str, typer.Argument(help="Its name.")],
    *,
    limit: Limit = None,
    cursor: Cursor = None,
) -> Answer:
    """List what a backend has that is or could be a snapshot."""
    return service.whole("snapshot.manageable", limit, cursor=cursor, backend=backend)


@question(app, "history", show.history)
def history(
    service: Service, snapshot: Snapshot, *, limit: Limit = None, cursor: Cursor = None
) -> Answer:
    """List everything that ever happened to a snapshot, oldest first."""
    key = names.snapshot(service, snapshot)
    return service.whole("snapshot.history", limit, cursor=cursor, id=key)
