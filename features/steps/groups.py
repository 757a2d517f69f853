"""Sentences about volumes that belong together, and what they held together."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from pytest_bdd import given, then, when

from features.steps.contents import holds
from features.steps.sentences import says
from features.steps.snapshots import available_holding
from features.steps.volumes import available, is_in_status
from features.steps.world import World

CONSISTENT = {"consistent": True}
GROUP, VOLUME = "crash-consistent-group", "per-volume"


# What has happened


@given(says('a group "{group:Name}"'))
def made(world: World, group: str, **described: Any) -> None:
    make(world, group, **described)
    assert "title" not in world.answer, world.answer


@given(says('a group "{group:Name}" of "{names:Name}"'))
def made_of(world: World, group: str, names: str, **described: Any) -> None:
    made(world, group, **described)
    for name in names.split(", "):
        if name not in world.volumes:
            where = {"backend": described.get("backend", world.home)}
            available(world, name, **where)
    add(world, names, group)
    assert "title" not in world.answer, world.answer


@given(says('a group "{group:Name}" of "{names:Name}" on backend "{backend:Name}"'))
def made_on(world: World, group: str, names: str, backend: str) -> None:
    made_of(world, group, names, backend=backend)


@given(says('a consistent group "{group:Name}" of "{names:Name}"'))
def made_consistent(world: World, group: str, names: str) -> None:
    made_of(world, group, names, **CONSISTENT)


@given(says('a consistency group "{group:Name}" of "{names:Name}"'))
def made_consistency_group(world: World, group: str, names: str) -> None:
    asked = {"name": group, "backend": world.home}
    remember(world, group, world.ask("consistency_group.create", **asked))
    for name in names.split(", "):
        available(world, name)
    add(world, names, group)


@given(says('the group "{group:Name}" was deleted'))
def was_deleted(world: World, group: str) -> None:
    delete_all(world, group)
    is_group_in_status(world, group, "deleted")


@given(says('the group "{group:Name}" could not be deleted'))
def not_deleted(world: World, group: str) -> None:
    world.steer("faulty", "fail", "delete")
    delete_all(world, group)
    is_group_in_status(world, group, "error")
    world.calm("faulty")


@given(says('the group "{group:Name}" is being deleted with its volumes'))
def being_deleted(world: World, group: str) -> None:
    world.steer("faulty", "hold", "delete")
    delete_all(world, group)


@given(says('available volumes "{names:Name}" that hold "{text:Name}"'))
def hold(world: World, names: str, text: str) -> None:
    for name in names.split(", "):
        available_holding(world, name, text)


@given(says('a group snapshot "{taken:Name}" of "{group:Name}"'))
def was_taken(world: World, taken: str, group: str) -> None:
    take(world, taken, group)
    is_taken_in_status(world, taken, "available")


@given(says('backend "{backend:Name}" fails to take group snapshots'))
def fails(world: World, backend: str) -> None:
    world.steer(backend, "fail", "take_group_snapshot")


# What a caller asks


@when(says('a group "{group:Name}" is made'))
def make(world: World, group: str, **described: Any) -> None:
    asked = {"name": group, "backend": world.home} | described
    remember(world, group, world.ask("group.create", **asked))


@when(says('a consistent group "{group:Name}" is made'))
def make_consistent(world: World, group: str) -> None:
    make(world, group, **CONSISTENT)


@when(says('a consistent group "{group:Name}" is made on backend "{backend:Name}"'))
def make_consistent_on(world: World, group: str, backend: str) -> None:
    make(world, group, backend=world.backend(backend), **CONSISTENT)


@when(says('a volume "{name:Name}" is created in the group "{group:Name}"'))
def create_in(world: World, name: str, group: str) -> None:
    asked = {"name": name, "size_gib": 1, "group_id": world.groups[group]}
    answer = world.ask("volume.create", **asked)
    if "id" in answer:
        world.volumes[name] = answer["id"]


@when(says('"{names:Name}" are added to the group "{group:Name}"'))
@when(says('"{names:Name}" is added to the group "{group:Name}"'))
def add(world: World, names: str, group: str) -> None:
    ids = [world.volumes.get(name) or str(uuid4()) for name in names.split(", ")]
    world.ask("group.update", id=world.groups[group], add_volumes=ids)


@given(says('"{name:Name}" was taken out of the group "{group:Name}"'))
@when(says('"{name:Name}" is taken out of the group "{group:Name}"'))
def remove(world: World, name: str, group: str) -> None:
    asked = {"id": world.groups[group], "remove_volumes": [world.volumes[name]]}
    world.ask("group.update", **asked)


@when(says('the group "{group:Name}" is deleted'))
def delete(world: World, group: str, **said: Any) -> None:
    world.ask("group.delete", id=world.groups[group], **said)


@when(says('the group "{group:Name}" is deleted with its volumes'))
def delete_all(world: World, group: str) -> None:
    delete(world, group, delete_volumes=True)


@when(says('a group snapshot "{taken:Name}" of "{group:Name}" is taken'))
def take(world: World, taken: str, group: str) -> None:
    asked = {"group_id": world.groups[group], "name": taken}
    answer = world.ask("group_snapshot.create", **asked)
    if "id" in answer:
        world.groups[taken] = answer["id"]


@when(says('the group snapshot "{taken:Name}" is deleted'))
def delete_taken(world: World, taken: str) -> None:
    world.ask("group_snapshot.delete", id=world.groups[taken])


@when(says('one of the snapshots of "{taken:Name}" is deleted'))
def delete_one(world: World, taken: str) -> None:
    world.ask("snapshot.delete", id=taken_of(world, taken)["snapshots"][0])


@when(says('a group "{group:Name}" is made of the group snapshot "{taken:Name}"'))
def make_of_taken(world: World, group: str, taken: str) -> None:
    asked = {"name": group, "group_snapshot_id": world.groups[taken]}
    remember(world, group, world.ask("group.create_from_source", **asked))


@when(says('a group "{group:Name}" is made of the group "{other:Name}"'))
def make_of_group(world: World, group: str, other: str) -> None:
    asked = {"name": group, "group_id": world.groups[other]}
    remember(world, group, world.ask("group.create_from_source", **asked))


def remember(world: World, group: str, answer: dict[str, Any]) -> None:
    if "id" in answer:
        world.groups[group] = answer["id"]


# What is then so


@then(says('the group "{group:Name}" is {status:Status}'))
def is_group_in_status(world: World, group: str, status: str) -> None:
    world.soon(lambda: shown(world, group)["status"], status)


@then(says('the group "{group:Name}" is {status:Status} because "{words:Name}"'))
def is_group_because(world: World, group: str, status: str, words: str) -> None:
    is_group_in_status(world, group, status)
    assert words in shown(world, group)["error"]["message"]


@then(says('the group "{group:Name}" has no members'))
def has_no_members(world: World, group: str) -> None:
    assert shown(world, group)["volumes"] == []


@then(says('the group "{group:Name}" has the members "{names:Name}"'))
def has_members(world: World, group: str, names: str) -> None:
    ids = [world.volumes[name] for name in names.split(", ")]
    world.soon(lambda: sorted(shown(world, group)["volumes"]), sorted(ids))


@then(says('"{name:Name}" is a member of "{group:Name}"'))
def is_member(world: World, name: str, group: str) -> None:
    assert world.volume(name)["group_id"] == world.groups[group]


@then(says('"{name:Name}" is a member of no group'))
def is_no_member(world: World, name: str) -> None:
    assert world.volume(name)["group_id"] is None


@then(says('all of "{names:Name}" are {status:Status}'))
def are_in_status(world: World, names: str, status: str) -> None:
    for name in names.split(", "):
        is_in_status(world, name, status)


@then(says('the group snapshot "{taken:Name}" is {status:Status}'))
def is_taken_in_status(world: World, taken: str, status: str) -> None:
    world.soon(lambda: taken_of(world, taken)["status"], status)


@then(
    says('the group snapshot "{taken:Name}" is {status:Status} because "{words:Name}"')
)
def is_taken_because(world: World, taken: str, status: str, words: str) -> None:
    is_taken_in_status(world, taken, status)
    assert words in taken_of(world, taken)["error"]["message"]


@then(says('the group snapshot "{taken:Name}" is of one moment'))
def is_of_one_moment(world: World, taken: str) -> None:
    assert taken_of(world, taken)["consistency"] == GROUP


@then(says('the group snapshot "{taken:Name}" is of a moment for each volume'))
def is_of_several_moments(world: World, taken: str) -> None:
    assert taken_of(world, taken)["consistency"] == VOLUME


@then(says('all snapshots of "{taken:Name}" are {status:Status}'))
def snapshots_are(world: World, taken: str, status: str) -> None:
    asked = {"group_snapshot_id": world.groups[taken], "status": status}

    def found() -> int:
        at = world.end_of_log()
        return len(world.do("snapshot.list", min_position=at, **asked)["items"])

    world.soon(found, 2)


@then(says('the member "{name:Name}" of the group "{group:Name}" holds "{text:Name}"'))
def member_holds(world: World, name: str, group: str, text: str) -> None:
    asked = {"group_id": world.groups[group], "name": name}
    [member] = world.do("volume.list", min_position=world.end_of_log(), **asked)[
        "items"
    ]
    world.volumes[f"{name} of {group}"] = member["id"]
    assert holds(world.storage(f"{name} of {group}"), text)


def shown(world: World, group: str) -> dict[str, Any]:
    return world.do("group.show", id=world.groups[group])


def taken_of(world: World, taken: str) -> dict[str, Any]:
    return world.do("group_snapshot.show", id=world.groups[taken])
