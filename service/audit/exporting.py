"""Writing the log to a file, beside the database that has it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from adapters import checkpoint_file
from adapters.archive.writing import write
from adapters.embedded.postgres import settings_of
from adapters.postgres.exporting import ROWS, Stored, stored
from domain.checkpoint import read
from projections.replaying import Cut
from service.manager import VolumeManager
from service.settings import Settings, database_of
from service.up import CHECKPOINTS, described


def log_of(settings: Settings | None, data: Path) -> Stored:
    """Return the log that `serve` has with these settings, else that of an `up`."""
    database = database_of(settings) if settings else settings_of(data / "postgres")
    return stored(database, VolumeManager.name)


def signed_of(settings: Settings | None, data: Path) -> list[str]:
    """Return the newest checkpoints, as notes, where they are kept in a file.

    Where that is, the `up` that runs on the data folder says itself.
    """
    if settings:
        file = settings.checkpoint_file
    else:
        file = described(data).get("checkpoints", str(data / CHECKPOINTS))
    return checkpoint_file.last_notes(Path(file)) if file else []


def export(
    log: Stored,
    path: Path,
    told: Callable[[float], None],
    signed: Iterable[str] = (),
) -> dict[str, Any]:
    """Write the log to a file, and return what that has; `told` from 0 to 1.

    With it go the checkpoints that are `signed`. Raises `Cut` where the database
    cannot send all of it, and `OSError`.
    """
    notes = list(signed)
    if (most := max(map(size_in, notes), default=0)) > log.events:
        raise Cut(
            f"the log ends at {log.events:,}, and a checkpoint of {most:,} was signed: "
            "its end is lost; see docs/audit.md"
        )
    with log.sent() as pieces:
        link = write(path, log.events, counted(pieces, log.events, told), notes)
    return {
        "file": str(path),
        "bytes": path.stat().st_size,
        "events": log.events,
        "chain": link,
        "checkpoints": len(notes),
    }


def size_in(note: str) -> int:
    """Return how long the log was that a note is of."""
    return read(note.rpartition("\n\n")[0] + "\n").size


def counted(
    pieces: Iterable[bytes], events: int, told: Callable[[float], None]
) -> Iterator[bytes]:
    """Yield pieces, and tell how much of the log they are."""
    for number, piece in enumerate(pieces, 1):
        yield piece
        told(min(1.0, number * ROWS / events))
