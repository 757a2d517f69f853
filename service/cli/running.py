"""`holdfast up`, `serve`, `agent` and `demo`: what runs until it is stopped."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from service.cli.client import Ended, Misused, data_folder, folder, in_a_shell
from service.messages.text import without_secret

# fmt: off
Data = Annotated[Path, typer.Option(envvar="HOLDFAST_DATA", metavar="DIR",
    parser=folder, default_factory=data_folder,
    show_default="~/.local/share/holdfast", help="The folder for everything it keeps.")]
Config = Annotated[Path | None, typer.Option(metavar="FILE", readable=False,
    help="Settings, a TOML file; otherwise HOLDFAST_* and defaults.")]
Port = Annotated[int | None, typer.Option("--nats-port", metavar="N", min=0, max=65535,
    help="Where on 127.0.0.1; otherwise 4222, or a free one where that is taken.")]
# fmt: on

app = typer.Typer()


def configured(config: Path | None) -> Any:
    """Return the settings, which are for us alone; wrong ones are wrong usage."""
    from service.settings import Unusable, forget, load  # noqa: PLC0415 - as in `up`

    try:
        return load(config)
    except Unusable as wrong:
        raise Misused(str(wrong)) from wrong
    finally:
        forget(os.environ)


@app.command("up")
def up(*, data: Data, nats_port: Port = None, config: Config = None) -> None:
    """Run the whole service on this machine until Ctrl-C."""
    # The servers and the service, which commands that only ask do without.
    from service.up import run_up  # noqa: PLC0415

    def told(url: str) -> None:
        for line in welcome(data, url, nats_port):
            say(line)

    with in_one_line():
        run_up(data.absolute(), configured(config), nats_port, told)


def welcome(data: Path, url: str, asked: int | None) -> Iterator[str]:
    """Yield what a user wants to know of an `up` that is ready."""
    elsewhere = not url.endswith(":4222") and asked is None
    yield f"data  {data.absolute()}"
    yield f"NATS  {url}{'  (port 4222 is taken)' if elsewhere else ''}"
    yield ""
    yield f"Holdfast is ready. In another shell{in_a_shell()}:"
    yield ""
    named = "" if data == data_folder() else f" --data {data.absolute()}"
    yield f"    holdfast volume create db --size 1 --wait{named}"
    yield f"    holdfast volume list{named}"
    yield ""
    yield "Ctrl-C stops it; everything is kept."


@app.command("serve")
def serve(*, config: Config = None) -> None:
    """Run one replica of the service, on a NATS and a PostgreSQL that are there."""
    from service.serve import run_serve  # noqa: PLC0415

    with in_one_line():
        run_serve(configured(config), lambda url: tell(f"serving on {url}"))


@app.command("agent")
def agent(
    name: Annotated[
        str | None, typer.Argument(help="Which backend, if there are several.")
    ] = None,
    *,
    driver: Annotated[
        str | None,
        typer.Option(metavar="lvm|file|CLASS", help="What drives its storage."),
    ] = None,
    backend: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The same; otherwise the volume group's."),
    ] = None,
    config: Config = None,
) -> None:
    """Run the agent of one backend, next to its storage.

    Where the settings name no backend, that is the volume group of the plain keys.
    """
    from service.agents import run_agent  # noqa: PLC0415

    if name and backend and name != backend:
        raise Misused(f"which one, {name} or {backend}?")
    with in_one_line():
        run_agent(
            configured(config),
            name or backend,
            lambda url: tell(f"working for {url}"),
            driver,
        )


@app.command("demo")
def demo(
    *,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            parser=folder,
            help="Keep everything there; otherwise in a folder that is removed.",
        ),
    ] = None,
) -> int:
    """Tell the main job as a story: a volume that outlives its instance."""
    from service.demo import tell_story  # noqa: PLC0415 - as in `up`

    with in_one_line():
        return tell_story(data)


def tell(said: str) -> None:
    """Say that it is ready."""
    say(f"holdfast: {without_secret(said)}; Ctrl-C stops it")


def say(line: str) -> None:
    """Print a line at once, or end."""
    try:
        print(line, flush=True)
    except OSError as error:
        sys.stdout = None  # or the interpreter would try to flush it once more
        why = f"standard output cannot be written: {error.strerror}"
        raise Ended(why) from error


@contextmanager
def in_one_line() -> Iterator[None]:
    """Set up the log; end in one line when something that is needed is not there."""
    from service.logs import set_up  # noqa: PLC0415 - as in `up`

    try:
        set_up()
        yield
    except Exception as error:
        if end := lacking(error):
            raise end from error
        raise


def lacking(error: Exception) -> Ended | None:
    """Return how to end without something that is needed, None if that is not it.

    What no other start would find otherwise is wrong usage, after which systemd
    does not start it again.
    """
    # What an agent never meets takes a while to be imported.
    from eventsourcing.persistence import PersistenceError  # noqa: PLC0415

    from adapters.embedded.process import ServerFailed  # noqa: PLC0415
    from service.settings import NotNow, Unusable  # noqa: PLC0415

    match error:
        case ServerFailed() | NotNow():
            return Ended(f"{error}{advice(str(error))}")
        case Unusable():
            return Misused(str(error))
        case PersistenceError():
            where = "[database] in the settings says where it is"
            return Ended(f"PostgreSQL cannot be used: {error}; {where}")
        case OSError():
            where = f"{error.filename}: " if error.filename else ""
            return Ended(f"{where}{error.strerror or error}")
    return None


def advice(said: str) -> str:
    """Return what to do about a server that does not start."""
    return next((next_ for sign, next_ in ADVICE.items() if sign in said), "")


ADVICE = {
    "is in use": "; choose another one with --nats-port",
    "Error listening": "; choose another one with --nats-port",
    "cannot be a data folder": "; choose another one with --data",
}
