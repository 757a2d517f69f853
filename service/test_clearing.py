"""A deletion that takes hours: what is told of it, and what need not wait for it."""

from __future__ import annotations

import asyncio
import itertools
import threading
from typing import Any
from uuid import UUID

import pytest

from adapters.jetstream import progress
from adapters.jetstream.admission import A_FEW
from domain.capabilities import Capabilities
from domain.ports import Cause, Progress, unheard
from domain.volume import Volume
from service.testing.callers import eventually
from service.testing.deciding import capabilities
from service.testing.house import House, Run


class Clearing:
    """A driver that clears what it deletes, one percent whenever it is let."""

    def __init__(self) -> None:
        self.may_go_on = threading.Event()
        self.cleared: dict[UUID, int] = {}
        self.begun: list[UUID] = []
        self.set_ups = 0

    def recognize(self) -> None:
        pass

    def set_up(self) -> None:
        self.set_ups += 1

    def capabilities(self) -> Capabilities:
        return capabilities(10_000)

    def create(
        self, asked: Volume.Created, cause: Cause, progress: Progress = unheard
    ) -> str:
        return "/clearing"

    def remove_export(self, volume_id: UUID) -> None:
        pass

    def delete(
        self, volume_id: UUID, made_at: str, progress: Progress = unheard
    ) -> str | None:
        self.begun.append(volume_id)
        for percent in range(self.cleared.get(volume_id, 0), 101):
            self.cleared[volume_id] = percent
            progress(percent)
            while not self.may_go_on.wait(0.02):
                progress(percent)
        return "zero"

    def exports(self) -> set[UUID]:
        return set()


@pytest.fixture
def run(run: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr(progress, "EVERY", 0.0)
    return run


async def deleting(house: House, number: int) -> list[str]:
    """Return the ids of volumes that are being cleared, or are to be."""
    volumes = [await house.available() for _ in range(number)]
    for volume_id in volumes:
        await house.asker.insist("volume.delete", id=volume_id)
    return volumes


async def has_begun(driver: Clearing, number: int) -> None:
    async def so() -> bool:
        return len(driver.begun) >= number

    await eventually(so, 30)


def test_the_log_says_how_far_it_is_and_how_it_was_cleared(run: Run) -> None:
    driver = Clearing()

    async def scenario(house: House) -> list[Any]:
        [volume_id] = await deleting(house, 1)
        driver.may_go_on.set()
        await house.settled(volume_id)
        history = await house.asker.insist("volume.history", id=volume_id)
        return [
            (item["event"], item["data"], item["recorded_by"])
            for item in history["items"][3:]
        ]

    *told, (last, cleared, _) = run(driver, scenario)

    assert {event for event, *_ in told} == {"volume.deletion_progressed"}
    assert {by for *_, by in told} == {"agent files"}
    percents = [data["percent"] for _, data, _ in told]
    assert all(b - a >= 5 for a, b in itertools.pairwise(percents))
    assert (last, cleared["cleared"]) == ("volume.deleted", "zero")


def test_new_work_does_not_wait_for_what_is_being_cleared(run: Run) -> None:
    driver = Clearing()

    async def scenario(house: House) -> str:
        await deleting(house, 20)
        await has_begun(driver, A_FEW)
        volume = await house.settled(await house.create())
        driver.may_go_on.set()
        status: str = volume["status"]
        return status

    assert run(driver, scenario) == "available"


def test_the_storage_is_set_up_amid_a_deletion_which_goes_on_then(run: Run) -> None:
    driver = Clearing()

    async def scenario(house: House) -> tuple[str, str]:
        [volume_id] = await deleting(house, 1)
        await has_begun(driver, 1)
        asked = {"name": "files"}
        answer = await house.asker.ask("backend.initialize", seconds=20, **asked)
        await has_begun(driver, 2)
        driver.may_go_on.set()
        return answer.code, (await house.settled(volume_id))["status"]

    assert run(driver, scenario) == ("", "deleted")
    assert driver.set_ups == 2


def test_an_agent_that_leaves_leaves_what_is_being_cleared(run: Run) -> None:
    driver = Clearing()

    async def scenario(house: House) -> str:
        [volume_id] = await deleting(house, 1)
        await has_begun(driver, 1)
        async with asyncio.timeout(5):
            await house.agent.finish(60)
        driver.may_go_on.set()
        await house.start_agent()
        status: str = (await house.settled(volume_id))["status"]
        return status

    assert run(driver, scenario) == "deleted"
