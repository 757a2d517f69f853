"""After a restart a thousand volumes in flight are settled, whatever the log has."""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from adapters.embedded.nats_server import NatsServer, nats_server
from adapters.postgres.reading import rebuilt
from domain import reference
from domain.aggregate import Aggregate
from domain.capabilities import Capabilities
from domain.group_snapshot import GroupSnapshot
from domain.ports import Adopted, Cause, Export, Progress, unheard
from domain.snapshot import Snapshot
from domain.volume import Volume
from service.manager import VolumeManager
from service.settings import FILE_DRIVER
from service.testing.at_work import (
    SETTLED,
    TOGETHER,
    available,
    deleting,
    deleting_by_force,
    unexported,
    write,
)
from service.testing.callers import Caller, caller, eventually
from service.testing.deciding import capabilities
from service.testing.loads import has_room, nothing_is_in_flight
from service.testing.programs import AGENT, BACKEND, SERVE, configuration, program

IN_FLIGHT = 1000


class Nothing:
    """Storage without any: what takes time here is everything else."""

    def __init__(
        self,
        folder: Path,
        name: str,
        reserved_percentage: int,
        max_over_subscription_ratio: float,
    ) -> None:
        pass

    def recognize(self) -> None:
        pass

    def set_up(self) -> None:
        pass

    def capabilities(self) -> Capabilities:
        return capabilities(1_000_000)

    def create(
        self, asked: Volume.Created, cause: Cause, progress: Progress = unheard
    ) -> str:
        return f"/nothing/{asked.originator_id}"

    def delete(self, volume_id: UUID, made_at: str, *_: Any) -> None:
        pass

    def adopt(self, asked: Volume.ManagingStarted, cause: Cause) -> Adopted:
        return Adopted(f"/nothing/{asked.originator_id}", 1)

    def unmanage(self, volume_id: UUID, made_at: str | None) -> dict[str, str]:
        return reference.to(reference.name_of(volume_id))

    def extend(self, volume_id: UUID, size_gib: int) -> None:
        pass

    def connect(self, volume_id: UUID, connector: dict[str, Any]) -> dict[str, Any]:
        return {"driver_volume_type": "none", "data": {}}

    def disconnect(self, volume_id: UUID, connector: dict[str, Any]) -> None:
        pass

    def remove_export(self, volume_id: UUID) -> None:
        pass

    def exports(self) -> set[UUID]:
        return set()

    def converge(self, wanted: Export) -> bool:
        return False

    def take_snapshot(
        self, asked: Snapshot.Created, cause: Cause, progress: Progress = unheard
    ) -> str:
        return f"/nothing/{asked.originator_id}"

    def delete_snapshot(self, snapshot_id: UUID, made_at: str, *_: Any) -> None:
        pass

    def take_group_snapshot(self, asked: GroupSnapshot.Created, cause: Cause) -> bool:
        return asked.consistent

    def revert(self, asked: Volume.ReversionStarted, *_: Any) -> None:
        pass

    def check_unused(self, volume_ids: Sequence[UUID]) -> None:
        pass

    def has_session(self, volume_id: UUID, connector: dict[str, Any] | None) -> bool:
        return False


class Slow(Nothing):
    """Storage that takes its time for everything but to make small volumes."""

    def create(
        self, asked: Volume.Created, cause: Cause, progress: Progress = unheard
    ) -> str:
        time.sleep(0.05 * (asked.size_gib > 1))
        return super().create(asked, cause, progress)

    def remove_export(self, volume_id: UUID) -> None:
        time.sleep(0.05)

    def disconnect(self, volume_id: UUID, connector: dict[str, Any]) -> None:
        time.sleep(0.05)


def listed(begun: Aggregate | list[Aggregate]) -> list[Aggregate]:
    """Return what is at work, with what that concerns."""
    return begun if isinstance(begun, list) else [begun]


