"""Finding room for volumes, among the backends as this replica knows them."""

from __future__ import annotations

from collections.abc import Iterable
from heapq import nsmallest
from typing import Any

from domain.aggregate import Aggregate, Done, NotDone
from domain.backend import Administration, Backend, id_of
from domain.placement import (
    Basis,
    Candidate,
    NoCapacity,
    check_growth,
    rank,
    roomiest,
)
from domain.volume import Volume
from domain.volume_type import VolumeType
from service.deciding.command import Decision, NotFound

MOST_CONSIDERED = 8  # backends that a decision tells of: those with the most room


def place(log: Decision, described: dict[str, Any]) -> dict[str, Any]:
    """Return the description of a volume with its backend, which has room for it.

    Raises `NotFound` for a backend or a volume type that is not known, and
    `NoCapacity`.
    """
    asked, named = described["volume_type"], described["backend"]
    kind = log.room.volume_types.get(asked)
    if kind is None:
        raise NotFound("volume_type", asked)
    if described["multiattach"]:
        kind = kind.shared
    # One that has told what it has before it was announced is passed over.
    backends = (
        [log.get(Backend, id_of(named), named)]
        if named
        else [b for n in log.room.measured if (b := log.find(Backend, id_of(n)))]
    )
    placed = among(log, backends, described["size_gib"], kind)
    return described | placed | {"multiattach": kind.multiattach}


def among(
    log: Decision, backends: Iterable[Backend], size_gib: int, kind: VolumeType
) -> dict[str, Any]:
    """Return the backend with the most room, and what was considered.

    Raises `NoCapacity`.
    """
    candidates = [candidate(log, backend) for backend in backends]
    chosen, fit = roomiest(candidates, size_gib, kind)
    keep_within(log, chosen, kind)
    considered = [basis(each, kind) for each in fit]
    if len(considered) > MOST_CONSIDERED:
        considered = nsmallest(MOST_CONSIDERED, considered, rank)
    return {"backend": chosen.name, "considered": considered}


def rescheduled(
    log: Decision, asked: Aggregate, version: int, result: Done | NotDone
) -> bool:
    """Ask another backend for a volume that one could not make, and tell whether.

    Only those are asked that were fit for it when that one was chosen, as in Cinder:
    who names a backend, or a source, has no other. What cannot be made elsewhere
    either has failed.
    """
    intent = asked.in_flight.get(version)
    if not isinstance(intent, Volume.Created) or isinstance(result, Done):
        return False
    assert isinstance(asked, Volume)
    kind = log.room.volume_types.get(asked.volume_type)
    if kind is None:  # nobody can tell any more what it asked
        return False
    if asked.multiattach:
        kind = kind.shared
    names = [e.backend for e in intent.considered if e.backend != intent.backend]
    others = [b for name in names if (b := log.find(Backend, id_of(name)))]
    try:
        placed = among(log, others, asked.size_gib, kind)
    except NoCapacity:
        return False
    asked.reschedule(version, result, **placed)
    return True


def room_of(log: Decision, asked: Volume) -> list[Basis]:
    """Return what is known of the room of a volume's backend."""
    backend = log.get(Backend, id_of(asked.backend), asked.backend)
    known = candidate(log, backend)
    return [basis(known, kind_of(log, asked))] if known.storage else []


def kind_of(log: Decision, asked: Volume) -> VolumeType:
    """Return a volume's type; one that is no longer defined asks for nothing."""
    types = log.room.volume_types
    return types.get(asked.volume_type) or types[None]


def check_room(log: Decision, *growing: tuple[Volume, int]) -> None:
    """Raise `NoCapacity` unless a backend has room for its volumes to grow by so much.

    Those to whom room is promised once need it beside whatever else there is; room
    for all of them is needed where it may be promised more than once.
    """
    first, _ = growing[0]
    backend = log.get(Backend, id_of(first.backend), first.backend)
    grown = candidate(log, backend)
    total_gib = sum(more for _, more in growing)
    asked = [(kind_of(log, each), more) for each, more in growing]
    limits = []
    for kind in {kind.thin: kind for kind, _ in asked}.values():
        more_gib = total_gib if kind.thin else sum(m for k, m in asked if not k.thin)
        check_growth(grown, more_gib, kind)
        limits.append(limit_gib(grown, kind) + total_gib - more_gib)
    log.limits[grown.name] = min(limits)


def keep_within(log: Decision, chosen: Candidate, kind: VolumeType) -> None:
    """Let the transaction confirm that the room is still there."""
    log.limits[chosen.name] = limit_gib(chosen, kind)


def limit_gib(chosen: Candidate, kind: VolumeType) -> int:
    """Return how many GiB of a backend may be promised at all."""
    assert chosen.storage  # there is room in it
    return chosen.storage.limit_gib(thin=kind.thin)


def basis(candidate: Candidate, kind: VolumeType) -> Basis:
    """Return what a decision for a backend is based on."""
    assert candidate.storage
    room = candidate.storage.basis
    return room(candidate.name, candidate.allocated_gib, thin=kind.thin)


def candidate(log: Decision, backend: Backend) -> Candidate:
    """Return a backend as it stands."""
    name = backend.name
    known = log.room.measured.get(name)
    return Candidate(
        name,
        backend.status == Administration.ENABLED,
        backend.disabled_reason,
        log.room.is_up(name),
        bool(known and known.working),
        known.reason if known else None,
        known.storage if known else None,
        log.room.taken(name),
    )
