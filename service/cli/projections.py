"""`holdfast projections`: what lists are answered from, and making it anew."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from service.cli import show
from service.cli.client import Ended, Left, Service
from service.cli.options import Answer, command, question

LOOK_EVERY = 0.3  # seconds

Name = Annotated[str, typer.Argument(metavar="NAME", help="Which; see the list.")]

app = typer.Typer(
    name="projections", help="What lists are answered from.", no_args_is_help=True
)


@question(app, "list", show.listed(show.PROJECTIONS))
def find(service: Service) -> Answer:
    """List the read models: how far behind the log each is, and how it does."""
    return service.ask("projection.list")


@command(app, "rebuild", show.fields)
def rebuild(service: Service, name: Name) -> Answer:
    """Make a read model anew from the log; readers see the old one until it is done."""
    generation = service.ask("projection.rebuild", name=name)["generation"]
    try:
        with progress(f"rebuilding {name}") as advance:
            while True:
                found = standing(service, name)
                if found["generation"] >= generation:
                    return found
                if found["progress"] is None:
                    raise Ended(f"{name} cannot be rebuilt: {why(found)}")
                advance(found["progress"])
                time.sleep(LOOK_EVERY)
    except KeyboardInterrupt:
        raise Left(
            f"{name} goes on being rebuilt; `holdfast projections list` shows how far "
            "it is"
        ) from None


def standing(service: Service, name: str) -> Answer:
    """Return how one read model does."""
    items = service.look("projection.list")["items"]
    found: Answer = next(item for item in items if item["name"] == name)
    return found


def why(found: Answer) -> str:
    """Return what has stopped a read model, in one sentence."""
    error = found["error"] or {"topic": "", "position": 0, "message": "nobody said why"}
    return f"{error['message']} (position {error['position']}, {error['topic']})"


@contextmanager
def progress(doing: str) -> Iterator[Callable[[float], None]]:
    """Yield what moves a bar on standard error, if that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    # Here, for a pipe does without it, and it takes as long as the whole question.
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import Progress  # noqa: PLC0415

    console = Console(stderr=True)
    # Without a thread of its own, beside which no process could be forked.
    with Progress(console=console, transient=True, auto_refresh=False) as bars:
        task = bars.add_task(doing, total=1.0)
        yield lambda done: bars.update(task, completed=done, refresh=True)