@pytest.mark.slow
def test_a_thousand_in_flight_are_settled_in_time_whatever_the_log_has(
    tmp_path: Path, settings: dict[str, str], manager: VolumeManager
) -> None:
    kinds: list[Any] = [*SETTLED, *TOGETHER]
    settled: dict[Any, str] = {**SETTLED, **TOGETHER}

    def seconds_to_settle(others: int) -> float:
        """Return how long a service takes that is started behind so many more."""
        write(manager.recorder, [available(BACKEND) for _ in range(others)])
        asked = [kinds[n % len(kinds)] for n in range(IN_FLIGHT)]
        begun = [listed(begin(BACKEND)) for begin in asked]
        write(manager.recorder, [each for together in begun for each in together])
        with program(SERVE, config):
            asyncio.run(until_known())
        began = time.monotonic()
        with program(SERVE, config), program(AGENT, config):
            asyncio.run(until_settled())
            took = time.monotonic() - began
        fold = rebuilt(manager.recorder)
        found = [str(fold[first.id].status) for first, *_ in begun]
        assert Counter(zip(asked, found, strict=True)) == Counter(
            (begin, settled[begin]) for begin in asked
        )
        return took

    async def until_known() -> None:
        async with caller(url) as asker:
            last = manager.recorder.max_notification_id()

            async def so() -> bool:
                page = await asker.insist("volume.list", limit=1)
                return bool(page["position"] == last)

            await eventually(so)

    async def until_settled() -> None:
        async with asyncio.timeout(120), caller(url) as asker:
            await nothing_is_in_flight(asker)

    with nats_server(tmp_path / "nats") as url:
        driver = f"{__name__}.{Nothing.__name__}"
        config = configuration(tmp_path, url, settings, driver=driver)
        few = seconds_to_settle(2_000)
        many = seconds_to_settle(18_000)

    print(f"{few:.1f} s behind 2,000 volumes, {many:.1f} s behind 21,000")
    assert many < 2 * few + 2


@pytest.mark.slow
def test_new_work_is_done_before_a_thousand_in_flight_are_settled(
    config: Path, broker: NatsServer, manager: VolumeManager
) -> None:
    async def first() -> tuple[float, Any, int]:
        async with asyncio.timeout(60), caller(broker.url) as asker:
            await has_room(asker)
            asked = time.monotonic()
            left = await left_when_made(asker, await small(asker))
            took = time.monotonic() - asked
            return took, await asker.insist("backend.is_working", name=BACKEND), left

    slow(config)
    write(manager.recorder, at_work())
    with program(SERVE, config), program(AGENT, config):
        took, working, left = asyncio.run(first())

    print(f"{took:.2f} s")
    assert left > 100
    assert working["working"]
    assert re.fullmatch(r"settling \d+ of 1000 in flight", working["reason"])


@pytest.mark.slow
def test_what_was_asked_while_there_was_no_agent_waits_for_nothing_older(
    config: Path, broker: NatsServer, manager: VolumeManager
) -> None:
    async def known() -> None:
        async with caller(broker.url) as asker:
            await has_room(asker)

    async def asked() -> str:
        async with caller(broker.url) as asker:
            return await small(asker)

    async def left(volume_id: str) -> int:
        async with asyncio.timeout(60), caller(broker.url) as asker:
            return await left_when_made(asker, volume_id)

    slow(config)
    begun = at_work()
    with program(SERVE, config):
        with program(AGENT, config):
            asyncio.run(known())
        write(manager.recorder, begun)
        volume_id = asyncio.run(asked())
        with program(AGENT, config):
            assert asyncio.run(left(volume_id)) > 100


def slow(config: Path) -> None:
    """Have a storage that takes its time."""
    config.write_text(config.read_text().replace(FILE_DRIVER, f"{__name__}.Slow"))


def at_work() -> list[Aggregate]:
    """Return a thousand volumes with which such a storage takes its time."""

    def large(backend: str) -> Volume:
        return Volume.create(uuid4(), size_gib=2, backend=backend)

    kinds = [large, deleting, deleting_by_force, large, unexported]
    return [kinds[n % len(kinds)](BACKEND) for n in range(IN_FLIGHT)]


async def small(asker: Caller) -> str:
    """Ask for a volume that is made quickly."""
    asked = await asker.insist("volume.create", "key-1", size_gib=1)
    return str(asked["id"])


async def left_when_made(asker: Caller, volume_id: str) -> int:
    """Return how much was in flight once a volume was there."""
    await asker.until(
        "volume.show", lambda volume: volume["status"] == "available", id=volume_id
    )
    left = await asker.insist("agent.in_flight", "", name=BACKEND, after=0)
    return len(left["items"])
