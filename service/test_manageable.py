"""What a backend has that could be managed, as its agent tells it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any
from uuid import UUID

import pytest

from adapters.jetstream.agent import Agent
from adapters.jetstream.signing import SIGNATURE, signature
from adapters.tasks import ended
from domain import reference
from domain.capabilities import Capabilities
from domain.ports import Manageable, ManageableSnapshot, SourceReference
from service.connecting import connect
from service.testing.deciding import capabilities
from service.testing.house import House, Run, Scenario

SUBJECT = "holdfast.v1.agents.files.manageable"


class Shelf:
    """A driver that has 2,500 things which nobody manages yet."""

    def recognize(self) -> None:
        pass

    def set_up(self) -> None:
        pass

    def capabilities(self) -> Capabilities:
        return capabilities(10_000)

    def manageable(self) -> list[Manageable]:
        names = (f"{'a disk, ' * 31}{number:04}" for number in range(2500))
        return [Manageable(reference.to(n), 1, safe_to_manage=True) for n in names]

    def manageable_snapshots(self) -> list[ManageableSnapshot]:
        those = (SourceReference(UUID(int=number)) for number in range(1, 2501))
        return [
            ManageableSnapshot(
                reference.to("nightly"), 1, safe_to_manage=True, source_reference=of
            )
            for of in those
        ]


class Bare(Shelf):
    """A driver that has nothing."""

    def manageable(self) -> list[Manageable]:
        return []


@pytest.fixture
def run(run: Run) -> Callable[[Scenario], Any]:
    """Run a scenario where there is something to take over."""
    return partial(run, Shelf())


def test_more_than_a_message_holds_comes_in_pages(
    run: Callable[[Scenario], Any],
) -> None:
    async def scenario(house: House) -> Any:
        return await house.asker.all("volume.manageable", backend="files")

    found = [item["reference"] for item in run(scenario)]
    assert found == [each.reference for each in Shelf().manageable()]


def test_snapshots_of_one_name_are_all_told_each_with_its_volume(
    run: Callable[[Scenario], Any],
) -> None:
    async def scenario(house: House) -> Any:
        return await house.asker.all("snapshot.manageable", backend="files")

    found = [item["source_reference"] for item in run(scenario)]
    assert found == [{"id": str(UUID(int=number))} for number in range(1, 2501)]


def test_only_who_serves_a_backend_tells_what_it_has(
    run: Callable[[Scenario], Any],
) -> None:
    async def scenario(house: House) -> list[int]:
        client = await connect(house.settings.nats_url, "agent")
        house.stack.push_async_callback(client.close)
        driver: Any = Bare()
        key = house.settings.key
        waiting = asyncio.create_task(
            Agent(client, driver, "files", key, "another holder").run()
        )
        house.stack.push_async_callback(ended, waiting)
        asked: dict[str, Any] = {"backend": "files", "limit": 5}
        await house.asker.insist("volume.manageable", **asked)
        told = []
        for _ in range(20):
            await client.flush()
            told.append(await house.asker.ask("volume.manageable", "", 10, **asked))
        return [len(answer.body.get("items", ())) for answer in told]

    assert run(scenario) == [5] * 20


@pytest.mark.parametrize("headers", [None, "signed", "wrong"])
def test_who_has_not_the_key_or_asks_with_an_old_request_is_told_nothing(
    run: Callable[[Scenario], Any], headers: str | None
) -> None:
    async def scenario(house: House) -> None:
        body = b'{"after":"","limit":1}'
        key = b"guessed" if headers == "wrong" else house.settings.key
        signed = {SIGNATURE: signature(key, SUBJECT, body)} if headers else None
        client = house.asker.client
        await client.request(SUBJECT, body, timeout=0.5, headers=signed)

    with pytest.raises(TimeoutError):
        run(scenario)


@pytest.mark.parametrize("cursor", ["nowhere", "\u00e9"])
def test_a_cursor_that_is_none_begins_at_the_beginning_or_is_refused(
    run: Callable[[Scenario], Any], cursor: str
) -> None:
    async def scenario(house: House) -> Any:
        asked: dict[str, Any] = {"backend": "files", "limit": 1, "cursor": cursor}
        return await house.asker.insist("volume.manageable", **asked)

    assert run(scenario)["type"] == "invalid"
