"""Live logs: what they promise when they are alone, and when they are not."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from random import Random
from typing import Any
from uuid import UUID, uuid4

import pytest
import uvloop
from eventsourcing.persistence import StoredEvent

from adapters.postgres.batch import NO_WORK, WORK, Batch, Stored
from adapters.postgres.follower import words
from adapters.postgres.mapper import LogMapper
from adapters.postgres.reading import verified
from adapters.postgres.recorder import Written
from domain.backend import Backend
from domain.log import decoded
from domain.volume import Volume
from service.deciding import log as module
from service.deciding.command import (
    Contended,
    Decision,
    KeyReused,
    NotFound,
    Reply,
    Unavailable,
    asking,
)
from service.deciding.log import Log
from service.deciding.reach import NOTHING_CHANGED
from service.endpoints.attachments import create as reserve
from service.endpoints.attachments import delete as release
from service.endpoints.attachments import show as show_attachment
from service.endpoints.endpoint import Endpoint
from service.endpoints.volumes import create, delete, extend, show, update
from service.manager import VolumeManager
from service.testing.callers import eventually
from service.testing.deciding import (
    EMPTY,
    NUMBERS,
    ask,
    asked_in_turn,
    available,
    back,
    by_thread,
    following,
    last,
    live,
    lives,
    lose_commit,
    report,
    reserve_twice,
    send,
    sighted,
    unreachable,
)


def test_a_reply_names_the_version_and_the_position(manager: VolumeManager) -> None:
    async def scenario() -> Any:
        async with live(manager.recorder) as log:
            await available(log)
            return await ask(log, create, size_gib=1, name="second")

    answer = asyncio.run(scenario())

    assert (answer["version"], answer["position"]) == (1, EMPTY + 3)


def test_what_cannot_be_written_down_is_a_fault_and_ends_no_writing(
    manager: VolumeManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = LogMapper.to_stored_event

    def fail(mapper: LogMapper, event: Any) -> StoredEvent:
        if getattr(event, "name", "") == "bad":
            raise ValueError("it cannot be written")
        return write(mapper, event)

    async def scenario() -> Any:
        async with asyncio.timeout(30), live(manager.recorder) as log:
            with pytest.raises(ValueError, match="cannot be written"):
                await ask(log, create, size_gib=1, name="bad")
            return await ask(log, create, size_gib=1, name="good")

    monkeypatch.setattr(LogMapper, "to_stored_event", fail)
    good = asyncio.run(scenario())

    assert good["position"] == EMPTY + 1


class Publishing:
    """Says that all is published from here, and notes what."""

    def __init__(self) -> None:
        self.there = True
        self.published: list[str] = []

    def follows(self, position: int) -> bool:
        return self.there

    def word(self) -> str:
        return "published"

    def publish(self, events: Sequence[Written]) -> None:
        self.published += [event.topic for event in events]


def test_what_is_alone_is_published_from_here_unless_somebody_waits_elsewhere(
    manager: VolumeManager,
) -> None:
    recorder, direct = manager.recorder, Publishing()

    async def scenario() -> None:
        async with live(recorder, direct=direct) as log:
            first = await ask(log, create, size_gib=1)
            await report(log, first["id"], 1, location="/volumes/1")
            second = await ask(log, create, size_gib=1)
            with log.watching(UUID(second["id"])):
                await report(log, second["id"], 1, location="/volumes/2")
            await asyncio.gather(*(ask(log, create, size_gib=1) for _ in range(3)))
            await ask(log, extend, id=first["id"], size_gib=1)  # which is refused
            direct.there = False
            await ask(log, create, size_gib=1)

    with recorder.datastore.get_connection() as listening:
        listening.execute(f'LISTEN "{recorder.channel_name}"')
        asyncio.run(scenario())
        heard = words(listening, 10)

    begun, made = Volume.Created.TOPIC, Volume.CreationFinished.TOPIC
    assert direct.published == [Backend.LeaseTaken.TOPIC, begun, begun, made]
    assert heard == [
        "published",  # the backend's lease
        "published",
        NO_WORK,  # nobody waits here
        "published",
        "published",
        WORK,  # several
        WORK,
    ]


@NUMBERS
def test_of_replicas_racing_for_a_volume_one_wins(
    manager: VolumeManager, number: int
) -> None:
    async def scenario() -> list[list[Any]]:
        async with lives(manager.recorder, number) as logs:
            rounds = []
            for _ in range(20):
                volume_id = await available(logs[0])
                for log in logs:
                    await ask(log, show, id=volume_id)
                asks = [
                    ask(log, reserve, volume_id=volume_id, host=f"node-{n}")
                    for n, log in enumerate(logs)
                ]
                rounds.append(await asyncio.gather(*asks))
            return rounds

    for answers in asyncio.run(scenario()):
        won = Counter(a["status"] for a in answers)
        assert won == {"reserved": 1, 409: number - 1}
        refused = {a["detail"] for a in answers if a["status"] == 409}
        assert refused == {"cannot reserve while reserved, not multiattach"}


def test_a_refusal_is_not_decided_on_an_old_state(manager: VolumeManager) -> None:
    async def scenario() -> Any:
        async with live(manager.recorder) as one, live(manager.recorder) as two:
            volume_id = (await ask(one, create, size_gib=1))["id"]
            await ask(two, show, id=volume_id)
            await report(one, volume_id, 1)
            return await ask(two, reserve, volume_id=volume_id, host="node-1")

    assert asyncio.run(scenario())["status"] == "reserved"


def test_what_is_shown_is_not_an_old_state(manager: VolumeManager) -> None:
    async def scenario() -> list[Any]:
        async with live(manager.recorder) as one, live(manager.recorder) as two:
            volume_id = await available(one)
            await ask(two, show, id=volume_id)
            reserved = await ask(one, reserve, volume_id=volume_id, host="node-1")
            return [reserved, await ask(two, show, id=volume_id)]

    reserved, shown = asyncio.run(scenario())

    assert shown["attachments"] == [reserved["id"]]
    assert shown["position"] == reserved["position"]


@NUMBERS
def test_an_attachment_id_is_taken_once_among_replicas(
    manager: VolumeManager, number: int
) -> None:
    async def scenario() -> list[Any]:
        chosen = str(uuid4())
        async with lives(manager.recorder, number) as logs:
            ids = [await available(log) for log in logs]
            asks = (
                ask(log, reserve, id=chosen, volume_id=volume_id, host="node-1")
                for log, volume_id in zip(logs, ids, strict=True)
            )
            return await asyncio.gather(*asks)

    answers = asyncio.run(scenario())

    assert Counter(a["status"] for a in answers) == {"reserved": 1, 409: number - 1}


@pytest.mark.parametrize("first", ["volume", "attachment"])
def test_an_id_that_another_replica_gave_to_something_else_is_taken(
    manager: VolumeManager, first: str
) -> None:
    async def scenario() -> Any:
        chosen = str(uuid4())
        async with lives(manager.recorder, 2) as (one, two):
            held: dict[str, Any] = {"volume_id": await available(one), "host": "node-1"}
            if first == "volume":
                await ask(one, create, id=chosen, size_gib=1)
                return await ask(two, reserve, id=chosen, **held)
            await ask(one, reserve, id=chosen, **held)
            return await ask(two, create, id=chosen, size_gib=1)

    refused = asyncio.run(scenario())

    assert (refused["status"], refused["type"]) == (409, "conflict")
    assert "is taken" in refused["detail"]


@NUMBERS
def test_a_volume_id_is_taken_once_among_replicas(
    manager: VolumeManager, number: int
) -> None:
    async def scenario() -> list[Any]:
        chosen = str(uuid4())
        async with lives(manager.recorder, number) as logs:
            asks = (ask(log, create, id=chosen, size_gib=1) for log in logs)
            return await asyncio.gather(*asks)

    answers = asyncio.run(scenario())

    assert Counter(a["status"] for a in answers) == {"creating": 1, 409: number - 1}
    assert last(manager) == 1


# Requests that are repeated


def test_a_repeated_request_gets_the_first_answer(manager: VolumeManager) -> None:
    async def scenario() -> list[Any]:
        async with live(manager.recorder) as one:
            first = await ask(one, create, "key", size_gib=1, name="db")
            await report(one, first["id"], 1)
            again = await ask(one, create, "key", size_gib=1, name="db")
            async with live(manager.recorder) as another:
                elsewhere = await ask(another, create, "key", size_gib=1, name="db")
        async with live(manager.recorder) as restarted:
            later = await ask(restarted, create, "key", size_gib=1, name="db")
        return [first, again, elsewhere, later]

    first, *repeated = asyncio.run(scenario())

    assert repeated == [first] * 3
    assert last(manager) == 2


def test_the_repeat_of_a_change_shows_what_it_led_to(manager: VolumeManager) -> None:
    async def scenario() -> list[Any]:
        async with live(manager.recorder) as one:
            volume_id = await available(one)
            asked = {"id": str(uuid4()), "volume_id": volume_id, "host": "node-1"}
            first = await ask(one, reserve, "reserve", **asked)
            await ask(one, release, id=asked["id"])
        async with live(manager.recorder) as restarted:
            again = await ask(restarted, reserve, "reserve", **asked)
            now = await ask(restarted, show_attachment, id=asked["id"])
            return [first, again, now]

    first, again, now = asyncio.run(scenario())

    assert first == again
    assert (again["status"], now["status"]) == ("reserved", "detached")


@NUMBERS
def test_repeats_at_once_on_several_replicas_are_done_once(
    manager: VolumeManager, number: int
) -> None:
    async def scenario() -> list[Any]:
        async with lives(manager.recorder, number) as logs:
            asks = (
                ask(log, create, f"key-{n}", size_gib=1)
                for n in range(20)
                for log in logs * 2
            )
            return await asyncio.gather(*asks)

    answers = asyncio.run(scenario())

    done = Counter(a["position"] for a in answers)
    assert done == dict.fromkeys(range(2, 22), 2 * number)
    assert len({a["id"] for a in answers}) == 20


@pytest.mark.parametrize(
    "said", [b'{"name":"db","size_gib":1}', b' {"name" : "d\\u0062",\n "size_gib":1 } ']
)
def test_the_same_value_may_be_written_differently(
    manager: VolumeManager, said: bytes
) -> None:
    async def scenario() -> list[Any]:
        async with live(manager.recorder) as log:
            first = await send(log, create, b'{"size_gib": 1, "name": "db"}', "key")
            return [first, await send(log, create, said, "key")]

    first, again = asyncio.run(scenario())

    assert first == again


def test_a_key_is_for_one_request(manager: VolumeManager) -> None:
    async def scenario() -> None:
        async with live(manager.recorder) as one:
            made = await ask(one, create, "key", size_gib=1)
            with pytest.raises(KeyReused):
                await ask(one, create, "key", size_gib=2)
            async with live(manager.recorder) as another:
                with pytest.raises(KeyReused):
                    await ask(another, create, "key", size_gib=2)
                with pytest.raises(KeyReused):
                    await ask(another, delete, "key", id=made["id"])
                assert await ask(another, create, "key", size_gib=1) == made

    asyncio.run(scenario())

    assert last(manager) == 1


def test_a_refusal_is_not_remembered(manager: VolumeManager) -> None:
    async def scenario() -> list[Any]:
        async with live(manager.recorder) as log:
            volume_id = (await ask(log, create, size_gib=1))["id"]
            asked = {"volume_id": volume_id, "host": "node-1"}
            refused = await ask(log, reserve, "key", **asked)
            await report(log, volume_id, 1)
            done = await ask(log, reserve, "key", **asked)
            return [refused, done, await ask(log, reserve, "key", **asked)]

    refused, done, again = asyncio.run(scenario())

    assert refused["detail"] == "cannot reserve while creating"
    assert done["status"] == "reserved"
    assert again == done


def test_a_command_that_had_nothing_to_do_is_remembered_too(
    manager: VolumeManager,
) -> None:
    async def scenario() -> list[Any]:
        async with live(manager.recorder) as log:
            volume_id = await available(log)
            same = await ask(log, update, "key", id=volume_id, name="")
            await ask(log, update, id=volume_id, name="other")
        async with live(manager.recorder) as restarted:
            again = await ask(restarted, update, "key", id=volume_id, name="")
            return [same, again, await ask(restarted, show, id=volume_id)]

    same, again, now = asyncio.run(scenario())

    assert (same, now["name"]) == (again, "other")
    assert last(manager) == 3


# What goes wrong


def test_what_could_not_be_stored_is_forgotten(
    manager: VolumeManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> Any:
        async with live(manager.recorder) as log:
            asked = {"volume_id": await available(log), "host": "node-1"}
            with monkeypatch.context() as patch:
                by_thread(patch)
                patch.setattr(manager.recorder, "append", unreachable)
                with pytest.raises(Unavailable, match="nothing was changed"):
                    await ask(log, reserve, "key", **asked)
            await back(log)
            shown = await ask(log, show, id=asked["volume_id"])
            return shown, await ask(log, reserve, "key", **asked)

    shown, reserved = asyncio.run(scenario())

    assert (shown["status"], shown["version"]) == ("available", 2)
    assert reserved["version"] == 3


def test_a_repeat_that_cannot_be_looked_up_takes_nobody_with_it(
    manager: VolumeManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> list[Any]:
        async with live(manager.recorder) as one, live(manager.recorder) as two:
            await ask(one, create, "key", size_gib=1)
            with monkeypatch.context() as patch:
                patch.setattr(manager.recorder, "history", unreachable)
                answers = await asyncio.gather(
                    *(ask(two, create, f"n-{n}", size_gib=1) for n in range(5)),
                    ask(two, create, "key", size_gib=1),
                    *(ask(two, create, f"m-{n}", size_gib=1) for n in range(5)),
                    return_exceptions=True,
                )
            await back(two)
            await ask(two, create, size_gib=1)
            assert two.unanswered == 0
            return answers

    answers = asyncio.run(scenario())

    acknowledged = [a for a in answers if not isinstance(a, Exception)]
    assert last(manager) == 1 + len(acknowledged) + 1


def test_what_cannot_be_stored_at_all_ends_the_log_loudly(
    manager: VolumeManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Batch) -> Stored:
        raise ZeroDivisionError

    async def scenario() -> None:
        async with live(manager.recorder) as log:
            by_thread(monkeypatch)
            monkeypatch.setattr(manager.recorder, "append", broken)
            asking = asyncio.ensure_future(ask(log, create, size_gib=1))
            await asyncio.wait([log.working], timeout=5)
            asking.cancel()

    with pytest.raises(ZeroDivisionError):
        asyncio.run(scenario())


def test_too_many_waiting_commands_are_refused_at_once(manager: VolumeManager) -> None:
    async def scenario() -> list[Any]:
        async with live(manager.recorder, waiting=10) as log:
            asks = (ask(log, create, size_gib=1) for _ in range(25))
            return await asyncio.gather(*asks, return_exceptions=True)

    answers = asyncio.run(scenario())

    assert sum(isinstance(answer, Unavailable) for answer in answers) == 15
    assert last(manager) == 10


def test_what_was_given_up_keeps_nobody_waiting(
    manager: VolumeManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> Any:
        async with live(manager.recorder) as log:
            with monkeypatch.context() as patch:
                by_thread(patch)
                patch.setattr(module, "SOON", 0.0)
                patch.setattr(Log, "LARGEST_BATCH", 1)
                patch.setattr(manager.recorder, "append", unreachable)
                asks = (ask(log, create, size_gib=1) for _ in range(3))
                await asyncio.gather(*asks, return_exceptions=True)
            await back(log)
            return await ask(log, create, size_gib=1)

    assert asyncio.run(scenario())["status"] == "creating"


def test_what_is_refused_leaves_nothing_behind(manager: VolumeManager) -> None:
    async def scenario() -> list[Any]:
        async with live(manager.recorder) as log:
            volume_id = await available(log)
            refused = await ask(log, reserve_twice, id=volume_id)
            return [refused["type"], (await ask(log, show, id=volume_id))["version"]]

    assert asyncio.run(scenario()) == ["refused", 2]
    assert last(manager) == 2


def test_an_unknown_volume_is_not_found_until_it_is_there(
    manager: VolumeManager,
) -> None:
    async def scenario() -> list[Any]:
        volume_id = str(uuid4())
        async with live(manager.recorder) as one, live(manager.recorder) as two:
            absent = await ask(two, show, id=volume_id)
            await ask(one, create, id=volume_id, size_gib=1)
            return [absent, await ask(two, show, id=volume_id)]

    absent, there = asyncio.run(scenario())

    assert (absent["type"], there["status"]) == ("not-found", "creating")


def test_what_a_decision_raises_is_its_asker_s_alone(manager: VolumeManager) -> None:
    volume_id = uuid4()

    def look(decision: Decision) -> Reply:
        raise NotFound("volume", decision.get(Volume, volume_id))

    async def scenario() -> Any:
        async with live(manager.recorder) as log, asyncio.timeout(5):
            with pytest.raises(NotFound):
                await log.submit(asking(look))
            return await ask(log, show, id=str(uuid4()))

    assert asyncio.run(scenario())["type"] == "not-found"


@pytest.mark.parametrize("committed", [True, False])
def test_a_commit_of_which_nothing_was_heard_is_looked_up(
    manager: VolumeManager, monkeypatch: pytest.MonkeyPatch, *, committed: bool
) -> None:
    async def scenario() -> list[Any]:
        async with live(manager.recorder) as log:
            lose_commit(monkeypatch, committed=committed)
            asks = (ask(log, create, f"key-{n}", size_gib=1) for n in range(3))
            answers = await asyncio.gather(*asks, return_exceptions=True)
            await back(log)
            assert log.room.taken("files") == 3 * committed
            return answers

    answers = asyncio.run(scenario())

    if committed:
        assert [answer["position"] for answer in answers] == [2, 3, 4]
    else:
        assert {str(answer) for answer in answers} == {NOTHING_CHANGED}
    assert last(manager) == 3 * committed


@pytest.mark.parametrize("stored", [True, False])
def test_what_may_come_to_nothing_is_shown_to_nobody(
    manager: VolumeManager, monkeypatch: pytest.MonkeyPatch, *, stored: bool
) -> None:
    answering = threading.Event()
    append = manager.recorder.append

    def slowly(batch: Batch) -> Stored:
        answering.wait(10)
        return append(batch) if stored else unreachable()

    async def lost(log: Log) -> bool:
        return log.age > 0

    async def scenario() -> list[Any]:
        async with live(manager.recorder) as log:
            volume_id = await available(log)
            bystander = await available(log)
            monkeypatch.setattr(module, "AWAY_AFTER", 0.05)
            by_thread(monkeypatch)
            monkeypatch.setattr(manager.recorder, "append", slowly)
            renaming = asyncio.create_task(ask(log, update, id=volume_id, name="new"))
            await eventually(partial(lost, log))
            known = await ask(log, show, id=bystander)
            with pytest.raises(Unavailable, match="cannot be reached, for"):
                await ask(log, show, id=volume_id)
            answering.set()
            await asyncio.wait([renaming])
            monkeypatch.setattr(manager.recorder, "append", append)
            await back(log)
            now = await ask(log, show, id=volume_id)
            return [known["status"], now["name"], renaming.exception() is None]

    monkeypatch.setattr(module, "PROBE_EVERY", 0.5)
    assert asyncio.run(scenario()) == ["available", "new" if stored else "", stored]


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_who_was_held_up_himself_does_not_call_the_database_away(
    manager: VolumeManager, monkeypatch: pytest.MonkeyPatch, run: Callable[..., Any]
) -> None:
    append, stored = manager.recorder.append, threading.Event()

    def noted(batch: Batch) -> Stored:
        found = append(batch)
        stored.set()
        return found

    async def scenario() -> list[Any]:
        async with live(manager.recorder) as log:
            volume_id = await available(log)
            monkeypatch.setattr(module, "AWAY_AFTER", 0.05)
            by_thread(monkeypatch)
            monkeypatch.setattr(manager.recorder, "append", noted)
            going = await asked_in_turn(
                *(ask(log, update, id=volume_id, name=name) for name in "ab")
            )
            stored.wait(10)
            time.sleep(0.2)  # noqa: ASYNC251 - as a machine that stands still does
            return [answer["name"] for answer in await asyncio.gather(*going)]

    assert run(scenario()) == ["a", "b"]


@pytest.mark.parametrize("number", [1, 2], ids=["alone", "of two"])
def test_callers_that_race_read_what_they_wrote_and_nothing_that_never_was(
    manager: VolumeManager, number: int
) -> None:
    dice = Random(number)
    told: list[tuple[int, str]] = []

    async def insist(logs: list[Log], endpoint: Endpoint, **message: Any) -> Any:
        while True:
            try:
                return await ask(dice.choice(logs), endpoint, **message)
            except Contended:
                if number == 1:
                    raise  # by whom?

    async def client(logs: list[Log], volume_id: str, name: str) -> None:
        for turn in range(25):
            asked = {"id": volume_id, "name": f"{name}-{turn}"}
            written, refused = await asyncio.gather(
                insist(logs, update, **asked),
                insist(logs, reserve_twice, id=volume_id),
            )
            shown = await insist(logs, show, id=volume_id)
            assert refused["type"] == "refused"
            assert shown["version"] >= written["version"]
            assert shown["position"] >= written["position"]
            told.extend((each["version"], each["name"]) for each in (written, shown))

    async def scenario() -> str:
        async with lives(manager.recorder, number) as logs:
            volume_id = await available(logs[0])
            clients = (client(logs, volume_id, name) for name in "abcdef")
            await asyncio.gather(*clients)
            return volume_id

    history = manager.recorder.history(UUID(asyncio.run(scenario())))
    names = {
        event.originator_version: event.name
        for event, _ in decoded(history)
        if isinstance(event, Volume.Updated)
    }
    assert told == [(version, names[version]) for version, _ in told]


def test_what_a_look_raises_is_confirmed_like_any_answer(
    manager: VolumeManager,
) -> None:
    seen: list[tuple[int, str]] = []

    async def scenario() -> None:
        volume_id = str(uuid4())
        async with live(manager.recorder) as one, live(manager.recorder) as two:
            with pytest.raises(NotFound):
                await two.submit(sighted(volume_id, seen))
            await ask(one, create, id=volume_id, size_gib=1)
            await two.submit(sighted(volume_id, seen))

    asyncio.run(scenario())

    assert seen == [(1, "")]


# Following


def test_a_follower_sees_every_event_once_and_in_order(manager: VolumeManager) -> None:
    async def client(log: Log) -> None:
        for _ in range(40):
            volume_id = await available(log, multiattach=True)
            await ask(log, reserve, volume_id=volume_id, host="node-1")

    async def scenario() -> None:
        async with live(manager.recorder) as one, live(manager.recorder) as two:
            await asyncio.gather(*(client(log) for log in (one, two) for _ in range(8)))

    written = EMPTY + 2 * 8 * 40 * 3
    with following(manager.recorder) as seen:
        asyncio.run(scenario())

    assert seen == list(range(1, written + 1))
    assert len(list(verified(manager.recorder))) == written
