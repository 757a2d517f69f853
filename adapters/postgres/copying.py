"""PostgreSQL's binary COPY format, as far as reading the log needs it.

A row is its number of fields (two bytes), then each field preceded by its
length (four bytes). The chain hashes the first four fields exactly as COPY
carries them, so a row is hashed as it arrives to be verified.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import NamedTuple

SIGNATURE = b"PGCOPY\n\xff\r\n\0" + bytes(8)
END = b"\xff\xff"

_TOPIC = 2 + (4 + 16) + (4 + 8) + 4  # where a row's topic begins


class Row(NamedTuple):
    """One row of the log as it was read."""

    topic: str
    state: bytes
    position: int
    chain: bytes
    hashed: bytes


def log_rows(chunks: Iterable[bytes | bytearray | memoryview]) -> Iterator[Row]:
    """Read rows of the log from what `COPY … TO STDOUT` sends, a row a chunk."""
    # The signature comes with the first row, the end in a chunk of its own.
    arriving = iter(chunks)
    first = bytes(next(arriving))[len(SIGNATURE) :]
    for chunk in chain((first,), arriving):
        data = bytes(chunk)
        if len(data) <= len(END):
            continue  # not `return`: the copy is over only when it is exhausted
        state_size = _TOPIC + int.from_bytes(data[_TOPIC - 4 : _TOPIC])
        state = state_size + 4
        end = state + int.from_bytes(data[state_size:state])
        yield Row(
            data[_TOPIC:state_size].decode(),
            data[state:end],
            int.from_bytes(data[end + 4 : end + 12]),
            data[end + 16 :],
            data[2:end],
        )
