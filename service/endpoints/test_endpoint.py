"""Waiting for what comes of a command: told here, or found in the log."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from adapters.postgres.recorder import LogRecorder
from domain.aggregate import Aggregate
from domain.lifecycle import Refused
from service.deciding.command import Contended, Reply, Unavailable
from service.deciding.log import TOO_MANY, Log
from service.endpoints import endpoint, sending
from service.endpoints import waiting as waiting_for
from service.endpoints.attachments import create as hold
from service.endpoints.snapshots import create
from service.endpoints.volumes import create as make
from service.endpoints.volumes import delete, initialize_connection, update
from service.endpoints.waiting import busy, outcome_of
from service.manager import VolumeManager
from service.messages.headers import NOTHING
from service.testing.deciding import ask, available, live, lives, newest, report

HOST = {"host": "node-1"}


async def connecting(log: Log, volume_id: str) -> Reply:
    """Ask for a connection, and return the answer before its backend has worked."""
    body = json.dumps({"id": volume_id, "connector": HOST}).encode()
    return await log.submit(initialize_connection.command(body, NOTHING, log.room))


def outcome(
    log: Log, asked: Reply, seen: list[Any], wait: float = 20
) -> asyncio.Task[Any]:
    """Wait for what comes of it, beside others."""

    def look(aggregate: Aggregate, position: int) -> None:
        seen.append((aggregate.version, position))

    return asyncio.create_task(outcome_of(log, asked, wait, look))


def test_what_is_settled_here_is_told_without_a_look_at_the_log(
    manager: VolumeManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    async def scenario() -> Any:
        async with live(manager.recorder) as log:
            volume_id = await available(log)
            asked = await connecting(log, volume_id)
            monkeypatch.delattr(LogRecorder, "history")
            waiting = outcome(log, asked, seen)
            await asyncio.sleep(0)
            assert asked.intent
            await report(log, volume_id, asked.intent, connection={"data": {}})
            return await waiting

    event, position = asyncio.run(scenario())

    assert event.TOPIC == "volume.export_finished"
    assert seen == [(event.originator_version, position)]


def test_what_is_settled_elsewhere_is_found_in_the_log(
    manager: VolumeManager,
) -> None:
    seen: list[Any] = []

    async def scenario() -> Any:
        async with lives(manager.recorder, 2) as (here, other):
            volume_id = await available(here)
            asked = await connecting(here, volume_id)
            waiting = outcome(here, asked, seen)
            assert asked.intent
            await report(other, volume_id, asked.intent, connection={"data": {}})
            here.tell([UUID(volume_id)])  # as the keeper's word has it told
            return await waiting

    event, _ = asyncio.run(scenario())

    assert event.TOPIC == "volume.export_finished"
    assert seen == []


def test_what_was_settled_elsewhere_without_a_word_is_told_at_the_end(
    manager: VolumeManager,
) -> None:
    async def scenario() -> Any:
        async with lives(manager.recorder, 2) as (here, other):
            volume_id = await available(here)
            asked = await connecting(here, volume_id)
            assert asked.intent
            waiting = outcome(here, asked, [], 0.2)
            await report(other, volume_id, asked.intent, connection={"data": {}})
            return await waiting

    event, _ = asyncio.run(scenario())

    assert event.TOPIC == "volume.export_finished"


def test_what_was_settled_elsewhere_without_a_word_is_told_soon(
    manager: VolumeManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting_for, "LOOK_AGAIN", 0.5)

    async def scenario() -> Any:
        async with lives(manager.recorder, 2) as (here, other), asyncio.timeout(20):
            volume_id = await available(here)
            asked = await connecting(here, volume_id)
            assert asked.intent
            waiting = outcome(here, asked, [], 600)
            await report(other, volume_id, asked.intent, connection={"data": {}})
            return await waiting

    event, _ = asyncio.run(scenario())

    assert event.TOPIC == "volume.export_finished"


def test_what_happens_beside_it_does_not_end_the_waiting(
    manager: VolumeManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads, seen = [0], list[Any]()
    history = manager.recorder.history

    def counted(*args: Any) -> Any:
        reads[0] += 1
        return history(*args)

    monkeypatch.setattr(manager.recorder, "history", counted)

    async def scenario() -> Any:
        async with live(manager.recorder) as log:
            volume_id = await available(log)
            asked = await connecting(log, volume_id)
            waiting = outcome(log, asked, seen)
            await asyncio.sleep(0)
            await ask(log, update, id=volume_id, name="beside")
            await asyncio.sleep(0.1)
            assert not waiting.done()
            assert asked.intent
            await report(log, volume_id, asked.intent, connection={"data": {}})
            return await waiting

    event, position = asyncio.run(scenario())

    assert event.TOPIC == "volume.export_finished"
    assert seen == [(event.originator_version, position)]
    assert reads[0] <= 2  # what it was not is looked for in the log once


def test_what_is_settled_already_is_told_at_once(
    manager: VolumeManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting_for, "LOOK_AGAIN", 600)

    async def scenario() -> Any:
        async with live(manager.recorder) as log, asyncio.timeout(10):
            volume_id = await available(log)
            asked = await connecting(log, volume_id)
            assert asked.intent
            await report(log, volume_id, asked.intent, connection={"data": {}})
            return await outcome(log, asked, [], 600)

    event, _ = asyncio.run(scenario())

    assert event.TOPIC == "volume.export_finished"


def test_a_backend_that_says_nothing_in_time_is_unavailable(
    manager: VolumeManager,
) -> None:
    async def scenario() -> None:
        async with live(manager.recorder) as log:
            asked = await connecting(log, await available(log))
            with pytest.raises(Unavailable, match="has not answered within"):
                await outcome(log, asked, [], 0.1)

    asyncio.run(scenario())


def test_an_attachment_does_not_wait_for_what_is_done_for_another(
    manager: VolumeManager,
) -> None:
    async def scenario() -> list[bool]:
        async with live(manager.recorder) as log:
            volume_id = await available(log, multiattach=True)
            about: Any = {"volume_id": volume_id, "host": "node-1"}
            asked: Any = about, about | {"connector": HOST}
            held = [(await ask(log, hold, **each))["id"] for each in asked]
            volume: Any = log.memory.live[UUID(volume_id)]
            return [busy(volume, UUID(each)) for each in held]

    assert asyncio.run(scenario()) == [False, True]


async def made_elsewhere(
    here: Log, other: Log, seconds: float
) -> tuple[asyncio.Task[Reply], UUID]:
    """Return who waits here for a volume, and its id; another replica heard of it."""
    asked = await here.submit(make.command(b'{"size_gib": 1}', NOTHING, here.room))
    waiting = asyncio.create_task(make._settled(here, asked, seconds))
    made: str = json.loads(asked.body)["id"]
    await report(other, made, 1, location="/volumes/db")
    return waiting, UUID(made)


def test_the_answer_at_the_end_shows_what_has_become_of_it_without_a_word(
    manager: VolumeManager,
) -> None:
    async def scenario() -> Any:
        async with lives(manager.recorder, 2) as (here, other):
            waiting, _ = await made_elsewhere(here, other, 0.2)
            return json.loads((await waiting).body)

    assert asyncio.run(scenario())["status"] == "available"


def test_a_deletion_ends_the_waiting(manager: VolumeManager) -> None:
    async def scenario() -> None:
        async with live(manager.recorder) as log:
            volume_id = await available(log)
            asked = await connecting(log, volume_id)
            waiting = outcome(log, asked, [])
            await asyncio.sleep(0)
            await ask(log, delete, id=volume_id, force=True)
            assert newest(log, volume_id) > (asked.intent or 0)
            with pytest.raises(Refused):
                await waiting

    asyncio.run(scenario())


def test_a_deletion_with_snapshots_ends_the_waiting(manager: VolumeManager) -> None:
    async def scenario() -> None:
        async with live(manager.recorder) as log:
            volume_id = await available(log)
            taken = await ask(log, create, volume_id=volume_id)
            await report(log, taken["id"], 1, noun="snapshot", location="/there")
            asked = await connecting(log, volume_id)
            waiting = outcome(log, asked, [], 2)
            await asyncio.sleep(0)
            await ask(log, delete, id=volume_id, cascade=True, force=True)
            with pytest.raises(Refused, match="cannot finish while deleting"):
                await waiting

    asyncio.run(scenario())


@pytest.mark.parametrize("problem", [Unavailable(TOO_MANY), Contended()])
def test_what_is_done_is_not_refused_because_it_cannot_be_looked_at(
    manager: VolumeManager, monkeypatch: pytest.MonkeyPatch, problem: Exception
) -> None:
    def refuse(*_: Any) -> None:
        raise problem

    async def scenario() -> Any:
        async with lives(manager.recorder, 2) as (here, other):
            waiting, made = await made_elsewhere(here, other, 20)
            monkeypatch.setattr(Log, "submit", refuse)
            here.tell([made])
            await asyncio.sleep(0.1)
            monkeypatch.undo()
            return json.loads((await waiting).body)

    assert asyncio.run(scenario())["status"] == "available"


def test_what_a_backend_did_is_shown_though_too_much_is_asked_meanwhile(
    manager: VolumeManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> Any:
        async with lives(manager.recorder, 2) as (here, other):
            volume_id = await available(here)
            holder = {"volume_id": volume_id, "host": "node-1", "connector": HOST}
            asked = await here.submit(
                hold.command(json.dumps(holder).encode(), NOTHING, here.room)
            )
            replica: Any = SimpleNamespace(log=here)
            waiting = asyncio.create_task(hold._outcome(replica, asked, 20))
            assert asked.intent
            await report(other, volume_id, asked.intent, connection={"data": {}})
            monkeypatch.setattr(Log, "full", property(lambda _: True))
            here.tell([UUID(volume_id)])
            await asyncio.sleep(0.1)
            monkeypatch.undo()
            return json.loads((await waiting).body)

    assert asyncio.run(scenario())["connection"]


def test_more_callers_than_can_wait_are_refused_at_once_and_nothing_is_done(
    manager: VolumeManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: asyncio.Queue[Any] = asyncio.Queue()
    monkeypatch.setattr(endpoint, "MOST_WAITING", 2)
    monkeypatch.setattr(sending, "send_soon", lambda _, a, __: answers.put_nowait(a))
    request: Any = SimpleNamespace(
        data=b'{"size_gib": 1}', headers={"Holdfast-Wait": "0.5"}
    )

    async def scenario() -> None:
        async with live(manager.recorder) as log:
            before = manager.recorder.max_notification_id() or 0
            replica: Any = SimpleNamespace(log=log, key_if=lambda _: b"")
            for _ in range(3):
                make.answer(replica, request)

            refused, *made = [await answers.get() for _ in range(3)]
            assert str(refused) == TOO_MANY
            assert [json.loads(m.body)["status"] for m in made] == ["creating"] * 2
            assert manager.recorder.max_notification_id() == before + 2

            await asyncio.sleep(0.01)  # those before wait no more
            make.answer(replica, request)
            assert (await answers.get()).body

    asyncio.run(scenario())
