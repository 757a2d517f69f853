"""`holdfast audit`: what was, and whether the log is what was written."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from service.cli import archive, causes, names, show
from service.cli.client import Ended, Service
from service.cli.options import Answer, AsJson, Cursor, Limit, question

# fmt: off
Anything = Annotated[str, typer.Argument(metavar="ID",
    help="Of whatever noun: its name, its id, or the beginning of one.",
    autocompletion=names.complete("volume"))]
Time = Annotated[str | None, typer.Option(metavar="TIME",
    help="As it was then: RFC 3339, as 2026-01-31T12:00:00Z.")]
Position = Annotated[int | None, typer.Option(metavar="N",
    help="As it was after that event of the log.")]
Since = Annotated[str | None, typer.Option(metavar="TIME",
    help="What happened then and later.")]
Until = Annotated[str | None, typer.Option(metavar="TIME",
    help="What happened then and before.")]
By = Annotated[str | None, typer.Option(metavar="ACTOR",
    help="What was asked by this one.")]
Request = Annotated[str | None, typer.Option(metavar="KEY",
    help="What followed from the request with this id.")]
Happened = Annotated[list[str] | None, typer.Option("--event", metavar="NOUN.EVENT",
    help="What is called so, as volume.attached.")]
When = Annotated[str, typer.Argument(metavar="TIME",
    help="RFC 3339, as 2026-01-31T12:00:00Z; or a position of the log.")]
Noun = Annotated[str, typer.Argument(help="As volume, snapshot or attachment.")]
List_ = Annotated[str, typer.Argument(metavar="[list]", show_default=False)]
Status = Annotated[str | None, typer.Option(help="Those that were so.")]
OfBackend = Annotated[str | None, typer.Option(metavar="NAME",
    help="Those of a backend.")]
Project = Annotated[str | None, typer.Option(help="Those of a project.")]
Name = Annotated[str | None, typer.Option(help="Those of that name.")]
OfVolume = Annotated[str | None, typer.Option(help="Those of a volume.")]
OfGroup = Annotated[str | None, typer.Option(help="Those of a group.")]
OfGroupSnapshot = Annotated[str | None, typer.Option(
    help="Those of a group snapshot.")]
Host = Annotated[str | None, typer.Option(help="Those of a host.")]
Instance = Annotated[str | None, typer.Option(help="Those of an instance.")]
Earlier = Annotated[str, typer.Argument(metavar="T1",
    help="RFC 3339, as 2026-01-31T12:00:00Z; or a position of the log, 0 for none.")]
Later = Annotated[str | None, typer.Argument(metavar="[T2]", show_default=False,
    help="Likewise; now, if not said.")]
OnlyNoun = Annotated[str | None, typer.Option(metavar="NOUN",
    help="Only of these, as volume or snapshot.")]
Perhaps = Annotated[str | None, typer.Argument(metavar="[ID]", show_default=False,
    help="Of whatever noun: its name, its id, or the beginning of one.",
    autocompletion=names.complete("volume"))]
OfEvent = Annotated[int | None, typer.Option(metavar="N",
    help="Why its event there; otherwise, why its status.")]
OfRequest = Annotated[str | None, typer.Option(metavar="KEY",
    help="What followed from the request with this id.")]
First = Annotated[int, typer.Option("--from", metavar="N",
    min=1,
    help="The first position.")]
Last = Annotated[int | None, typer.Option("--to", metavar="N",
    min=1, help="The last position; otherwise the log's.")]
Checkpoint = Annotated[Path | None, typer.Option(metavar="FILE",
    help="Checkpoints that were kept elsewhere, one or many.")]
Key = Annotated[str | None, typer.Option(metavar="KEY",
    help="Whose they must be: as `audit checkpoint` showed it then.")]
# fmt: on

app = typer.Typer(
    name="audit", help="Who did what, when and why.", no_args_is_help=True
)
app.add_typer(archive.app)


@question(app, "history", show.history)
def history(  # noqa: PLR0913 - each narrows it down
    service: Service,
    key: Anything,
    *,
    since: Since = None,
    until: Until = None,
    actor: By = None,
    request_id: Request = None,
    event: Happened = None,
    limit: Limit = None,
    cursor: Cursor = None,
) -> Answer:
    """List everything that ever happened to a resource, oldest first."""
    if event and len(event) > 1:
        raise typer.BadParameter("can be said once", param_hint="--event")
    noun, one = names.kind(service, key)
    when = {"since": since, "until": until, "event": event and event[0]}
    who = {"actor": actor, "request_id": request_id}
    asked = {"cursor": cursor, **when, **who, **one}
    return service.whole(f"{noun}.history", limit, **asked)


@question(app, "why", causes.tree)
def why(
    service: Service,
    key: Perhaps = None,
    *,
    position: OfEvent = None,
    request_id: OfRequest = None,
) -> Answer:
    """Tell what led to a resource's status: who asked, what ran, what followed."""
    if (key is None) == (request_id is None):
        raise typer.BadParameter("say either an ID or --request-id KEY")
    if key is None:
        return service.ask("audit.why", request_id=request_id)
    _, one = names.kind(service, key)
    [named] = one.values()
    return service.ask("audit.why", id=named, position=position)


