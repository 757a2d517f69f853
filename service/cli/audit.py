"""`holdfast audit`: what was, and whether the log is what was written."""

from __future__ import annotations

from typing import Annotated

import typer

from service.cli import names, show
from service.cli.client import Service
from service.cli.options import Answer, Cursor, Limit, question

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
Happened = Annotated[str | None, typer.Option("--event", metavar="NOUN.EVENT",
    help="What is called so, as volume.attached.")]
First = Annotated[int | None, typer.Option("--from", metavar="N",
    help="The first position; otherwise the log's.")]
Last = Annotated[int | None, typer.Option("--to", metavar="N",
    help="The last position; otherwise the log's.")]
# fmt: on

app = typer.Typer(
    name="audit", help="Who did what, when and why.", no_args_is_help=True
)


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
    noun, one = names.kind(service, key)
    when = {"since": since, "until": until, "event": event}
    who = {"actor": actor, "request_id": request_id}
    asked = {"cursor": cursor, **when, **who, **one}
    return service.whole(f"{noun}.history", limit, **asked)


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


@question(app, "verify", show.fields)
def verify(service: Service, *, first: First = None, last: Last = None) -> Answer:
    """Tell whether the log is what was written; exit code 1 if it is not."""
    return service.ask("audit.verify", **{"from": first, "to": last})
