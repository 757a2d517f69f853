"""Reading a log from a file that may be anybody's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeVar

import msgspec

from adapters.archive.compression import DECOMPRESS, ZstdDecompressor, ZstdError
from adapters.archive.lines import FORMAT, End, Head, Vouched
from domain.checkpoint import Checkpoint, Contradicted
from domain.checkpoint import opened as open_note
from domain.checkpoint import read as read_note
from domain.note import NotANote, NotSigned, Verifier
from domain.tree import Frontier, leaf
from projections.replaying import (
    Came,
    Cut,
    Heard,
    Lines,
    NotALog,
    Share,
    Told,
    replayed,
    row_in,
    said,
)

READ = 256 * 1024  # bytes of the file at a time
PIECE = 128 * 1024  # bytes of text at a time, which malloc has at hand

T = TypeVar("T", bound=msgspec.Struct)


class Archive(NamedTuple):
    """A log in a file, and what its first lines say.

    `vouched` are the checkpoints that it is held to, by position.
    """

    path: Path
    release: str
    events: int
    checkpoints: int
    vouched: dict[int, Checkpoint]

    def came(
        self,
        share: Share,
        told: Told = lambda _: None,
        heard: Heard | None = None,
    ) -> Came:
        """Return what a share of it comes to; see `replayed`. Raises `NotALog`."""
        with self.lines() as lines:
            links = {size: each.link.hex() for size, each in self.vouched.items()}
            found = replayed(lines, self.events, share, links, told, heard)
            self.check_end(lines, found.link)
        return found

    def check_roots(self, told: Told = lambda _: None) -> None:
        """Raise `NotALog` where a checkpoint has not the root hash of all up to it.

        The chain has been verified before: so it is enough to hash each row once.
        """
        frontier, last = Frontier(), max(self.vouched, default=0)
        with self.lines() as lines:
            while frontier.size < last:
                for line in lines.page(last - frontier.size) or [lines.line()]:
                    frontier.add(leaf(row_in(line)))
                    signed = self.vouched.get(frontier.size)
                    if signed and signed.root != frontier.head:
                        number = 1 + self.checkpoints + frontier.size
                        why = "a checkpoint has another root hash"
                        raise NotALog(why, number, frontier.size)
                told(frontier.size)

    @contextmanager
    def lines(self) -> Iterator[Lines]:
        """Open the file; the next line is the first event's."""
        with self.path.open("rb") as file:
            lines = Lines(pieces(file))
            for _ in range(1 + self.checkpoints):
                lines.line()
            yield lines

    def check_end(self, lines: Lines, link: str) -> None:
        """Raise `NotALog` unless the file ends after its last event as it should."""
        end = read(lines.line(), End, lines.number)
        if (end.events, end.link) != (self.events, link):
            raise NotALog("it does not tell what was before it", lines.number)
        if lines.page(1):
            raise NotALog("there should be no line any more", lines.number)


def opened(
    path: Path, verifier: Verifier | None = None, kept: Sequence[Checkpoint] = ()
) -> Archive:
    """Return the log in a file, the checkpoints in it checked as far as that goes.

    With a verifier each must have been signed with its key, and there must be one, in
    it or `kept` elsewhere; what was kept is held against the log like what is in it.
    Raises `Cut`, `NotALog`, `Contradicted` or `OSError`.
    """
    with path.open("rb") as file:
        if not file.seekable():
            raise Cut("a pipe cannot be read twice; give a file")
        lines = Lines(pieces(file))
        head = read(lines.line(), Head, lines.number)
        if head.holdfast_log != FORMAT:
            raise NotALog("a newer holdfast has written it", lines.number)
        if verifier and not (head.checkpoints or kept):
            raise NotALog("there is no checkpoint in it, so nobody vouches for it", 1)
        vouched: dict[int, Checkpoint] = {}
        for _ in range(head.checkpoints):
            note = read(lines.line(), Vouched, lines.number).checkpoint
            vouch(vouched, note, verifier, head.events, lines.number)
    for checkpoint in kept:
        hold_to(vouched, checkpoint, head.events)
    return Archive(path, head.release, head.events, head.checkpoints, vouched)


def vouch(
    vouched: dict[int, Checkpoint],
    note: str,
    verifier: Verifier | None,
    events: int,
    line: int,
) -> None:
    """Take in what one checkpoint says, or raise `NotALog`."""
    try:
        text = note.rpartition("\n\n")[0] + "\n"
        found = open_note(note, verifier) if verifier else read_note(text)
    except (NotANote, NotSigned) as wrong:
        raise NotALog(said(wrong), line) from wrong
    if found.size > events:
        cut = f"the log had {found.size:,} events then, and the file has {events:,}"
        raise NotALog(cut, line)
    if not agrees(vouched, found):
        raise NotALog("it contradicts another one", line)


def hold_to(vouched: dict[int, Checkpoint], kept: Checkpoint, events: int) -> None:
    """Take in what was kept where whoever has the key cannot write.

    Raises `Contradicted`.
    """
    if kept.size > events:
        raise Contradicted(kept, f"the file has {events:,} events")
    if not agrees(vouched, kept):
        raise Contradicted(kept, "one in the file says otherwise of that position")


def agrees(vouched: dict[int, Checkpoint], found: Checkpoint) -> bool:
    """Take in a checkpoint where none of its size is known; tell whether it fits."""
    known = vouched.setdefault(found.size, found)
    return (known.link, known.root) == (found.link, found.root)


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
