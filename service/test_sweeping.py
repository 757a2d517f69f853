"""What hosts can reach converges to what the log says they are to reach."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest

from adapters.jetstream import lease, sweeping
from adapters.jetstream.telling import Service
from adapters.tasks import ended
from domain.attachment import reached_from
from domain.capabilities import Capabilities
from domain.ports import Cause, DriverFailed, Export, Progress, Survey, unheard
from domain.volume import Volume
from service.endpoints import agents
from service.testing.callers import eventually
from service.testing.deciding import capabilities
from service.testing.house import House, Run
from service.testing.loads import has_room

NODE_1 = {"host": "node-1", "initiator": "iqn.2026-01.example:node-1"}
NODE_2 = {"host": "node-2", "initiator": "iqn.2026-01.example:node-2"}


class Gate:
    """A door: whoever comes to it while it is shut is seen, and waits."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.open.set()
        self.met = threading.Event()

    def pass_through(self) -> None:
        if not self.open.is_set():
            self.met.set()
            assert self.open.wait(30)

    def shut(self) -> None:
        self.met.clear()
        self.open.clear()


class Exporting:
    """A driver that remembers who reaches what, and what a sweep has changed."""

    def __init__(self) -> None:
        self.reach: dict[UUID, set[str]] = {}
        self.diary: list[str] = []
        self.taken_away: set[str] = set()
        self.looked_at: list[str] = []
        self.slow = 0.0  # seconds that it takes to look at one
        self.broken: set[UUID] = set()
        self.setting_up = Gate()
        self.asked = Gate()
        self.converging = Gate()
        self.connecting = Gate()
        self.creating = Gate()

    def recognize(self) -> None:
        pass

    def set_up(self) -> None:
        self.setting_up.pass_through()

    def capabilities(self) -> Capabilities:
        return capabilities(10_000)

    def create(
        self, asked: Volume.Created, cause: Cause, progress: Progress = unheard
    ) -> str:
        self.creating.pass_through()
        return "/exporting"

    def delete(self, volume_id: UUID, *_: Any) -> None:
        pass

    def extend(self, volume_id: UUID, size_gib: int) -> None:
        pass

    def connect(self, volume_id: UUID, connector: dict[str, Any]) -> dict[str, Any]:
        self.connecting.pass_through()
        self.reach.setdefault(volume_id, set()).add(reached_from(connector))
        return {"driver_volume_type": "iscsi", "data": {}}

    def disconnect(self, volume_id: UUID, connector: dict[str, Any]) -> None:
        self.reach.get(volume_id, set()).discard(reached_from(connector))

    def remove_export(self, volume_id: UUID) -> None:
        self.reach.pop(volume_id, None)

    def survey(self) -> Survey:
        raise DriverFailed("it has nothing but exports")

    def exports(self) -> set[UUID]:
        self.diary.append("asked")
        self.asked.pass_through()
        return {volume_id for volume_id, hosts in self.reach.items() if hosts}

    def converge(self, wanted: Export) -> bool:
        self.converging.pass_through()
        self.looked_at.append(str(wanted.volume_id))
        time.sleep(self.slow)
        if wanted.volume_id in self.broken:
            raise DriverFailed("its target is stuck")
        hosts = set(map(reached_from, wanted.connectors))
        before = self.reach.get(wanted.volume_id, set())
        self.reach[wanted.volume_id] = hosts
        self.taken_away |= before - hosts
        if before != hosts:
            self.diary.append(str(wanted.volume_id))
        return before != hosts

    def hosts(self, volume_id: str) -> list[str]:
        return sorted(self.reach.get(UUID(volume_id), ()))


