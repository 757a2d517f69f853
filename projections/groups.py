"""Which groups are there?"""

from __future__ import annotations

from collections.abc import Iterable

from domain.group import Group, GroupStatus
from projections import resources
from projections.reading import ReadModel, Row, Touched


def rows(touched: Touched) -> Iterable[Row]:
    """Return the group's row."""
    group = touched.aggregate
    if isinstance(group, Group):
        yield Row(
            touched.key,
            touched.events[0][1],
            group.version,
            {"status": group.status, "backend": group.backend, "name": group.name},
            group.status == GroupStatus.DELETED,
            resources.group(group),
        )


GROUPS = ReadModel(
    "groups", ("status", "backend", "name"), rows, nouns=frozenset({"group"})
)
