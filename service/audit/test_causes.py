"""The tree of causes, of logs that many write at the same time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from domain.aggregate import Done, NotDone
from domain.provenance import MOMENT, Moment, Provenance
from domain.volume import Volume
from service.audit import causes
from service.audit.test_history import NOON, store
from service.deciding.command import NotFound
from service.deciding.log import Log
from service.endpoints import snapshots, volumes
from service.manager import VolumeManager
from service.testing.deciding import ask, available, live, newest, report

FAILED = NotDone("driver_failed", "the disk is broken")
Scenario = Callable[[Log], Coroutine[Any, Any, Any]]


@pytest.fixture
def run(manager: VolumeManager) -> Callable[[Scenario], Any]:
    """Run a scenario on a live log."""

    async def lived(scenario: Scenario) -> Any:
        async with live(manager.recorder) as log:
            return await scenario(log)

    return lambda scenario: asyncio.run(lived(scenario))


def events(nodes: list[dict[str, Any]], depth: int = 0) -> Iterator[str]:
    for node in nodes:
        yield "  " * depth + str(node["event"])
        yield from events(node["led_to"], depth + 1)


async def why(log: Log, key: str, position: int | None = None) -> dict[str, Any]:
    return await causes.why(log, UUID(key), position)


def test_requests_that_are_stored_together_have_trees_of_their_own(
    run: Callable[[Scenario], Any],
) -> None:
    async def scenario(log: Log) -> list[list[str]]:
        size = {"size_gib": 1}
        made = await asyncio.gather(
            *(ask(log, volumes.create, f"key {n}", **size) for n in range(40))
        )
        await asyncio.gather(*(report(log, each["id"], 1) for each in made))
        trees = [await why(log, each["id"]) for each in made]
        assert [t["request"]["request_id"] for t in trees] == [
            f"key {n}" for n in range(40)
        ]
        return [list(events(each["led_to"])) for each in trees]

    assert run(scenario) == 40 * [["volume.created", "  volume.creation_finished"]]


def test_a_request_that_did_much_is_one_tree(run: Callable[[Scenario], Any]) -> None:
    async def scenario(log: Log) -> list[str]:
        volume_id = await available(log)
        taken = [
            (await ask(log, snapshots.create, volume_id=volume_id))["id"]
            for _ in range(causes.NEARBY + 8)
        ]
        for each in taken:
            await report(log, each, 1, noun="snapshot")
        await ask(log, volumes.delete, "gone", id=volume_id, cascade=True)
        await report(log, volume_id, newest(log, volume_id))
        tree = await causes.followed(log, "gone")
        return list(events(tree["led_to"]))

    told = run(scenario)

    assert told[:2] == ["volume.cascade_started", "  volume.cascade_looked_at"]
    assert told[2:] == ["    snapshot.deletion_started"] * (causes.NEARBY + 8)


def test_a_tree_is_the_same_whichever_of_its_events_is_explained(
    run: Callable[[Scenario], Any],
) -> None:
    async def scenario(log: Log) -> list[Any]:
        volume_id = await available(log)
        snapshot = (await ask(log, snapshots.create, volume_id=volume_id))["id"]
        await report(log, snapshot, 1, noun="snapshot")
        source = {"snapshot": snapshot}
        copy = (await ask(log, volumes.create, size_gib=1, source=source))["id"]
        await report(log, copy, 1, FAILED)
        ended = await why(log, copy)
        whole = [ended["led_to"][0], *ended["led_to"][0]["led_to"]]
        return [
            (await why(log, each["id"], each["position"]))["led_to"] for each in whole
        ] + [ended["led_to"]]

    trees = run(scenario)

    assert all(tree == trees[0] for tree in trees)


def test_what_a_caller_has_written_is_no_cause(run: Callable[[Scenario], Any]) -> None:
    async def scenario(log: Log) -> list[str]:
        volume_id = await available(log)
        [begun] = (await why(log, volume_id))["led_to"]
        forged = {"causation_id": str(begun["position"])}
        await ask(log, volumes.update, id=volume_id, metadata=forged)
        return list(events((await why(log, volume_id))["led_to"]))

    assert run(scenario) == ["volume.created", "  volume.creation_finished"]


def test_a_request_that_found_all_as_it_should_be_led_to_nothing(
    run: Callable[[Scenario], Any],
) -> None:
    async def scenario(log: Log) -> None:
        volume_id = await available(log, name="db")
        await ask(log, volumes.update, "again", id=volume_id, name="db")
        await causes.followed(log, "again")

    with pytest.raises(NotFound):
        run(scenario)


def test_what_was_asked_and_settled_at_once_is_the_beginning(
    manager: VolumeManager,
) -> None:
    volume = Volume.create(uuid4(), size_gib=1, backend="files")
    volume.report(1, Done(location="/volumes/db"))
    store(manager.recorder, volume)

    tree = causes.tree(manager.recorder, 2)

    assert list(events(tree["led_to"])) == [
        "volume.created",
        "  volume.creation_finished",
    ]


def test_a_tree_that_is_too_large_says_that_it_is_not_whole(
    run: Callable[[Scenario], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(causes, "MOST", 1)

    async def scenario(log: Log) -> tuple[list[str], bool]:
        tree = await why(log, await available(log))
        return list(events(tree["led_to"])), tree["whole"]

    assert run(scenario) == (["volume.created"], False)


def test_a_long_chain_of_causes_is_told_as_far_as_it_fits(
    manager: VolumeManager,
) -> None:
    volume = Volume.create(uuid4(), size_gib=1, backend="files")
    for number in range(1, 300):
        cause = Provenance(causation_id=str(number))
        MOMENT.set(Moment(NOON + timedelta(seconds=number), cause))
        volume.update(name=str(number))
    store(manager.recorder, volume)

    from_the_end = causes.tree(manager.recorder, 300)
    from_the_beginning = causes.tree(manager.recorder, 1)

    assert len([*events(from_the_end["led_to"])]) == causes.HIGHEST + 1
    assert len([*events(from_the_beginning["led_to"])]) == causes.DEEPEST
    assert not from_the_end["whole"]
    assert not from_the_beginning["whole"]


def test_an_answer_can_be_sent(run: Callable[[Scenario], Any]) -> None:
    async def scenario(log: Log) -> Any:
        return await why(log, await available(log))

    assert json.loads(json.dumps(run(scenario)))["whole"] is True


def test_a_position_that_is_not_its_own_explains_nothing(
    run: Callable[[Scenario], Any],
) -> None:
    async def scenario(log: Log) -> None:
        await why(log, await available(log), 1)

    with pytest.raises(NotFound, match="there is no event 1 of"):
        run(scenario)


def test_what_never_was_has_no_cause(run: Callable[[Scenario], Any]) -> None:
    with pytest.raises(NotFound):
        run(lambda log: why(log, str(uuid4())))
