"""Requests that somebody wants to know of."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from logging import getLogger

import msgspec

from adapters.jetstream.taking import Request
from service.deciding.command import Reply

logger = getLogger(__name__)

Note = Callable[["Watched", Reply], None]


class Watched(Request, eq=False, kw_only=True):
    """A request that has its answer noted."""

    notes: Sequence[Note] = ()
    began: float = msgspec.field(default_factory=time.perf_counter)

    @property
    def seconds(self) -> float:
        """How long ago it came."""
        return time.perf_counter() - self.began

    def answered(self, reply: Reply) -> None:
        """Note the answer, sent or not: one that nobody waits for is one as well."""
        for note in self.notes:
            try:
                note(self, reply)
            except Exception:  # nobody's answer may suffer
                logger.exception("an answer on %s was not noted", self.subject)


def watched(request: Request, notes: Sequence[Note]) -> Watched:
    """Return a request as one that has its answer noted."""
    return Watched(*msgspec.structs.astuple(request), notes=notes)
