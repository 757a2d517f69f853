"""What several nouns' commands are told: which volume, who holds it, which host."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from service.cli import names

# fmt: off
Volume = Annotated[str, typer.Argument(metavar="VOLUME",
    help="Its name, its id, or the beginning of one.",
    autocompletion=names.complete("volume"))]
Snapshot = Annotated[str, typer.Argument(metavar="SNAPSHOT",
    help="Its name, its id, or the beginning of one.",
    autocompletion=names.complete("snapshot"))]
Group = Annotated[str, typer.Argument(metavar="GROUP",
    help="Its name, its id, or the beginning of one.",
    autocompletion=names.complete("group"))]
GroupSnapshot = Annotated[str, typer.Argument(metavar="GROUP_SNAPSHOT",
    help="Its name, its id, or the beginning of one.",
    autocompletion=names.complete("group_snapshot"))]
Attachment = Annotated[str, typer.Argument(metavar="ATTACHMENT",
    help="Its id, or the beginning of one.")]
ChosenId = Annotated[str | None, typer.Option("--id", metavar="UUID",
    help="The id it gets; otherwise a new one.")]
Size = Annotated[int, typer.Option(metavar="GIB", help="Whole GiB.")]

Instance = Annotated[str | None, typer.Option(help="The instance that holds it.")]
Holder = Annotated[str | None, typer.Option("--host", help="The host that holds it.")]
Mode = Annotated[str | None, typer.Option(metavar="rw|ro", help="Write, or only read.")]
Mountpoint = Annotated[str | None, typer.Option(
    help="Where the instance sees it, as /dev/vdb.")]

Host = Annotated[str | None, typer.Option(help="The host that is to reach it.")]
Initiator = Annotated[str | None, typer.Option(metavar="IQN",
    help="Its iSCSI initiator.")]
Nqn = Annotated[str | None, typer.Option(metavar="NQN", help="Its NVMe name.")]
Ip = Annotated[str | None, typer.Option(help="Its address.")]
Connector = Annotated[str | None, typer.Option(metavar="JSON",
    help="Cinder's connector as a whole, instead or beside.")]

Name = Annotated[str | None, typer.Option(help="What it is called.")]
Description = Annotated[str | None, typer.Option(help="What it is for.")]
Metadata = Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE",
    help="Once for each key.")]

Only = Annotated[str | None, typer.Option(help="Only those.")]
OnlyOf = Annotated[str | None, typer.Option(help="Only those of it.")]
Status = Annotated[str | None, typer.Option(
    help="Only those; what is gone is listed only so.")]
# fmt: on


def connector_of(whole: str | None, **parts: str | None) -> dict[str, Any]:
    """Return a connector; raise `BadParameter` for one that names no host."""
    named = {key: value for key, value in parts.items() if value}
    connector = object_of(whole, "--connector") | named if whole else named
    if not connector:
        raise typer.BadParameter(
            "name the host that is to reach it: --host, --initiator or --nqn"
        )
    return connector


def object_of(text: str, option: str) -> dict[str, Any]:
    """Return the JSON object that the text is, or raise `BadParameter`."""
    try:
        told = json.loads(text)
    except ValueError as error:
        raise typer.BadParameter(f"{option} is no JSON: {error}") from error
    if not isinstance(told, dict):
        raise typer.BadParameter(f"{option} must be a JSON object")
    return told


def metadata_of(pairs: list[str] | None) -> dict[str, str] | None:
    """Return KEY=VALUE pairs as an object; None if there are none."""
    if wrong := [pair for pair in pairs or () if "=" not in pair]:
        raise typer.BadParameter(f"{wrong[0]!r} is not KEY=VALUE")
    if wrong := [pair for pair in pairs or () if pair.startswith("=")]:
        raise typer.BadParameter(f"{wrong[0]!r} has no key before its =")
    split = (pair.partition("=") for pair in pairs or ())
    return {key: value for key, _, value in split} or None
