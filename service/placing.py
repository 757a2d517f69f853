"""Finding room for volumes, among the backends as this replica knows them."""

from __future__ import annotations

from typing import Any

from domain.backend import Administration, Backend, id_of
from domain.placement import Candidate, NoCapacity, passed_over, roomiest
from service.log import Decision, NotFound


def place(log: Decision, described: dict[str, Any]) -> dict[str, Any]:
    """Return the description of a volume with its backend, which has room for it.

    Raises `NotFound` for a backend or a volume type that is not known, and
    `NoCapacity`.
    """
    kind = described["volume_type"]
    specs = log.room.volume_types.get(kind, {})
    if kind and kind not in log.room.volume_types:
        raise NotFound("volume_type", kind)
    wanted = described["backend"] or specs.get("volume_backend_name")
    # One that has told what it has before it was announced is passed over.
    known = (n for n in sorted(log.room.measured) if log.find(Backend, id_of(n)))
    candidates = [candidate(log, n) for n in ([wanted] if wanted else known)]
    shared = described["multiattach"] or specs.get("multiattach") == "<is> True"
    return described | {
        "backend": roomiest(candidates, described["size_gib"]),
        "multiattach": shared,
    }


def check_room(log: Decision, backend: str, more_gib: int) -> None:
    """Raise `NoCapacity` unless the backend has room for a volume to grow."""
    why = passed_over(candidate(log, backend), more_gib, growing=True)
    if why:
        raise NoCapacity(more_gib, {backend: why})


def candidate(log: Decision, name: str) -> Candidate:
    """Return a backend as it stands; raise `NotFound` for one that is not known."""
    backend = log.get(Backend, id_of(name), name)
    known = log.room.measured.get(name)
    return Candidate(
        name,
        backend.status == Administration.ENABLED,
        backend.disabled_reason,
        log.room.state(name) == "up",
        bool(known and known.working),
        known.reason if known else None,
        known.capabilities if known else None,
        log.room.taken(name),
    )
