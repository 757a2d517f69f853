"""Groups, their members and their snapshots: decided and stored."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
from marshmallow import ValidationError

from domain.aggregate import NotDone
from domain.log import decoded
from domain.volume_type import VolumeType
from service.deciding.log import Log
from service.deciding.room import Measured
from service.endpoints import group_snapshots, groups, snapshots, volumes
from service.endpoints.agents import from_agent, take_over
from service.endpoints.endpoint import Endpoint
from service.manager import VolumeManager
from service.messages.headers import NOTHING
from service.testing.deciding import (
    LEASE,
    WORKING,
    ask,
    available,
    capabilities,
    live,
    newest,
    report,
)

BUSY = NotDone("busy", "web-1 reads it", busy=True)
FAILED = NotDone("driver_failed", "the disk is broken")

Scenario = Callable[[Log], Awaitable[Any]]


def played(manager: VolumeManager, scenario: Scenario) -> Any:
    """Return what a scenario comes to, on a backend that keeps groups consistent."""

    async def play() -> Any:
        async with live(manager.recorder) as log:
            can = {"consistent_group_snapshot_enabled": True}
            told = msgspec.structs.replace(capabilities(10_000), **can)
            log.room.know("files", Measured(told, *WORKING, datetime.now(UTC)))
            return await scenario(log)

    return asyncio.run(play())


async def grouped(log: Log, number: int = 2, **said: Any) -> tuple[str, list[str]]:
    """Return the ids of a group and of its members."""
    made = await ask(log, groups.create, backend="files", **said)
    ids = [await available(log, group_id=made["id"]) for _ in range(number)]
    return made["id"], ids


async def group(log: Log, group_id: str) -> Any:
    return await ask(log, groups.show, id=group_id)


async def statuses(log: Log, ids: list[str]) -> list[str]:
    return [(await ask(log, volumes.show, id=each))["status"] for each in ids]


async def taken(log: Log, group_id: str, *, consistent: bool = False) -> Any:
    """Return a group snapshot that the backend has taken."""
    made = await ask(log, group_snapshots.create, group_id=group_id)
    told: Any = {"noun": "group_snapshot", "consistent": consistent}
    await report(log, made["id"], 1, **told)
    return await ask(log, group_snapshots.show, id=made["id"])


def test_a_group_has_no_more_members_than_one_event_can_tell_of(
    manager: VolumeManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("domain.group.MOST_MEMBERS", 2)

    async def scenario(log: Log) -> Any:
        group_id, [first, _] = await grouped(log)
        other = await available(log)
        told = [
            await ask(log, groups.update, id=group_id, add_volumes=[other]),
            await ask(log, volumes.create, size_gib=1, group_id=group_id),
        ]
        swap: Any = {"add_volumes": [other], "remove_volumes": [first]}
        return told, await ask(log, groups.update, id=group_id, **swap)

    told, swapped = played(manager, scenario)

    assert [each["unmet"] for each in told] == [["with at most 2 members"]] * 2
    assert len(swapped["volumes"]) == 2


def test_a_group_has_the_volumes_that_are_made_in_it(manager: VolumeManager) -> None:
    async def scenario(log: Log) -> Any:
        group_id, ids = await grouped(log)
        seen = await ask(log, volumes.show, id=ids[0])
        return await group(log, group_id), ids, seen

    seen, ids, member = played(manager, scenario)

    assert (seen["status"], seen["volumes"]) == ("available", ids)
    assert member["group_id"] == seen["id"]


def test_members_come_and_go_together_or_not_at_all(manager: VolumeManager) -> None:
    async def scenario(log: Log) -> Any:
        group_id, [first, second] = await grouped(log)
        other = await available(log)
        _, [foreign] = await grouped(log, 1)
        change: Any = {"add_volumes": [other], "remove_volumes": [first]}
        await ask(log, groups.update, id=group_id, **change)
        wrong: Any = {"add_volumes": [first, foreign], "remove_volumes": [second]}
        refused = await ask(log, groups.update, id=group_id, **wrong)
        return [second, other], refused, await group(log, group_id)

    members, refused, seen = played(manager, scenario)

    assert (seen["volumes"], seen["status"]) == (members, "available")
    assert refused["type"] == "refused"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"add_volumes": [str(uuid4())]}, "not-found"),
        ({"remove_volumes": [str(uuid4())]}, "not-found"),
    ],
)
def test_a_change_that_cannot_be_is_refused(
    manager: VolumeManager, change: dict[str, Any], problem: str
) -> None:
    async def scenario(log: Log) -> Any:
        group_id, _ = await grouped(log, 1)
        refused = await ask(log, groups.update, id=group_id, **change)
        return refused, await group(log, group_id)

    refused, seen = played(manager, scenario)

    assert refused["type"] == problem
    assert seen["status"] == "available"


BY_SUBJECT: dict[str, Any] = {
    each.subject.removeprefix("holdfast.v1."): each
    for each in (*groups.ENDPOINTS, *group_snapshots.ENDPOINTS)
}


def test_what_is_so_of_a_group_already_adds_nothing(manager: VolumeManager) -> None:
    async def scenario(log: Log) -> Any:
        group_id, ids = await grouped(log)
        told: Any = {"id": group_id, "name": "app"}
        before = await ask(log, groups.update, **told)
        return before, await ask(log, groups.update, **told, add_volumes=ids)

    before, after = played(manager, scenario)

    assert after == before


def test_a_volume_that_is_no_member_is_not_removed(manager: VolumeManager) -> None:
    async def scenario(log: Log) -> Any:
        group_id, [first, _] = await grouped(log)
        _, [foreign] = await grouped(log, 1)
        before, told = await group(log, group_id), []
        for each in (foreign, await available(log)):
            change: Any = {"remove_volumes": [first, each]}
            refused = await ask(log, groups.update, id=group_id, **change)
            told.append((each, refused["detail"]))
        return told, before, await group(log, group_id)

    told, before, after = played(manager, scenario)

    for stranger, detail in told:
        assert f"not with volume {stranger} as a member" in detail
    assert after == before


def test_a_group_in_error_keeps_its_members_and_can_be_described(
    manager: VolumeManager,
) -> None:
    async def scenario(log: Log) -> Any:
        group_id, ids = await grouped(log)
        await ask(log, groups.delete, id=group_id, delete_volumes=True)
        await report(log, group_id, newest(log, group_id), noun="group")
        await report(log, ids[0], newest(log, ids[0]), not_done=FAILED)
        other = await available(log)
        changes: Any = {"add_volumes": [other]}, {"remove_volumes": [ids[0]]}
        told = [await ask(log, groups.update, id=group_id, **each) for each in changes]
        return told, await ask(log, groups.update, id=group_id, name="kept")

    told, seen = played(manager, scenario)

    assert [each["current_status"] for each in told] == ["error"] * 2
    assert (seen["status"], seen["name"]) == ("error", "kept")


def test_a_group_stays_as_it_is_where_a_volume_in_it_cannot_be_made(
    manager: VolumeManager,
) -> None:
    async def scenario(log: Log) -> Any:
        group_id, _ = await grouped(log)
        made = await ask(log, volumes.create, size_gib=1, group_id=group_id)
        before = await group(log, group_id)
        await report(log, made["id"], 1, not_done=FAILED)
        return await statuses(log, [made["id"]]), before, await group(log, group_id)

    status, before, after = played(manager, scenario)

    assert status == ["error"]
    assert after == before


def test_a_consistency_group_is_a_consistent_one(manager: VolumeManager) -> None:
    async def scenario(log: Log) -> Any:
        group_id, _ = await grouped(log, consistent=True)
        updating = BY_SUBJECT["consistency_group.update"]
        taking = BY_SUBJECT["cgsnapshot.create"]
        return [
            await ask(log, updating, id=group_id, name="app"),
            await ask(log, taking, group_id=group_id),
        ]

    named, taken = played(manager, scenario)

    assert (named["name"], taken["status"]) == ("app", "creating")


@pytest.mark.parametrize(
    ("subject", "field"),
    [
        ("consistency_group.update", "id"),
        ("consistency_group.delete", "id"),
        ("consistency_group.create_from_source", "group_id"),
        ("consistency_group.create_from_source", "group_snapshot_id"),
        ("cgsnapshot.create", "group_id"),
        ("cgsnapshot.delete", "id"),
    ],
)
def test_what_is_not_consistent_is_refused_by_its_own_id(
    manager: VolumeManager, subject: str, field: str
) -> None:
    of_a_snapshot = field == "group_snapshot_id" or subject == "cgsnapshot.delete"
    noun = "cgsnapshot" if of_a_snapshot else "consistency_group"

    async def scenario(log: Log) -> Any:
        group_id, _ = await grouped(log)
        key = (await taken(log, group_id))["id"] if of_a_snapshot else group_id
        refused = await ask(log, BY_SUBJECT[subject], **{field: key})
        return group_id, key, refused

    group_id, key, refused = played(manager, scenario)

    why = f"there is no {noun} {key}: group {group_id} is not consistent"
    assert (refused["status"], refused["detail"]) == (404, why)
    assert refused["instance"] == f"{noun}/{key}"


def test_a_member_of_another_type_is_named(manager: VolumeManager) -> None:
    async def scenario(log: Log) -> Any:
        log.room.volume_types["gold"] = VolumeType("gold", {})
        made = await ask(log, groups.create, backend="files", volume_types=["gold"])
        other, of_it = await available(log), await available(log, volume_type="gold")
        told: Any = [
            {"id": made["id"], "add_volumes": [each]} for each in (other, of_it)
        ]
        return other, of_it, [await ask(log, groups.update, **each) for each in told]

    other, of_it, [refused, joined] = played(manager, scenario)

    why = f"cannot group volume {other} while available, not of type gold"
    assert refused["detail"] == why
    assert joined["volumes"] == [of_it]


def test_a_member_that_can_never_be_is_invalid_though_others_cannot_be_now(
    manager: VolumeManager,
) -> None:
    async def scenario(log: Log) -> Any:
        group_id, _ = await grouped(log)
        lease = "other", LEASE, "shelf 1 of node-2", "node-2"
        await log.submit(from_agent("other", lambda seen: take_over(seen, *lease)))
        told = Measured(capabilities(10), *WORKING, datetime.now(UTC))
        log.room.know("other", told)
        other = (await ask(log, volumes.create, size_gib=1, backend="other"))["id"]
        made = await ask(log, volumes.create, size_gib=1, backend="files")
        both: Any = {"id": group_id, "add_volumes": [made["id"], other]}
        source = {"volume": made["id"]}
        of: Any = {"source": source, "group_id": group_id, "backend": "other"}
        return [
            await ask(log, groups.update, **both),
            await ask(log, volumes.create, **of),
        ]

    told = played(manager, scenario)

    assert [[*each.get("errors", ())] for each in told] == [
        ["add_volumes"],
        ["backend"],
    ]


def test_a_snapshot_that_no_member_can_be_made_of_is_named(
    manager: VolumeManager,
) -> None:
    async def scenario(log: Log) -> Any:
        group_id, ids = await grouped(log)
        of = await taken(log, group_id)
        snapshot_id = of["snapshots"][0]
        await ask(log, volumes.revert, id=ids[0], snapshot_id=snapshot_id)
        asked = {"group_snapshot_id": of["id"]}
        return snapshot_id, await ask(log, groups.create_from_source, **asked)

    snapshot_id, refused = played(manager, scenario)

    assert refused["detail"] == f"cannot copy snapshot {snapshot_id} while restoring"


def test_nobody_comes_and_goes_at_once() -> None:
    member = str(uuid4())
    both = {"add_volumes": [member], "remove_volumes": [member]}

    with pytest.raises(ValidationError):
        groups.update.load({"id": member} | both)


def test_a_member_is_not_deleted_alone(manager: VolumeManager) -> None:
    async def scenario(log: Log) -> Any:
        group_id, [member] = await grouped(log, 1)
        return group_id, [
            await ask(log, volumes.delete, id=member, force=True),
            await ask(log, volumes.unmanage, id=member),
        ]

    group_id, told = played(manager, scenario)

    assert [each["unmet"] for each in told] == [[f"outside group {group_id}"]] * 2


def test_of_a_group_without_members_nothing_can_be_made(manager: VolumeManager) -> None:
    async def scenario(log: Log) -> Any:
        group_id, _ = await grouped(log, 0)
        return [
            await ask(log, group_snapshots.create, group_id=group_id),
            await ask(log, groups.create_from_source, group_id=group_id),
        ]

    told = played(manager, scenario)

    assert [each["unmet"] for each in told] == [["with any member"]] * 2


@pytest.mark.parametrize(("number", "status"), [(0, "deleted"), (2, "deleting")])
def test_a_group_is_deleted_once_and_asks_its_backend_only_about_members(
    manager: VolumeManager, number: int, status: str
) -> None:
    async def scenario(log: Log) -> Any:
        group_id, _ = await grouped(log, number)
        asked: Any = {"id": group_id, "delete_volumes": number > 0}
        told = [await ask(log, groups.delete, **asked) for _ in range(2)]
        seen: Any = log.memory.live[UUID(group_id)]
        return told, len(seen.in_flight)

    [first, again], in_flight = played(manager, scenario)

    assert first["status"] == status
    assert again == first
    assert in_flight == (number > 0)


def test_a_group_goes_with_its_members(manager: VolumeManager) -> None:
    async def scenario(log: Log) -> Any:
        group_id, ids = await grouped(log)
        refused = await ask(log, groups.delete, id=group_id)
        asked = await ask(log, groups.delete, id=group_id, delete_volumes=True)
        await report(log, group_id, newest(log, group_id), noun="group")
        for each in ids:
            await report(log, each, newest(log, each))
        return refused, asked, await group(log, group_id), await statuses(log, ids)

    refused, asked, gone, members = played(manager, scenario)

    assert (refused["type"], asked["status"]) == ("refused", "deleting")
    assert (gone["status"], gone["volumes"]) == ("deleted", [])
    assert members == ["deleted", "deleted"]


def test_a_busy_member_stops_it_with_nothing_destroyed(
    manager: VolumeManager,
) -> None:
    async def scenario(log: Log) -> Any:
        group_id, ids = await grouped(log)
        await ask(log, groups.delete, id=group_id, delete_volumes=True)
        meanwhile = await statuses(log, ids)
        told: Any = {"not_done": BUSY, "noun": "group"}
        await report(log, group_id, newest(log, group_id), **told)
        return meanwhile, await group(log, group_id), await statuses(log, ids)

    meanwhile, seen, members = played(manager, scenario)

    assert meanwhile == ["deleting", "deleting"]
    assert (seen["status"], seen["error"]["code"]) == ("available", "busy")
    assert members == ["available", "available"]


def test_a_member_that_cannot_be_removed_keeps_the_group(
    manager: VolumeManager,
) -> None:
    async def scenario(log: Log) -> Any:
        group_id, [first, second] = await grouped(log)
        await ask(log, groups.delete, id=group_id, delete_volumes=True)
        await report(log, group_id, newest(log, group_id), noun="group")
        await report(log, first, newest(log, first))
        await report(log, second, newest(log, second), not_done=FAILED)
        seen = await group(log, group_id)
        again = await ask(log, groups.delete, id=group_id, delete_volumes=True)
        return second, seen, again

    second, seen, again = played(manager, scenario)

    assert (seen["status"], seen["volumes"]) == ("error", [second])
    assert seen["error"]["code"] == "driver_failed"
    assert again["status"] == "deleting"


def test_a_held_member_keeps_the_group(manager: VolumeManager) -> None:
    async def scenario(log: Log) -> Any:
        group_id, ids = await grouped(log)
        await ask(log, volumes.attach, id=ids[1], instance="web-1")
        refused = await ask(log, groups.delete, id=group_id, delete_volumes=True)
        return ids[1], refused, await group(log, group_id), await statuses(log, ids)

    held, refused, seen, members = played(manager, scenario)

    assert refused["detail"] == f"cannot delete volume {held} while in-use"
    assert refused["instance"] == f"volume/{held}"
    assert seen["status"] == "available"
    assert members == ["available", "in-use"]


@pytest.mark.parametrize(
    ("consistent", "said"),
    [(True, "crash-consistent-group"), (False, "per-volume")],
)
def test_a_group_snapshot_says_what_it_promises(
    manager: VolumeManager, *, consistent: bool, said: str
) -> None:
    async def scenario(log: Log) -> Any:
        group_id, _ = await grouped(log, consistent=consistent)
        seen = await taken(log, group_id, consistent=consistent)
        return seen, [
            await ask(log, snapshots.show, id=each) for each in seen["snapshots"]
        ]

    seen, members = played(manager, scenario)

    assert (seen["status"], seen["consistency"]) == ("available", said)
    assert {each["status"] for each in members} == {"available"}
    assert {each["group_snapshot_id"] for each in members} == {seen["id"]}


def test_an_id_that_is_taken_is_named_as_it_was_given(manager: VolumeManager) -> None:
    async def scenario(log: Log) -> Any:
        group_id, _ = await grouped(log)
        chosen = {"id": (await taken(log, group_id))["id"], "group_id": group_id}
        return chosen["id"], await ask(log, group_snapshots.create, **chosen)

    chosen, answer = played(manager, scenario)

    assert (answer["type"], answer["detail"]) == (
        "conflict",
        f"the id {chosen} is taken; choose another one, or leave it out",
    )


def test_a_group_snapshot_that_fails_gives_its_room_back(
    manager: VolumeManager,
) -> None:
    async def scenario(log: Log) -> Any:
        group_id, _ = await grouped(log)
        made = await ask(log, group_snapshots.create, group_id=group_id)
        took = log.room.taken("files")
        told: Any = {"noun": "group_snapshot", "not_done": FAILED}
        await report(log, made["id"], 1, **told)
        seen = await ask(log, group_snapshots.show, id=made["id"])
        one = await ask(log, snapshots.show, id=seen["snapshots"][0])
        return seen, one, took, log.room.taken("files")

    seen, one, took, left = played(manager, scenario)

    assert (seen["status"], one["status"]) == ("error", "error")
    assert one["error"]["code"] == "driver_failed"
    assert (took, left) == (4, 2)


def test_many_members_that_are_not_in_memory_are_read_at_once(
    manager: VolumeManager,
) -> None:
    group_id, ids = played(manager, lambda log: grouped(log, 60))

    async def scenario(log: Log) -> Any:
        async with asyncio.timeout(20):
            return await ask(log, group_snapshots.create, group_id=group_id)

    async def later(log: Log) -> Any:
        async with asyncio.timeout(20):
            await report(log, made["id"], 1, noun="group_snapshot")
            await ask(log, group_snapshots.delete, id=made["id"])
            return await ask(log, group_snapshots.show, id=made["id"])

    made = played(manager, scenario)
    assert len(made["snapshots"]) == len(ids)
    assert played(manager, later)["status"] == "deleting"


def test_the_answer_is_the_last_event_of_what_it_shows(manager: VolumeManager) -> None:
    async def scenario(log: Log) -> Any:
        group_id, _ = await grouped(log)
        return [
            await ask(log, group_snapshots.create, group_id=group_id),
            await ask(log, groups.update, id=group_id, name="web"),
        ]

    for told in played(manager, scenario):
        history = decoded(manager.recorder.history(UUID(told["id"])))
        by_version = {event.originator_version: at for event, at in history}
        assert by_version[told["version"]] == told["position"]


def test_the_snapshots_of_a_group_go_together(manager: VolumeManager) -> None:
    async def scenario(log: Log) -> Any:
        group_id, _ = await grouped(log)
        of = await taken(log, group_id)
        alone = await ask(log, snapshots.delete, id=of["snapshots"][0])
        kept = await ask(log, groups.delete, id=group_id, delete_volumes=True)
        await ask(log, group_snapshots.delete, id=of["id"])
        for each in of["snapshots"]:
            await report(log, each, newest(log, each), noun="snapshot")
        gone = await ask(log, group_snapshots.show, id=of["id"])
        again = await ask(log, groups.delete, id=group_id, delete_volumes=True)
        return of["id"], alone, kept, gone, again

    taken_id, alone, kept, gone, again = played(manager, scenario)

    assert alone["unmet"] == [f"outside group snapshot {taken_id}"]
    assert kept["unmet"] == [f"without group snapshot {taken_id}"]
    assert (gone["status"], gone["snapshots"]) == ("deleted", [])
    assert again["status"] == "deleting"


@pytest.mark.parametrize("why", [BUSY, FAILED])
def test_a_snapshot_that_cannot_be_removed_keeps_those_it_was_taken_with(
    manager: VolumeManager, why: NotDone
) -> None:
    async def scenario(log: Log) -> Any:
        group_id, _ = await grouped(log)
        of = await taken(log, group_id)
        gone, kept = of["snapshots"]
        await ask(log, group_snapshots.delete, id=of["id"])
        await report(log, kept, newest(log, kept), why, noun="snapshot")
        await report(log, gone, newest(log, gone), noun="snapshot")
        told = await ask(log, group_snapshots.show, id=of["id"])
        await ask(log, group_snapshots.delete, id=of["id"])
        return kept, told, await ask(log, groups.show, id=group_id)

    kept, told, of = played(manager, scenario)

    assert (told["status"], told["snapshots"]) == ("error", [kept])
    assert told["error"]["code"] == why.code
    assert of["status"] == "available"


@pytest.mark.parametrize("of_a_snapshot", [True, False])
def test_a_group_is_made_of_another_member_by_member(
    manager: VolumeManager, *, of_a_snapshot: bool
) -> None:
    async def scenario(log: Log) -> Any:
        group_id, ids = await grouped(log, consistent=True)
        source = {"group_id": group_id}
        if of_a_snapshot:
            source = {"group_snapshot_id": (await taken(log, group_id))["id"]}
        made = await ask(log, groups.create_from_source, **source)
        so_far = []
        for each in made["volumes"]:
            so_far.append((await group(log, made["id"]))["status"])
            await report(log, each, 1, location="/there")
        seen = await group(log, made["id"])
        copies = [await ask(log, volumes.show, id=each) for each in seen["volumes"]]
        origins = [await origin(log, copy["source"]) for copy in copies]
        return so_far, seen, ids, origins, copies

    so_far, seen, ids, origins, copies = played(manager, scenario)

    assert (so_far, seen["status"]) == (["creating"] * 2, "available")
    assert (origins, seen["consistent"]) == (ids, True)
    assert {each["group_id"] for each in copies} == {seen["id"]}


def test_who_waits_for_a_group_is_answered_when_all_its_members_are_made_or_gone(
    manager: VolumeManager,
) -> None:
    async def asked(log: Log, endpoint: Endpoint, **said: Any) -> Any:
        """Return the first answer, and the one that is waited for."""
        command = endpoint.command(msgspec.json.encode(said), NOTHING, log.room)
        first = await log.submit(command)
        waiting = asyncio.create_task(endpoint._settled(log, first, 20))
        await asyncio.sleep(0)
        return msgspec.json.decode(first.body), waiting

    async def scenario(log: Log) -> Any:
        group_id, _ = await grouped(log)
        made, waiting = await asked(log, groups.create_from_source, group_id=group_id)
        for each in made["volumes"]:
            await report(log, each, 1, location="/there")
        told = [await waiting]
        gone: Any = {"id": made["id"], "delete_volumes": True}
        _, waiting = await asked(log, groups.delete, **gone)
        await report(log, made["id"], newest(log, made["id"]), noun="group")
        for each in made["volumes"]:
            await report(log, each, newest(log, each))
        return [msgspec.json.decode(each.body) for each in (*told, await waiting)]

    told = played(manager, scenario)

    assert [each["status"] for each in told] == ["available", "deleted"]


async def origin(log: Log, source: dict[str, str]) -> str:
    """Return the volume that something was made of in the end."""
    if "snapshot" in source:
        of = await ask(log, snapshots.show, id=source["snapshot"])
        return str(of["volume_id"])
    return source["volume"]


@pytest.mark.parametrize(
    ("members", "fits"),
    [
        ([("thin", 1), ("thick", 3), ("thick", 3)], False),
        ([("thick", 1), ("thin", 5)], True),
    ],
)
@pytest.mark.parametrize("asked", [groups.create_from_source, group_snapshots.create])
def test_room_is_counted_for_each_member_as_its_type_says(
    manager: VolumeManager,
    asked: Endpoint,
    members: list[tuple[str, int]],
    *,
    fits: bool,
) -> None:
    async def scenario(log: Log) -> Any:
        thin = {"thin_provisioning_support": True, "max_over_subscription_ratio": 20.0}
        told = msgspec.structs.replace(capabilities(10), **thin)
        log.room.know("files", Measured(told, *WORKING, datetime.now(UTC)))
        for kind in ("thin", "thick"):
            specs = {"provisioning:type": kind}
            log.room.volume_types[kind] = VolumeType(kind, specs)
        made = (await ask(log, groups.create, backend="files"))["id"]
        for kind, size_gib in members:
            said = {"volume_type": kind, "size_gib": size_gib}
            await available(log, group_id=made, **said)
        return await ask(log, asked, group_id=made)

    told = played(manager, scenario)

    assert (told.get("type") == "no-capacity") is not fits


def test_a_group_of_which_a_member_cannot_be_made_says_so(
    manager: VolumeManager,
) -> None:
    async def scenario(log: Log) -> Any:
        group_id, _ = await grouped(log)
        made = await ask(log, groups.create_from_source, group_id=group_id)
        first, second = made["volumes"]
        await report(log, first, 1, not_done=FAILED)
        so_far = await group(log, made["id"])
        await report(log, second, 1, location="/there")
        seen = [so_far, await group(log, made["id"])]
        return seen, await ask(log, groups.delete, id=made["id"], delete_volumes=True)

    seen, asked = played(manager, scenario)

    assert [each["status"] for each in seen] == ["creating", "error"]
    assert [each["error"]["code"] for each in seen] == ["driver_failed"] * 2
    assert asked["status"] == "deleting"


def test_a_consistent_group_is_refused_where_it_cannot_be(
    manager: VolumeManager,
) -> None:
    async def scenario(log: Log) -> Any:
        told = Measured(capabilities(10), *WORKING, datetime.now(UTC))
        log.room.know("files", told)
        asked = {"backend": "files"}
        return [
            await ask(log, groups.create, consistent=True, **asked),
            await ask(log, groups.create_consistent, **asked),
            await ask(log, groups.create, **asked),
        ]

    *refused, made = played(manager, scenario)

    assert [each["type"] for each in refused] == ["refused", "refused"]
    assert "at one moment" in refused[0]["detail"]
    assert made["status"] == "available"
