"""Which work has been asked of a backend and not been settled?"""

from __future__ import annotations

from collections.abc import Iterable

from domain.aggregate import Intent, Progress
from projections.reading import ReadModel, Row, Touched


def rows(touched: Touched) -> Iterable[Row]:
    """Return a row for each intent of which the page tells and that is in flight.

    What it asks is the event in the log, where the row was created. What goes on tells
    of all that is in flight: it has waited since then, whatever it is.
    """
    aggregate = touched.aggregate
    told: dict[int, int] = {}
    for event, position in touched.events:
        if isinstance(event, Intent):
            told[event.originator_version] = position
        elif isinstance(event, Progress):
            told = dict.fromkeys(aggregate.in_flight, position) | told
    for version, position in told.items():
        if intent := aggregate.in_flight.get(version):
            yield Row(
                f"{touched.key}/{version}",
                position,
                version,
                {
                    "backend": intent.backend,
                    "topic": intent.TOPIC,
                    "since": aggregate.waited_for(intent).isoformat(),
                },
                hidden=False,
                body=None,
            )


def ended(touched: Touched) -> Iterable[str]:
    """Return the keys of what was in flight before the page, and is no longer."""
    aggregate = touched.aggregate
    for version in touched.before:
        if version not in aggregate.in_flight:
            yield f"{touched.key}/{version}"


IN_FLIGHT = ReadModel(
    "in_flight",
    ("backend", "topic", "since"),
    rows,
    nouns=frozenset({"volume", "snapshot", "group", "group_snapshot", "backend"}),
    ended=ended,
    aging="topic",
    edition=2,  # in the first, what went on did so for one alone of all in flight
)
