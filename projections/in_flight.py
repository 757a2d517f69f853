"""Which work has been asked of a backend and not been settled?"""

from __future__ import annotations

from collections.abc import Iterable

from projections.reading import ReadModel, Row, Touched


def rows(touched: Touched) -> Iterable[Row]:
    """Return a row for each intent in flight, with the event as the log has it."""
    aggregate = touched.aggregate
    positions = {event.originator_version: at for event, at in touched.events}
    for version, intent in aggregate.in_flight.items():
        yield Row(
            f"{aggregate.id}/{version}",
            positions.get(version, 0),
            aggregate.version,
            {
                "backend": intent.backend,
                "aggregate_id": str(aggregate.id),
                "topic": intent.TOPIC,
                "since": intent.timestamp.isoformat(),
            },
            hidden=False,
            body=intent,
        )


IN_FLIGHT = ReadModel(
    "in_flight", ("backend", "aggregate_id", "topic", "since"), rows, replaces=True
)
