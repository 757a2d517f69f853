"""What the operating system refuses, in sentences an operator can act on."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from domain.ports import DriverFailed


class SystemRefused(DriverFailed):
    """The operating system refused."""

    def __init__(self, doing: str, error: OSError, advice: str) -> None:
        super().__init__(doing, error, advice)
        self.doing = doing
        self.errno = error.errno or errno.EIO
        self.path = error.filename
        self.advice = advice

    def __str__(self) -> str:
        where = f" ({self.path})" if self.path else ""
        said = os.strerror(self.errno)
        return f"cannot {self.doing}: {said}{where}; {self.advice}"


# What a refusal is, and what to do about it.
Advice = tuple[type[SystemRefused], str]


@contextmanager
def in_words_of(
    refusals: Mapping[int, Advice], otherwise: Advice, doing: str
) -> Iterator[None]:
    """Turn what the operating system refuses into what an operator can act on."""
    try:
        yield
    except OSError as error:
        kind, advice = refusals.get(error.errno or 0, otherwise)
        raise kind(doing, error, advice) from error
