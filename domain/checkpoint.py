"""Checkpoints: how long the log was, and the hash that stands for all of it, signed.

Whoever keeps one outside of the installation can tell for ever whether the log still
begins as it did then. It is C2SP's tlog-checkpoint in a signed note:

    holdfast/3f9c2a71
    1250
    8FZa…=                              the root hash of `domain.tree`
    chain 3q2+…=                        the last link of `domain.chain`
    time 2026-01-31T12:00:00.000000Z

    — holdfast/3f9c2a71 Az3grlgtz…
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from domain.note import NotANote, Signer, Verifier, base64, bytes_of

TEXT = re.compile(
    r"(?P<origin>[^\n]+)\n(?P<size>0|[1-9]\d{0,18})\n(?P<root>[^\n]+)\n"
    r"chain (?P<link>[^\n]+)\ntime (?P<time>[^\n]+)\n",
    re.ASCII,
)
NOTE = re.compile(r"\n*((?:[^\n]+\n)+\n(?:— [^\n]+\n)+)")  # up to its signatures
TIME = "%Y-%m-%dT%H:%M:%S.%fZ"
HASH = 32  # bytes


class NotACheckpoint(NotANote):
    """A note says something else than how long a log was."""

    def __str__(self) -> str:
        return "that is no checkpoint of a log"


@dataclass(eq=False)
class Contradicted(Exception):
    """The log is not what was signed; `why` says in what."""

    checkpoint: Checkpoint
    why: str

    def __str__(self) -> str:
        signed = self.checkpoint
        return (
            f"the log is not what was signed up to position {signed.size} at "
            f"{signed.time.strftime(TIME)}: {self.why}"
        )


class Checkpoint(NamedTuple):
    """A moment of the log of one installation, its origin."""

    origin: str
    size: int
    root: bytes
    link: bytes
    time: datetime

    def __str__(self) -> str:
        return (
            f"{self.origin}\n{self.size}\n{base64(self.root)}\n"
            f"chain {base64(self.link)}\ntime {self.time.strftime(TIME)}\n"
        )

    def signed(self, signer: Signer) -> str:
        """Return it as a note."""
        return signer.signed(str(self))


def opened(note: str, verifier: Verifier) -> Checkpoint:
    """Return the checkpoint in a note that the origin itself has signed.

    Raises `NotSigned`, and `NotANote` for what is not written as we would.
    """
    checkpoint = read(verifier.opened(note))
    if checkpoint.origin != verifier.name:
        raise NotACheckpoint
    return checkpoint


def all_opened(notes: str, verifier: Verifier) -> list[Checkpoint]:
    """Return the checkpoints in one note or in many, as `>>` puts them or apart."""
    return [opened(note, verifier) for note in separated(notes)]


def separated(notes: str) -> Iterator[str]:
    """Yield each of the notes in a text, whatever empty lines are between them."""
    text, position = notes.strip("\n") + "\n", 0
    while position < len(text):
        found = NOTE.match(text, position)
        if not found:
            raise NotANote
        yield found[1]
        position = found.end()


def read(text: str) -> Checkpoint:
    """Return what `str` has written, or raise `NotACheckpoint`."""
    found = TEXT.fullmatch(text)
    if not found:
        raise NotACheckpoint
    try:
        time = datetime.strptime(found["time"], TIME).replace(tzinfo=UTC)
        root, link = bytes_of(found["root"]), bytes_of(found["link"])
    except (ValueError, NotANote) as wrong:
        raise NotACheckpoint from wrong
    checkpoint = Checkpoint(found["origin"], int(found["size"]), root, link, time)
    if len(root) != HASH or len(link) != HASH or str(checkpoint) != text:
        raise NotACheckpoint
    return checkpoint
