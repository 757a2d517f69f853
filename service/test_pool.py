"""A pool that fills up, from the agent that measures it to the log and to placing."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec
import pytest

from adapters.jetstream import measuring
from domain.capabilities import Capabilities
from domain.ports import Cause, Progress, unheard
from domain.volume import Volume
from service.testing.deciding import capabilities
from service.testing.house import House, Run


class Pooled:
    """A driver with a pool."""

    def __init__(self) -> None:
        self.data_percent = 10.0

    def recognize(self) -> None:
        pass

    def set_up(self) -> None:
        pass

    def capabilities(self) -> Capabilities:
        told = {"data_percent": self.data_percent, "metadata_percent": 1.5}
        return msgspec.structs.replace(capabilities(10_000), **told)

    def create(
        self, asked: Volume.Created, cause: Cause, progress: Progress = unheard
    ) -> str:
        return "/pooled"

    def exports(self) -> set[UUID]:
        return set()


def test_a_pool_that_fills_up_is_told_of_and_left_alone(
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(measuring, "MEASURE_EVERY", 0.05)
    driver = Pooled()

    async def measured(house: House, percent: float, times: int) -> list[Any]:
        """Return what is in the log of the pool, once there is so much."""
        driver.data_percent = percent

        def so(history: Any) -> bool:
            return len(of_pool(history)) == times

        found = await house.asker.until("backend.history", so, name="files")
        return of_pool(found)

    async def scenario(house: House) -> tuple[list[Any], Any, Any, str]:
        for times, percent in enumerate((85.0, 96.5), 1):
            await measured(house, percent, times)

        def full(backend: Any) -> bool:
            return bool(backend["capabilities"]["data_percent"] == 96.5)

        seen = await house.asker.until("backend.show", full, name="files")
        refused = await house.asker.ask("volume.create", seconds=20, size_gib=1)
        events = await measured(house, 20.0, 3)
        return events, seen, refused.body, await house.available()

    events, seen, refused, made = run(driver, scenario)

    assert events == [
        ("backend.pool_filled", "data", 85.0, 80),
        ("backend.pool_filled", "data", 96.5, 95),
        ("backend.pool_relieved", "data", 20.0, 0),
    ]
    assert seen["capabilities"]["metadata_percent"] == 1.5
    assert refused["type"] == "no-capacity"
    said = {"files": "has a pool whose data is 96.5 % full"}
    assert refused["considered"] == said
    assert "the data of its pool is 96.5 % full" in caplog.text
    assert made


def of_pool(history: Any) -> list[Any]:
    return [
        (i["event"], *(i["data"][n] for n in ("part", "percent", "threshold")))
        for i in history["items"]
        if "pool" in i["event"]
    ]
