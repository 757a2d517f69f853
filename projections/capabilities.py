"""Which backends are there, and what has been decided about them?

What their agents measure is no event; it stands beside these rows.
"""

from __future__ import annotations

from collections.abc import Iterable

from domain.backend import Backend
from projections import resources
from projections.reading import ReadModel, Row, Touched


def rows(touched: Touched) -> Iterable[Row]:
    """Return the backend's row."""
    backend = touched.aggregate
    if isinstance(backend, Backend):
        yield Row(
            backend.name,
            touched.events[0][1],
            backend.version,
            {"name": backend.name, "host": backend.host, "status": backend.status},
            hidden=False,
            body=resources.backend(backend),
        )


BACKENDS = ReadModel(
    "backends", ("name", "host", "status"), rows, nouns=frozenset({"backend"})
)
