"""`holdfast backend`: where volumes are, and what operators do about it."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from service.cli import show
from service.cli.client import Ended, Service
from service.cli.options import Answer, Cursor, Limit, command, question

Backend = Annotated[str, typer.Argument(metavar="BACKEND", help="Its name.")]
Only = Annotated[str | None, typer.Option(help="Only those.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask before.")]
Why = Annotated[str, typer.Option(metavar="TEXT", help="Why; whoever looks sees it.")]

BY_HAND = "by_hand"

app = typer.Typer(name="backend", help="Where volumes are.", no_args_is_help=True)


@question(app, "list", show.listed(show.BACKENDS))
def find(
    service: Service,
    *,
    name: Only = None,
    host: Only = None,
    status: Only = None,
    limit: Limit = None,
    cursor: Cursor = None,
) -> Answer:
    """List the backends in the order in which they were first announced."""
    return service.whole(
        "backend.list", limit, cursor=cursor, name=name, host=host, status=status
    )


@question(app, "show", show.fields)
def show_one(service: Service, name: Backend) -> Answer:
    """Look at a backend: what the log says of it, and what its agent last told."""
    return service.ask("backend.show", name=name)


@question(app, "history", show.history)
def history(
    service: Service, name: Backend, *, limit: Limit = None, cursor: Cursor = None
) -> Answer:
    """List everything that ever happened to a backend, oldest first."""
    return service.whole("backend.history", limit, cursor=cursor, name=name)


@question(app, "drift", show.drift)
def drift(
    service: Service, name: Backend, *, limit: Limit = None, cursor: Cursor = None
) -> Answer:
    """List where a backend's storage is otherwise than the log says."""
    return service.whole("backend.drift", limit, cursor=cursor, name=name)


@command(app, "repair", show.steps)
def repair(service: Service, name: Backend, *, yes: Yes = False) -> Answer:
    """Show what is to be done about drift, ask, and have done what is safe."""
    plan = service.whole("backend.drift", None, name=name)
    safe = [each for each in plan["items"] if each["remedy"] != BY_HAND]
    if safe and not yes and sys.stdin.isatty() and not service.caller.as_json:
        show.for_people(show.steps({"steps": plan["items"]}))
        yes = typer.confirm(f"Do what is safe about {len(safe)} of them?", abort=True)
    told = service.ask("backend.repair", name=name, apply=bool(safe) and yes)
    if safe and yes and service.caller.wait is not None and told["error"]:
        raise Ended(
            f"not all is done: {told['error']['message']}; "
            f"`holdfast backend drift {name}` shows what is left"
        )
    return told


@question(app, "capabilities", show.fields)
def capabilities(
    service: Service,
    name: Backend,
    *,
    discover: Annotated[bool, typer.Option("--discover", help="Measure now.")] = False,
) -> Answer:
    """Tell what a backend can do, and how much room it has."""
    return service.ask("backend.capabilities", name=name, discover=discover or None)


@command(app, "publish-capabilities", show.fields)
def publish_capabilities(service: Service, name: Backend) -> Answer:
    """Let a backend's agent measure and tell every replica."""
    return service.ask("backend.publish_capabilities", name=name)


@question(app, "is-working", show.fields, asserts="working")
def is_working(service: Service, name: Backend) -> Answer:
    """Tell whether a backend can do its work, and why not; exit code 1 if not."""
    return service.ask("backend.is_working", name=name)


@command(app, "initialize", show.fields)
def initialize(service: Service, name: Backend) -> Answer:
    """Let a backend's agent look at its storage anew and settle what is in flight."""
    return service.ask("backend.initialize", name=name)


@command(app, "enable", show.fields)
def enable(service: Service, name: Backend) -> Answer:
    """Let new volumes go to a backend again."""
    return service.ask("backend.enable", name=name)


@command(app, "disable", show.fields)
def disable(service: Service, name: Backend, *, reason: Why) -> Answer:
    """Let no new volume go to a backend."""
    return service.ask("backend.disable", name=name, reason=reason)
