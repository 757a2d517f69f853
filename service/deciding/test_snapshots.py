"""Snapshots, what is made of them, and what goes with them: decided and stored."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID, uuid4

import pytest

from adapters.postgres.reading import rebuilt
from domain.aggregate import NotDone
from domain.volume_type import VolumeType
from service.deciding.log import Log
from service.endpoints import attachments, snapshots, volumes
from service.manager import VolumeManager
from service.testing.deciding import ask, available, live, lives, newest, report

BUSY = NotDone("busy", "something reads it", busy=True)
FAILED = NotDone("driver_failed", "the disk is broken")

Scenario = Callable[[Log], Awaitable[Any]]


def played(manager: VolumeManager, scenario: Scenario) -> Any:
    """Return what a scenario comes to, with a log that is live."""

    async def play() -> Any:
        async with live(manager.recorder) as log:
            return await scenario(log)

    return asyncio.run(play())


async def taken(log: Log, volume_id: str, **said: Any) -> str:
    """Return the id of a snapshot that the backend has taken."""
    made = await ask(log, snapshots.create, volume_id=volume_id, **said)
    await report(log, made["id"], 1, noun="snapshot", location="/there")
    snapshot_id: str = made["id"]
    return snapshot_id


async def failed_to_revert(log: Log, volume_id: str) -> str:
    """Return the id of a snapshot that its volume is in error for."""
    kept = await taken(log, volume_id)
    await ask(log, volumes.revert, id=volume_id, snapshot_id=kept)
    await report(log, volume_id, newest(log, volume_id), not_done=FAILED)
    return kept


async def volume(log: Log, volume_id: str) -> Any:
    return await ask(log, volumes.show, id=volume_id)


async def snapshot(log: Log, snapshot_id: str) -> Any:
    return await ask(log, snapshots.show, id=snapshot_id)


def test_a_snapshot_is_of_the_size_that_its_volume_has(manager: VolumeManager) -> None:
    async def scenario(log: Log) -> Any:
        of = await available(log, size_gib=3)
        return of, await snapshot(log, await taken(log, of, name="before"))

    of, seen = played(manager, scenario)

    assert (seen["volume_id"], seen["size_gib"], seen["status"]) == (of, 3, "available")
    assert (seen["name"], seen["progress"], seen["error"]) == ("before", "100%", None)


@pytest.mark.parametrize(("force", "status"), [(False, None), (True, "creating")])
def test_a_volume_in_use_has_snapshots_by_force(
    manager: VolumeManager, *, force: bool, status: str | None
) -> None:
    async def scenario(log: Log) -> Any:
        of = await available(log)
        await ask(log, volumes.attach, id=of, instance="web-1")
        return await ask(log, snapshots.create, volume_id=of, force=force)

    told = played(manager, scenario)

    assert told.get("status") in (status, 409)
    assert told.get("unmet") == (None if force else ["force given"])


@pytest.mark.parametrize("given", [True, False])
def test_what_a_host_may_be_writing_by_a_way_it_is_given_is_said_to_be_so(
    manager: VolumeManager, *, given: bool
) -> None:
    async def scenario(log: Log) -> Any:
        of = await available(log)
        host = {"host": "node-1"}
        await ask(log, volumes.initialize_connection, id=of, connector=host)
        if given:
            await report(log, of, newest(log, of), connection={"data": {}})
        made = await ask(log, snapshots.create, volume_id=of)
        live: Any = log.memory.live[UUID(made["id"])]
        return live.in_flight[1]

    assert played(manager, scenario).crash_consistent


def test_an_id_that_the_decision_itself_is_about_is_taken(
    manager: VolumeManager,
) -> None:
    async def scenario(log: Log) -> Any:
        of = await available(log)
        before = await volume(log, of)
        told = [
            await ask(log, snapshots.create, id=of, volume_id=of),
            await ask(log, volumes.create, id=of, source={"volume": of}),
        ]
        return told, before, await volume(log, of)

    told, before, after = played(manager, scenario)

    taken = f"the id {before['id']} is taken; choose another one, or leave it out"
    assert [each["detail"] for each in told] == [taken] * 2
    assert after["version"] == before["version"]


def test_a_volume_with_a_snapshot_stays_and_says_which(manager: VolumeManager) -> None:
    async def scenario(log: Log) -> Any:
        of = await available(log)
        kept = await taken(log, of)
        refused = await ask(log, volumes.delete, id=of)
        await ask(log, snapshots.delete, id=kept)
        await report(log, kept, newest(log, kept), noun="snapshot")
        return kept, refused, await ask(log, volumes.delete, id=of)

    kept, refused, told = played(manager, scenario)

    assert (refused["type"], refused["unmet"]) == (
        "refused",
        [f"without snapshot {kept}"],
    )
    assert told["status"] == "deleting"


def test_a_volume_with_many_snapshots_names_a_few_and_the_number(
    manager: VolumeManager,
) -> None:
    async def scenario(log: Log) -> Any:
        of = await available(log)
        kept = [await taken(log, of) for _ in range(7)]
        return kept, await ask(log, volumes.delete, id=of)

    kept, refused = played(manager, scenario)

    named = [f"without snapshot {each}" for each in kept[:5]]
    assert refused["unmet"] == [*named, "2 more like these"]
    assert refused["detail"].endswith(f"{kept[4]} and not 2 more like these")


def test_a_cascade_takes_the_snapshots_before_the_volume(
    manager: VolumeManager,
) -> None:
    async def scenario(log: Log) -> Any:
        of = await available(log)
        first, second = await taken(log, of), await taken(log, of)
        asked = await ask(log, volumes.delete, id=of, cascade=True)
        await report(log, of, newest(log, of))
        for each in (first, second):
            await report(log, each, newest(log, each), noun="snapshot")
        await report(log, of, newest(log, of))
        return asked, await volume(log, of), await snapshot(log, first)

    asked, gone, first = played(manager, scenario)

    assert asked["status"] == "deleting"
    assert (gone["status"], first["status"]) == ("deleted", "deleted")


def test_a_cascade_takes_a_volume_whose_snapshots_went_before_it_was_looked_at(
    manager: VolumeManager,
) -> None:
    async def scenario(log: Log) -> Any:
        of = await available(log)
        only = await taken(log, of)
        await ask(log, snapshots.delete, id=only)
        await ask(log, volumes.delete, id=of, cascade=True)
        await report(log, only, newest(log, only), noun="snapshot")
        for _ in ("looked at", "removed"):
            await report(log, of, newest(log, of))
        return await volume(log, of)

    assert played(manager, scenario)["status"] == "deleted"


def test_what_follows_is_of_whoever_asked(manager: VolumeManager) -> None:
    async def scenario(log: Log) -> Any:
        of = await available(log)
        kept = await taken(log, of)
        await ask(log, volumes.delete, key="go", id=of, cascade=True)
        await report(log, of, newest(log, of))
        await report(log, kept, newest(log, kept), noun="snapshot")
        gone: Any = log.memory.live[UUID(of)]
        return gone.in_flight

    [intent] = played(manager, scenario).values()

    assert intent.provenance.request_id == "go"
    assert intent.provenance.recorded_by.startswith("agent")


def test_a_cascade_changes_nothing_where_a_snapshot_has_to_stay(
    manager: VolumeManager,
) -> None:
    async def scenario(log: Log) -> Any:
        of = await available(log)
        first, second = await taken(log, of), await taken(log, of)
        copy = await ask(log, volumes.create, source={"snapshot": second})
        before = [await volume(log, of), await snapshot(log, first)]
        refused = await ask(log, volumes.delete, id=of, cascade=True)
        after = [await volume(log, of), await snapshot(log, first)]
        return copy["id"], refused, before, after

    copy, refused, before, after = played(manager, scenario)

    assert refused["unmet"] == [f"without volume {copy}, which is made from it"]
    assert strip(before) == strip(after)


def strip(seen: list[Any]) -> list[Any]:
    """Return resources without where in the log they were read."""
    return [{k: v for k, v in each.items() if k != "position"} for each in seen]


def test_a_cascade_that_fails_half_way_leaves_a_volume_that_can_be_used(
    manager: VolumeManager,
) -> None:
    async def scenario(log: Log) -> Any:
        of = await available(log)
        kept = await taken(log, of)
        await ask(log, volumes.delete, id=of, cascade=True)
        await report(log, of, newest(log, of))
        version = newest(log, kept)
        await report(log, kept, version, not_done=FAILED, noun="snapshot")
        return await volume(log, of), await snapshot(log, kept)

    seen, kept = played(manager, scenario)

    assert (seen["status"], seen["error"]["code"]) == ("available", "driver_failed")
    assert kept["status"] == "error_deleting"


def test_asking_for_a_cascade_twice_adds_nothing_whatever_its_snapshots_do(
    manager: VolumeManager,
) -> None:
    async def scenario(log: Log) -> Any:
        of = await available(log)
        await ask(log, snapshots.create, volume_id=of)
        first = await ask(log, volumes.delete, id=of, cascade=True, force=True)
        return first, await ask(log, volumes.delete, id=of, cascade=True)

    first, again = played(manager, scenario)

    assert first["status"] == "deleting"
    assert again == first


def test_a_cascade_that_meets_a_snapshot_that_goes_otherwise_names_it(
    manager: VolumeManager,
) -> None:
    async def scenario(log: Log) -> Any:
        of = await available(log)
        kept = await taken(log, of)
        await ask(log, volumes.delete, id=of, cascade=True)
        look = newest(log, of)
        await ask(log, snapshots.unmanage, id=kept)
        await report(log, of, look)
        return kept, await volume(log, of)

    kept, seen = played(manager, scenario)

    said = f"cannot delete snapshot {kept} while unmanaging"
    assert (seen["status"], seen["error"]["message"]) == ("available", said)


def test_a_volume_in_use_keeps_its_snapshots(manager: VolumeManager) -> None:
    async def scenario(log: Log) -> Any:
        of = await available(log)
        kept = await taken(log, of)
        await ask(log, volumes.delete, id=of, cascade=True)
        copied = await ask(log, volumes.create, source={"snapshot": kept})
        await report(log, of, newest(log, of), not_done=BUSY)
        return copied, await volume(log, of), await snapshot(log, kept)

    copied, seen, kept = played(manager, scenario)

    assert copied["type"] == "refused"
    assert (seen["status"], seen["error"]["code"]) == ("available", "busy")
    assert kept["status"] == "available"


def test_of_a_cascade_and_a_copy_that_race_one_wins(manager: VolumeManager) -> None:
    async def scenario() -> Any:
        async with lives(manager.recorder, 2) as (one, other):
            of = await available(one)
            kept = await taken(one, of)
            return await asyncio.gather(
                ask(one, volumes.delete, id=of, cascade=True),
                ask(other, volumes.create, source={"snapshot": kept}),
            )

    told = asyncio.run(scenario())

    assert sorted("type" in each for each in told) == [False, True]


def test_a_busy_snapshot_is_available_again(manager: VolumeManager) -> None:
    async def scenario(log: Log) -> Any:
        kept = await taken(log, await available(log))
        await ask(log, snapshots.delete, id=kept)
        version = newest(log, kept)
        await report(log, kept, version, not_done=BUSY, noun="snapshot")
        return await snapshot(log, kept)

    seen = played(manager, scenario)

    assert (seen["status"], seen["error"]["code"]) == ("available", "busy")


def test_a_volume_of_a_snapshot_is_as_its_volume_was(manager: VolumeManager) -> None:
    async def scenario(log: Log) -> Any:
        of = await available(log, size_gib=2, multiattach=True, metadata={"a": "b"})
        await ask(log, volumes.update, id=of, bootable=True)
        kept = await taken(log, of)
        made = await ask(log, volumes.create, source={"snapshot": kept}, size_gib=5)
        await report(log, made["id"], 1, location="/there")
        return kept, await volume(log, made["id"])

    kept, seen = played(manager, scenario)

    assert seen["source"] == {"snapshot": kept}
    assert (seen["size_gib"], seen["status"]) == (5, "available")
    assert (seen["bootable"], seen["multiattach"]) == (True, True)
    assert seen["metadata"] == {"a": "b"}


def test_what_is_said_of_a_copy_counts_and_what_is_not_is_its_sources(
    manager: VolumeManager,
) -> None:
    async def scenario(log: Log) -> Any:
        for kind in ("gold", "silver"):
            log.room.volume_types[kind] = VolumeType(kind, {})
        of = await available(log, volume_type="gold", metadata={"tier": "1"})
        said: Any = {"volume_type": "silver", "metadata": {"tier": "2"}}
        nothing: Any = {}
        return [
            await ask(log, volumes.create, source={"volume": of}, **more)
            for more in (nothing, said)
        ]

    told = played(manager, scenario)

    assert [(each["volume_type"], each["metadata"]) for each in told] == [
        ("gold", {"tier": "1"}),
        ("silver", {"tier": "2"}),
    ]


def test_a_volume_is_no_smaller_than_its_source(manager: VolumeManager) -> None:
    async def scenario(log: Log) -> Any:
        of = await available(log, size_gib=2)
        refused = await ask(log, volumes.create, source={"volume": of}, size_gib=1)
        return refused, await ask(log, volumes.delete, id=of)

    refused, told = played(manager, scenario)

    assert (refused["type"], list(refused["errors"])) == ("invalid", ["size_gib"])
    assert told["status"] == "deleting"  # nothing holds it


def test_a_copy_that_can_never_be_is_invalid_though_its_source_is_not_there_yet(
    manager: VolumeManager,
) -> None:
    async def scenario(log: Log) -> Any:
        made = await ask(log, volumes.create, size_gib=2)
        source = {"volume": made["id"]}
        return [
            await ask(log, volumes.create, source=source, size_gib=1),
            await ask(log, volumes.create, source=source, backend="other"),
        ]

    told = played(manager, scenario)

    assert [[*each["errors"]] for each in told] == [["size_gib"], ["backend"]]


@pytest.mark.parametrize("result", [{"location": "/there"}, {"not_done": FAILED}])
def test_a_source_stays_until_the_copy_is_made_or_failed(
    manager: VolumeManager, result: dict[str, Any]
) -> None:
    async def scenario(log: Log) -> Any:
        of = await available(log)
        copy = await ask(log, volumes.create, source={"volume": of})
        refused = [
            await ask(log, volumes.delete, id=of),
            await ask(log, volumes.extend, id=of, size_gib=2),
            await ask(log, volumes.unmanage, id=of),
        ]
        await report(log, copy["id"], 1, **result)
        return copy["id"], refused, await ask(log, volumes.delete, id=of)

    copy, refused, told = played(manager, scenario)

    why = [f"without volume {copy}, which is made from it"]
    assert [each["unmet"] for each in refused] == [why] * 3
    assert told["status"] == "deleting"


@pytest.mark.parametrize("said", [{}, {"multiattach": True}, {"multiattach": False}])
def test_whether_several_may_hold_a_copy_is_its_sources_where_nothing_is_said(
    manager: VolumeManager, said: dict[str, Any]
) -> None:
    async def scenario(log: Log) -> Any:
        shared = {"volume": await available(log, multiattach=True)}
        alone = {"volume": await available(log)}
        return [
            (await ask(log, volumes.create, source=source, **said))["multiattach"]
            for source in (shared, alone)
        ]

    copies = played(manager, scenario)

    assert copies == [said.get("multiattach", True), said.get("multiattach", False)]


@pytest.mark.parametrize("noun", ["volume", "snapshot"])
def test_the_backend_is_told_how_much_a_source_has(
    manager: VolumeManager, noun: str
) -> None:
    async def scenario(log: Log) -> Any:
        of = await available(log, size_gib=2)
        source = {"volume": of, "snapshot": await taken(log, of)}
        made_of = {noun: source[noun]}
        return await ask(log, volumes.create, source=made_of, size_gib=3)

    copy_id = UUID(played(manager, scenario)["id"])

    [intent] = rebuilt(manager.recorder)[copy_id].in_flight.values()
    assert (intent.size_gib, intent.source_size_gib) == (3, 2)


def test_the_backend_is_told_how_much_a_reverted_volume_has(
    manager: VolumeManager,
) -> None:
    async def scenario(log: Log) -> Any:
        of = await available(log, size_gib=2)
        kept = await taken(log, of)
        return await ask(log, volumes.revert, id=of, snapshot_id=kept)

    volume_id = UUID(played(manager, scenario)["id"])

    [intent] = rebuilt(manager.recorder)[volume_id].in_flight.values()
    assert intent.size_gib == 2


def test_a_copy_that_is_called_off_lets_go_of_its_source(
    manager: VolumeManager,
) -> None:
    async def scenario(log: Log) -> Any:
        of = await available(log)
        copy = await ask(log, volumes.create, source={"volume": of})
        await ask(log, volumes.delete, id=copy["id"], force=True)
        await report(log, copy["id"], newest(log, copy["id"]))
        return await ask(log, volumes.delete, id=of)

    assert played(manager, scenario)["status"] == "deleting"


def test_a_volume_is_reverted_to_its_latest_snapshot(manager: VolumeManager) -> None:
    async def scenario(log: Log) -> Any:
        of = await available(log)
        early, late = await taken(log, of), await taken(log, of)
        refused = await ask(log, volumes.revert, id=of, snapshot_id=early)
        asked = await ask(log, volumes.revert, id=of, snapshot_id=late)
        meanwhile = await snapshot(log, late)
        await report(log, of, newest(log, of))
        return (
            refused,
            asked,
            meanwhile,
            await volume(log, of),
            await snapshot(log, late),
        )

    refused, asked, meanwhile, after, late = played(manager, scenario)

    assert refused["unmet"] == [f"its latest snapshot, which is {late['id']}"]
    assert (asked["status"], meanwhile["status"]) == ("reverting", "restoring")
    assert (after["status"], late["status"]) == ("available", "available")


def test_a_snapshot_that_failed_does_not_count_as_the_latest(
    manager: VolumeManager,
) -> None:
    async def scenario(log: Log) -> Any:
        of = await available(log)
        kept = await taken(log, of)
        failed = await ask(log, snapshots.create, volume_id=of)
        refused = await ask(log, volumes.revert, id=of, snapshot_id=kept)
        await report(log, failed["id"], 1, FAILED, noun="snapshot")
        return refused, await ask(log, volumes.revert, id=of, snapshot_id=kept), failed

    refused, asked, failed = played(manager, scenario)

    assert refused["unmet"] == [f"its latest snapshot, which is {failed['id']}"]
    assert asked["status"] == "reverting"


def test_a_snapshot_that_is_taken_over_is_as_large_as_its_storage(
    manager: VolumeManager,
) -> None:
    async def scenario(log: Log) -> Any:
        of = await available(log)
        named = {"source-name": "monday"}
        managed = await ask(log, snapshots.manage, volume_id=of, reference=named)
        done: dict[str, Any] = {"location": "/monday", "size_gib": 3}
        await report(log, managed["id"], 1, noun="snapshot", **done)
        seen = await snapshot(log, managed["id"])
        return seen, await ask(log, volumes.revert, id=of, snapshot_id=managed["id"])

    seen, refused = played(manager, scenario)

    assert seen["size_gib"] == 3
    assert "of the snapshot's size" in str(refused["unmet"])


@pytest.mark.parametrize(("why", "status"), [(FAILED, "error"), (BUSY, "available")])
def test_a_reversion_that_fails_keeps_the_snapshot(
    manager: VolumeManager, why: NotDone, status: str
) -> None:
    async def scenario(log: Log) -> Any:
        of = await available(log)
        kept = await taken(log, of)
        await ask(log, volumes.revert, id=of, snapshot_id=kept)
        await report(log, of, newest(log, of), not_done=why)
        seen = await volume(log, of), await snapshot(log, kept)
        again = await ask(log, volumes.revert, id=of, snapshot_id=kept)
        return *seen, again

    seen, kept, again = played(manager, scenario)

    assert (seen["status"], seen["error"]["code"]) == (status, why.code)
    assert kept["status"] == "available"
    assert again["status"] == "reverting"


def test_a_snapshot_stays_until_a_reversion_that_failed_is_done(
    manager: VolumeManager,
) -> None:
    async def scenario(log: Log) -> Any:
        of = await available(log)
        kept = await failed_to_revert(log, of)
        refused = [
            await ask(log, snapshots.delete, id=kept, force=force)
            for force in (False, True)
        ]
        await ask(log, volumes.revert, id=of, snapshot_id=kept)
        await report(log, of, newest(log, of))
        return of, refused, await ask(log, snapshots.delete, id=kept)

    of, refused, told = played(manager, scenario)

    why = "which was not reverted to it: revert it again, or delete it"
    assert [each["current_status"] for each in refused] == ["available"] * 2
    assert f"not without volume {of}, {why}" in refused[0]["detail"]
    assert told["status"] == "deleting"


def test_a_volume_that_was_not_reverted_goes_with_its_snapshots(
    manager: VolumeManager,
) -> None:
    async def scenario(log: Log) -> Any:
        of = await available(log)
        kept = await failed_to_revert(log, of)
        await ask(log, volumes.delete, id=of, cascade=True)
        await report(log, of, newest(log, of))
        await report(log, kept, newest(log, kept), noun="snapshot")
        await report(log, of, newest(log, of))
        return await volume(log, of)

    assert played(manager, scenario)["status"] == "deleted"


def test_where_no_reversion_succeeds_what_is_there_can_be_managed_anew(
    manager: VolumeManager,
) -> None:
    async def scenario(log: Log) -> Any:
        of = await available(log)
        kept = await failed_to_revert(log, of)
        await ask(log, snapshots.unmanage, id=kept)
        await report(log, kept, newest(log, kept), noun="snapshot")
        return await ask(log, volumes.unmanage, id=of)

    assert played(manager, scenario)["status"] == "unmanaging"


def test_a_snapshot_that_is_not_there_yet_is_named_by_what_needs_it(
    manager: VolumeManager,
) -> None:
    async def scenario(log: Log) -> Any:
        of = await available(log)
        new = (await ask(log, snapshots.create, volume_id=of))["id"]
        return new, [
            await ask(log, volumes.create, source={"snapshot": new}),
            await ask(log, volumes.revert, id=of, snapshot_id=new),
        ]

    new, told = played(manager, scenario)

    assert [each["detail"] for each in told] == [
        f"cannot copy snapshot {new} while creating",
        f"cannot restore snapshot {new} while creating",
    ]
    assert {each["instance"] for each in told} == {f"snapshot/{new}"}


def test_a_snapshot_takes_the_room_of_its_volume(manager: VolumeManager) -> None:
    async def scenario(log: Log) -> Any:
        of = await available(log, size_gib=6_000)
        refused = await ask(log, snapshots.create, volume_id=of)
        small = await available(log, size_gib=4_000)
        return refused, await ask(log, snapshots.create, volume_id=small)

    refused, also = played(manager, scenario)

    assert (refused["type"], also["type"]) == ("no-capacity", "no-capacity")


def test_what_is_asked_again_is_answered_as_the_first_time(
    manager: VolumeManager,
) -> None:
    async def scenario(log: Log) -> Any:
        of = await available(log)
        about = {"volume_id": of, "id": str(uuid4())}
        return of, await ask(log, snapshots.create, "key", **about), about

    of, first, about = played(manager, scenario)
    again = played(manager, lambda log: ask(log, snapshots.create, "key", **about))

    assert again == first
    assert len(rebuilt(manager.recorder)[UUID(of)].snapshots) == 1


def test_a_held_volume_is_not_reverted(manager: VolumeManager) -> None:
    async def scenario(log: Log) -> Any:
        of = await available(log)
        kept = await taken(log, of)
        await ask(log, attachments.create, volume_id=of, host="node-1")
        return await ask(log, volumes.revert, id=of, snapshot_id=kept)

    assert played(manager, scenario)["type"] == "refused"
