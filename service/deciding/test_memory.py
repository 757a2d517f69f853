"""What is in memory is what the log has, and what is decided on it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
from eventsourcing.persistence import StoredEvent

from domain.aggregate import Done
from domain.log import encode
from domain.volume import Volume
from projections import resources
from service.deciding.command import Contended, Decision
from service.deciding.log import Log
from service.endpoints.attachments import create as reserve
from service.endpoints.attachments import show as show_attachment
from service.endpoints.endpoint import endpoint
from service.endpoints.volumes import One, create, delete, show, update
from service.manager import VolumeManager
from service.testing.callers import eventually
from service.testing.deciding import (
    Held,
    ask,
    asked_in_turn,
    available,
    back,
    by_thread,
    known,
    live,
    reserve_twice,
    sighted,
    unreachable,
    until,
)
from service.testing.programs import BACKEND


def test_memory_is_bounded(
    manager: VolumeManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> list[int]:
        async with live(manager.recorder, live=10) as log:
            ids = [await available(log) for _ in range(30)]
            await asyncio.gather(*(ask(log, show, id=i) for i in ids))
            await asyncio.gather(*(ask(log, show, id=str(uuid4())) for _ in range(30)))
            await asyncio.gather(
                *(ask(log, update, f"key-{i}", id=i, name="new") for i in ids)
            )
            with monkeypatch.context() as patch:
                by_thread(patch)
                patch.setattr(manager.recorder, "append", unreachable)
                await asyncio.gather(
                    *(ask(log, delete, id=i) for i in ids), return_exceptions=True
                )
            await back(log)
            await available(log)
            return [len(log.memory.live), len(log.memory.positions), len(log._keyed)]

    assert max(asyncio.run(scenario())) <= 2 * 10


def test_what_was_used_last_stays_and_tells_its_position_while_others_are_forgotten(
    manager: VolumeManager,
) -> None:
    async def scenario() -> tuple[Any, set[tuple[int, bool]]]:
        async with live(manager.recorder, live=3) as log:
            made, seen = await ask(log, create, size_gib=1), set[tuple[int, bool]]()
            for _ in range(5):
                await ask(log, create, size_gib=1)
                stays = await known(log, made["id"])
                shown = await ask(log, show, id=made["id"])
                seen.add((shown["position"], stays))
        return made, seen

    made, seen = asyncio.run(scenario())

    assert seen == {(made["position"], True)}


@endpoint("test.broken_off", takes=One(), gives=resources.volume)
def broken_off(log: Decision, volume_id: UUID) -> Volume:
    """Record something of a volume that is being made, and then be refused."""
    volume = log.get(Volume, volume_id)
    volume.update(name="never")
    volume.reserve()
    return volume


def test_a_look_that_waits_tells_the_position_though_what_it_saw_was_taken_back(
    manager: VolumeManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> tuple[Any, Any]:
        async with live(manager.recorder, live=1) as log:
            made = await ask(log, create, size_gib=1)
            append = Held(monkeypatch, manager.recorder, "append")
            going = await asked_in_turn(ask(log, create, size_gib=1))
            await until(append.reached)
            going += await asked_in_turn(
                ask(log, show, id=made["id"]), ask(log, broken_off, id=made["id"])
            )
            append.let_go.set()
            _, shown, _ = await asyncio.gather(*going)
        return made, shown

    made, shown = asyncio.run(scenario())

    assert shown["position"] == made["position"]


@pytest.mark.parametrize("stage", ["being stored", "waiting"])
def test_what_is_read_again_has_what_was_decided_and_is_not_stored(
    manager: VolumeManager, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    seen: list[tuple[int, str]] = []

    async def scenario() -> None:
        async with live(manager.recorder) as log:
            volume_id, other = await available(log), await available(log)
            append = Held(monkeypatch, manager.recorder, "append")
            first = other if stage == "waiting" else volume_id
            going = await asked_in_turn(ask(log, update, id=first, name="new"))
            await until(append.reached)
            going += await asked_in_turn(
                ask(log, update, id=volume_id, name="new"),
                ask(log, reserve_twice, id=volume_id),
            )
            looking = log.submit(sighted(volume_id, seen))
            await eventually(partial(known, log, volume_id))
            append.let_go.set()
            await asyncio.gather(looking, *going)

    asyncio.run(scenario())

    assert seen == [(3, "new")]


def test_what_the_log_does_not_have_yet_is_read_again_as_it_was_decided(
    manager: VolumeManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, str]] = []

    async def scenario() -> None:
        async with live(manager.recorder) as log:
            volume_id = str(uuid4())
            append = Held(monkeypatch, manager.recorder, "append")
            made: Any = {"id": volume_id, "size_gib": 1, "name": "new"}
            going = await asked_in_turn(ask(log, create, **made))
            await until(append.reached)
            going += await asked_in_turn(
                ask(log, update, id=volume_id, name="newer"),
                ask(log, broken_off, id=volume_id),
            )
            looking = log.submit(sighted(volume_id, seen))
            await eventually(partial(known, log, volume_id))
            append.let_go.set()
            await asyncio.gather(looking, *going)

    asyncio.run(scenario())

    assert seen == [(2, "newer")]


def test_what_was_stored_while_it_was_read_is_read_again(
    manager: VolumeManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, str]] = []

    async def scenario() -> None:
        async with live(manager.recorder) as log:
            volume_id = await available(log)
            append = Held(monkeypatch, manager.recorder, "append")
            histories = Held(monkeypatch, manager.recorder, "histories", after=True)
            renaming, refused = await asked_in_turn(
                ask(log, update, id=volume_id, name="new"),
                ask(log, reserve_twice, id=volume_id),
            )
            looking = log.submit(sighted(volume_id, seen))
            await until(histories.reached)
            append.let_go.set()
            await renaming
            histories.let_go.set()
            await asyncio.gather(looking, refused)

    asyncio.run(scenario())

    assert seen == [(3, "new")]


def test_an_attachment_that_was_not_there_is_looked_for_anew(
    manager: VolumeManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> Any:
        async with live(manager.recorder) as one, live(manager.recorder) as two:
            volume_id, chosen = await available(one), str(uuid4())
            await ask(two, show, id=volume_id)
            await ask(one, update, id=volume_id, name="new")
            asked = {"id": chosen, "volume_id": volume_id, "host": "node-1"}
            with monkeypatch.context() as patch:
                patch.setattr(Log, "MOST_ATTEMPTS", 0)
                with pytest.raises(Contended):
                    await ask(two, reserve, **asked)
            await ask(one, reserve, **asked)
            return await ask(two, show_attachment, id=chosen)

    assert asyncio.run(scenario())["status"] == "reserved"


def without_its_beginning(key: UUID) -> bytes:
    """Return what would be the end of something that is not there."""
    volume = Volume.create(key, size_gib=1, backend=BACKEND)
    volume.report(1, Done(location="/volumes/db"))
    ended = volume.collect_events()[-1]
    return encode(msgspec.structs.replace(ended, originator_version=1))


@pytest.mark.parametrize(
    ("topic", "state_of"),
    [
        ("volume.created", lambda _: b"{}"),
        ("volume.created", lambda _: b'{"name":"\xff"}'),
        ("volume.creation_finished", without_its_beginning),
    ],
    ids=["no fields", "no text", "no beginning"],
)
def test_what_cannot_be_read_of_one_volume_stops_no_other_command(
    manager: VolumeManager, topic: str, state_of: Callable[[UUID], bytes]
) -> None:
    key = uuid4()
    poison = StoredEvent(key, 1, topic, state_of(key))

    async def scenario() -> list[Any]:
        async with live(manager.recorder) as log:
            good = await available(log)
            await asyncio.to_thread(manager.recorder.insert_events, [poison])
        async with live(manager.recorder) as log:
            asked = [ask(log, show, id=str(i)) for i in (key, good)]
            return [*await asyncio.gather(*asked), await ask(log, show, id=str(key))]

    poisoned, shown, again = asyncio.run(scenario())

    assert (poisoned["type"], again["type"]) == ("fault", "fault")
    assert shown["status"] == "available"