@question(app, "state-at", show.fields)
def state_at(
    service: Service, key: Anything, *, time: Time = None, position: Position = None
) -> Answer:
    """Look at a resource as it was at a time, or after a position of the log."""
    if (time is None) == (position is None):
        raise typer.BadParameter("say when: either --time TIME or --position N")
    _, one = names.kind(service, key)
    [named] = one.values()
    return service.ask("audit.state_at", id=named, time=time, position=position)


@question(app, "at", show.listed_at)
def at(  # noqa: PLR0913 - the filters of every list
    service: Service,
    when: When,
    noun: Noun,
    verb: List_ = "list",
    *,
    status: Status = None,
    backend: OfBackend = None,
    project: Project = None,
    name: Name = None,
    volume: OfVolume = None,
    group: OfGroup = None,
    group_snapshot: OfGroupSnapshot = None,
    host: Host = None,
    instance: Instance = None,
    limit: Limit = None,
    cursor: Cursor = None,
) -> Answer:
    """List what `holdfast NOUN list` would have told then."""
    if verb != "list":
        raise typer.BadParameter("only `list` looks back", param_hint="VERB")
    kind = noun.replace("-", "_")
    if kind not in show.LISTS:
        known = ", ".join(map(show.spoken, show.LISTS))
        raise typer.BadParameter(f"one of {known}", param_hint="NOUN")
    asked = {
        "status": status,
        "backend": backend,
        "project": project,
        "name": name,
        "volume_id": volume and names.volume(service, volume),
        "group_id": group and names.group(service, group),
        "group_snapshot_id": group_snapshot
        and names.group_snapshot(service, group_snapshot),
        "host": host,
        "instance": instance,
    }
    asked |= moment(when)
    return service.whole("audit.at", limit, cursor=cursor, noun=kind, **asked)


@question(app, "diff", show.differences)
def diff(
    service: Service,
    first: Earlier,
    last: Later = None,
    *,
    noun: OnlyNoun = None,
    limit: Limit = None,
    cursor: Cursor = None,
) -> Answer:
    """Tell what changed between two moments, of each resource."""
    asked = moment(first, "since", "from")
    if last is not None:
        asked |= moment(last, "until", "to")
    kind = noun and noun.replace("-", "_")
    return service.whole("audit.diff", limit, cursor=cursor, noun=kind, **asked)


def moment(said: str, time: str = "time", position: str = "position") -> Answer:
    """Return what a moment is asked for by: a time, or a position of the log."""
    return {position: int(said)} if is_position(said) else {time: said}


def is_position(said: str) -> bool:
    """Tell whether a moment is a position: digits, and no others than ours."""
    return said.isascii() and said.isdecimal()


@question(app, "verify", show.fields, asserts="intact")
def verify(
    service: Service,
    *,
    first: First = 1,
    last: Last = None,
    checkpoint: Checkpoint = None,
    key: Key = None,
) -> Answer:
    """Tell whether the log is what was written; exit code 1 if it is not.

    With checkpoints that were kept elsewhere, also whether it is what was signed.
    """
    # They need a library that no other command does.
    from service.cli import verifying  # noqa: PLC0415

    if bool(checkpoint) != bool(key):
        raise typer.BadParameter("--checkpoint and --key are of use only together")
    known = verifying.checkpoints_in(checkpoint, key) if checkpoint and key else []
    with show.bar("verifying") as reached:
        return verifying.verify(service, first, last, known, reached)


@question(app, "prove-inclusion", show.proof)
def prove_inclusion(
    service: Service,
    position: Annotated[int, typer.Argument(metavar="POSITION", min=1)],
    *,
    size: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="When it was so long.")
    ] = None,
) -> Answer:
    """Prove that an event is in the log, by a few hashes that lead to its root hash."""
    from service.cli import verifying  # noqa: PLC0415 - as in `verify`

    return verifying.included(service, position, size)


@question(app, "prove-consistency", show.proof)
def prove_consistency(
    service: Service,
    first: Annotated[int, typer.Argument(metavar="FROM", min=1)],
    last: Annotated[int | None, typer.Argument(metavar="[TO]", min=1)] = None,
) -> Answer:
    """Prove that the log begins with what it was when it was so long."""
    from service.cli import verifying  # noqa: PLC0415 - as in `verify`

    return verifying.grown(service, first, last)


@question(app, "checkpoint", show.note)
def newest(service: Service) -> Answer:
    """Print the newest signed checkpoint, to be kept elsewhere: `… > FILE`."""
    return service.ask("audit.checkpoint")


@app.command("keygen")
def keygen(
    file: Annotated[Path, typer.Argument(help="A new file; for `checkpoint_key`.")],
    *,
    name: Annotated[
        str | None, typer.Option(help="Of the log; otherwise one of its own.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a key that `serve` signs checkpoints with, and print what checks them."""
    from domain.note import NAME  # noqa: PLC0415 - as in `verify`
    from service.audit.checkpointing import make_key, named  # noqa: PLC0415

    if not file.name:
        raise typer.BadParameter("names no file")
    if name and not NAME.fullmatch(name):
        raise typer.BadParameter("must have no blanks and no +", param_hint="--name")
    try:
        key = str(make_key(file, name or named()).verifier)
    except OSError as error:
        raise Ended(f"{file}: {error.strerror}") from error
    if as_json:
        show.as_json({"file": str(file), "key": key})
    else:
        print(key)
