"""The log in a real PostgreSQL."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Event
from time import sleep
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from eventsourcing.persistence import OperationalError, StoredEvent
from msgspec.structs import replace

from adapters.postgres.batch import Batch, CommitUnknown, Conflict, Kept, Stored
from adapters.postgres.mapper import LogMapper
from adapters.postgres.reading import rebuilt, verified, verify
from adapters.postgres.recorder import GONE_AFTER, LOCK, NotUnicode
from domain.aggregate import Done
from domain.chain import Broken
from domain.volume import Volume
from domain.volume_status import Status
from service.manager import VolumeManager
from service.testing.deciding import lose_commit


def new_volume() -> Volume:
    return Volume.create(uuid4(), size_gib=1, backend="files")


def connected(settings: dict[str, str]) -> psycopg.Connection:
    host, port = settings["POSTGRES_HOST"], settings["POSTGRES_PORT"]
    return psycopg.connect(host=host, port=port, user="postgres", autocommit=True)


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


def test_a_database_that_cannot_keep_all_text_is_not_begun_in(
    settings: dict[str, str],
) -> None:
    other = {"POSTGRES_DBNAME": "plain", "POSTGRES_SCHEMA": "public"}
    with connected(settings) as connection:
        connection.execute(
            "CREATE DATABASE plain ENCODING 'SQL_ASCII' TEMPLATE template0"
        )

    with pytest.raises(NotUnicode, match="encoding is SQL_ASCII"):
        VolumeManager(settings | other)

    with connected(settings) as connection:
        connection.execute("DROP DATABASE plain WITH (FORCE)")


def test_text_is_sent_as_it_is_whatever_the_environment_has_set(
    settings: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")

    with (
        VolumeManager(settings) as manager,
        manager.recorder.datastore.transaction(commit=False) as cursor,
    ):
        cursor.execute("SELECT %s AS name", ["€"])
        assert cursor.fetchone() == {"name": "€"}


def test_no_connection_is_lost_for_having_been_quiet(
    settings: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGOPTIONS", "-c idle_session_timeout=100")

    with VolumeManager(settings) as manager:
        manager.recorder.append(batch_of(new_volume()))
        sleep(0.3)
        manager.recorder.append(batch_of(new_volume()))


def test_positions_have_no_gaps(manager: VolumeManager) -> None:
    batch = batch_of(new_volume())
    manager.recorder.append(batch)
    with pytest.raises(Conflict):
        manager.recorder.append(batch)

    stored = manager.recorder.append(batch_of(new_volume(), new_volume()))

    assert list(stored.positions) == [2, 3]


def test_a_connection_whose_statements_were_forgotten_stores(
    manager: VolumeManager,
) -> None:
    recorder = manager.recorder
    with recorder.datastore.cursor() as cursor:
        recorder.append_with(cursor, batch_of(new_volume()))
        cursor.execute("DEALLOCATE ALL")

        stored = recorder.append_with(cursor, batch_of(new_volume()))

    assert list(stored.positions) == [2]


def test_a_conflict_names_who_has_moved_on_and_stores_nothing(
    manager: VolumeManager,
) -> None:
    volume = new_volume()
    manager.recorder.append(batch_of(volume))

    with pytest.raises(Conflict) as conflict:
        manager.recorder.append(Batch(batch_of(new_volume()).events, {volume.id: 0}))

    assert conflict.value.moved_on == {volume.id}
    assert manager.recorder.max_notification_id() == 1


@pytest.mark.parametrize("more", [{}, {"asked": ["key"]}])
def test_what_only_looked_is_confirmed_too(
    manager: VolumeManager, more: dict[str, Any]
) -> None:
    volume, other = new_volume(), new_volume()
    volume.report(1, Done(location="/volumes/db"))
    append = manager.recorder.append
    append(batch_of(volume, other))

    seen = {volume.id: 2, other.id: 1, uuid4(): 0}
    assert append(Batch(based_on=seen, **more)).positions == range(0)
    with pytest.raises(Conflict) as conflict:
        append(Batch(based_on=seen | {volume.id: 1}, **more))
    assert conflict.value.moved_on == {volume.id}


@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize("part_id", [None, UUID(int=2)])
def test_a_key_is_kept_with_the_position_of_its_last_event(
    manager: VolumeManager, part_id: UUID | None, index: int
) -> None:
    kept = Kept("key", b"fingerprint", UUID(int=1), 1, part_id)
    both = [(kept, index), (replace(kept, request_id="another"), 0)]
    manager.recorder.append(batch_of(new_volume(), new_volume(), kept=both))

    with pytest.raises(Conflict) as conflict:
        manager.recorder.append(batch_of(new_volume(), asked=["other", "key"]))

    assert conflict.value.answered == {"key": replace(kept, position=index + 1)}
    assert manager.recorder.max_notification_id() == 2


def test_a_key_of_what_stored_nothing_is_kept_with_the_position_it_told(
    manager: VolumeManager,
) -> None:
    kept = Kept("key", b"fingerprint", UUID(int=1), 1, position=7)
    manager.recorder.append(batch_of(new_volume(), kept=[(kept, -1)]))

    with pytest.raises(Conflict) as conflict:
        manager.recorder.append(Batch(asked=["key"]))

    assert conflict.value.answered == {"key": kept}


def test_a_part_belongs_to_one_whole_for_ever(manager: VolumeManager) -> None:
    part, whole, other = uuid4(), uuid4(), uuid4()
    manager.recorder.append(batch_of(new_volume(), parts={part: whole}))

    with pytest.raises(Conflict) as conflict:
        manager.recorder.append(batch_of(new_volume(), parts={part: other}))

    assert conflict.value.moved_on == {part}
    assert manager.recorder.wholes([part, other]) == {part: whole}
    assert manager.recorder.max_notification_id() == 1


def test_an_id_is_of_one_thing_for_ever(manager: VolumeManager) -> None:
    volume, part, append = new_volume(), uuid4(), manager.recorder.append
    append(batch_of(volume, parts={part: volume.id}))

    for taken, batch in {
        part: Batch([StoredEvent(part, 1, "volume.created", b"{}")]),
        volume.id: batch_of(new_volume(), parts={volume.id: uuid4()}),
    }.items():
        with pytest.raises(Conflict) as conflict:
            append(batch)
        assert conflict.value.moved_on == {taken}
    assert append(batch_of(new_volume(), parts={uuid4(): volume.id})).positions[0] == 2


def test_room_is_taken_and_given_back(manager: VolumeManager) -> None:
    append = manager.recorder.append
    append(batch_of(new_volume(), taken={"a": 5, "b": 2}, limits={"a": 5, "b": 9}))

    stored = append(batch_of(new_volume(), taken={"a": -3, "b": 1}, limits={"b": 9}))

    assert stored.allocated == {"a": 2, "b": 3}
    assert manager.recorder.allocated() == {"a": 2, "b": 3}


def test_more_than_there_is_room_for_is_a_conflict_and_stores_nothing(
    manager: VolumeManager,
) -> None:
    manager.recorder.append(batch_of(new_volume(), taken={"a": 4}, limits={"a": 5}))

    with pytest.raises(Conflict) as conflict:
        manager.recorder.append(batch_of(new_volume(), taken={"a": 2}, limits={"a": 5}))

    assert conflict.value.allocated == {"a": 4}
    assert manager.recorder.allocated() == {"a": 4}
    assert manager.recorder.max_notification_id() == 1


def test_the_first_to_take_room_has_its_limit_too(manager: VolumeManager) -> None:
    with pytest.raises(Conflict) as conflict:
        manager.recorder.append(batch_of(new_volume(), taken={"a": 6}, limits={"a": 5}))

    assert conflict.value.allocated == {"a": 0}


@pytest.mark.parametrize("more", [{}, {"asked": ["key"]}])
def test_a_refusal_for_lack_of_room_is_confirmed(
    manager: VolumeManager, more: dict[str, Any]
) -> None:
    manager.recorder.append(batch_of(new_volume(), taken={"a": 4}, limits={"a": 5}))

    assert manager.recorder.append(Batch(seen={"a": 4}, **more)).positions == range(0)
    with pytest.raises(Conflict) as conflict:
        manager.recorder.append(Batch(seen={"a": 5}, **more))
    assert conflict.value.allocated == {"a": 4}


def test_room_can_be_given_back_above_the_limit(manager: VolumeManager) -> None:
    manager.recorder.append(batch_of(new_volume(), taken={"a": 9}, limits={"a": 9}))

    manager.recorder.append(batch_of(new_volume(), taken={"a": -1}))

    assert manager.recorder.allocated() == {"a": 8}


def test_what_gives_back_as_much_as_it_takes_is_within_the_limit(
    manager: VolumeManager,
) -> None:
    manager.recorder.append(batch_of(new_volume(), taken={"a": 9}, limits={"a": 9}))

    with pytest.raises(Conflict):
        manager.recorder.append(batch_of(new_volume(), taken={"a": 0}, limits={"a": 5}))


@pytest.mark.parametrize("committed", [True, False])
def test_of_a_connection_lost_while_committing_the_log_knows_the_end(
    manager: VolumeManager, monkeypatch: pytest.MonkeyPatch, *, committed: bool
) -> None:
    lose_commit(monkeypatch, committed=committed)

    with pytest.raises(CommitUnknown) as unknown:
        manager.recorder.append(batch_of(new_volume(), new_volume()))

    stored = manager.recorder.holds(unknown.value)
    assert stored == (Stored(range(1, 3), {}) if committed else None)
    assert manager.recorder.max_notification_id() == (2 if committed else None)


def test_of_a_server_killed_while_it_stores_the_log_knows_the_end(
    postgres: Any,  # a server of the test's own
) -> None:
    with VolumeManager(postgres.settings) as manager, ThreadPoolExecutor() as threads:
        recorder = manager.recorder
        with suppress(OperationalError), recorder.datastore.transaction() as turn:
            turn.execute(recorder.sql(LOCK))
            storing = threads.submit(recorder.append, batch_of(new_volume()))
            while not turn.execute(WAITING).fetchone():
                pass
            postgres.kill()
        with pytest.raises(CommitUnknown) as unknown:
            storing.result()
    postgres.start()

    with VolumeManager(postgres.settings) as manager:
        assert manager.recorder.holds(unknown.value) is None


WAITING = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"


def test_what_others_stored_at_the_same_positions_is_not_ours(
    manager: VolumeManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    lose_commit(monkeypatch, committed=False)
    with pytest.raises(CommitUnknown) as unknown:
        manager.recorder.append(batch_of(new_volume(), new_volume()))
    manager.recorder.append(batch_of(new_volume(), new_volume(), new_volume()))

    assert not manager.recorder.holds(unknown.value)


def test_another_version_or_another_s_of_the_same_is_not_ours(
    manager: VolumeManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder, key = manager.recorder, uuid4()

    def version(number: int, state: bytes) -> Batch:
        event = StoredEvent(key, number, "volume.extended", state)
        return Batch([event], {key: number - 1})

    recorder.append(version(1, b"ours"))
    lose_commit(monkeypatch, committed=False)
    with pytest.raises(CommitUnknown) as unknown:
        recorder.append(version(2, b"ours"))
    assert recorder.holds(unknown.value) is None
    recorder.append(version(2, b"another's"))

    assert recorder.holds(unknown.value) is None


def test_a_lost_connection_with_nothing_but_a_key_changed_nothing(
    manager: VolumeManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Kept("key", b"fingerprint", UUID(int=1), 1)
    lose_commit(monkeypatch, committed=True)

    with pytest.raises(OperationalError) as lost:
        manager.recorder.append(Batch(kept=[(kept, -1)]))

    assert not isinstance(lost.value, CommitUnknown)
    with pytest.raises(Conflict, match="key"):
        manager.recorder.append(Batch(asked=["key"], kept=[(kept, -1)]))


def test_a_verified_log_rebuilds_every_volume(manager: VolumeManager) -> None:
    volumes = [new_volume() for _ in range(3)]
    manager.recorder.append(batch_of(*volumes))

    assert {v.id: vars(v) for v in volumes} == {
        key: vars(volume) for key, volume in rebuilt(manager.recorder).items()
    }


@pytest.mark.parametrize(
    "tampering",
    [
        "UPDATE {} SET state = set_byte(state, 40, get_byte(state, 40) # 1) WHERE {}",
        "UPDATE {} SET originator_version = 9 WHERE {}",
        "UPDATE {} SET topic = 'volume.deleted' WHERE {}",
        "UPDATE {} SET chain = set_byte(chain, 0, get_byte(chain, 0) # 1) WHERE {}",
        "DELETE FROM {} WHERE {}",
    ],
)
def test_a_changed_row_is_found_and_named(
    manager: VolumeManager, tampering: str
) -> None:
    manager.recorder.append(batch_of(*(new_volume() for _ in range(5))))
    tamper(manager, tampering, 3)

    with pytest.raises(Broken, match="position 3"):
        list(verified(manager.recorder))
    with pytest.raises(Broken, match="position 3"):
        rebuilt(manager.recorder)
    verdict = verify(manager.recorder, 1, None)
    assert (verdict.first_bad, verdict.events) == (3, 2)


def tamper(manager: VolumeManager, tampering: str, position: int) -> None:
    table = f'"{manager.recorder.datastore.schema}".holdfast_events'
    where = f"notification_id = {position}"
    with manager.recorder.datastore.cursor() as cursor:
        cursor.execute(tampering.format(table, where).encode())


def test_a_row_that_is_gone_at_the_end_shows_where_the_end_is_known(
    manager: VolumeManager,
) -> None:
    manager.recorder.append(batch_of(*(new_volume() for _ in range(5))))
    tamper(manager, "DELETE FROM {} WHERE {}", 5)

    assert verify(manager.recorder, 1, 5).first_bad == 5
    assert verify(manager.recorder, 6, 7).first_bad == 6


@pytest.mark.parametrize(("first", "last", "events"), [(1, 5, 5), (3, 4, 2), (5, 5, 1)])
def test_a_stretch_of_the_log_is_verified_by_itself(
    manager: VolumeManager, first: int, last: int, events: int
) -> None:
    manager.recorder.append(batch_of(*(new_volume() for _ in range(5))))
    tampered = {1, 2, 3, 4, 5} - set(range(first - 1, last + 1))
    for position in tampered:
        tamper(manager, "UPDATE {} SET topic = 'x' WHERE {}", position)

    verdict = verify(manager.recorder, first, last)

    assert (verdict.first_bad, verdict.events) == (None, events)


def test_an_empty_log_is_intact(manager: VolumeManager) -> None:
    assert verify(manager.recorder, 1, None).first_bad is None


def test_an_auditor_can_compute_the_chain_in_sql(manager: VolumeManager) -> None:
    for _ in range(2):
        manager.recorder.append(batch_of(*(new_volume() for _ in range(3))))
    table = f'"{manager.recorder.datastore.schema}".holdfast_events'
    query = f"""
        SELECT count(*) AS rows, bool_and(chain = sha256(
            coalesce(previous, decode(repeat('00', 32), 'hex'))
            || int4send(16) || uuid_send(originator_id)
            || int4send(8) || int8send(originator_version)
            || int4send(octet_length(topic)) || convert_to(topic, 'UTF8')
            || int4send(octet_length(state)) || state)) AS intact
        FROM (SELECT *, lag(chain) OVER (ORDER BY notification_id) AS previous
              FROM {table}) AS log
    """
    with manager.recorder.datastore.cursor() as cursor:
        found = cursor.execute(query.encode()).fetchone()

    assert found == {"rows": 6, "intact": True}


def test_no_position_is_seen_before_the_one_before_it(
    manager: VolumeManager,
) -> None:
    recorder, may_commit, seen = manager.recorder, Event(), []

    def slowly(batch: Batch) -> Stored:
        with recorder.datastore.transaction(commit=True) as cursor:
            stored = recorder.append_with(cursor, batch)
            may_commit.wait(10)
            return stored

    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(slowly, batch_of(new_volume()))
        while not locked(manager, granted=True):
            assert not first.done()
        second = threads.submit(recorder.append, batch_of(new_volume()))
        while not locked(manager, granted=False):
            assert not second.done()
        seen.append(recorder.max_notification_id())
        may_commit.set()
        positions = [*first.result().positions, *second.result().positions]

    assert seen == [None]
    assert positions == [1, 2]


def test_a_vacuum_of_the_log_holds_nobody_up(manager: VolumeManager) -> None:
    recorder = manager.recorder
    vacuum = f"LOCK TABLE {recorder.datastore.schema}.{recorder.events_table_name} "
    with recorder.datastore.transaction(commit=False) as cursor:
        cursor.execute(f"{vacuum} IN SHARE UPDATE EXCLUSIVE MODE".encode())

        assert recorder.append(batch_of(new_volume())).positions == range(1, 2)


def locked(manager: VolumeManager, *, granted: bool) -> bool:
    """Tell whether somebody writes to this log, or waits to."""
    query = """
        SELECT 1 FROM pg_locks JOIN pg_class ON pg_class.oid = objid
        JOIN pg_namespace ON pg_namespace.oid = relnamespace
        WHERE nspname = %s AND locktype = 'advisory' AND granted = %s
    """
    with manager.recorder.datastore.cursor() as cursor:
        schema = manager.recorder.datastore.schema
        cursor.execute(query.encode(), (schema, granted))
        return cursor.fetchone() is not None


def test_no_connection_waits_for_a_host_that_is_gone(manager: VolumeManager) -> None:
    with manager.recorder.datastore.get_connection() as connection:
        told = connection.info.get_parameters()

    assert {name: int(told[name]) for name in GONE_AFTER} == GONE_AFTER
