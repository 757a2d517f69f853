"""From a page of the log to rows: what every read model keeps.

Rows are made of aggregates, not of single events: a row is the resource as it is
after the page, whatever the page began with. So storing a page twice, or two
pages as one, comes to the same rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple
from uuid import UUID

from domain.aggregate import Aggregate, Event


class Row(NamedTuple):
    """One line of a read model.

    `created` is the position that puts lists in order; a row that is known keeps
    its own. `hidden` rows are listed only when asked for by their status.
    """

    key: str
    created: int
    version: int
    filters: Mapping[str, Any]
    hidden: bool
    body: Any


class Touched(NamedTuple):
    """An aggregate after a page, its id as text, and the page's events of it.

    Each event comes with its position; `before` are the versions of what was in
    flight when the page began.
    """

    aggregate: Aggregate
    key: str
    events: list[tuple[Event, int]]
    before: tuple[int, ...] = ()


def none(_: Touched) -> Iterable[str]:
    """Return no keys: rows stay."""
    return ()


@dataclass(frozen=True)
class ReadModel:
    """A question: its table's name, what can be asked for, and its rows.

    `nouns` are the aggregates that it is about, `ended` the keys of rows that end
    without a trace. With `aging`, rows can be asked for that have stayed with the
    same value of that filter; `since` is one of the filters. `edition` is raised when
    rows are made otherwise than before: what an earlier version has made is made anew.
    """

    name: str
    filters: tuple[str, ...]
    rows: Callable[[Touched], Iterable[Row]]
    nouns: frozenset[str]
    ended: Callable[[Touched], Iterable[str]] = none
    aging: str | None = None
    edition: int = 1


class Fold:
    """Aggregates as they are at one position, a bounded number of them in memory."""

    def __init__(
        self,
        load: Callable[[list[UUID], int], Mapping[UUID, Aggregate]],
        most: int = 20_000,
    ) -> None:
        self._load = load
        self._most = most
        self._known: dict[UUID, Aggregate] = {}

    def page(self, events: list[tuple[Event, int]]) -> list[Touched]:
        """Apply a page and return what it touched."""
        if wanted := self._missing(events):
            self._known |= self._load(sorted(wanted), events[0][1] - 1)
        touched: dict[UUID, Touched] = {}
        for event, position in events:
            key = event.originator_id
            # Moved to the end: what is at the front was not used for longest.
            known = self._known.pop(key, None)
            in_flight = tuple(known.in_flight) if known else ()
            self._known[key] = event.mutate(known)
            seen = touched.get(key)
            if seen is None:
                aggregate = self._known[key]
                touched[key] = seen = Touched(aggregate, str(key), [], in_flight)
            seen.events.append((event, position))
        for key in list(islice(self._known, max(0, len(self._known) - self._most))):
            del self._known[key]
        return list(touched.values())

    def _missing(self, events: list[tuple[Event, int]]) -> set[UUID]:
        """Return the aggregates that a page goes on with and that are not known."""
        begun, missing = set(), set()
        for event, _ in events:
            key = event.originator_id
            if event.originator_version == 1:
                begun.add(key)
            elif key not in self._known and key not in begun:
                missing.add(key)
        return missing
