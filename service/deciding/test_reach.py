"""What the log's way to the database says of that, and whom it holds up."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from service.deciding import reach
from service.deciding.command import Unavailable
from service.endpoints.volumes import show
from service.manager import VolumeManager
from service.testing.deciding import ask, available, back, live, unreachable

REFUSED = {
    "SELECT nothing_of_that_name": ("refuses what it is asked", 1),
    "SET TRANSACTION READ ONLY; CREATE TABLE kept ()": ("database is read-only", 0),
}


@pytest.mark.parametrize("statement", REFUSED)
def test_a_database_that_refuses_what_it_is_asked_is_not_called_out_of_reach(
    manager: VolumeManager, caplog: pytest.LogCaptureFixture, statement: str
) -> None:
    said, stacks = REFUSED[statement]

    def wrong() -> None:
        with manager.recorder.datastore.transaction() as cursor:
            for each in statement.split(";"):
                cursor.execute(each)

    async def scenario() -> None:
        async with live(manager.recorder) as log:
            with pytest.raises(Unavailable, match=said):
                await log.read(wrong)
            assert not log.age

    asyncio.run(scenario())

    assert len([each for each in caplog.records if each.exc_info]) == stacks


def test_long_looks_at_the_log_hold_up_no_command(manager: VolumeManager) -> None:
    async def scenario() -> Any:
        looked = asyncio.Event()
        loop = asyncio.get_running_loop()

        def look_long() -> None:
            asyncio.run_coroutine_threadsafe(looked.wait(), loop).result()

        async with live(manager.recorder) as one:
            volume_id = await available(one)
        async with live(manager.recorder) as log, asyncio.timeout(5):
            looks = [asyncio.create_task(log.read(look_long)) for _ in range(4)]
            shown = await ask(log, show, id=volume_id)
            looked.set()
            await asyncio.gather(*looks)
            return shown

    assert asyncio.run(scenario())["status"] == "available"


def test_a_quiet_time_before_is_not_counted_as_one_without_the_database(
    manager: VolumeManager,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0
    monkeypatch.setattr(reach, "time", SimpleNamespace(monotonic=lambda: now))
    way = reach.Reach(manager.recorder)
    now = 600.0
    way.lost("gone")
    now = 608.0

    told = str(way.unavailable())
    way.reached()
    way.close()

    assert "for 8 s" in told
    assert "the log is back after 8.0 s" in caplog.text


def test_while_the_database_is_away_nobody_waits_to_read_it(
    manager: VolumeManager,
) -> None:
    looks: list[int] = []

    def look() -> None:
        looks.append(1)
        unreachable()

    async def scenario() -> None:
        async with live(manager.recorder) as log:
            for _ in range(3):
                with pytest.raises(Unavailable, match="cannot be reached, for"):
                    await log.read(look)
            await back(log)

    asyncio.run(scenario())

    assert len(looks) == 1
