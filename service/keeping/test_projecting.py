"""Read models can be thrown away, and one that fails takes no other with it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from threading import Thread
from time import sleep
from typing import Any
from uuid import uuid4

import pytest
from eventsourcing.persistence import InterfaceError, OperationalError, StoredEvent
from psycopg.sql import SQL, Identifier

from adapters.postgres.batch import WORK
from adapters.postgres.follower import Follower, words
from adapters.postgres.mapper import LogMapper
from adapters.postgres.read_models import Kept, PostgresReadModels
from adapters.postgres.recorder import LogRecorder
from domain.aggregate import Aggregate, Done
from domain.backend import Backend
from domain.volume import Volume
from projections.reading import ReadModel, Row, Touched
from projections.volumes import VOLUMES
from service import reading
from service.deciding.command import Unavailable
from service.deciding.log import Log
from service.keeping.projecting import MODELS, Projecting, tables
from service.keeping.standing import standings
from service.manager import VolumeManager
from service.reading import Reading, Stopped
from service.testing.callers import eventually

NAMES = [model.name for model in MODELS]
Rows = dict[str, list[Any]]


class CannotRead(Exception):
    """A read model meets what it was not made for."""


def told_nobody(*_: object) -> None:
    """Take in how far the read models have come."""


@contextmanager
def projecting(
    known: PostgresReadModels, recorder: LogRecorder
) -> Iterator[Projecting]:
    follower = Follower(recorder, recorder.max_notification_id() or 0)
    known.create_tables()
    running = Projecting(follower, known, told_nobody)
    follower.start()
    running.start()
    try:
        yield running
    finally:
        running.stop()
        follower.stop()


def until(so: Callable[[], bool]) -> None:
    async def is_so() -> bool:
        return so()

    asyncio.run(eventually(is_so))


def caught_up(known: PostgresReadModels, recorder: LogRecorder) -> bool:
    """Tell whether every read model has come to the end, or has stopped."""
    found = standings(known, recorder)
    return all(s.error or not s.behind for s in found) and not any(
        s.status == "rebuilding" for s in found
    )


def rows(recorder: LogRecorder) -> Rows:
    """Return what all read models have."""
    with recorder.datastore.cursor() as cursor:
        found = {}
        for name in NAMES:
            view = Identifier(recorder.datastore.schema, f"read_{name}")
            cursor.execute(SQL("SELECT * FROM {} ORDER BY key").format(view))
            found[name] = cursor.fetchall()
        return found


def stored(aggregates: Iterable[Aggregate]) -> list[StoredEvent]:
    to_stored = LogMapper().to_stored_event
    return [to_stored(e) for each in aggregates for e in each.collect_events()]


def volumes(number: int, name: str = "db") -> Iterator[Volume]:
    """Yield volumes: made ones, and some that are being made, extended or are held."""
    for n in range(number):
        volume = Volume.create(uuid4(), size_gib=1, backend="files", name=name)
        if n % 4:
            volume.report(1, Done(location="/volumes/db"))
        if n % 4 == 2:
            volume.extend(2)
        if n % 4 == 3:
            volume.attach(host="node-1")
            volume.detach()
        yield volume


def backend(name: str) -> Backend:
    return Backend.taken_over(name, 1, "a holder", "node-1")


def failing_on(name: str) -> tuple[ReadModel, ...]:
    """Return the read models, of which the first cannot take in volumes of a name."""

    def fail(touched: Touched) -> Iterable[Row]:
        if getattr(touched.aggregate, "name", "") == name:
            raise CannotRead(name)
        return VOLUMES.rows(touched)

    return (replace(VOLUMES, rows=fail), *MODELS[1:])


def test_a_read_model_that_is_made_anew_has_what_it_had(manager: VolumeManager) -> None:
    recorder, known = manager.recorder, tables(manager.recorder)
    recorder.insert_events(stored([backend("files"), *volumes(300)]))

    with projecting(known, recorder):
        until(lambda: caught_up(known, recorder))
        before = rows(recorder)
        built = [known.rebuild(name) for name in NAMES]
        until(lambda: caught_up(known, recorder))

    assert rows(recorder) == before
    assert len(before["volumes"]) == 300
    assert [kept[:2] for kept in known.kept()] == sorted(b[:2] for b in built)


def test_exports_of_another_table_are_told_to_be_of_another(
    manager: VolumeManager,
) -> None:
    """A row is in another place there, and a page that goes on may miss it."""
    recorder, known = manager.recorder, tables(manager.recorder)
    volume = Volume.create(uuid4(), size_gib=1, backend="files")
    volume.report(1, Done(location="/volumes/db"))

    async def exports() -> Any:
        async with Log(recorder).running() as log:
            return await Reading(recorder, log).exports("files", 0)

    with projecting(known, recorder):
        recorder.insert_events(stored([volume]))
        until(lambda: caught_up(known, recorder))
        volume.export({"host": "node-1"})
        volume.report(volume.version, Done(connection={"data": {}}))
        recorder.insert_events(stored([volume]))
        until(lambda: caught_up(known, recorder))
        before = asyncio.run(exports())
        known.rebuild("exports")
        until(lambda: caught_up(known, recorder))
        after = asyncio.run(exports())

    assert [answer["items"][0]["after"] for answer in (before, after)] == [3, 1]
    assert after["table"] > before["table"]


def test_a_rebuild_goes_on_after_its_keeper_has_died(manager: VolumeManager) -> None:
    recorder, known = manager.recorder, tables(manager.recorder)
    recorder.insert_events(stored(volumes(3000)))
    with projecting(known, recorder):
        until(lambda: caught_up(known, recorder))
    before = rows(recorder)
    built = known.rebuild("volumes")
    follower = Follower(recorder, recorder.max_notification_id() or 0)
    follower.start()
    died = Projecting(follower, known, told_nobody)
    died._begin()
    died._go_on()
    follower.stop()
    [half] = [k for k in known.kept() if k[:2] == built[:2]]

    with projecting(known, recorder):
        until(lambda: caught_up(known, recorder))

    assert 0 < half.position < (recorder.max_notification_id() or 0)
    assert rows(recorder) == before


def test_a_rebuild_that_was_only_to_take_its_place_does_so(
    manager: VolumeManager,
) -> None:
    recorder, known = manager.recorder, tables(manager.recorder)
    recorder.insert_events(stored(volumes(100)))
    with projecting(known, recorder):
        until(lambda: caught_up(known, recorder))
    before, built = rows(recorder), known.rebuild("volumes")
    died = Projecting(Follower(recorder, 0), known, told_nobody)
    died._begin()
    [lane] = died._behind
    with recorder.datastore.get_connection() as connection:
        died._take_in(lane, died._follower._read(connection, 0))

    with projecting(known, recorder):
        until(lambda: caught_up(known, recorder))

    assert built[:2] in [kept[:2] for kept in known.kept()]
    assert len(known.kept()) == len(NAMES)
    assert rows(recorder) == before


def test_what_keeps_a_rebuilt_read_model_from_its_place_is_told_once(
    manager: VolumeManager, caplog: pytest.LogCaptureFixture
) -> None:
    recorder, known = manager.recorder, tables(manager.recorder)
    recorder.insert_events(stored(volumes(10)))
    with projecting(known, recorder):
        until(lambda: caught_up(known, recorder))
        view = Identifier(recorder.datastore.schema, "read_volumes")
        theirs = Identifier(recorder.datastore.schema, "of_somebody_else")
        with recorder.datastore.get_connection() as connection:
            on_it = SQL("CREATE VIEW {} AS SELECT * FROM {}").format(theirs, view)
            connection.execute(on_it)
        known.rebuild("volumes")
        until(lambda: bool(caplog.messages))
        sleep(1)
        with recorder.datastore.get_connection() as connection:
            connection.execute(SQL("DROP VIEW {}").format(theirs))
        until(lambda: caught_up(known, recorder))

    [said] = caplog.messages
    assert "volumes" in said
    assert "of_somebody_else" in said


def test_a_read_model_that_fails_stops_and_no_other(manager: VolumeManager) -> None:
    recorder = manager.recorder
    known = PostgresReadModels(recorder.datastore, failing_on("poison"))
    recorder.insert_events(stored([*volumes(10), *volumes(1, "poison"), *volumes(10)]))

    with projecting(known, recorder) as running:
        until(lambda: caught_up(known, recorder))
        recorder.insert_events(stored([backend("files")]))
        until(lambda: caught_up(known, recorder))

    found = {s.name: s for s in standings(known, recorder)}
    stopped = found.pop("volumes")
    assert stopped.status == "stopped"
    assert stopped.error
    assert stopped.error.topic == "volume.created"
    assert stopped.error.position == stopped.position + 1
    assert "CannotRead: poison" in stopped.error.message
    assert {s.status for s in found.values()} == {"following"}
    assert len(rows(recorder)["volumes"]) == 10
    assert running.failure is None


@pytest.mark.parametrize("how", ["rebuilt", "started anew"])
def test_a_read_model_that_was_mended_goes_on(manager: VolumeManager, how: str) -> None:
    recorder = manager.recorder
    broken = PostgresReadModels(recorder.datastore, failing_on("poison"))
    known = tables(recorder)
    recorder.insert_events(stored([*volumes(10), *volumes(4, "poison"), *volumes(10)]))
    with projecting(broken, recorder):
        until(lambda: caught_up(known, recorder))

    with projecting(known, recorder):
        if how == "rebuilt":
            known.rebuild("volumes")
        until(lambda: all(not s.error for s in standings(known, recorder)))
        until(lambda: caught_up(known, recorder))

    assert len(rows(recorder)["volumes"]) == 24


@pytest.mark.parametrize("topic", ["volume.created", "volume.creation_finished"])
def test_an_event_that_nobody_can_read_stops_those_that_are_about_it(
    manager: VolumeManager, topic: str
) -> None:
    recorder, known = manager.recorder, tables(manager.recorder)
    poison = StoredEvent(uuid4(), 1, topic, b"{}")
    recorder.insert_events([*stored(volumes(3)), poison, *stored([backend("files")])])

    with projecting(known, recorder) as running:
        until(lambda: caught_up(known, recorder))

    found = {s.name: s.status for s in standings(known, recorder)}
    stopped = {name for name, status in found.items() if status == "stopped"}
    assert stopped == {"volumes", "attachments", "exports", "in_flight"}
    assert set(found.values()) == {"stopped", "following"}
    assert len(rows(recorder)["backends"]) == 1
    assert running.failure is None


def test_a_list_of_a_read_model_that_stopped_says_why(manager: VolumeManager) -> None:
    recorder = manager.recorder
    known = PostgresReadModels(recorder.datastore, failing_on("poison"))
    asked = {"limit": 100, "cursor": None, "min_position": 0}

    async def listed(model: str) -> Any:
        async with Log(recorder).running() as log:
            return await Reading(recorder, log).listed(model, asked)

    with projecting(known, recorder):
        recorder.insert_events(stored(volumes(4)))
        until(lambda: caught_up(known, recorder))
        recorder.insert_events(stored(volumes(1, "poison")))
        until(lambda: caught_up(known, recorder))

    assert asyncio.run(listed("attachments"))["position"] > 0
    with pytest.raises(Stopped, match=r"poison.*holdfast projections rebuild vol"):
        asyncio.run(listed("volumes"))


@pytest.mark.parametrize("names", [["fine", "fine"], ["fine", "poison"]])
def test_an_agent_is_told_up_to_where_it_was_told_what_there_is_to_do(
    manager: VolumeManager, monkeypatch: pytest.MonkeyPatch, names: list[str]
) -> None:
    """Or the stream would bring it what has been settled since it asked."""
    recorder = manager.recorder
    known = PostgresReadModels(recorder.datastore, failing_on("poison"))
    asked_for = [
        Volume.create(uuid4(), size_gib=1, backend="files", name=name) for name in names
    ]
    recorder.insert_events(stored(asked_for))
    with projecting(known, recorder):
        until(lambda: caught_up(known, recorder))

    async def when_it_asked(_: Log) -> int:
        return 0

    monkeypatch.setattr(Log, "newest", when_it_asked)

    async def told() -> Any:
        async with Log(recorder).running() as log:
            return await Reading(recorder, log).in_flight("files", 0)

    answer = asyncio.run(told())

    assert [item["position"] for item in answer["items"]] == [1, 2]
    assert answer["position"] == 2


def test_a_list_that_waits_has_the_log_looked_at(
    manager: VolumeManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = manager.recorder
    tables(recorder).create_tables()
    recorder.insert_events(stored(volumes(1)))
    monkeypatch.setattr(reading, "PATIENCE", 0.3)
    asked = {"limit": 100, "cursor": None}

    async def listed(position: int) -> Any:
        async with Log(recorder).running() as log:
            about = asked | {"min_position": position}
            return await Reading(recorder, log).listed("volumes", about)

    with recorder.datastore.get_connection() as listening:
        listening.execute(f'LISTEN "{recorder.channel_name}"')
        asyncio.run(listed(0))
        assert words(listening, 0) == []
        with pytest.raises(Unavailable):
            asyncio.run(listed(1))
        assert words(listening, 0) == [WORK]


def test_who_is_not_where_the_page_begins_stores_nothing(
    manager: VolumeManager,
) -> None:
    recorder, known = manager.recorder, tables(manager.recorder)
    recorder.insert_events(stored(volumes(4)))
    with projecting(known, recorder):
        until(lambda: caught_up(known, recorder))
    before, kept = rows(recorder), known.kept()
    behind = [Kept(k.name, k.generation, k.position - 1, None) for k in kept]
    [volume] = volumes(1)
    touched = Touched(volume, str(volume.id), [(e, 1) for e in volume.collect_events()])

    moved = known.store(behind, [touched], kept[0].position + 5)

    assert not moved
    assert rows(recorder) == before


@pytest.mark.parametrize("once", [OperationalError, InterfaceError, None])
def test_a_page_that_could_not_be_stored_is_looked_for_again(
    manager: VolumeManager,
    monkeypatch: pytest.MonkeyPatch,
    once: type[Exception] | None,
) -> None:
    recorder, known = manager.recorder, tables(manager.recorder)
    recorder.insert_events(stored(volumes(1)))
    store, failed = known.store, list[bool]()

    def at_first_not(*page: Any) -> bool:
        if len(failed) == 2:  # once more than tells which read model fails
            return store(*page)
        failed.append(True)
        if once:
            raise once  # the database is away
        return False  # another keeper has stored

    monkeypatch.setattr(known, "store", at_first_not)

    with projecting(known, recorder) as running:
        until(lambda: bool(running.failure) or caught_up(known, recorder))
        assert running.failure is None

    assert not any(each.failure for each in known.kept())
    assert len(rows(recorder)["volumes"]) == 1


def edition(number: int, name: str) -> tuple[ReadModel, ...]:
    """Return the read models, of which the first gives volumes a name of its own."""

    def named(touched: Touched) -> Iterable[Row]:
        for row in VOLUMES.rows(touched):
            yield row._replace(filters={**row.filters, "name": name})

    return (replace(VOLUMES, rows=named, edition=number), *MODELS[1:])


def test_what_an_earlier_edition_made_is_made_anew(manager: VolumeManager) -> None:
    recorder = manager.recorder

    def comes_to(models: tuple[ReadModel, ...], *expected: str) -> None:
        recorder.insert_events(stored(volumes(4)))
        known = PostgresReadModels(recorder.datastore, models)
        with projecting(known, recorder):
            until(lambda: caught_up(known, recorder) and names() == {*expected})

    def names() -> set[str]:
        return {row["name"] for row in rows(recorder)["volumes"]}

    comes_to(edition(1, "one"), "one")
    comes_to(edition(2, "two"), "two")
    # One that goes on with what a later one has made cannot know that it does.
    comes_to(edition(1, "one"), "two", "one")
    comes_to(edition(2, "two"), "two")


def test_what_this_edition_made_is_kept(manager: VolumeManager) -> None:
    recorder, known = manager.recorder, tables(manager.recorder)
    recorder.insert_events(stored(volumes(4)))
    with projecting(known, recorder):
        until(lambda: caught_up(known, recorder))
    known.rebuild("volumes")
    before = [kept[:2] for kept in known.kept()]

    known.renew()

    assert [kept[:2] for kept in known.kept()] == before


def test_hosts_of_the_attachments_of_version_0_1_0_are_found(
    manager: VolumeManager,
) -> None:
    recorder, known = manager.recorder, tables(manager.recorder)
    volume = Volume.create(uuid4(), size_gib=1, backend="files")
    volume.report(1, Done(location="/volumes/db"))
    volume.hold(attachment := uuid4(), instance="web-1")
    volume.connect(attachment, {"host": "node-1"})
    recorder.insert_events(stored([volume]))
    with projecting(known, recorder):
        until(lambda: caught_up(known, recorder))
    as_version_0_1_0(recorder)
    with recorder.datastore.transaction(commit=True) as cursor:
        table = Identifier(recorder.datastore.schema, "read_attachments")
        cursor.execute(SQL("UPDATE {} SET host = NULL").format(table))

    with projecting(known, recorder):
        until(lambda: rows(recorder)["attachments"][0]["host"] == "node-1")


def test_the_tables_of_version_0_1_0_are_taken_over(manager: VolumeManager) -> None:
    recorder, known = manager.recorder, tables(manager.recorder)
    recorder.insert_events(stored([backend("files"), *volumes(20)]))
    with projecting(known, recorder):
        until(lambda: caught_up(known, recorder))
    before = rows(recorder)
    as_version_0_1_0(recorder)
    recorder.insert_events(stored(volumes(4)))

    with projecting(known, recorder):
        adopted = {kept.position for kept in known.kept()}
        until(lambda: caught_up(known, recorder))

    assert min(adopted) > 0
    after = rows(recorder)
    assert all(row in after[name] for name in NAMES for row in before[name])
    assert len(after["volumes"]) == 24


def test_a_read_model_whose_table_somebody_has_dropped_is_made_anew(
    manager: VolumeManager,
) -> None:
    recorder, known = manager.recorder, tables(manager.recorder)
    recorder.insert_events(stored(volumes(20)))
    with projecting(known, recorder):
        until(lambda: caught_up(known, recorder))
        before = rows(recorder)
        with recorder.datastore.transaction(commit=True) as cursor:
            table = Identifier(recorder.datastore.schema, "read_volumes_1")
            cursor.execute(SQL("DROP TABLE {} CASCADE").format(table))

        known.rebuild("volumes")
        until(lambda: ("volumes", 2) in {kept[:2] for kept in known.kept()[-1:]})
        until(lambda: caught_up(known, recorder))

    assert rows(recorder) == before


def test_two_who_have_it_rebuilt_at_once_are_told_the_same(
    manager: VolumeManager,
) -> None:
    known = tables(manager.recorder)
    known.create_tables()
    told: list[Kept] = []
    asked = [
        Thread(target=lambda: told.append(known.rebuild("volumes"))) for _ in range(2)
    ]

    with manager.recorder.datastore.transaction(commit=True) as cursor:
        known._generations(cursor, "volumes")  # both come while these are held
        for one in asked:
            one.start()
        sleep(0.5)
    for one in asked:
        one.join()

    assert told == [Kept("volumes", 2, 0, None)] * 2


def as_version_0_1_0(recorder: LogRecorder) -> None:
    """Bring the tables to what they were: one a model, one position for all."""
    schema = recorder.datastore.schema
    with recorder.datastore.transaction(commit=True) as cursor:
        cursor.execute(SQL("SET LOCAL search_path TO {}").format(Identifier(schema)))
        cursor.execute(b"""
            CREATE TABLE read_position (one bool PRIMARY KEY, position bigint NOT NULL);
            INSERT INTO read_position SELECT true, max(position) FROM read_models;
            DROP TABLE read_models, read_editions
        """)
        for name in NAMES:
            old = SQL("""
                DROP VIEW {view};
                ALTER TABLE {table} RENAME TO {view};
                ALTER INDEX {order} RENAME TO {old_order}
            """)
            cursor.execute(
                old.format(
                    view=Identifier(f"read_{name}"),
                    table=Identifier(f"read_{name}_1"),
                    order=Identifier(f"read_{name}_1_order"),
                    old_order=Identifier(f"read_{name}_order"),
                )
            )
