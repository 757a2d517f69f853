"""Writing a log to a file, as a whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from errno import EDQUOT, EEXIST, EFBIG, EIO, ENOSPC
from fcntl import LOCK_EX, LOCK_NB, flock
from functools import partial
from glob import escape
from importlib.metadata import version
from pathlib import Path

import msgspec

from adapters.archive.compression import COMPRESS, ZstdFile
from adapters.archive.lines import FORMAT, End, Head, Vouched
from adapters.durable_file import sync
from domain.chain import GENESIS
from projections.replaying import LINK

OF_THE_DISK = {EDQUOT, EFBIG, EIO, ENOSPC}


def write(
    path: Path,
    events: int,
    pieces: Iterable[bytes],
    checkpoints: Sequence[str] = (),
) -> str:
    """Write a log of so many events, which come as whole lines, many in a piece.

    Returns the last link. Raises `FileExistsError` and other `OSError`s.
    """
    if path.exists():
        raise FileExistsError(EEXIST, os.strerror(EEXIST), str(path))
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)  # of one that was killed: in containers ids recur
    clear(path)
    try:
        link = fill(fresh, events, pieces, checkpoints)
        fresh.rename(path)
        sync(path.parent)
    except OSError as error:
        # The other name is ours alone, and what the disk does not take has none.
        if error.filename or error.errno in OF_THE_DISK:
            error.filename = str(path)
        raise
    finally:
        fresh.unlink(missing_ok=True)
    return link


def clear(path: Path) -> None:
    """Remove what exports to that name have left that were killed.

    Whoever writes has it locked, on whatever machine or in whatever container.
    """
    for left in path.parent.glob(f".{escape(path.name)}.*"):
        if not left.suffix[1:].isdecimal() or not left.is_file():
            continue
        with suppress(OSError), left.open("rb") as file:
            flock(file, LOCK_EX | LOCK_NB)
            left.unlink()


def fill(
    fresh: Path, events: int, pieces: Iterable[bytes], checkpoints: Sequence[str]
) -> str:
    """Write a log to a new file, on the disk, and return the last link."""
    head = Head(FORMAT, version("holdfast"), events, len(checkpoints))
    last = b""
    # What a log says is nobody else's business.
    with open(fresh, "xb", opener=partial(os.open, mode=0o600)) as raw:
        with suppress(OSError):  # of a filesystem without locks
            flock(raw, LOCK_EX)
        with ZstdFile(raw, "wb", options=COMPRESS) as file:
            file.write(lines(head, *map(Vouched, checkpoints)))
            for piece in pieces:
                file.write(piece)
                last = piece
            link = link_of(last)
            file.write(lines(End(events, link)))
        raw.flush()
        os.fsync(raw.fileno())
    return link


def link_of(piece: bytes) -> str:
    """Return the link of the last line of a piece."""
    _, _, line = piece.removesuffix(b"\n").rpartition(b"\n")
    return line[LINK].decode() if line else GENESIS.hex()


def lines(*said: msgspec.Struct) -> bytes:
    """Return what a file says of itself, a line each."""
    return b"".join(msgspec.json.encode(each) + b"\n" for each in said)
