"""The auditors' page: its SQL runs, and finds what it says that it finds."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import pytest
from psycopg.sql import SQL, Identifier

from adapters.postgres.reading import rebuilt
from adapters.postgres.recorder import LogRecorder
from domain.volume import Volume
from service.audit.test_past import NOON, busy
from service.manager import VolumeManager

PAGE = Path(__file__).parents[2] / "docs" / "audit.md"
HISTORY, THEN, WHO, CHAIN = re.findall(r"```sql\n(.*?)```", PAGE.read_text(), re.DOTALL)
EXAMPLE = "f4b35b66-157c-4050-bbc8-18df7a2317f7"
MOMENT = "2026-11-25T23:34:12Z"


@pytest.fixture
def recorder(manager: VolumeManager) -> LogRecorder:
    busy(manager.recorder, random.Random(7))
    return manager.recorder


def asked(recorder: LogRecorder, query: str) -> list[Any]:
    """Return what an auditor sees who knows the table alone."""
    with recorder.datastore.transaction(commit=True) as cursor:
        path = SQL("SET search_path TO {}").format(
            Identifier(recorder.datastore.schema)
        )
        cursor.execute(path)
        cursor.execute(query.encode())
        return [tuple(row.values()) for row in cursor.fetchall()]


def test_the_history_of_a_volume(recorder: LogRecorder) -> None:
    [volume, *_] = [v for v in rebuilt(recorder).values() if isinstance(v, Volume)]

    found = asked(recorder, HISTORY.replace(EXAMPLE, str(volume.id)))

    assert len(found) == volume.version
    assert found[0][1] == "volume.created"
    assert found[-1][3] == volume.status
    assert {row[4] for row in found} <= {"ana", "bo"}


def test_how_volumes_were(recorder: LogRecorder) -> None:
    volumes = [v for v in rebuilt(recorder).values() if isinstance(v, Volume)]
    statuses = sorted({str(v.status) for v in volumes})

    found = asked(recorder, THEN)

    assert found == [
        (status, sum(v.status == status for v in volumes)) for status in statuses
    ]
    assert asked(recorder, THEN.replace(MOMENT, "2026-01-01T00:00:00Z")) == []


def test_who_did_how_much(recorder: LogRecorder) -> None:
    found = asked(recorder, WHO)

    assert NOON.date() in {day for day, *_ in found}
    assert sum(events for *_, events in found) == recorder.max_notification_id()


def test_the_chain(recorder: LogRecorder) -> None:
    assert asked(recorder, CHAIN) == [(None,)]

    with recorder.datastore.transaction(commit=True) as cursor:
        changed = "UPDATE {log} SET state = state || ' ' WHERE notification_id = 50"
        cursor.execute(recorder.sql(changed))

    assert asked(recorder, CHAIN) == [(50,)]
