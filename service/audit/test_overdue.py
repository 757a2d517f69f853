"""Giving up what is overdue, as the log is when that is asked for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from domain.aggregate import Done
from domain.backend import Backend, id_of
from domain.drift import Subject
from domain.provenance import MOMENT, Moment, Provenance
from domain.volume import Volume
from service.audit.drifting import repair
from service.audit.overdue import Asked, compare
from service.deciding.command import Decision
from service.deciding.room import Room

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def at(hours: int) -> None:
    """Let what follows happen so many hours after noon."""
    MOMENT.set(Moment(NOON + timedelta(hours=hours), Provenance()))


@pytest.mark.parametrize(
    ("goes_on", "status"), [(False, "error_deleting"), (True, "deleting")]
)
def test_what_has_gone_on_since_it_was_found_overdue_is_not_given_up(
    *, goes_on: bool, status: str
) -> None:
    at(0)
    backend = Backend.taken_over("files", 1, "disk 7 of node-1", "node-1")
    volume = Volume.create(uuid4(), size_gib=1, backend="files")
    volume.report(1, Done(location="/volumes/db"))
    volume.delete()
    log = Decision({id_of("files"): backend, volume.id: volume}, Room())
    at(2)
    asked = Asked("volume", volume.in_flight[volume.version], 3, 3600)
    compare(log, backend, [asked])
    assert [Subject(k.noun, k.subject).id for k in backend.drift] == [volume.id]
    at(3)
    if goes_on:
        volume.progress(volume.version, 50)

    repair(log, backend)

    assert volume.status == status
