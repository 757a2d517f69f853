"""What a storage has and the log does not explain is found, listed and cleared."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from threading import Event
from typing import Any
from uuid import UUID, uuid4

import pytest

from adapters.contracts.drivers import held_open
from adapters.file.driver import FileDriver
from adapters.file.testing import copy_home
from adapters.jetstream import measuring, surveying, sweeping
from adapters.jetstream.telling import Service
from domain.ports import DriverFailed, Survey
from service.audit import overdue
from service.testing.callers import eventually
from service.testing.house import House, Run


@pytest.fixture
def run(run: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a scenario in a house whose agent surveys again and again."""
    monkeypatch.setattr(measuring, "MEASURE_EVERY", 0.1)
    monkeypatch.setattr(sweeping, "EVERY", 0.1)
    monkeypatch.setattr(sweeping, "AGAIN", 0.1)
    monkeypatch.setattr(surveying, "AGAIN", 0.05)
    return run


class Watched(FileDriver):
    """The driver of files, which counts how often it was surveyed."""

    surveys = 0
    growing: Event | None = None  # not before it is set
    dark = False

    def survey(self) -> Survey:
        self.surveys += 1
        if self.dark:
            raise DriverFailed("nothing is to be seen")
        return super().survey()

    def extend(self, volume_id: UUID, size_gib: int) -> None:
        if self.growing:
            self.growing.wait(30)
        super().extend(volume_id, size_gib)


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
        away = home(driver, volume_id).parents[1] / "away"
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
        copy_home(home(driver, volume_id), home(driver, stranger))
        [one] = await found(house, ("object_unexplained", stranger))
        return one

    one = run(driver, scenario)
    assert one["explained_by"] is None
    assert stranger in one["found"]


def test_it_is_said_when_storage_was_looked_at_and_what_keeps_it_from_that(
    run: Run, driver: Watched
) -> None:
    async def looked_at(house: House, *, failing: bool) -> str:
        told: dict[str, Any] = {}

        async def so() -> bool:
            told.update(await house.asker.insist("backend.drift", name="files"))
            return bool(told["surveyed_at"]) and bool(told["not_surveyed"]) is failing

        await eventually(so)
        return str(told["not_surveyed"] if failing else told["surveyed_at"])

    async def scenario(house: House) -> tuple[str, str, str]:
        before = await looked_at(house, failing=False)
        driver.dark = True
        why = await looked_at(house, failing=True)
        driver.dark = False
        return before, why, await looked_at(house, failing=False)

    before, why, after = run(driver, scenario)
    assert why == "the storage cannot be surveyed: nothing is to be seen"
    assert before < after


# What happens at the same time


@pytest.mark.parametrize("later", [False, True])
def test_a_fact_that_is_older_than_what_has_happened_since_is_passed_over(
    run: Run, driver: Watched, monkeypatch: pytest.MonkeyPatch, *, later: bool
) -> None:
    monkeypatch.setattr(sweeping, "EVERY", 3600)

    async def scenario(house: House) -> list[Any]:
        volume_id = await house.available()
        made = await house.asker.insist("volume.show", id=volume_id)
        subject = {"noun": "volume", "name": volume_id}
        told = {"name": "files", "lease": await lease(house)}
        told["position"] = made["position"] if later else made["position"] - 1
        agent = Service(house.asker.client, house.settings.key)
        await agent.tell("agent.surveyed", told | {"facts": [{"subject": subject}]})
        return await drift(house)

    assert len(run(driver, scenario)) == later


def test_what_is_being_made_is_not_missing(run: Run, driver: Watched) -> None:
    driver.growing = growing = Event()

    async def scenario(house: House) -> list[str]:
        volume_id = await house.available()
        await house.asker.insist("volume.extend", id=volume_id, size_gib=2)
        os.truncate(home(driver, volume_id) / "volume", 2**29)
        await surveyed(driver)
        growing.set()
        await house.settled(volume_id)
        await surveyed(driver)
        return await events(house)

    assert run(driver, scenario) == []


def test_a_storage_that_is_out_of_sight_is_told_nothing_of(
    run: Run, driver: Watched
) -> None:
    async def scenario(house: House) -> list[str]:
        await house.available()
        folder = home(driver, "")
        folder.rename(folder.with_name("unmounted"))
        await works(house, so=False)
        folder.with_name("unmounted").rename(folder)
        await works(house, so=True)
        await surveyed(driver)
        return await events(house)

    assert run(driver, scenario) == []


async def works(house: House, *, so: bool) -> None:
    def is_so(told: Any) -> bool:
        return bool(told["working"]) is so

    await house.asker.until("backend.is_working", is_so, name="files")


async def lease(house: House) -> int:
    told = await house.asker.insist("backend.history", name="files")
    taken = [it for it in told["items"] if it["event"] == "backend.lease_taken"]
    return int(taken[-1]["data"]["number"])


# Repairing


async def repaired(house: House, **more: Any) -> list[tuple[str, bool]]:
    told = await house.asker.insist("backend.repair", name="files", **more)
    return [(step["remedy"], step["under_way"]) for step in told["steps"]]


class Leaking(Watched):
    """One that makes volumes, and then says that it could not."""

    def create(self, *asked: Any) -> str:
        super().create(*asked)
        raise DriverFailed("the disk is slow today")


