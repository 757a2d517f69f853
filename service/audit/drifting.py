"""Drift: what agents find in their storage is compared with the live log, and recorded.

An agent tells facts, never findings. Whether a fact is one depends on the log as it
is now, and only on what nobody has worked on since before the agent looked.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec

from adapters.postgres.reading import last_of_each
from domain.backend import Backend, Told, id_of
from domain.drift import (
    CHECKS,
    SNAPSHOT,
    VOLUME,
    Explanation,
    Facts,
    Remedy,
    Subject,
    Wanted,
    advice,
    differences,
    explanation,
    remedy,
    wanted,
)
from domain.snapshot import Snapshot
from domain.volume import Volume
from projections import resources
from service.audit import history, overdue
from service.deciding.command import Decision, Reply, asking

if TYPE_CHECKING:
    from service.deciding.log import Log

ASKED = frozenset(
    {
        "volume.created",
        "volume.rescheduled",
        "volume.managing_started",
        "snapshot.created",
        "snapshot.created_in_group",
        "snapshot.managing_started",
    }
)
KINDS: dict[str, type[Volume | Snapshot]] = {VOLUME: Volume, SNAPSHOT: Snapshot}

Last = dict[UUID, list[Explanation]]


async def explanations(log: Log, facts: Collection[Facts]) -> Last:
    """Return the last events of all that the facts are about."""
    ids = {each.subject.id for each in facts if each.subject.id}
    return await log.read(last_of_each, log.recorder, ids)


def compare(
    log: Decision, backend: Backend, position: int, facts: Collection[Facts], last: Last
) -> None:
    """Record what differs, and what does no more, of what was left alone meanwhile.

    The log was at the position before the storage was looked at, and was read for the
    last events after that.
    """
    log.need(each.subject.id for each in facts if each.subject.id)
    for seen in facts:
        of = known(log, seen.subject)
        said = last.get(of.id, []) if of else []
        if of and (of.in_flight or has_moved_on(of, said, position)):
            continue
        expected = wanted_on(backend, of)
        told = [
            Told(
                drift=each.drift,
                expected=each.expected,
                found=each.found,
                remedy=remedy(each.drift, expected, seen),
                seen=seen.object,
                explained_by=explanation(each.drift, said),
                cause=asked_at(said),
            )
            for each in differences(expected, seen)
        ]
        backend.compare(seen.subject, told, CHECKS)


def repair(log: Decision, backend: Backend) -> None:
    """Ask for all that is safe to be done about what differs, as the log is now.

    What is worked on is left to the next survey.
    """
    subjects = standing(backend)
    log.need(each.id for each in subjects if each.id)
    for found in backend.drift.values():
        if found.remedy is Remedy.GIVE_UP:
            overdue.give_up(log, found)
            continue
        subject = Subject(found.noun, found.subject)
        of = known(log, subject)
        expected = wanted_on(backend, of)
        safe = remedy(found.drift, expected, Facts(subject, found.seen))
        if safe is not found.remedy or safe is Remedy.BY_HAND or (of and of.in_flight):
            continue
        reached = ours(backend, of)
        backend.repair(
            found,
            turn=expected.of or subject.id or backend.id,
            made_at=expected.made_at,
            cause=found.cause or 0,
            of=expected.of,
            size_gib=expected.size_gib,
            connectors=reached.connectors if isinstance(reached, Volume) else [],
        )


def ours(backend: Backend, of: Volume | Snapshot | None) -> Volume | Snapshot | None:
    """Return it if it is to be on the backend."""
    return of if of and of.backend == backend.name else None


def wanted_on(backend: Backend, of: Volume | Snapshot | None) -> Wanted:
    """Return what there is to be of it on the backend.

    Nothing where another one has it, nor what this one has left of making it.
    """
    given_up = isinstance(of, Volume) and of.given_up.get(backend.name)
    if given_up and not ours(backend, of):
        return Wanted(made_at=given_up.isoformat())
    return wanted(ours(backend, of))


def asked_at(said: Collection[Explanation]) -> int | None:
    """Return the position of the event that asked for it, last."""
    those = (each.position for each in said if each.event in ASKED)
    return max(those, default=None)


def standing(backend: Backend) -> list[Subject]:
    """Return what anything differs of."""
    named = ((key.noun, key.subject) for key in backend.drift if key.drift in CHECKS)
    return [Subject(*each) for each in dict.fromkeys(named)]


def known(log: Decision, subject: Subject) -> Volume | Snapshot | None:
    """Return what the log knows of a subject."""
    return log.find(KINDS[subject.noun], subject.id) if subject.id else None


def has_moved_on(
    of: Volume | Snapshot, said: Collection[Explanation], position: int
) -> bool:
    """Tell whether anything has happened to it since a position."""
    newest = max((each.version for each in said), default=0)
    reached = max((each.position for each in said), default=0)
    return of.version != newest or reached > position


async def page(log: Log, name: str, limit: int, cursor: str | None) -> Reply:
    """Return a page of what differs of a backend, oldest first, or raise `NotFound`.

    It is read of the log itself, as `history` is; when the storage was last compared
    with it, and why not since, is what the agent told.
    """
    after = history.position_of(cursor)
    surveyed = log.room.surveyed(name)

    def look(decision: Decision) -> Reply:
        backend = decision.get(Backend, id_of(name), name)
        found = backend.drift.values()
        later = [each for each in found if each.originator_version > after]
        items, more = later[:limit], len(later) > limit
        last = str(items[-1].originator_version) if more else ""
        told = {
            "items": list(map(item, items)),
            "next": history.covered(last) if more else None,
            "surveyed_at": surveyed.at and resources.instant(surveyed.at),
            "not_surveyed": surveyed.failure,
        }
        return Reply(msgspec.json.encode(told), 0, backend.id, backend.version)

    return await log.submit(asking(look))


def item(found: Backend.DriftFound) -> dict[str, Any]:
    """Return what differs as callers see it."""
    return {
        "drift": found.drift,
        "noun": found.noun,
        "subject": found.subject,
        "expected": found.expected,
        "found": found.found,
        "explained_by": found.explained_by,
        "remedy": found.remedy,
        "advice": advice(found.drift, found.remedy),
        "since": resources.instant(found.timestamp),
    }
