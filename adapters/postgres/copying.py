"""PostgreSQL's binary COPY format, as far as the log needs it.

A row is its number of fields (two bytes), then each field preceded by its
length (four bytes). The chain hashes the first four fields exactly as COPY
carries them, so a row is packed once to be stored and hashed, and hashed as it
arrives to be verified.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from struct import Struct
from typing import NamedTuple
from uuid import UUID

from eventsourcing.persistence import StoredEvent

SIGNATURE = b"PGCOPY\n\xff\r\n\0" + bytes(8)
END = b"\xff\xff"

_ID_VERSION_TOPIC = Struct("!i16siqi")
_LENGTH = Struct("!i")
_NULL = _LENGTH.pack(-1)
_POSITION_CHAIN = Struct("!iqi")
_SIX_FIELDS = Struct("!h").pack(6)
_TOPIC = 2 + _ID_VERSION_TOPIC.size  # where a row's topic begins


class Row(NamedTuple):
    """One row of the log as it was read."""

    topic: str
    state: bytes
    position: int
    chain: bytes
    hashed: bytes


def hashed_fields(stored: StoredEvent) -> bytes:
    """Return the event's id, version, topic and state as COPY carries them."""
    topic, originator_id = stored.topic.encode(), stored.originator_id
    assert isinstance(originator_id, UUID)  # the library also allows names
    return b"".join(
        (
            _ID_VERSION_TOPIC.pack(
                16, originator_id.bytes, 8, stored.originator_version, len(topic)
            ),
            topic,
            _LENGTH.pack(len(stored.state)),
            stored.state,
        )
    )


def log_row(hashed: bytes, position: int, link: bytes) -> bytes:
    """Return one row of the log."""
    return b"".join(
        (_SIX_FIELDS, hashed, _POSITION_CHAIN.pack(8, position, len(link)), link)
    )


def row(*fields: bytes | None) -> bytes:
    """Return a row of any other table; None is NULL."""
    sized = (
        _NULL if field is None else _LENGTH.pack(len(field)) + field for field in fields
    )
    return Struct("!h").pack(len(fields)) + b"".join(sized)


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
