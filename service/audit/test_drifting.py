"""What is compared and repaired of volumes that have been on two backends."""

from __future__ import annotations

from uuid import uuid4

import pytest

from domain.aggregate import Done, NotDone
from domain.backend import Backend, Told, id_of
from domain.drift import VOLUME, Drift, Remedy, Subject
from domain.volume import Volume
from service.audit.drifting import repair
from service.deciding.command import Decision
from service.deciding.room import Room

WHY = NotDone("broken", "it broke")
HOST = {"host": "node-1"}


def on_two() -> Volume:
    """Return a volume that the first could not make, and a host reaches."""
    volume = Volume.create(uuid4(), size_gib=1, backend="first")
    volume.reschedule(1, WHY, backend="second", considered=[])
    volume.report(3, Done(location="/volumes/x"))
    volume.export(HOST)
    volume.report(volume.version, Done(connection={}))
    return volume


@pytest.mark.parametrize(("name", "hosts"), [("first", 0), ("second", 1)])
def test_hosts_are_let_in_by_the_backend_alone_that_made_it(
    name: str, hosts: int
) -> None:
    volume = on_two()
    backend = Backend.taken_over(name, 1, "a holder", "node-1")
    drift = Drift.SESSION_WITHOUT_ATTACHMENT if not hosts else Drift.EXPORT_MISSING
    found = Told(
        drift=drift,
        expected="it",
        found="not",
        remedy=Remedy.CONVERGE,
        seen=None,
        explained_by=None,
        cause=None,
    )
    backend.compare(Subject(VOLUME, str(volume.id)), [found], [drift])

    repair(Decision({id_of(name): backend, volume.id: volume}, Room()), backend)

    [asked] = backend.repairs.values()
    assert len(asked.connectors) == hosts
