"""What a storage has and the log does not explain is found, listed and cleared."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from adapters.embedded.nats_server import NatsServer
from adapters.file.driver import FileDriver
from adapters.jetstream import surveying, sweeping
from domain.ports import Survey
from service.house import House, Run, lived
from service.testing import eventually


@pytest.fixture
def run(
    tmp_path: Path,
    broker: NatsServer,
    settings: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> Run:
    """Run a scenario in a house whose agent surveys again and again."""
    monkeypatch.setattr(sweeping, "EVERY", 0.1)
    monkeypatch.setattr(sweeping, "AGAIN", 0.1)
    monkeypatch.setattr(surveying, "AGAIN", 0.05)
    return lived(tmp_path, broker.url, settings)


class Watched(FileDriver):
    """The driver of files, which counts how often it was surveyed."""

    surveys = 0

    def survey(self) -> Survey:
        self.surveys += 1
        return super().survey()


@pytest.fixture
def driver(tmp_path: Path) -> Watched:
    return Watched(tmp_path / "volumes")


async def surveyed(driver: Watched) -> None:
    """Return when a survey is over that began after this was asked for."""
    begun = driver.surveys

    async def so() -> bool:
        return driver.surveys >= begun + 4  # each finding is looked at twice

    await eventually(so, 30)


def home(driver: Watched, volume_id: str) -> Path:
    return driver._folder / volume_id


async def drift(house: House) -> list[Any]:
    told = await house.asker.insist("backend.drift", name="files")
    return list(told["items"])


async def found(house: House, *expected: tuple[str, str]) -> list[Any]:
    """Return what stands once that is what is expected, and nothing else."""

    async def so() -> bool:
        return {(i["drift"], i["subject"]) for i in await drift(house)} == {*expected}

    await eventually(so, 30)
    return await drift(house)


async def events(house: House) -> list[str]:
    told = await house.asker.insist("backend.history", name="files")
    return [i["event"] for i in told["items"] if "drift" in i["event"]]


def test_a_missing_volume_is_found_with_the_event_that_explains_it(
    run: Run, driver: Watched
) -> None:
    async def scenario(house: House) -> Any:
        volume_id = await house.available()
        made = (await house.asker.insist("volume.show", id=volume_id))["version"]
        shutil.rmtree(home(driver, volume_id))
        [missing] = await found(house, ("object_missing", volume_id))
        return missing["explained_by"], volume_id, made

    explained_by, volume_id, made = run(driver, scenario)
    assert explained_by["event"] == "volume.creation_finished"
    assert (explained_by["id"], explained_by["version"]) == (volume_id, made)


def test_what_comes_back_clears_its_finding_and_is_found_once(
    run: Run, driver: Watched
) -> None:
    async def scenario(house: House) -> list[str]:
        volume_id = await house.available()
        away = home(driver, volume_id).with_name(".away")
        home(driver, volume_id).rename(away)
        await found(house, ("object_missing", volume_id))
        await surveyed(driver)
        away.rename(home(driver, volume_id))
        await found(house)
        return await events(house)

    assert run(driver, scenario) == ["backend.drift_found", "backend.drift_cleared"]


def test_what_nobody_asked_for_is_found(run: Run, driver: Watched) -> None:
    stranger = str(uuid4())

    async def scenario(house: House) -> Any:
        volume_id = await house.available()
        shutil.copytree(home(driver, volume_id), home(driver, stranger))
        [one] = await found(house, ("object_unexplained", stranger))
        return one

    one = run(driver, scenario)
    assert one["explained_by"] is None
    assert stranger in one["found"]
