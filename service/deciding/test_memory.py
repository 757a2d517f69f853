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
from service.deciding.command import Contended
from service.deciding.log import Log
from service.endpoints.attachments import create as reserve
from service.endpoints.attachments import show as show_attachment
from service.endpoints.volumes import delete, show, update
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
