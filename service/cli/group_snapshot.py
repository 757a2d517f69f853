"""`holdfast group-snapshot` and `cgsnapshot`: what groups held together."""

from __future__ import annotations

import typer

from service.cli import names, show
from service.cli.arguments import (
    ChosenId,
    Description,
    Group,
    GroupSnapshot,
    Name,
    Only,
    OnlyOf,
    Status,
)
from service.cli.client import Service
from service.cli.options import Answer, Cursor, Limit, command, question

app = typer.Typer(
    name="group-snapshot", help="What groups held together.", no_args_is_help=True
)
consistency = typer.Typer(
    name="cgsnapshot",
    help="Those of consistency groups; see `group-snapshot` for the rest.",
    no_args_is_help=True,
)


def changed(app: typer.Typer, noun: str, of: str) -> None:
    """Make the commands that are asked alike of any group's and of a consistent one's.

    `of` is what the group is called.
    """

    @command(app, "create", show.fields)
    def create(
        service: Service,
        group: Group,
        *,
        name: Name = None,
        description: Description = None,
        group_snapshot_id: ChosenId = None,
    ) -> Answer:
        """Ask to keep what all members hold; `consistency` says at what moment."""
        return service.ask(
            f"{noun}.create",
            id=group_snapshot_id,
            group_id=names.of(service, of, group),
            name=name,
            description=description,
        )

    @command(app, "delete", show.fields)
    def delete(service: Service, group_snapshot: GroupSnapshot) -> Answer:
        """Ask for all of the snapshots to be removed, or none where one is needed."""
        return service.ask(f"{noun}.delete", id=names.of(service, noun, group_snapshot))


changed(app, "group_snapshot", "group")
changed(consistency, "cgsnapshot", "consistency_group")


@question(app, "show", show.fields)
def show_one(service: Service, group_snapshot: GroupSnapshot) -> Answer:
    """Look at a group snapshot as it is now."""
    return service.ask(
        "group_snapshot.show", id=names.group_snapshot(service, group_snapshot)
    )


@question(app, "list", show.listed(show.GROUP_SNAPSHOTS))
def find(  # noqa: PLR0913 - one option for each filter
    service: Service,
    *,
    group: OnlyOf = None,
    status: Status = None,
    backend: Only = None,
    name: Only = None,
    limit: Limit = None,
    cursor: Cursor = None,
) -> Answer:
    """List group snapshots in the order of their creation."""
    return service.whole(
        "group_snapshot.list",
        limit,
        cursor=cursor,
        group_id=group and names.group(service, group),
        status=status,
        backend=backend,
        name=name,
    )


@question(app, "history", show.history)
def history(
    service: Service,
    group_snapshot: GroupSnapshot,
    *,
    limit: Limit = None,
    cursor: Cursor = None,
) -> Answer:
    """List everything that ever happened to a group snapshot, oldest first."""
    key = names.group_snapshot(service, group_snapshot)
    return service.whole("group_snapshot.history", limit, cursor=cursor, id=key)