def test_what_a_backend_has_left_of_what_another_one_made_is_removed(
    run: Run, tmp_path: Path
) -> None:
    leaking = Leaking(tmp_path / "volumes")
    beside_it = tmp_path / "spare"
    spare = FileDriver(beside_it, name="spare", max_over_subscription_ratio=10.0)

    async def scenario(house: House) -> Any:
        await house.serve_also(spare, "spare")
        volume_id = await house.available()
        [left] = await found(house, ("object_unexplained", volume_id))
        steps = await repaired(house, apply=True)
        await found(house)
        return volume_id, left["remedy"], steps

    volume_id, remedy, steps = run(leaking, scenario)
    assert (remedy, steps) == ("remove", [("remove", True)])
    assert not home(leaking, volume_id).exists()
    assert (beside_it / volume_id / "volume").exists()


def test_a_plan_changes_nothing(run: Run, driver: Watched) -> None:
    async def scenario(house: House) -> Any:
        volume_id = await house.available()
        forget_what_made_it(driver, volume_id)
        await found(house, ("tags", volume_id))
        plan = await repaired(house)
        await surveyed(driver)
        return plan, await events(house)

    plan, told = run(driver, scenario)
    assert plan == [("mark", False)]
    assert told == ["backend.drift_found"]


def test_what_has_lost_its_marks_is_marked_again(run: Run, driver: Watched) -> None:
    async def scenario(house: House) -> Any:
        volume_id = await house.available()
        before = beside(driver, volume_id)
        forget_what_made_it(driver, volume_id)
        await found(house, ("tags", volume_id))
        under_way = await repaired(house, apply=True)
        await found(house)
        return before, beside(driver, volume_id), under_way

    before, after, under_way = run(driver, scenario)
    assert before == after
    assert under_way == [("mark", True)]


def test_a_shrunk_volume_is_grown_again(run: Run, driver: Watched) -> None:
    async def scenario(house: House) -> int:
        volume_id = await house.available(size_gib=2)
        os.truncate(home(driver, volume_id) / "volume", 2**30)
        await found(house, ("size", volume_id))
        await repaired(house, apply=True)
        await found(house)
        return (home(driver, volume_id) / "volume").stat().st_size

    assert run(driver, scenario) == 2 * 2**30


def test_what_is_left_of_a_deleted_volume_is_removed(run: Run, driver: Watched) -> None:
    async def scenario(house: House) -> bool:
        volume_id = await house.available()
        copy = home(driver, volume_id).with_name(".copy")
        copy_home(home(driver, volume_id), copy)
        await removed(house, volume_id)
        copy.rename(home(driver, volume_id))
        await found(house, ("object_unexplained", volume_id))
        await repaired(house, apply=True)
        await found(house)
        return home(driver, volume_id).exists()

    assert not run(driver, scenario)


def test_what_nothing_proves_dead_stays(run: Run, driver: Watched) -> None:
    async def scenario(house: House) -> Any:
        volume_id, stranger = await house.available(), str(uuid4())
        copy_home(home(driver, volume_id), home(driver, stranger))
        shutil.rmtree(home(driver, volume_id))
        missing, strange = (
            ("object_missing", volume_id),
            ("object_unexplained", stranger),
        )
        await found(house, missing, strange)
        steps = await repaired(house, apply=True)
        await surveyed(driver)
        return steps, home(driver, stranger).exists(), await events(house)

    steps, is_there, told = run(driver, scenario)
    assert set(steps) == {("by_hand", False)}
    assert is_there
    assert set(told) == {"backend.drift_found"}


def test_who_uses_a_volume_that_nobody_gave_it_is_told_of_and_left(
    run: Run, driver: Watched
) -> None:
    async def scenario(house: House) -> Any:
        volume_id = await house.available()
        with held_open(home(driver, volume_id) / "volume"):
            await found(house, ("session_without_attachment", volume_id))
            await repaired(house, apply=True)

            def so(told: Any) -> bool:
                return bool(told["error"])

            told = await house.asker.until("backend.repair", so, name="files")
        await found(house)
        return told["error"]["message"]

    assert "fuser" in run(driver, scenario)


def forget_what_made_it(driver: Watched, volume_id: str) -> None:
    for each in home(driver, volume_id).glob("made-by*"):
        each.unlink()


def beside(driver: Watched, volume_id: str) -> list[str]:
    return sorted(each.name for each in home(driver, volume_id).iterdir())


async def removed(house: House, volume_id: str) -> None:
    await house.asker.insist("volume.delete", id=volume_id)

    def so(volume: Any) -> bool:
        return bool(volume["status"] == "deleted")

    await house.asker.until("volume.show", so, id=volume_id)


# Work that nobody has settled


def test_work_that_nobody_gave_up_in_time_is_found_and_given_up_when_asked(
    run: Run, driver: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver.growing = growing = Event()

    async def scenario(house: House) -> Any:
        # As if what is older than a second were late, and the watcher saw nothing.
        allowed = house.settings.deadlines.extending
        monkeypatch.setattr(overdue, "GRACE", 1 - allowed)
        volume_id = await house.available()
        await house.asker.insist("volume.extend", id=volume_id, size_gib=2)
        [late] = await found(house, ("transition_overdue", volume_id))
        await repaired(house, apply=True)
        given_up = await house.settled(volume_id)
        growing.set()
        await found(house)
        return late, given_up

    late, given_up = run(driver, scenario)
    assert late["explained_by"]["event"] == "volume.extension_started"
    assert (given_up["status"], given_up["error"]["code"]) == (
        "error_extending",
        "deadline",
    )
