"""Requests that somebody wants to know of."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from nats.micro.request import Request

from service.command import Reply

Note = Callable[["Watched", Reply], None]


class Watched(Request):
    """A request that has its answer noted."""

    def __init__(self, request: Request, notes: Sequence[Note]) -> None:
        super().__init__(request._msg)  # noqa: SLF001 - the request is handed on
        self.began = time.perf_counter()
        self._notes = notes

    @property
    def seconds(self) -> float:
        """How long ago it came."""
        return time.perf_counter() - self.began

    def answered(self, reply: Reply) -> None:
        """Note the answer, sent or not: one that nobody waits for is one as well."""
        for note in self._notes:
            note(self, reply)
