"""Work that is overdue, and that nobody has given up: a kind of drift.

The watcher gives up what is overdue within seconds. Where it does not, because its
read model has stopped or no keeper runs, the backend's sweep finds it here, from what
is in flight by the log itself.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

import msgspec

from domain import log as language
from domain.aggregate import Aggregate, Intent, NotDone
from domain.backend import Backend, Told
from domain.drift import Drift, Explanation, Remedy, Subject
from domain.log import AGGREGATES
from service.deciding.command import Decision
from service.keeping.watcher import WORK
from service.settings import Deadlines

if TYPE_CHECKING:
    from service.replica import Replica

GRACE = 30.0  # seconds that the watcher has


class Asked(NamedTuple):
    """Work that was asked for, and since when it may be overdue."""

    noun: str
    event: Intent
    position: int
    seconds: float


async def candidates(replica: Replica, name: str) -> list[Asked]:
    """Return what was asked of a backend so long ago, the oldest first."""
    page = await replica.reading.in_flight(name, 0)
    asked = (candidate(item, replica.settings.deadlines) for item in page["items"])
    now = datetime.now(UTC)
    return [each for each in asked if is_late(each, each.event.timestamp, now)]


def candidate(item: Mapping[str, Any], deadlines: Deadlines) -> Asked:
    """Return what is in flight with the seconds that it may take."""
    event = language.decode(item["topic"], msgspec.json.encode(item["event"]))
    assert isinstance(event, Intent)
    noun = event.TOPIC.partition(".")[0]
    return Asked(noun, event, item["position"], WORK[event.TOPIC](deadlines))


def is_late(asked: Asked, since: datetime, now: datetime) -> bool:
    """Tell whether it should have been settled, or given up."""
    return since + timedelta(seconds=asked.seconds + GRACE) < now


def compare(log: Decision, backend: Backend, asked: Collection[Asked]) -> None:
    """Record what is overdue, and what is no more."""
    now = datetime.now(UTC)
    log.need(each.event.originator_id for each in asked)
    late: dict[Subject, Asked] = {}
    for each in asked:
        of = find(log, each.noun, each.event.originator_id)
        intent = of and of.in_flight.get(each.event.originator_version)
        if of and intent and is_late(each, of.waited_for(intent), now):
            late.setdefault(Subject(each.noun, str(of.id)), each)
    among = [Drift.TRANSITION_OVERDUE]
    for subject, each in late.items():
        backend.compare(subject, [told(each)], among)
    for key in backend.drift:
        subject = Subject(key.noun, key.subject)
        if key.drift in among and subject not in late:
            backend.compare(subject, [], among)


def told(asked: Asked) -> Told:
    """Return what there is to say of work that is overdue."""
    event = asked.event
    return Told(
        drift=Drift.TRANSITION_OVERDUE,
        expected=f"{event.TOPIC} is settled within {asked.seconds:g} s",
        found=f"{event.status} since {event.timestamp.isoformat()}",
        remedy=Remedy.GIVE_UP,
        seen=None,
        explained_by=Explanation(
            asked.position, event.TOPIC, event.originator_id, event.originator_version
        ),
        cause=asked.position,
    )


def give_up(log: Decision, found: Backend.DriftFound) -> None:
    """Have work failed that nobody has settled, and that has not gone on since."""
    asked = found.explained_by
    of: Any = asked and find(log, found.noun, asked.id)
    intent = of and asked and of.in_flight.get(asked.version)
    if intent and of.waited_for(intent) <= found.timestamp:
        said = f"it was not done in time and given up: {found.expected}"
        of.report(intent.originator_version, NotDone("deadline", said))


def find(log: Decision, noun: str, its_id: UUID) -> Aggregate | None:
    """Return what has been asked for it, whatever it is."""
    return log.find(AGGREGATES[noun], its_id)
