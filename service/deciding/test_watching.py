"""Who watches an aggregate sees what was stored, and nothing else."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any
from uuid import UUID

import pytest

from service.deciding import log as module
from service.deciding.log import Log
from service.endpoints.volumes import update
from service.manager import VolumeManager
from service.testing.callers import eventually
from service.testing.deciding import (
    Held,
    ask,
    asked_in_turn,
    available,
    back,
    known,
    live,
)


def test_who_watches_sees_what_was_stored_and_nothing_before_it_is(
    manager: VolumeManager,
) -> None:
    seen = []

    async def scenario() -> list[Any]:
        async with live(manager.recorder) as log:
            volume_id = await available(log)
            asks = (ask(log, update, id=volume_id, name=name) for name in "abc")
            with log.watching(UUID(volume_id), lambda *now: seen.append(now)) as told:
                answers = await asyncio.gather(*asks)
            assert told.is_set()
            return answers

    answers = asyncio.run(scenario())

    [(volume, event, position)] = seen
    assert event.originator_version == volume.version
    assert (volume.name, volume.version) == ("c", answers[-1]["version"])
    assert position == answers[-1]["position"]


def test_who_watches_sees_nothing_that_was_decided_beside_a_late_commit(
    manager: VolumeManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, str]] = []

    def look(now: Any, _: Any, __: int) -> None:
        seen.append((now.version, now.name))

    async def lost(log: Log) -> bool:
        return log.age > 0

    async def patient(log: Log) -> bool:
        # Until then it may count as away once more, and what is asked be refused.
        return log._patience.when() > asyncio.get_running_loop().time() + 5

    async def scenario() -> None:
        async with live(manager.recorder) as log:
            volume_id = await available(log)
            append = Held(monkeypatch, manager.recorder, "append")
            monkeypatch.setattr(module, "AWAY_AFTER", 0.05)
            going = await asked_in_turn(ask(log, update, id=volume_id, name="late"))
            await eventually(partial(lost, log))
            monkeypatch.setattr(module, "AWAY_AFTER", 10.0)
            await eventually(partial(patient, log))
            await back(log)
            with log.watching(UUID(volume_id), look):
                going += await asked_in_turn(
                    ask(log, update, id=volume_id, name="beside")
                )
                await eventually(partial(known, log, volume_id))
                append.let_go.set()
                await asyncio.gather(*going)

    asyncio.run(scenario())

    assert seen == [(4, "beside")]
