"""Sentences about what volumes held, and what is made of it."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from pytest_bdd import given, then, when

from features.steps.contents import GIB, fill, holds
from features.steps.sentences import says
from features.steps.volumes import available, is_in_status, size_of
from features.steps.world import World

OPERATIONS = {
    "take": "take_snapshot",
    "remove": "delete_snapshot",
    "adopt": "adopt_snapshot",
    "release": "unmanage_snapshot",
}


# What volumes hold


@given(says('an available volume "{name:Name}" that holds "{text:Name}"'))
def available_holding(world: World, name: str, text: str, **described: Any) -> None:
    available(world, name, **described)
    fill(world.storage(name), text)


@given(
    says(
        'an available volume "{name:Name}" on backend "{backend:Name}"'
        ' that holds "{text:Name}"'
    )
)
def available_holding_on(world: World, name: str, backend: str, text: str) -> None:
    available_holding(world, name, text, backend=backend)


@given(says('"{name:Name}" was overwritten with "{text:Name}"'))
@when(says('"{name:Name}" is overwritten with "{text:Name}"'))
def overwrite(world: World, name: str, text: str) -> None:
    fill(world.storage(name), text)


@then(says('"{name:Name}" holds "{text:Name}"'))
def does_hold(world: World, name: str, text: str) -> None:
    assert holds(world.storage(name), text)


@then(says('"{name:Name}" of {size:d} GiB holds "{text:Name}", and zeros behind it'))
def holds_and_zeros(world: World, name: str, size: int, text: str) -> None:
    assert size_of(world.storage(name)) == size * GIB
    assert holds(world.storage(name), text)


# What has happened


@given(says('a snapshot "{snapshot:Name}" of "{name:Name}"'))
def taken(world: World, snapshot: str, name: str, **said: Any) -> None:
    take(world, snapshot, name, **said)
    is_snapshot_in_status(world, snapshot, "available")


@given(says('a snapshot "{snapshot:Name}" of "{name:Name}", taken by force'))
def taken_by_force(world: World, snapshot: str, name: str) -> None:
    taken(world, snapshot, name, force=True)


@given(says('a snapshot "{snapshot:Name}" of "{name:Name}" is being taken'))
def being_taken(world: World, snapshot: str, name: str) -> None:
    world.steer("faulty", "hold", "take_snapshot")
    take(world, snapshot, name)


@given(says('a snapshot "{snapshot:Name}" of "{name:Name}" that could not be taken'))
def not_taken(world: World, snapshot: str, name: str) -> None:
    world.steer("faulty", "fail", "take_snapshot")
    take(world, snapshot, name)
    is_snapshot_in_status(world, snapshot, "error")
    world.calm("faulty")


@given(says('the snapshot "{snapshot:Name}" was deleted'))
def was_deleted(world: World, snapshot: str) -> None:
    delete(world, snapshot)
    is_snapshot_in_status(world, snapshot, "deleted")


@given(says('the snapshot "{snapshot:Name}" was deleted by force'))
def was_deleted_by_force(world: World, snapshot: str) -> None:
    world.do("snapshot.delete", id=world.snapshots[snapshot], force=True)


@given(says('the snapshot "{snapshot:Name}" could not be deleted'))
def not_deleted(world: World, snapshot: str) -> None:
    world.steer("faulty", "fail", "delete_snapshot")
    delete(world, snapshot)
    is_snapshot_in_status(world, snapshot, "error_deleting")
    world.calm("faulty")


@given(says('backend "{backend:Name}" fails to {verb:Status} snapshots'))
def fails_to(world: World, backend: str, verb: str) -> None:
    world.steer(backend, "fail", OPERATIONS[verb])


@given(says('something on backend "{backend:Name}" uses its snapshots'))
def uses_snapshots(world: World, backend: str) -> None:
    world.steer(backend, "busy", "delete_snapshot")


@given(says('"{copy:Name}" is being made of the snapshot "{snapshot:Name}"'))
def being_made_of_snapshot(world: World, copy: str, snapshot: str) -> None:
    world.steer("faulty", "hold", "create")
    make_of_snapshot(world, copy, snapshot)


@given(says('"{copy:Name}" is being made of the volume "{name:Name}"'))
def being_made_of_volume(world: World, copy: str, name: str) -> None:
    world.steer("faulty", "hold", "create")
    make_of_volume(world, copy, name)


@given(says('"{copy:Name}" could not be made of the snapshot "{snapshot:Name}"'))
def not_made_of_snapshot(world: World, copy: str, snapshot: str) -> None:
    world.steer("faulty", "fail", "create")
    make_of_snapshot(world, copy, snapshot)
    is_in_status(world, copy, "error")
    world.calm("faulty")


@given(says('"{name:Name}" could not be reverted to "{snapshot:Name}"'))
def not_reverted(world: World, name: str, snapshot: str) -> None:
    world.steer("faulty", "fail", "revert")
    revert(world, name, snapshot)
    is_in_status(world, name, "available")
    world.calm("faulty")


@given(says('"{copy:Name}" was made of the snapshot "{snapshot:Name}"'))
def was_made_of_snapshot(world: World, copy: str, snapshot: str) -> None:
    make_of_snapshot(world, copy, snapshot)
    is_in_status(world, copy, "available")


@given(says('"{copy:Name}" was made of the volume "{name:Name}"'))
def was_made_of_volume(world: World, copy: str, name: str) -> None:
    make_of_volume(world, copy, name)
    is_in_status(world, copy, "available")


@given(says('"{name:Name}" is being reverted to "{snapshot:Name}"'))
def being_reverted(world: World, name: str, snapshot: str) -> None:
    world.steer("faulty", "hold", "revert")
    revert(world, name, snapshot)
    is_in_status(world, name, "reverting")


@given(
    says('"{name:Name}" was given up while it was being reverted to "{snapshot:Name}"')
)
def given_up_reverting(world: World, name: str, snapshot: str) -> None:
    being_reverted(world, name, snapshot)
    is_in_status(world, name, "error")
    world.calm("faulty")


# What a caller asks


@when(says('a snapshot "{snapshot:Name}" of "{name:Name}" is taken'))
def take(world: World, snapshot: str, name: str, **said: Any) -> None:
    asked = {"volume_id": world.volumes[name], "name": snapshot} | said
    answer = world.ask("snapshot.create", **asked)
    if "id" in answer:
        world.snapshots[snapshot] = answer["id"]


@when(says('a snapshot "{snapshot:Name}" of "{name:Name}" is taken by force'))
def take_by_force(world: World, snapshot: str, name: str) -> None:
    take(world, snapshot, name, force=True)


@when("a snapshot of a volume that never was is taken")
def take_of_nothing(world: World) -> None:
    world.ask("snapshot.create", volume_id=str(uuid4()))


@when(says('the snapshot "{snapshot:Name}" is deleted'))
def delete(world: World, snapshot: str) -> None:
    world.ask("snapshot.delete", id=world.snapshots[snapshot])


@when(says('the snapshot "{snapshot:Name}" is deleted by force'))
def delete_by_force(world: World, snapshot: str) -> None:
    world.ask("snapshot.delete", id=world.snapshots[snapshot], force=True)


@when("a snapshot that never was is deleted")
def delete_nothing(world: World) -> None:
    world.ask("snapshot.delete", id=str(uuid4()))


@when(says('the snapshot "{snapshot:Name}" is looked at'))
def look_at(world: World, snapshot: str) -> None:
    world.ask("snapshot.show", id=world.snapshots[snapshot])


@when(says('the snapshot "{snapshot:Name}" is renamed to "{other:Name}"'))
def rename(world: World, snapshot: str, other: str) -> None:
    world.ask("snapshot.update", id=world.snapshots[snapshot], name=other)


@given(
    says('the snapshot "{snapshot:Name}" was labelled "{key:Name}" as "{value:Name}"')
)
@when(says('the snapshot "{snapshot:Name}" is labelled "{key:Name}" as "{value:Name}"'))
def label(world: World, snapshot: str, key: str, value: str) -> None:
    label_it = {"metadata": {key: value}}
    world.ask("snapshot.update", id=world.snapshots[snapshot], **label_it)


@when(says('the snapshots of "{name:Name}" are listed'))
def list_chain(world: World, name: str) -> None:
    asked = {"volume_id": world.volumes[name], "min_position": world.end_of_log()}
    world.ask("snapshot.list", **asked)


@when(says('"{copy:Name}" is made of the snapshot "{snapshot:Name}"'))
def make_of_snapshot(world: World, copy: str, snapshot: str, **said: Any) -> None:
    make_of(world, copy, {"snapshot": world.snapshots[snapshot]}, **said)


@when(says('"{copy:Name}" of {size:d} GiB is made of the snapshot "{snapshot:Name}"'))
def make_of_snapshot_sized(world: World, copy: str, size: int, snapshot: str) -> None:
    make_of_snapshot(world, copy, snapshot, size_gib=size)


@when(says('"{copy:Name}" is made of the volume "{name:Name}"'))
def make_of_volume(world: World, copy: str, name: str, **said: Any) -> None:
    make_of(world, copy, {"volume": world.volumes[name]}, **said)


@when(says('"{copy:Name}" of {size:d} GiB is made of the volume "{name:Name}"'))
def make_of_volume_sized(world: World, copy: str, size: int, name: str) -> None:
    make_of_volume(world, copy, name, size_gib=size)


@when(
    says(
        '"{copy:Name}" is made of the snapshot "{snapshot:Name}"'
        ' on backend "{backend:Name}"'
    )
)
def make_elsewhere(world: World, copy: str, snapshot: str, backend: str) -> None:
    make_of_snapshot(world, copy, snapshot, backend=backend)


def make_of(world: World, copy: str, source: dict[str, str], **said: Any) -> None:
    answer = world.ask("volume.create", name=copy, source=source, **said)
    if "id" in answer:
        world.volumes[copy] = answer["id"]


@given(says('"{name:Name}" was reverted to "{snapshot:Name}"'))
def was_reverted(world: World, name: str, snapshot: str) -> None:
    revert(world, name, snapshot)
    is_in_status(world, name, "available")


@when(says('"{name:Name}" is reverted to "{snapshot:Name}"'))
def revert(world: World, name: str, snapshot: str) -> None:
    asked = {"id": world.volumes[name], "snapshot_id": world.snapshots[snapshot]}
    world.ask("volume.revert", **asked)


@when(says('"{name:Name}" is deleted with its snapshots'))
def delete_all(world: World, name: str) -> None:
    world.ask("volume.delete", id=world.volumes[name], cascade=True)


@when(
    says(
        '"{name:Name}" is deleted with its snapshots'
        ' while "{copy:Name}" is made of "{snapshot:Name}", 10 times'
    )
)
def race(world: World, name: str, copy: str, snapshot: str) -> None:
    for number in range(10):
        of, kept = f"{name} {number}", f"{snapshot} {number}"
        available(world, of)
        taken(world, kept, of)
        gone = {"id": world.volumes[of], "cascade": True}
        made = {"name": copy, "source": {"snapshot": world.snapshots[kept]}}
        world.answers += world.service.ask_at_once(
            ("volume.delete", gone), ("volume.create", made)
        )


# What is then so


@then(says('the snapshot "{snapshot:Name}" is {status:Status}'))
def is_snapshot_in_status(world: World, snapshot: str, status: str) -> None:
    world.soon(lambda: shown(world, snapshot)["status"], status)


@then(says('the snapshot "{snapshot:Name}" is {status:Status} because "{words:Name}"'))
def is_snapshot_because(world: World, snapshot: str, status: str, words: str) -> None:
    is_snapshot_in_status(world, snapshot, status)
    assert words in shown(world, snapshot)["error"]["message"]


@then(says('the snapshot "{snapshot:Name}" is called "{other:Name}"'))
def is_called(world: World, snapshot: str, other: str) -> None:
    assert shown(world, snapshot)["name"] == other


@then(
    says(
        'the snapshot "{snapshot:Name}" has only the label'
        ' "{key:Name}" as "{value:Name}"'
    )
)
def has_label(world: World, snapshot: str, key: str, value: str) -> None:
    assert shown(world, snapshot)["metadata"] == {key: value}


@then(says('the log of the snapshot "{snapshot:Name}" ends with "{topic:Topic}"'))
def log_ends_with(world: World, snapshot: str, topic: str) -> None:
    world.soon(lambda: history(world, snapshot)[-1]["event"], topic)


@then(
    says('the log of the snapshot "{snapshot:Name}" says that hosts may have written')
)
def says_crash_consistent(world: World, snapshot: str) -> None:
    assert history(world, snapshot)[0]["data"]["crash_consistent"] is True


@then(says('the snapshots "{names:Name}" are found, oldest first'))
def are_found(world: World, names: str) -> None:
    assert [item["name"] for item in world.answer["items"]] == names.split(", ")


@then(says('"{copy:Name}" says that it was made of the snapshot "{snapshot:Name}"'))
def says_source(world: World, copy: str, snapshot: str) -> None:
    assert world.volume(copy)["source"] == {"snapshot": world.snapshots[snapshot]}


@then(says('it is refused because of "{name:Name}"'))
def because_of(world: World, name: str) -> None:
    assert world.answer.get("type") == "refused", world.answer
    key = world.volumes.get(name) or world.snapshots.get(name) or world.groups[name]
    assert key in world.answer["detail"], world.answer


@then("each time one of the two wins and nothing is half done")
def one_wins(world: World) -> None:
    for gone, made in zip(world.answers[::2], world.answers[1::2], strict=True):
        won = ["title" not in gone, "title" not in made]
        assert sorted(won) == [False, True], (gone, made)


def shown(world: World, snapshot: str) -> dict[str, Any]:
    return world.do("snapshot.show", id=world.snapshots[snapshot])


def history(world: World, snapshot: str) -> list[dict[str, Any]]:
    answer = world.do("snapshot.history", id=world.snapshots[snapshot], limit=1000)
    items: list[dict[str, Any]] = answer["items"]
    return items
