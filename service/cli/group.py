"""`holdfast group` and `consistency-group`: volumes that belong together.

A consistency group is a group whose snapshots are taken at one moment; its own
commands are refused for a group that is none.
"""

from __future__ import annotations

from typing import Annotated

import typer

from service.cli import names, show
from service.cli.arguments import ChosenId, Description, Group, Name, Only, Status
from service.cli.client import Service
from service.cli.options import Answer, Cursor, Limit, command, question

# fmt: off
Called = Annotated[str, typer.Argument(help="What it is called.")]
Backend = Annotated[str, typer.Option(help="Which backend its members are on.")]
Consistent = Annotated[bool, typer.Option("--consistent",
    help="Its snapshots are taken at one moment, or not at all.")]
Types = Annotated[list[str] | None, typer.Option("--type", metavar="TYPE",
    help="Of which volume types its members may be; once for each.")]
OfSnapshot = Annotated[str | None, typer.Option("--group-snapshot",
    metavar="GROUP_SNAPSHOT", help="A member for each of its snapshots.")]
OfGroup = Annotated[str | None, typer.Option("--source-group", metavar="GROUP",
    help="A member for each of its members.")]
Added = Annotated[list[str] | None, typer.Option("--add-volume", metavar="VOLUME",
    help="It becomes a member; once for each.")]
Removed = Annotated[list[str] | None, typer.Option("--remove-volume",
    metavar="VOLUME", help="It is a member no more; once for each.")]
DeleteVolumes = Annotated[bool, typer.Option("--delete-volumes",
    help="All its members as well.")]
# fmt: on

app = typer.Typer(
    name="group", help="Volumes that belong together.", no_args_is_help=True
)
consistency = typer.Typer(
    name="consistency-group",
    help="Groups whose snapshots are taken at one moment; see `group` for the rest.",
    no_args_is_help=True,
)


@command(app, "create", show.fields)
def create(  # noqa: PLR0913 - one option for each field of the request
    service: Service,
    name: Called = "",
    *,
    backend: Backend,
    consistent: Consistent = False,
    volume_types: Types = None,
    description: Description = None,
    group_id: ChosenId = None,
) -> Answer:
    """Make a group, which is empty at first."""
    return service.ask(
        "group.create",
        id=group_id,
        name=name,
        backend=backend,
        consistent=consistent or None,
        volume_types=volume_types or None,
        description=description,
    )


@command(consistency, "create", show.fields)
def create_consistent(
    service: Service,
    name: Called = "",
    *,
    backend: Backend,
    volume_types: Types = None,
    description: Description = None,
    group_id: ChosenId = None,
) -> Answer:
    """Make a group whose snapshots are taken at one moment."""
    return service.ask(
        "consistency_group.create",
        id=group_id,
        name=name,
        backend=backend,
        volume_types=volume_types or None,
        description=description,
    )


def changed(app: typer.Typer, noun: str, taken: str) -> None:
    """Make the commands that are asked alike of any group and of a consistent one.

    `taken` is what its snapshots are called.
    """

    @command(app, "create-from-source", show.fields)
    def create_from_source(
        service: Service,
        name: Called = "",
        *,
        group_snapshot: OfSnapshot = None,
        source_group: OfGroup = None,
        description: Description = None,
        group_id: ChosenId = None,
    ) -> Answer:
        """Ask for a group of copies: of another's members, or of a snapshot of them."""
        if (group_snapshot is None) == (source_group is None):
            raise typer.BadParameter("say one: --group-snapshot or --source-group")
        return service.ask(
            f"{noun}.create_from_source",
            id=group_id,
            group_snapshot_id=group_snapshot
            and names.of(service, taken, group_snapshot),
            group_id=source_group and names.of(service, noun, source_group),
            name=name,
            description=description,
        )

    @command(app, "update", show.fields)
    def update(
        service: Service,
        group: Group,
        *,
        name: Name = None,
        description: Description = None,
        added: Added = None,
        removed: Removed = None,
    ) -> Answer:
        """Change what is said of a group, and who is in it: all of it, or nothing."""
        return service.ask(
            f"{noun}.update",
            id=names.of(service, noun, group),
            name=name,
            description=description,
            add_volumes=[names.volume(service, each) for each in added or ()] or None,
            remove_volumes=[names.volume(service, each) for each in removed or ()]
            or None,
        )

    @command(app, "delete", show.fields)
    def delete(
        service: Service, group: Group, *, delete_volumes: DeleteVolumes = False
    ) -> Answer:
        """Ask for an empty group to go, or for one with volumes that nobody uses."""
        return service.ask(
            f"{noun}.delete",
            id=names.of(service, noun, group),
            delete_volumes=delete_volumes or None,
        )


changed(app, "group", "group_snapshot")
changed(consistency, "consistency_group", "cgsnapshot")


@question(app, "show", show.fields)
def show_one(service: Service, group: Group) -> Answer:
    """Look at a group as it is now."""
    return service.ask("group.show", id=names.group(service, group))


@question(app, "list", show.listed(show.GROUPS))
def find(
    service: Service,
    *,
    status: Status = None,
    backend: Only = None,
    name: Only = None,
    limit: Limit = None,
    cursor: Cursor = None,
) -> Answer:
    """List groups in the order of their creation."""
    return service.whole(
        "group.list", limit, cursor=cursor, status=status, backend=backend, name=name
    )


@question(app, "history", show.history)
def history(
    service: Service, group: Group, *, limit: Limit = None, cursor: Cursor = None
) -> Answer:
    """List everything that ever happened to a group, oldest first."""
    key = names.group(service, group)
    return service.whole("group.history", limit, cursor=cursor, id=key)
