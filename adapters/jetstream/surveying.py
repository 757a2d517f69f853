"""Surveying: what is otherwise in the storage than the log says is told to the service.

The log is asked what there is to be, and the driver what there is, in this order.
What differs is looked at once more, for somebody may have a volume open for a moment;
what was worked on since before the log was asked is left to the next survey. What
still differs is told, with all that was told before and may be as it should by now:
the service compares each with the live log, and decides.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import msgspec

from adapters.jetstream.telling import Service
from adapters.jetstream.turns import Turns
from domain.drift import (
    SNAPSHOT,
    VOLUME,
    Facts,
    Subject,
    Surveyed,
    Wanted,
    by_subject,
    differences,
    reached_by,
)
from domain.ports import Export

AGAIN = 1.0  # seconds until what differs is looked at once more
AT_ONCE = 50  # subjects that are told together
MOST = 1000  # that are told in one survey, beside those that stand


class Item(msgspec.Struct):
    """What the log wants of one thing, and where what follows begins."""

    id: str
    wanted: Wanted
    after: int


class Page(msgspec.Struct):
    """Some of that, from a position on, and with the first what differs already."""

    items: list[Item]
    more: bool
    position: int
    standing: set[Subject]


class Standing(msgspec.Struct):
    """How much differs; a service of an earlier version does not count it."""

    findings: dict[str, int] = {}


class Expected(msgspec.Struct):
    """What the log wants, from a position on, and what of it differs already."""

    wanted: dict[Subject, Wanted] = {}
    standing: set[Subject] = set()
    position: int | None = None


class Surveyor:
    """Compares what the driver finds with what the log says."""

    def __init__(self, service: Service, name: str, turns: Turns) -> None:
        self._service = service
        self._name = name
        self._turns = turns

    async def survey(
        self, lease: int, look: Any, exports: Iterable[Export]
    ) -> Surveyed:
        """Tell the service what differs; returns what stands by the log then.

        `look` is the driver's survey; `exports` are those that are to be.
        """
        expected = await self._expected(lease, exports)
        differ = self._differ(expected, await look())
        if not all(each.subject in expected.standing for each in differ):
            await asyncio.sleep(AGAIN)
            doubted = {each.subject for each in differ}
            again = self._differ(expected, await look())
            differ = [each for each in again if each.subject in doubted]
        about = {"name": self._name, "lease": lease, "position": expected.position}
        for start in range(0, len(differ), AT_ONCE):
            facts = differ[start : start + AT_ONCE]
            await self._service.tell("agent.surveyed", about | {"facts": facts})
        asked = {"name": self._name, "lease": lease}
        told = await self._service.tell("agent.overdue", asked, gives=Standing)
        return Surveyed(datetime.now(UTC), told.findings)

    def _differ(self, expected: Expected, survey: Any) -> list[Facts]:
        """Return what differs, or has when it was told; bounded, what stands first."""
        subjects = [*expected.standing, *expected.wanted]
        told = [
            facts
            for facts in by_subject(survey, subjects)
            if not self._is_worked_on(facts, expected)
            if facts.subject in expected.standing
            or differences(expected.wanted.get(facts.subject, Wanted()), facts)
        ]
        return told[: MOST + len(expected.standing)]

    def _is_worked_on(self, facts: Facts, expected: Expected) -> bool:
        """Tell whether anything went on since before the log was asked."""
        wanted, found = expected.wanted.get(facts.subject), facts.object
        ids = [facts.subject.id, wanted.of if wanted else None]
        ids += [found.id, found.of] if found else []
        return any(self._turns.met(each) for each in ids if each)

    async def _expected(self, lease: int, exports: Iterable[Export]) -> Expected:
        expected = Expected()
        for noun in (VOLUME, SNAPSHOT):
            await self._add(expected, noun, lease)
        for export in exports:
            subject = Subject(VOLUME, str(export.volume_id))
            if known := expected.wanted.get(subject):
                expected.wanted[subject] = reached_by(known, export.connectors)
        return expected

    async def _add(self, expected: Expected, noun: str, lease: int) -> None:
        after, more = 0, True
        while more:
            asked = {"name": self._name, "lease": lease, "noun": noun, "after": after}
            answer = await self._service.tell("agent.expected", asked, gives=Page)
            for item in answer.items:
                after = item.after
                expected.wanted[Subject(noun, item.id)] = item.wanted
            if expected.position is None:
                expected.position = answer.position
                expected.standing = answer.standing
            more = answer.more
