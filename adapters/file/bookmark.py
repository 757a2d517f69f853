"""How far a copy is, in the name of one more link to it, for whoever goes on.

    copied 67108864 of 131 1767225600000000000
                                bytes, and of what: a file, and when it changed last

That a file has not changed is known by that time, which nobody can set. But a power cut
may take it back and leave what was written: of a file that hosts may write a copy is
gone on with only until the machine starts anew, and says since which start it is.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from adapters.file.naming import COPIED, names

EVERY = 64 * 1024**2  # bytes a kill may cost; for their flush writers may wait
START = Path("/proc/sys/kernel/random/boot_id")


class Bookmark:
    """How much of a file, as it is now, a copy of it holds, durably."""

    def __init__(self, copy: Path, of: str) -> None:
        self._copy = copy
        self._of = of
        self._more = 0

    def find(self) -> int:
        """Return how many bytes there are; what is said of another moment goes."""
        said = bookmarks(self._copy.parent)
        drop([path for path, (_, of) in said.items() if of != self._of])
        return max((done for done, of in said.values() if of == self._of), default=0)

    def move(self, file: int, done: int, more: int) -> None:
        """Note that so many are copied, so many of them since; say it now and then."""
        self._more += more
        if self._more >= EVERY:
            os.fdatasync(file)
            before = bookmarks(self._copy.parent)
            self._copy.with_name(f"copied {done} of {self._of}").hardlink_to(self._copy)
            drop(before)
            self._more = 0


def moment(file: int, *, lasting: bool) -> str:
    """Return what an open file is until it changes; a lasting one nobody writes."""
    found = os.fstat(file)
    since = [] if lasting else [START.read_text().strip()]
    return " ".join([str(found.st_ino), str(found.st_ctime_ns), *since])


def bookmarks(home: Path) -> dict[Path, tuple[int, str]]:
    """Return where it is said beside a copy how far it is, and of what."""
    said = filter(None, map(COPIED.fullmatch, names(home)))
    return {home / told[0]: (int(told[1]), told[2]) for told in said}


def drop(paths: Iterable[Path]) -> None:
    """Say it no more."""
    for path in paths:
        path.unlink()
