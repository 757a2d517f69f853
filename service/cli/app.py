"""The command as a whole: its nouns, and how it ends when something is wrong."""

from __future__ import annotations

import sys
from collections.abc import Collection
from importlib import import_module
from io import TextIOWrapper
from typing import Annotated, Any

import typer

from service.cli.client import Ended, one_line

HELP = """Volumes that outlive the machines that use them.

Begin with `holdfast demo`, a story, or `holdfast up`, which keeps running.
"""

# Where each is: importing them all takes as long as many an answer.
NOUNS = {
    "up": "running:app",
    "serve": "running:app",
    "agent": "running:app",
    "demo": "running:app",
    "volume": "volume:app",
    "attachment": "attachment:app",
    "snapshot": "snapshot:app",
    "group": "group:app",
    "group-snapshot": "group_snapshot:app",
    "consistency-group": "group:consistency",
    "cgsnapshot": "group_snapshot:consistency",
    "backend": "backend:app",
    "audit": "audit:app",
    "projections": "projections:app",
}


def app_of(nouns: Collection[str] = tuple(NOUNS)) -> typer.Typer:
    """Return the command with these nouns, which are imported now."""
    app = typer.Typer(
        name="holdfast",
        help=HELP,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
    )
    app.callback()(options)
    for where in dict.fromkeys(NOUNS[noun] for noun in nouns):
        module, _, called = where.partition(":")
        app.add_typer(getattr(import_module(f"service.cli.{module}"), called))
    return app


def tell_version(asked: bool) -> None:  # noqa: FBT001 - Typer calls it so
    """Print the version, and nothing else."""
    if asked:
        from importlib.metadata import version  # noqa: PLC0415 - for this alone

        typer.echo(f"holdfast {version('holdfast')}")
        raise typer.Exit


def options(
    *,
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=tell_version),
    ] = False,
) -> None:
    """Take what stands before the noun."""


def run(arguments: list[str] | None = None) -> int:
    """Run one command; return 0 done, 1 refused, 2 wrong usage, 3 nobody there.

    And 130 where Ctrl-C ended the waiting.
    """
    speak_utf_8()
    asked = sys.argv[1:] if arguments is None else arguments
    app = app_of([noun for noun in asked[:1] if noun in NOUNS] or NOUNS)
    try:
        code = app(asked, prog_name="holdfast", standalone_mode=False) or 0
        sys.stdout.flush()
    except Ended as end:
        said, code = str(end), end.code
    except typer.Abort:  # asked whether to go on
        said, code = "nothing was done", 1
    except typer.TyperException as wrong:
        said, code = usage(wrong), wrong.exit_code
    except BrokenPipeError:  # whoever reads it has read enough, as `head` does
        sys.stdout = None
        return 1
    except OSError as error:  # the output, a full disk for example
        sys.stdout = None  # or the interpreter would try to flush it once more
        said, code = f"the answer cannot be written: {error.strerror}", 1
    else:
        return code
    if said:
        print(f"holdfast: {one_line(said)}", file=sys.stderr)
    return code


def speak_utf_8() -> None:
    """Write UTF-8 in every locale, and to a terminal in its own way.

    What was signed is bytes, and names are anybody's: a locale of ISO 8859 has neither
    the dash of a note nor the arrows of a history.
    """
    for stream in (sys.stdout, sys.stderr):
        if not isinstance(stream, TextIOWrapper):
            continue  # closed, or another one's
        encoding = None if stream.isatty() else "utf-8"
        stream.reconfigure(encoding=encoding, errors="backslashreplace")


def usage(wrong: Any) -> str:
    """Return what is wrong with the words of a command, and where to read more."""
    context = getattr(wrong, "ctx", None)
    said = one_line(wrong.format_message()).rstrip(".")
    if not (said and context):  # a noun alone: its help has just been printed
        return said
    return f"{said}; see {context.command_path} --help"
