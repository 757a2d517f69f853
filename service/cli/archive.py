"""`holdfast audit export`, `replay` and `digest`: the whole log, here and elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from service.cli import show
from service.cli.client import Ended, Misused, Service
from service.cli.options import Answer, AsJson, question
from service.cli.projections import progress
from service.cli.running import Config, Data, configured, in_one_line

DIGESTS_SECONDS = 600.0  # that a service has to replay its log

# fmt: off
File = Annotated[Path, typer.Argument(metavar="FILE", help="As holdfast.jsonl.zst.")]
Key = Annotated[str | None, typer.Option("--key", metavar="VKEY",
    help="Who must have signed the checkpoints in it, as `audit checkpoint` does.")]
UpTo = Annotated[int | None, typer.Option("--position", metavar="N",
    help="As it was after that event of the log; otherwise now.")]
# fmt: on

app = typer.Typer()


@app.command("export")
def export(
    file: File, *, data: Data, config: Config = None, as_json: AsJson = False
) -> None:
    """Write the whole log to a file that can be replayed anywhere.

    It reads the database itself: that of an `up` on this machine, or with --config
    that of `serve`.
    """
    from service.exporting import export, log_of, signed_of  # noqa: PLC0415 - as in `up`

    with in_one_line(), refused():
        settings = configured(config) if config else None
        log, signed = log_of(settings, data), signed_of(settings, data)
        with progress(f"exporting {log.events:,} events") as told:
            found = export(log, file, told, signed)
    tell(found, as_json=as_json)


@app.command("replay")
def replay(file: File, *, key: Key = None, as_json: AsJson = False) -> None:
    """Verify a log in a file, rebuild all that was, and tell what it comes to.

    It needs nothing but the file. Exit code 1 if that is not what was written.
    """
    from adapters.archive.reading import opened  # noqa: PLC0415 - as in `up`
    from service.replaying import replay, summary  # noqa: PLC0415

    with in_one_line(), refused():
        log = opened(file, verifier(key))
        with progress(f"replaying {log.events:,} events") as told:
            found = summary(replay(log, told))
    signed = {"release": log.release, "checkpoints": log.checkpoints}
    vouched = {"vouched_to": max(log.vouched, default=0), "signatures": bool(key)}
    tell(found | signed | vouched, as_json=as_json)


@question(app, "digest", show.fields)
def digest(service: Service, *, position: UpTo = None) -> Answer:
    """Tell what the service's log comes to, which a replay of it tells as well."""
    return service.patient(DIGESTS_SECONDS).ask("audit.digest", position=position)


def verifier(key: str | None) -> Any:
    """Return who must have signed, if anybody must."""
    from domain.note import NotAKey, Verifier  # noqa: PLC0415 - as in `up`

    try:
        return Verifier.read(key) if key else None
    except NotAKey as wrong:
        raise Misused(str(wrong)) from wrong


@contextmanager
def refused() -> Iterator[None]:
    """End in one line when a log is none, or was changed."""
    from projections.replaying import Cut, NotALog  # noqa: PLC0415 - as in `up`

    try:
        yield
    except (Cut, NotALog) as wrong:
        raise Ended(str(wrong)) from wrong


def tell(found: Answer, *, as_json: bool) -> None:
    """Print what was found."""
    if as_json:
        show.as_json(found)
    else:
        show.for_people(show.fields(found))
