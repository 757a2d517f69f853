"""What every command takes, and what turns a function into a command that asks.

A function decorated with `question` or `command` gets the service as its first
argument, asks it and returns the answer; who asks, where, and how the answer is
printed are options that it gets without naming them.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from inspect import Parameter, signature
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from service.cli import show
from service.cli.client import Caller, Ended, Problem, Service, data_folder, folder
from service.cli.progress import Told

PANEL = "Every command"
WAIT_SECONDS = 60
LONGEST_WAIT = 300
# Statuses that a backend ends, and nobody else.
UNDER_WAY = {
    "creating",
    "extending",
    "reverting",
    "deleting",
    "managing",
    "unmanaging",
}
# The same of an attachment; a volume is so until its holder lets go.
DETACHING = "detaching"

Answer = dict[str, Any]
Asks = Callable[..., Answer]
Looks = Callable[..., Answer]


def printable(value: str | None) -> str | None:
    """Refuse what a header cannot carry."""
    if value and not value.isprintable():
        raise typer.BadParameter("must have no control characters")
    return value


# fmt: off
AsJson = Annotated[bool, typer.Option("--json",
    help="Print the reply's JSON, for programs.", rich_help_panel=PANEL)]
Nats = Annotated[str | None, typer.Option(envvar="HOLDFAST_NATS_URL", metavar="URL",
    help="Where the service's NATS is, if not where `up` says.", rich_help_panel=PANEL)]
Data = Annotated[Path, typer.Option(envvar="HOLDFAST_DATA", metavar="DIR",
    parser=folder, default_factory=data_folder,
    show_default="~/.local/share/holdfast",
    help="The data folder of the `up` to ask.", rich_help_panel=PANEL)]
Actor = Annotated[str | None, typer.Option(callback=printable, metavar="NAME",
    help="Who asks, for the log; otherwise your user name.", rich_help_panel=PANEL)]
Reason = Annotated[str | None, typer.Option(callback=printable, metavar="TEXT",
    help="Why, for the log.", rich_help_panel=PANEL)]
RequestId = Annotated[str | None, typer.Option(callback=printable, metavar="KEY",
    help="The same key does nothing twice; otherwise a new one.",
    rich_help_panel=PANEL)]
Wait = Annotated[float | None, typer.Option(min=0, max=LONGEST_WAIT,
    metavar="[SECONDS]", rich_help_panel=PANEL,
    help=f"Wait until the backend has done it; {WAIT_SECONDS} s if not said.")]

Limit = Annotated[int | None, typer.Option(metavar="N",
    help="One page of so many; otherwise all.")]
Cursor = Annotated[str | None, typer.Option(
    help="The `next` of the page before.")]
# fmt: on


def of_question(*, data: Data, nats: Nats = None, as_json: AsJson = False) -> Caller:
    """Return who asks, where nothing is changed."""
    return Caller(data, nats, as_json)


def of_command(  # noqa: PLR0913 - the options of every command
    *,
    data: Data,
    nats: Nats = None,
    as_json: AsJson = False,
    actor: Actor = None,
    reason: Reason = None,
    request_id: RequestId = None,
    wait: Wait = None,
) -> Caller:
    """Return who asks for a change, and why."""
    return Caller(data, nats, as_json, actor, reason, request_id, wait)


class Command(TyperCommand):
    """A command whose `--wait` may stand alone."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take the arguments of the command."""
        return super().parse_args(ctx, waiting(args))


def waiting(args: list[str]) -> list[str]:
    """Give a `--wait` that no number follows its seconds."""
    words = [*args, ""]
    return [
        f"--wait={WAIT_SECONDS}" if word == "--wait" and not is_number(after) else word
        for word, after in pairwise(words)
    ]


def is_number(word: str) -> bool:
    """Tell whether a word could be seconds."""
    return word.lstrip("-").replace(".", "", 1).isdecimal()


def question(
    app: typer.Typer, name: str, shows: show.View, *, asserts: str = ""
) -> Callable[[Asks], Asks]:
    """Make the function below a command that changes nothing.

    Where the field of the answer that it `asserts` is not so, the exit code is 1.
    """
    return placed(app, name, shows, of_question, asserts)


def the_same(_service: Service, told: Answer, **_: Any) -> Answer:
    """Return the answer, which tells how what was asked for has ended."""
    return told


def command(
    app: typer.Typer, name: str, shows: show.View, *, looks: Looks = the_same
) -> Callable[[Asks], Asks]:
    """Make the function below a command that changes something.

    Where another thing than the answer tells how it has ended, `looks` returns that.
    """
    return placed(app, name, shows, of_command, looks=looks)


def placed(
    app: typer.Typer,
    name: str,
    shows: show.View,
    calls: Callable[..., Caller],
    asserts: str = "",
    looks: Looks = the_same,
) -> Callable[[Asks], Asks]:
    """Give the function below the options of `calls`, and print what it returns."""

    def place(asks: Asks) -> Asks:
        _, *own = signature(asks, eval_str=True).parameters.values()
        named = {parameter.name for parameter in own}
        common = signature(calls, eval_str=True).parameters

        def run(**given: Any) -> int:
            caller = calls(**{key: given[key] for key in common})
            own_given = {key: given[key] for key in named}
            told = answer(caller, shows, asks, own_given, looks)
            return 0 if told.get(asserts, True) else 1

        added = [each for key, each in common.items() if key not in named]
        options = [each.replace(kind=Parameter.KEYWORD_ONLY) for each in (*own, *added)]
        run.__signature__ = signature(run).replace(parameters=options)  # type: ignore[attr-defined]
        app.command(name, cls=Command, help=asks.__doc__)(run)
        return asks

    return place


def answer(
    caller: Caller, shows: show.View, asks: Asks, given: dict[str, Any], looks: Looks
) -> Answer:
    """Ask, print the answer, and return it; raise `Ended` for a wait in vain."""
    wrong = ""
    try:
        with patience(caller) as tell, Service(caller, tell) as service:
            told = asks(service, **given)
            if caller.wait is not None:
                wrong = amiss(service, looks(service, told, **given))
    except Problem as problem:
        if caller.as_json:
            show.as_json(problem.told)
        raise
    if caller.as_json:
        show.as_json(told)
    else:
        show.for_people(shows(told))
    if wrong:
        raise Ended(wrong)
    return told


def patience(caller: Caller) -> AbstractContextManager[Told | None]:
    """Return what shows on a terminal that something is under way, and how far."""
    return show.spinner() if caller.wait else nullcontext()


def amiss(service: Service, seen: Answer) -> str:
    """Return what to say where a wait did not end well, "" where it did."""
    status, key = str(seen.get("status", "")), seen.get("id", "")
    error = seen.get("error") or {}
    # A failure that left the status as it was is the last thing that happened: for
    # us, unless there was nothing to do.
    failed = error and error.get("at") == seen.get("updated_at")
    if status.startswith("error") or (failed and not service.led_to_nothing()):
        return (
            f"{key} is {status}: {error.get('message', 'no reason was given')}; "
            f"`holdfast audit history {key}` shows how it came to that"
        )
    if status in UNDER_WAY or (status == DETACHING and "volume_id" in seen):
        return (
            f"{key} is still {status}; it goes on, `holdfast audit history {key}` "
            "shows how far it is"
        )
    return ""
