"""The command as a whole: its nouns, and how it ends when something is wrong."""

from __future__ import annotations

import sys
from importlib.metadata import version as version_of
from typing import Annotated, Any

import typer

from service.cli import (
    archive,
    attachment,
    audit,
    backend,
    group,
    group_snapshot,
    projections,
    running,
    snapshot,
    volume,
)
from service.cli.client import Ended, one_line

HELP = """Volumes that outlive the machines that use them.

Begin with `holdfast demo`, a story, or `holdfast up`, which keeps running.
"""

app = typer.Typer(
    name="holdfast", help=HELP, no_args_is_help=True, pretty_exceptions_enable=False
)
audit.app.add_typer(archive.app)
for noun in (
    running.app,
    volume.app,
    attachment.app,
    snapshot.app,
    group.app,
    group_snapshot.app,
    group.consistency,
    group_snapshot.consistency,
    backend.app,
    audit.app,
    projections.app,
):
    app.add_typer(noun)


def tell_version(asked: bool) -> None:  # noqa: FBT001 - Typer calls it so
    """Print the version, and nothing else."""
    if asked:
        typer.echo(f"holdfast {version_of('holdfast')}")
        raise typer.Exit


@app.callback()
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
    try:
        code = app(arguments, prog_name="holdfast", standalone_mode=False) or 0
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


def usage(wrong: Any) -> str:
    """Return what is wrong with the words of a command, and where to read more."""
    context = getattr(wrong, "ctx", None)
    said = one_line(wrong.format_message()).rstrip(".")
    if not (said and context):  # a noun alone: its help has just been printed
        return said
    return f"{said}; see {context.command_path} --help"
