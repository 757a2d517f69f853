"""Reading a log from a file that may be anybody's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeVar

import msgspec

from adapters.archive.compression import DECOMPRESS, ZstdDecompressor, ZstdError
from adapters.archive.lines import FORMAT, End, Head, Vouched
from projections.replaying import Cut, Lines, NotALog, said

READ = 256 * 1024  # bytes of the file at a time
PIECE = 1024 * 1024  # bytes of text at a time

T = TypeVar("T", bound=msgspec.Struct)


class Archive(NamedTuple):
    """A log in a file, and what its first lines say."""

    path: Path
    events: int
    checkpoints: tuple[str, ...]
    vouched: dict[int, str]

    @contextmanager
    def lines(self) -> Iterator[Lines]:
        """Open the file; the next line is the first event's."""
        with self.path.open("rb") as file:
            lines = Lines(pieces(file))
            for _ in range(1 + len(self.checkpoints)):
                lines.line()
            yield lines

    def check_end(self, lines: Lines, link: str) -> None:
        """Raise `NotALog` unless the file ends after its last event as it should."""
        end = read(lines.line(), End, lines.number)
        if (end.events, end.link) != (self.events, link):
            raise NotALog("it does not tell what was before it", lines.number)
        if lines.page(1):
            raise NotALog("there should be no line any more", lines.number)


def opened(path: Path) -> Archive:
    """Return the log in a file; raise `NotALog` or `OSError`."""
    with path.open("rb") as file:
        lines = Lines(pieces(file))
        head = read(lines.line(), Head, lines.number)
        if head.holdfast_log != FORMAT:
            raise NotALog("a newer holdfast has written it", lines.number)
        notes = tuple(
            read(lines.line(), Vouched, lines.number).checkpoint
            for _ in range(head.checkpoints)
        )
    return Archive(path, head.events, notes, {})


def pieces(file: BinaryIO) -> Iterator[bytes]:
    """Yield the text of a file, each piece bounded; raise `Cut` where it is none."""
    zstd = ZstdDecompressor(options=DECOMPRESS)
    try:
        while not zstd.eof:
            data = b""
            if zstd.needs_input and not (data := file.read(READ)):
                raise Cut("the file ends before it")
            if piece := zstd.decompress(data, PIECE):
                yield piece
    except ZstdError as error:
        raise Cut("it is garbled, or no log that was exported") from error
    if zstd.unused_data or file.read(1):
        raise Cut("there is something behind the end of the log")


def read(line: bytes, kind: type[T], number: int) -> T:
    """Return what a line says that is no event, or raise `NotALog`."""
    try:
        return msgspec.json.decode(line, type=kind)
    except WRONG as wrong:
        raise NotALog(said(wrong), number) from wrong


WRONG: tuple[Any, ...] = (msgspec.MsgspecError, ValueError, RecursionError)
