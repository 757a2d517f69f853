"""The log in a real PostgreSQL."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from eventsourcing.persistence import OperationalError

from adapters.postgres.mapper import LogMapper
from adapters.postgres.reading import rebuilt, verified, verify
from adapters.postgres.recorder import Batch, CommitUnknown, Conflict, Kept, Stored
from domain.chain import Broken
from domain.volume import Done, Status, Volume
from service.manager import VolumeManager

KEPT = Kept("key", b"fingerprint", UUID(int=1), 1)


def new_volume() -> Volume:
    return Volume.create(uuid4(), size_gib=1, backend="files")


def batch_of(*volumes: Volume, **more: Any) -> Batch:
    events = [event for volume in volumes for event in volume.collect_events()]
    based_on = {e.originator_id: e.originator_version - 1 for e in reversed(events)}
    return Batch(list(map(LogMapper().to_stored_event, events)), based_on, **more)


def test_the_library_saves_and_reads(manager: VolumeManager) -> None:
    volume = new_volume()
    volume.report(1, Done(location="/volumes/db"))

    manager.save(volume)

    read: Volume = manager.repository.get(volume.id)
    assert vars(read) == vars(volume)
    past: Volume = manager.repository.get(volume.id, version=1)
    assert past.status == Status.CREATING


def test_positions_have_no_gaps(manager: VolumeManager) -> None:
    batch = batch_of(new_volume())
    manager.recorder.append(batch)
    with pytest.raises(Conflict):
        manager.recorder.append(batch)

    stored = manager.recorder.append(batch_of(new_volume(), new_volume()))

    assert list(stored.positions) == [2, 3]


def test_a_conflict_names_who_has_moved_on_and_stores_nothing(
    manager: VolumeManager,
) -> None:
    volume = new_volume()
    manager.recorder.append(batch_of(volume))

    with pytest.raises(Conflict) as conflict:
        manager.recorder.append(Batch(batch_of(new_volume()).events, {volume.id: 0}))

    assert conflict.value.moved_on == {volume.id}
    assert manager.recorder.max_notification_id() == 1


def test_what_only_looked_is_confirmed_too(manager: VolumeManager) -> None:
    volume = new_volume()
    manager.recorder.append(batch_of(volume))

    assert manager.recorder.append(Batch(based_on={volume.id: 1})) == Stored(
        range(0), {}
    )
    with pytest.raises(Conflict):
        manager.recorder.append(Batch(based_on={volume.id: 0}))


@pytest.mark.parametrize("part_id", [None, UUID(int=2)])
def test_a_key_is_kept_with_the_position_of_its_last_event(
    manager: VolumeManager, part_id: UUID | None
) -> None:
    kept = KEPT._replace(part_id=part_id) if False else Kept(
        "key", b"fingerprint", UUID(int=1), 1, part_id
    )
    manager.recorder.append(batch_of(new_volume(), new_volume(), kept=[(kept, 1)]))

    with pytest.raises(Conflict) as conflict:
        manager.recorder.append(batch_of(new_volume(), asked=["other", "key"]))

    found = Kept("key", b"fingerprint", UUID(int=1), 1, part_id, position=2)
    assert conflict.value.answered == {"key": found}
    assert manager.recorder.max_notification_id() == 2
