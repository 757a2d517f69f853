"""`holdfast audit export`, `replay` and `digest`: the whole log, here and elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli import show
from service.cli.client import Ended, Misused, Service, Unreachable
from service.cli.options import Answer, AsJson, question
from service.cli.projections import progress
from service.cli.running import Config, Data, configured, in_one_line

if TYPE_CHECKING:
    from domain.checkpoint import Checkpoint

DIGESTS_SECONDS = 600.0  # that a service has to replay its log

# fmt: off
File = Annotated[Path, typer.Argument(metavar="FILE", help="As holdfast.jsonl.zst.")]
Key = Annotated[str | None, typer.Option("--key", metavar="VKEY",
    help="Who must have signed the checkpoints in it, as `audit checkpoint` does.")]
Kept = Annotated[Path | None, typer.Option("--checkpoint", metavar="FILE",
    help="Checkpoints that were kept elsewhere, one or many; with --key.")]
With = Annotated[list[str] | None, typer.Option("--with", metavar="KEY=VALUE",
    help="What if max_over_subscription_ratio or reserved_percentage had been this?")]
UpTo = Annotated[int | None, typer.Option("--position", metavar="N",
    help="As it was after that event of the log; otherwise now.")]
# Of a decision that would have been another.
DIFFERING = {
    "POSITION": "position", "EVENT": "event", "VOLUME": "volume_id", "GIB": "size_gib",
    "BACKEND": "backend", "WOULD BE": "would",
}
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
    from eventsourcing.persistence import PersistenceError  # noqa: PLC0415 - as in `up`

    from service.audit.exporting import export, log_of, signed_of  # noqa: PLC0415

    if str(file) == "-":
        raise typer.BadParameter("it writes a file, no output", param_hint="FILE")
    with in_one_line(), refused():
        settings = configured(config) if config else None
        signed = signed_of(settings, data)  # before the log, which is longer then
        try:
            log = log_of(settings, data)
        except PersistenceError as error:
            if settings:
                raise
            raise Unreachable(
                f"no holdfast runs on {data}; start it with `holdfast up`, or name "
                "another with --data DIR, or with --config FILE the database of `serve`"
            ) from error
        with progress(f"exporting {log.events:,} events") as told:
            found = export(log, file, told, signed)
    tell(found, as_json=as_json)


@app.command("replay")
def replay(
    file: File,
    *,
    key: Key = None,
    checkpoint: Kept = None,
    otherwise: With = None,
    as_json: AsJson = False,
) -> None:
    """Verify a log in a file, rebuild all that was, and tell what it comes to.

    It needs nothing but the file. Exit code 1 if that is not what was written. With a
    policy it tells instead which decisions would have been others.
    """
    from adapters.archive.reading import opened  # noqa: PLC0415 - as in `up`
    from service.audit.replaying import replay, summary, what_if  # noqa: PLC0415

    changes, verified = policy(otherwise), verifier(key)
    with in_one_line(), refused():
        kept = kept_in(checkpoint, key)
        log = opened(file, verified, kept)
        signed_to = max(log.vouched, default=0)
        with progress(f"replaying {log.events:,} events") as told:
            if changes is None:
                found = summary(replay(log, told))
            else:
                judged = what_if(log, changes, told)
        if key:
            with progress(f"hashing {signed_to:,} signed events") as told:
                log.check_roots(lambda read: told(read / signed_to))
    if changes is not None:
        tell_differing(judged, as_json=as_json)
        return
    signed = {"release": log.release, "checkpoints": log.checkpoints}
    signed |= {"kept": len(kept)} if kept else {}
    # Whoever has no key cannot tell who has written them.
    told_of = {"vouched_to": signed_to if key else None, "signatures": bool(key)}
    tell(found | signed | told_of, as_json=as_json)


def kept_in(path: Path | None, key: str | None) -> list[Checkpoint]:
    """Return the checkpoints in a file of one's own, if one is named."""
    from service.cli.verifying import checkpoints_in  # noqa: PLC0415 - as in `up`

    if path and key is None:
        raise Misused("--checkpoint is of use only with --key, which says whose it is")
    return checkpoints_in(path, key) if path and key else []


def policy(said: list[str] | None) -> dict[str, Any] | None:
    """Return what is to be otherwise, if anything is."""
    from projections.what_if import Unclear, policy  # noqa: PLC0415 - as in `up`

    try:
        return policy(said) if said else None
    except Unclear as wrong:
        raise Misused(str(wrong)) from wrong


def tell_differing(judged: Any, *, as_json: bool) -> None:
    """Print which decisions would have been others."""
    counts = {"judged": judged.judged, "cannot_say": judged.untold}
    items = [
        each._asdict() | {"volume_id": str(each.volume_id)} for each in judged.differing
    ]
    counts["differ"] = len(items)
    if as_json:
        show.as_json(counts | {"items": items})
        return
    show.for_people(show.fields(counts))
    told = [
        each | {"would": each["would"] or "refused, for lack of room"} for each in items
    ]
    if told:
        show.for_people(show.listed(DIFFERING)({"items": told, "next": None}))


@question(app, "digest", show.fields)
def digest(service: Service, *, position: UpTo = None) -> Answer:
    """Tell what the service's log comes to, which a replay of it tells as well."""
    return service.patient(DIGESTS_SECONDS).ask("audit.digest", position=position)


def verifier(key: str | None) -> Any:
    """Return who must have signed, if anybody must."""
    from domain.note import NotAKey, Verifier  # noqa: PLC0415 - as in `up`

    try:
        return None if key is None else Verifier.read(key)
    except NotAKey as wrong:
        raise Misused(str(wrong)) from wrong


@contextmanager
def refused() -> Iterator[None]:
    """End in one line when a log is none, or was changed."""
    from domain.checkpoint import Contradicted  # noqa: PLC0415 - as in `up`
    from projections.replaying import Cut, NotALog  # noqa: PLC0415 - as in `up`

    try:
        yield
    except (Contradicted, Cut, NotALog) as wrong:
        raise Ended(str(wrong)) from wrong


def tell(found: Answer, *, as_json: bool) -> None:
    """Print what was found."""
    if as_json:
        show.as_json(found)
    else:
        show.for_people(show.fields(found))