@pytest.fixture
def run(run: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a scenario in a house whose agent sweeps again and again."""
    monkeypatch.setattr(sweeping, "EVERY", 0.05)
    monkeypatch.setattr(sweeping, "AGAIN", 0.05)
    return run


async def attached(house: House, volume_id: str, connector: dict[str, str]) -> str:
    """Let a host hold a volume, and return the attachment's id."""
    about = {"volume_id": volume_id, "host": connector["host"]}
    held = await house.asker.insist(
        "attachment.create", str(uuid4()), connector=connector, **about
    )
    await house.asker.insist("attachment.complete", id=held["id"])
    attachment_id: str = held["id"]
    return attachment_id


async def swept(house: House) -> None:
    """Return when a sweep is over that began after this was asked for."""
    begun = house.driver.diary.count("asked")
    # One may have begun before; when the third has, two are over.
    await until(lambda: house.driver.diary.count("asked") >= begun + 3)


async def a_sweep_has_asked(house: House) -> None:
    """Return when a sweep is held up that has asked what there is to do."""
    house.driver.asked.shut()
    await met(house.driver.asked)


async def met(gate: Gate) -> None:
    assert await asyncio.to_thread(gate.met.wait, 30)


# What is converged to


def test_what_a_restart_has_lost_is_made_again(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeping, "EVERY", 60)

    async def scenario(house: House) -> list[str]:
        volume_id = await house.available(multiattach=True)
        for connector in (NODE_1, NODE_2):
            await attached(house, volume_id, connector)
        house.driver.reach.clear()
        await house.start_agent()
        await until(lambda: bool(house.driver.hosts(volume_id)))
        return list(house.driver.hosts(volume_id))

    assert run(Exporting(), scenario) == ["node-1", "node-2"]


def test_what_nobody_is_to_reach_is_taken_away(run: Run) -> None:
    async def scenario(house: House) -> dict[UUID, set[str]]:
        volume_id = await house.available()
        for left in (UUID(volume_id), uuid4()):
            house.driver.reach[left] = {"node-9"}
        await swept(house)
        return dict(house.driver.reach)

    assert not any(run(Exporting(), scenario).values())


def test_a_way_without_an_attachment_stays_until_it_is_taken_back(run: Run) -> None:
    async def scenario(house: House) -> list[list[str]]:
        volume_id = await house.available()
        about: Any = {"id": volume_id, "connector": NODE_1}
        await house.asker.insist("volume.initialize_connection", "key-1", **about)
        house.driver.reach.clear()
        await swept(house)
        seen = [house.driver.hosts(volume_id)]
        await house.asker.insist("volume.terminate_connection", **about)
        await swept(house)
        return [*seen, house.driver.hosts(volume_id)]

    assert run(Exporting(), scenario) == [["node-1"], []]


def test_a_storage_that_is_set_up_anew_is_swept(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeping, "EVERY", 60)

    async def scenario(house: House) -> None:
        volume_id = await house.available()
        await attached(house, volume_id, NODE_1)
        for _ in range(3):
            house.driver.reach.clear()
            await house.asker.ask("backend.initialize", seconds=20, name="files")
            await until(lambda: bool(house.driver.hosts(volume_id)))

    run(Exporting(), scenario)


def test_a_storage_that_takes_long_to_set_up_is_swept_once(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("EVERY", "AGAIN"):
        monkeypatch.setattr(sweeping, name, 60)

    async def scenario(house: House) -> int:
        house.driver.setting_up.shut()
        await house.start_agent()
        await met(house.driver.setting_up)
        await house.agent.at_work.wait()
        begun = house.driver.diary.count("asked")
        house.driver.setting_up.open.set()
        await has_room(house.asker)
        for _ in range(5):  # beside which there is time for a second one
            await house.available()
        return int(house.driver.diary.count("asked") - begun)

    assert run(Exporting(), scenario) == 1


def test_one_volume_that_fails_holds_up_no_other(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(house: House) -> list[list[str]]:
        volumes = [await house.available() for _ in range(3)]
        for volume_id in volumes:
            await attached(house, volume_id, NODE_1)
        await swept(house)  # nothing is worked on any more
        await a_sweep_has_asked(house)
        house.driver.broken.add(UUID(volumes[1]))
        house.driver.reach.clear()
        house.driver.asked.open.set()
        await swept(house)
        return [house.driver.hosts(volume_id) for volume_id in volumes]

    assert run(Exporting(), scenario) == [["node-1"], [], ["node-1"]]
    assert "its target is stuck" in caplog.text
    assert "were otherwise: 2 done, 1 driver_failed" in caplog.text


def test_two_instances_on_one_host_share_its_way_until_the_last(run: Run) -> None:
    async def scenario(house: House) -> list[list[str]]:
        volume_id = await house.available(multiattach=True)
        held = []
        for instance in ("web-1", "web-2"):
            about: Any = {"volume_id": volume_id, "connector": NODE_1}
            about["instance"] = instance
            held.append(
                await house.asker.insist("attachment.create", instance, **about)
            )
        seen = []
        for each in held:
            await house.asker.insist("attachment.delete", id=each["id"])
            await swept(house)
            seen.append(house.driver.hosts(volume_id))
        return seen

    assert run(Exporting(), scenario) == [["node-1"], []]


def test_hosts_that_have_lost_their_way_do_not_wait_for_the_others(run: Run) -> None:
    driver = Exporting()

    async def scenario(house: House) -> int:
        volumes = [await house.available() for _ in range(3)]
        for volume_id in volumes:
            await attached(house, volume_id, NODE_1)
        await swept(house)  # nothing is worked on any more
        await a_sweep_has_asked(house)
        del driver.reach[UUID(volumes[2])]
        begun = len(driver.looked_at)
        driver.asked.open.set()
        await until(lambda: bool(driver.hosts(volumes[2])))
        return volumes.index(driver.looked_at[begun])

    assert run(driver, scenario) == 2


def test_hosts_that_have_lost_their_way_do_not_wait_for_what_is_in_flight(
    run: Run,
) -> None:
    driver = Exporting()

    async def scenario(house: House) -> None:
        volume_id = await house.available()
        await attached(house, volume_id, NODE_1)
        await ended(house.working)
        driver.reach.clear()
        driver.creating.shut()
        in_flight = [await house.create() for _ in range(5)]
        await house.start_agent()
        await met(driver.creating)
        await until(lambda: bool(driver.hosts(volume_id)))
        driver.creating.open.set()
        for each in in_flight:
            await house.settled(each)

    run(driver, scenario)


# What happens at the same time


def test_a_way_that_is_made_while_a_sweep_is_under_way_stays(run: Run) -> None:
    driver = Exporting()

    async def scenario(house: House) -> list[str]:
        volume_id = await house.available()
        await a_sweep_has_asked(house)  # and was told that nobody is to reach it
        await attached(house, volume_id, NODE_1)
        driver.asked.open.set()
        await swept(house)
        return driver.hosts(volume_id)

    assert run(driver, scenario) == ["node-1"]
    assert driver.taken_away == set()


def test_a_way_that_is_being_made_when_a_sweep_asks_stays(run: Run) -> None:
    driver = Exporting()

    async def scenario(house: House) -> list[str]:
        volume_id = await house.available()
        await swept(house)
        driver.connecting.shut()
        making = asyncio.create_task(attached(house, volume_id, NODE_1))
        await met(driver.connecting)
        driver.reach[UUID(volume_id)] = {"node-9"}
        begun = driver.diary.count("asked")
        await until(lambda: driver.diary.count("asked") > begun + 2)
        assert driver.hosts(volume_id) == ["node-9"]
        driver.connecting.open.set()
        await making
        await swept(house)
        return driver.hosts(volume_id)

    assert run(driver, scenario) == ["node-1"]
    assert driver.taken_away == {"node-9"}


def test_a_way_that_is_taken_back_while_a_sweep_is_under_way_stays_away(
    run: Run,
) -> None:
    driver = Exporting()

    async def scenario(house: House) -> list[str]:
        volume_id = await house.available()
        held = await attached(house, volume_id, NODE_1)
        await a_sweep_has_asked(house)  # and knows of node-1
        await house.asker.insist("attachment.delete", id=held)
        driver.asked.open.set()
        await swept(house)
        return [entry for entry in driver.diary if entry == volume_id]

    assert run(driver, scenario) == []


def test_work_that_comes_while_its_volume_converges_has_the_last_word(
    run: Run,
) -> None:
    driver = Exporting()

    async def scenario(house: House) -> tuple[list[str], list[str]]:
        volume_id = await house.available()
        await swept(house)
        driver.converging.shut()
        driver.reach[UUID(volume_id)] = {"node-9"}
        await met(driver.converging)
        making = asyncio.create_task(attached(house, volume_id, NODE_1))
        await attached(house, await house.available(), NODE_2)  # others go on
        meanwhile = driver.hosts(volume_id)
        driver.converging.open.set()
        await making
        return meanwhile, driver.hosts(volume_id)

    assert run(driver, scenario) == (["node-9"], ["node-1"])


def test_an_agent_that_has_lost_its_lease_converges_nothing_more(run: Run) -> None:
    driver = Exporting()

    async def scenario(house: House) -> list[str]:
        volume_id = await house.available()
        await a_sweep_has_asked(house)
        driver.reach[UUID(volume_id)] = {"node-9"}
        stranger = Service(house.asker.client, house.settings.key)
        about = {"name": "files", "holder": "the only holder", "host": "node-2"}
        await stranger.tell("agent.take_lease", about)
        await until(lambda: not house.agent.serves)
        begun = len(driver.diary)
        driver.asked.open.set()
        await until(lambda: volume_id in driver.diary)
        return driver.diary[begun:]

    # It has asked again, under a lease of its own, before it did anything.
    assert run(driver, scenario)[0] == "asked"


def test_a_sweep_whose_lease_lapses_goes_on_when_it_is_renewed(
    run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    driver = Exporting()

    async def scenario(house: House) -> None:
        volumes = [await house.available() for _ in range(20)]
        for volume_id in volumes:
            await attached(house, volume_id, NODE_1)
        await ended(house.working)
        driver.reach.clear()
        driver.slow = 0.05
        # Good for a third of the time, in which a few can be looked at.
        monkeypatch.setattr(agents, "TERM", 0.3)
        monkeypatch.setattr(lease, "RENEW_EVERY", 0.9)
        await house.start_agent()
        await until(lambda: all(map(driver.hosts, volumes)))
        await until(lambda: "were otherwise" in caplog.text)

    run(driver, scenario)

    assert "were otherwise: 20 done" in caplog.text


def test_what_was_worked_on_is_looked_at_again_soon(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = Exporting()

    async def scenario(house: House) -> list[str]:
        volume_id = await house.available(multiattach=True)
        await attached(house, volume_id, NODE_1)
        await swept(house)
        driver.connecting.shut()
        making = asyncio.create_task(attached(house, volume_id, NODE_2))
        await met(driver.connecting)
        await a_sweep_has_asked(house)
        monkeypatch.setattr(sweeping, "EVERY", 60)
        driver.reach.clear()
        driver.asked.open.set()
        driver.connecting.open.set()
        await making
        await until(lambda: len(driver.hosts(volume_id)) == 2)
        return driver.hosts(volume_id)

    assert run(driver, scenario) == ["node-1", "node-2"]


async def until(so: Callable[[], bool]) -> None:
    async def is_so() -> bool:
        return so()

    await eventually(is_so, 30)
