"""The digest: one hash for the state of everything that a log comes to.

It is the same on any machine, and for one log in every later version. An aggregate
is the line `noun id state`, the state being what `STATE` names as JSON with sorted
keys and without what is empty, so that a field added later changes no digest of a
log that never had it. By the last byte of their ids the hashes of these lines fall
into buckets, each hashed in the order of ids, and the digest is the hash of the
buckets'. So buckets are worked out apart, and those that differ say where to look.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from hashlib import sha256
from typing import Any
from uuid import UUID

import msgspec
from msgspec.structs import asdict

from domain.aggregate import Aggregate
from domain.attachment import Attachment
from domain.log import AGGREGATES

BUCKETS = 256
FORMAT = b"holdfast state 1\n"

_COMMON = ("status", "version", "updated_at", "in_flight", "error", "progressed_at")
_TOLD = ("name", "description", "created_at")
_ROOM = ("backend", "allocated_gib")

# fmt: off
STATE: dict[str, tuple[str, ...]] = {
    "volume": (*_COMMON, *_TOLD, *_ROOM, "project", "size_gib", "volume_type",
               "multiattach", "readonly", "bootable", "metadata", "source", "group_id",
               "attachments", "gone", "connections", "location", "previous_status",
               "let_go", "snapshots", "copies", "awaited", "reverted_to", "refused",
               "attempts", "given_up"),
    "snapshot": (*_COMMON, *_TOLD, *_ROOM, "volume_id", "group_snapshot_id", "size_gib",
                 "metadata", "previous_status", "percent", "copies", "let_go"),
    "group": (*_COMMON, *_TOLD, "backend", "consistent", "volume_types", "source",
              "volumes", "being_made", "snapshots", "previous_status"),
    "group_snapshot": (*_COMMON, *_TOLD, "backend", "group_id", "snapshots",
                       "consistency"),
    "backend": (*_COMMON, "name", "host", "driver", "storage_protocol",
                "disabled_reason", "lease", "pool", "drift", "repairs_went_on"),
}
# fmt: on


def digest(aggregates: Iterable[Aggregate]) -> str:
    """Return the digest of aggregates."""
    return joined(bucket_hashes(aggregates))


def bucket_hashes(aggregates: Iterable[Aggregate]) -> dict[int, bytes]:
    """Return the hash of each bucket that has one of these aggregates."""
    sorted_into: dict[int, list[tuple[bytes, bytes]]] = {}
    for aggregate in aggregates:
        key = spelt(aggregate.id)
        hashed = sha256(line(key, aggregate)).digest()
        sorted_into.setdefault(aggregate.id.int % BUCKETS, []).append((key, hashed))
    return {
        bucket: sha256(b"".join(hashed for _, hashed in sorted(found))).digest()
        for bucket, found in sorted_into.items()
    }


def spelt(its_id: UUID) -> bytes:
    """Return an id as it is written, in a tenth of the time that `str` takes."""
    return _encode(its_id)[1:-1]


def joined(buckets: Mapping[int, bytes]) -> str:
    """Return the digest that the buckets come to."""
    empty = sha256().digest()
    every = (buckets.get(bucket, empty) for bucket in range(BUCKETS))
    return sha256(FORMAT + b"".join(every)).hexdigest()


def line(key: bytes, aggregate: Aggregate) -> bytes:
    """Return the line that stands for an aggregate."""
    noun, state = _READ[type(aggregate)]
    return b"%s %s %s" % (noun, key, _encode(state(aggregate)))


def _reader(
    names: Iterable[str], told: Callable[[Any], dict[str, Any]]
) -> Callable[[Any], dict[str, Any]]:
    """Return what makes the state of an aggregate, or of a part, of these fields.

    An attribute that was never assigned is empty.
    """
    named = frozenset(names)
    otherwise = [(name, _SPELT[name]) for name in named if name in _SPELT]

    def read(seen: Any) -> dict[str, Any]:
        state = {name: v for name, v in told(seen).items() if v and name in named}
        for name, spell in otherwise:
            if name in state:
                state[name] = spell(state[name])
        return state

    return read


def _pairs(ordered: Any) -> list[Any]:
    """Spell out a dictionary whose order means something."""
    return list(ordered.items()) if isinstance(ordered, dict) else list(ordered)


_SPELT: dict[str, Callable[[Any], Any]] = {
    "snapshots": _pairs,
    "volumes": _pairs,
    "in_flight": list,  # events, told by their versions
    "drift": lambda found: [each.originator_version for each in found.values()],
}
_ATTACHMENT = _reader(Attachment.__struct_fields__, asdict)
_SPELT |= dict.fromkeys(
    ("attachments", "gone"), lambda held: [_ATTACHMENT(each) for each in held.values()]
)
_encode = msgspec.json.Encoder(order="sorted").encode
_READ = {
    kind: (noun.encode(), _reader(STATE[noun], vars))
    for noun, kind in AGGREGATES.items()
}
