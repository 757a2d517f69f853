"""Lists as PostgreSQL's binary arrays.

psycopg packs a list value by value, which for a batch of hundreds of events costs
more than the rest of a transaction.
"""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct
from typing import ClassVar
from uuid import UUID

import psycopg
from psycopg.adapt import Dumper
from psycopg.pq import Format

_HEADER = Struct("!5i")
_EMPTY = Struct("!3i")
_LENGTH = Struct("!i")
_NULL = _LENGTH.pack(-1)
_SIXTEEN = _LENGTH.pack(16)
_BIGINT = Struct("!iq")
_TRUE, _FALSE = _LENGTH.pack(1) + b"\1", _LENGTH.pack(1) + b"\0"


class Array(bytes):
    """A list as it is sent; `OID` is the type of the whole, `ITEM` that of one."""

    OID: ClassVar[int]
    ITEM: ClassVar[int]
    EMPTY: ClassVar[Array]

    def __init_subclass__(cls) -> None:
        cls.EMPTY = cls(_EMPTY.pack(0, 0, cls.ITEM))

    @classmethod
    def of(cls, items: list[bytes], *, nulls: bool = False) -> Array:
        """Return the array of items that say their length."""
        if not items:
            return cls.EMPTY
        header = _HEADER.pack(1, nulls, cls.ITEM, len(items), 1)
        return cls(header + b"".join(items))


class Uuids(Array):
    """A `uuid[]`."""

    OID, ITEM = 2951, 2950


class Bigints(Array):
    """A `bigint[]`."""

    OID, ITEM = 1016, 20


class Texts(Array):
    """A `text[]`."""

    OID, ITEM = 1009, 25


class Blobs(Array):
    """A `bytea[]`."""

    OID, ITEM = 1001, 17


class Booleans(Array):
    """A `boolean[]`."""

    OID, ITEM = 1000, 16


def uuids(values: Iterable[UUID | None]) -> Array:
    """Return ids, or nothing, as an array."""
    items = [_SIXTEEN + value.bytes if value else _NULL for value in values]
    return Uuids.of(items, nulls=True)


def bigints(values: Iterable[int]) -> Array:
    """Return whole numbers as an array."""
    return Bigints.of([_BIGINT.pack(8, value) for value in values])


def texts(values: Iterable[str | None]) -> Array:
    """Return texts, or nothing, as an array."""
    items = [_NULL if value is None else _sized(value.encode()) for value in values]
    return Texts.of(items, nulls=True)


def booleans(values: Iterable[bool]) -> Array:
    """Return truths as an array."""
    return Booleans.of([_TRUE if value else _FALSE for value in values])


def blobs(values: Iterable[bytes]) -> Array:
    """Return byte strings as an array."""
    return Blobs.of([_sized(value) for value in values])


def _sized(value: bytes) -> bytes:
    return _LENGTH.pack(len(value)) + value


def _dumper(kind: type[Array]) -> type[Dumper]:
    class Packed(Dumper):
        format = Format.BINARY
        oid = kind.OID

        def dump(self, obj: Array) -> bytes:
            return obj

    return Packed


for _kind in (Uuids, Bigints, Texts, Blobs, Booleans):
    psycopg.adapters.register_dumper(_kind, _dumper(_kind))
