"""Arrays arrive in PostgreSQL as they were packed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from adapters.postgres.arrays import bigints, blobs, booleans, texts, uuids
from service.manager import VolumeManager


@pytest.mark.parametrize(
    ("pack", "values"),
    [
        (uuids, [UUID(int=1), None, UUID(int=2**128 - 1)]),
        (bigints, [0, -1, 2**63 - 1, -(2**63)]),
        (texts, ["", "größer", None, '"{},\\', "x" * 70_000]),
        (blobs, [b"", b"\0\xff" * 9, b"{}"]),
        (booleans, [True, False]),
    ],
)
@pytest.mark.parametrize("some", [True, False])
def test_what_is_packed_is_there(
    manager: VolumeManager, pack: Callable[[Any], Any], values: list[Any], *, some: bool
) -> None:
    packed = values if some else []

    with manager.recorder.datastore.cursor() as cursor:
        found = cursor.execute(b"SELECT %s AS found", (pack(packed),)).fetchone()

    assert found == {"found": packed}
