"""From a command to its outcome: replica, publisher and agent together."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from functools import partial
from pathlib import Path
from signal import SIGKILL
from typing import Any
from uuid import UUID, uuid4

import pytest
from eventsourcing.persistence import StoredEvent

from adapters.embedded.nats_server import NatsServer
from adapters.jetstream import agent as module
from adapters.jetstream import measuring
from adapters.jetstream.stream import STREAM
from adapters.noting import noted
from adapters.postgres.reading import verified
from domain import log as language
from domain.capabilities import Capabilities
from domain.group_snapshot import GroupSnapshot
from domain.ports import Cause, DriverFailed, Progress, unheard
from domain.volume import Volume
from service.manager import VolumeManager
from service.testing.callers import caller, eventually
from service.testing.deciding import capabilities
from service.testing.house import House, Scenario, lived
from service.testing.loads import has_room, nothing_is_in_flight
from service.testing.programs import AGENT, SERVE, configuration, program


class Shelf:
    """A driver that can hold volumes up to 9 GiB."""

    def __init__(self) -> None:
        self.done: list[tuple[str, UUID]] = []
        self.broken: Exception | None = None
        self.unusable: DriverFailed | None = None
        self.may_create = threading.Event()
        self.may_create.set()
        self.creating = threading.Event()
        self.copying = threading.Event()
        self.at_work = 0
        self.looked_at = 0

    def recognize(self) -> None:
        pass

    def set_up(self) -> None:
        assert not self.at_work
        self.looked_at += 1
        if self.unusable:
            raise self.unusable

    def capabilities(self) -> Capabilities:
        if self.unusable:
            raise self.unusable
        return capabilities(10_000)

    def create(
        self, asked: Volume.Created, cause: Cause, progress: Progress = unheard
    ) -> str:
        self.at_work += 1
        self.creating.set()
        assert self.may_create.wait(10)
        self.at_work -= 1
        self.done.append(("create", asked.originator_id))
        while asked.source:  # it never comes to its end
            self.copying.set()
            progress(0)
        if self.broken:
            raise self.broken
        with noted(f"put {asked.size_gib} GiB on the shelf"):
            if asked.size_gib > 9:
                raise DriverFailed("no room")
        return f"/shelf/{asked.originator_id}"

    def take_group_snapshot(self, asked: GroupSnapshot.Created, _: Cause) -> bool:
        self.creating.set()
        assert self.may_create.wait(10)
        self.done += [("snapshot", member.volume_id) for member in asked.members]
        return False

    def extend(self, volume_id: UUID, _: int) -> None:
        self.done.append(("extend", volume_id))

    def remove_export(self, volume_id: UUID) -> None:
        pass

    def delete(self, volume_id: UUID, *_: Any) -> None:
        self.done.append(("delete", volume_id))

    def exports(self) -> set[UUID]:
        return set()

    def of(self, volume_id: str) -> list[str]:
        return [verb for verb, key in self.done if str(key) == volume_id]


@pytest.fixture
def run(
    tmp_path: Path, broker: NatsServer, settings: dict[str, str]
) -> Callable[[Scenario], Any]:
    """Run a scenario in a house whose agent works."""
    return partial(lived(tmp_path, broker.url, settings), Shelf())


def test_every_command_gets_its_outcome(run: Callable[[Scenario], Any]) -> None:
    async def scenario(house: House) -> list[str]:
        asked = [await house.create(size_gib=size) for size in (1, 2, 10)]
        made = [(await house.settled(volume_id))["status"] for volume_id in asked]
        await house.asker.insist("volume.delete", id=asked[0])
        return [*made, (await house.settled(asked[0]))["status"]]

    assert run(scenario) == ["available", "available", "error", "deleted"]


def test_an_outcome_says_what_was_run_for_it_and_for_nothing_else(
    run: Callable[[Scenario], Any],
) -> None:
    async def scenario(house: House) -> list[Any]:
        asked = [await house.create(size_gib=size) for size in (1, 10)]
        for volume_id in asked:
            await house.settled(volume_id)
        told = [await house.asker.insist("volume.history", id=key) for key in asked]
        return [
            [ran["command"] for ran in history["items"][-1]["data"]["commands"]]
            for history in told
        ]

    assert run(scenario) == [["put 1 GiB on the shelf"], ["put 10 GiB on the shelf"]]


def test_a_volume_grows_once_its_group_is_snapshotted(
    run: Callable[[Scenario], Any],
) -> None:
    async def scenario(house: House) -> list[list[str]]:
        group = await house.asker.insist("group.create", backend="files")
        group_id = group["id"]
        members = [await house.create(group_id=group_id) for _ in range(2)]
        other = await house.create()
        await asyncio.gather(*map(house.settled, [*members, other]))
        house.driver.creating.clear()
        house.driver.may_create.clear()
        await house.asker.insist("group_snapshot.create", group_id=group_id)
        await asyncio.to_thread(house.driver.creating.wait, 30)
        for each in members:
            await house.asker.insist("volume.extend", id=each, size_gib=2)
        await house.asker.insist("volume.delete", id=other)
        await house.settled(other)  # which was asked last
        house.driver.may_create.set()
        await asyncio.gather(*map(house.settled, members))
        return [house.driver.of(each) for each in members]

    assert run(scenario) == [["create", "snapshot", "extend"]] * 2


def test_what_is_asked_while_an_agent_begins_is_done_once(
    run: Callable[[Scenario], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_AGAIN", 0.05)

    async def scenario(house: House) -> Counter[tuple[str, UUID]]:
        volumes = await asyncio.gather(*(house.create() for _ in range(300)))
        await asyncio.gather(*map(house.settled, volumes))
        return Counter(house.driver.done)

    assert set(run(scenario).values()) == {1}


def test_what_was_settled_long_ago_is_not_done_again(
    run: Callable[[Scenario], Any],
) -> None:
    async def scenario(house: House) -> list[str]:
        old = [await house.create() for _ in range(20)]
        for volume_id in old:
            await house.settled(volume_id)
        await house.start_agent()
        await house.settled(await house.create())
        return [verb for volume_id in old for verb in house.driver.of(volume_id)]

    assert run(scenario) == ["create"] * 20


def test_a_copy_that_is_called_off_ends_where_it_is(
    run: Callable[[Scenario], Any],
) -> None:
    async def scenario(house: House) -> tuple[str, list[str]]:
        of = await house.create()
        await house.settled(of)
        copy = await house.create(source={"volume": of})
        await asyncio.to_thread(house.driver.copying.wait, 30)
        await house.asker.insist("volume.delete", id=copy, force=True)
        gone = await house.settled(copy)
        deleted = await house.asker.insist("volume.delete", id=of)
        return gone["status"] + " " + deleted["status"], house.driver.of(copy)

    told = run(scenario)

    assert told == ("deleted deleting", ["create", "delete"])


def test_a_driver_that_breaks_down_says_so_on_the_volume(
    run: Callable[[Scenario], Any],
) -> None:
    async def scenario(house: House) -> list[Any]:
        house.driver.broken = ZeroDivisionError("secret")
        broken = await house.settled(await house.create())
        house.driver.broken = None
        return [broken, await house.settled(await house.create())]

    broken, later = run(scenario)

    assert broken["error"]["code"] == "driver_broke_down"
    assert broken["error"]["message"] == (
        "the driver broke down (ZeroDivisionError); see its log"
    )
    assert (broken["status"], later["status"]) == ("error", "available")


@pytest.mark.parametrize("broken", [None, ZeroDivisionError()])
def test_what_comes_later_does_not_overtake(
    run: Callable[[Scenario], Any], broken: Exception | None
) -> None:
    async def scenario(house: House) -> list[str]:
        house.driver.broken = broken
        house.driver.may_create.clear()
        volume_id = await house.create()
        await asyncio.to_thread(house.driver.creating.wait, 5)
        await house.asker.insist("volume.delete", id=volume_id, force=True)
        bystander = await house.create()
        house.driver.may_create.set()
        await house.settled(volume_id)
        await house.settled(bystander)
        return list(house.driver.of(volume_id))

    assert run(scenario) == ["create", "delete"]


def test_an_agent_whose_consumer_has_gone_finds_its_work(
    run: Callable[[Scenario], Any],
) -> None:
    async def scenario(house: House) -> list[str]:
        await house.settled(await house.create())
        stream = house.asker.client.jetstream()
        for consumer in await stream.consumers_info(STREAM):
            await stream.delete_consumer(STREAM, consumer.name)
        async with asyncio.timeout(10):
            volume_id = await house.create()
            await house.settled(volume_id)
        return list(house.driver.of(volume_id))

    assert run(scenario) == ["create"]


def test_what_the_stream_does_not_bring_is_asked_for_again(
    run: Callable[[Scenario], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_AGAIN", 1)

    async def scenario(house: House) -> list[str]:
        await house.settled(await house.create())
        client = house.asker.client
        for consumer in await client.jetstream().consumers_info(STREAM):
            pause = f"$JS.API.CONSUMER.PAUSE.{STREAM}.{consumer.name}"
            await client.request(pause, b'{"pause_until": "2999-01-01T00:00:00Z"}')
        volume_id = await house.create()
        await house.settled(volume_id)
        return list(house.driver.of(volume_id))

    assert run(scenario) == ["create"]


def test_what_nobody_can_read_ends_no_agent(
    run: Callable[[Scenario], Any], manager: VolumeManager
) -> None:
    poison = StoredEvent(uuid4(), 1, "volume.created", b"{}")

    def stopped(told: Any) -> bool:
        [found] = [item for item in told["items"] if item["name"] == "in_flight"]
        return bool(found["status"] == "stopped")

    async def scenario(house: House) -> list[list[str]]:
        house.driver.may_create.clear()
        before = await house.create()
        await asyncio.to_thread(manager.recorder.insert_events, [poison])
        await house.asker.until("projection.list", stopped)
        after = await house.create()
        house.driver.may_create.set()
        await asyncio.gather(house.settled(before), house.settled(after))
        await house.start_agent()  # which asks what there is to do
        later = await house.create()
        await house.settled(later)
        return [house.driver.of(each) for each in (before, after, later)]

    assert run(scenario) == 3 * [["create"]]


def test_a_storage_that_cannot_be_measured_does_not_end_its_agent(
    run: Callable[[Scenario], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_AGAIN", 0.05)
    monkeypatch.setattr(measuring, "MEASURE_EVERY", 0.05)

    def works(backend: Any) -> bool:
        return bool(backend["working"])

    async def scenario(house: House) -> str:
        house.driver.unusable = DriverFailed("the disk is gone")
        seen = await house.asker.until(
            "backend.is_working", lambda b: not works(b), name="files"
        )
        # Announced again meanwhile, of a storage that cannot be measured.
        await asyncio.sleep(1)
        house.driver.unusable = None
        await house.asker.until("backend.is_working", works, name="files")
        await house.settled(await house.create())
        reason: str = seen["reason"]
        return reason

    assert run(scenario) == "the disk is gone"


def test_what_comes_by_a_stream_that_is_published_anew_is_not_done_again(
    run: Callable[[Scenario], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(house: House) -> list[list[str]]:
        volume_id = await house.available()
        await house.asker.insist("volume.delete", id=volume_id)
        await house.settled(volume_id)
        begins = module.behind
        monkeypatch.setattr(module, "behind", lambda _: begins(0))
        await house.start_agent()
        later = await house.available()  # which comes after all of it
        return [house.driver.of(each) for each in (volume_id, later)]

    assert run(scenario) == [["create", "delete"], ["create"]]


def test_what_an_agent_tells_is_taken_though_its_clock_was_set_back(
    run: Callable[[Scenario], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    class SetBack(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) - timedelta(hours=1)

    async def scenario(house: House) -> str:
        monkeypatch.setattr(measuring, "datetime", SetBack)
        told = await house.asker.insist("backend.publish_capabilities", name="files")
        at: str = told["reported_at"]
        return at

    began = datetime.now(UTC)
    assert datetime.fromisoformat(run(scenario)) < began


def test_a_storage_that_fails_to_initialize_is_tried_again(
    run: Callable[[Scenario], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "SET_UP_AGAIN", 0.1)

    async def scenario(house: House) -> Any:
        house.driver.unusable = DriverFailed("the disk is gone")
        await house.asker.ask("backend.initialize", seconds=10, name="files")
        house.driver.unusable = None
        await has_room(house.asker)
        return await house.settled(await house.create())

    assert run(scenario)["status"] == "available"


def test_a_storage_is_set_up_while_nothing_else_is_done_to_it(
    run: Callable[[Scenario], Any],
) -> None:
    async def scenario(house: House) -> list[Any]:
        house.driver.may_create.clear()
        volume_id = await house.create()
        await asyncio.to_thread(house.driver.creating.wait, 5)
        initializing = asyncio.create_task(
            house.asker.ask("backend.initialize", seconds=10, name="files")
        )
        await house.asker.until("agent.in_flight", two, name="files", after=0)
        await asyncio.sleep(0.3)
        house.driver.may_create.set()
        return [(await initializing).code, (await house.settled(volume_id))["status"]]

    def two(answer: Any) -> bool:
        return len(answer["items"]) == 2

    assert run(scenario) == ["", "available"]


def test_what_is_wrong_with_a_storage_is_logged_once(
    run: Callable[[Scenario], Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(measuring, "SET_UP_AGAIN", 0.05)

    async def scenario(house: House) -> None:
        async def again() -> bool:
            return bool(house.driver.looked_at > before + 3)

        before = house.driver.looked_at
        house.driver.unusable = DriverFailed("the shelf has fallen down")
        await eventually(again)

    run(scenario)

    assert caplog.text.count("backend files: the shelf has fallen down") == 1


# An agent of its own, killed in the middle


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_killed_agent_does_each_intent_once(
    tmp_path: Path,
    broker: NatsServer,
    settings: dict[str, str],
    manager: VolumeManager,
    when: str,
) -> None:
    config = configuration(
        tmp_path, broker.url, settings, driver="service.testing.drivers.Mortal"
    )

    async def asked() -> tuple[str, str]:
        async with asyncio.timeout(30), caller(broker.url) as asker:
            await has_room(asker)
            made = await asker.insist("volume.create", size_gib=1)
            (tmp_path / f"die {when} extend").touch()
            await asker.until("volume.show", is_available, id=made["id"])
            await asker.insist("volume.extend", id=made["id"], size_gib=2)
            other = await asker.insist("volume.create", size_gib=1)
            return made["id"], other["id"]

    async def done(*volumes: str) -> None:
        async with asyncio.timeout(30), caller(broker.url) as asker:
            for volume_id in volumes:
                await asker.until("volume.show", is_available, id=volume_id)
            await nothing_is_in_flight(asker)

    with program(SERVE, config):
        with program(AGENT, config) as killed:
            volume_id, other = asyncio.run(asked())
            assert killed.wait(10) == -SIGKILL
        with program(AGENT, config):
            asyncio.run(done(volume_id, other))

    log = [language.decode(r.topic, r.state) for r in verified(manager.recorder)]
    of_it = [e.TOPIC for e in log if str(e.originator_id) == volume_id]
    assert of_it == [
        "volume.created",
        "volume.creation_finished",
        "volume.extension_started",
        "volume.extension_finished",
    ]
    diary = (tmp_path / "diary").read_text().splitlines()
    calls = [line for line in diary if line.endswith(volume_id)]
    again = [f"extend {volume_id}"] * (when == "after")
    assert calls == [f"create {volume_id}", f"extend {volume_id}", *again]
    size = (tmp_path / "volumes" / volume_id / "volume").stat().st_size
    assert size == 2 << 30


def is_available(volume: Any) -> bool:
    return bool(volume["status"] == "available")
