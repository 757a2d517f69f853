"""Sentences about storage that is taken over, and what is left as storage."""

from __future__ import annotations

import os
from pathlib import Path
from uuid import UUID

from pytest_bdd import given, then, when

from domain import reference
from features.steps.contents import fill
from features.steps.sentences import says
from features.steps.snapshots import history, is_snapshot_in_status
from features.steps.volumes import GIB, available, is_in_status, spelt
from features.steps.world import World

PLACE, WRITTEN = 4096, b"before Holdfast"


def called(world: World, storage: str) -> str:
    """Return a name of storage that no other scenario uses."""
    return world.own(storage).replace(" ", "-")


def came_in(world: World, backend: str, storage: str) -> Path:
    return world.folder(backend) / "incoming" / called(world, storage)


def let_go(world: World, name: str) -> str:
    return reference.name_of(UUID(world.volumes[name]))


def ask(world: World, backend: str, storage: object, name: str, **more: str) -> None:
    """Ask for storage to be managed, by what it is called there."""
    named = {reference.SOURCE_NAME: storage}
    asked = {"backend": world.backend(backend), "reference": named, "name": name}
    answer = world.ask("volume.manage", **asked | more)
    if "id" in answer:
        world.volumes[name] = answer["id"]


def shows(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(PLACE)
        return file.read(len(WRITTEN))


def mark(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(PLACE)
        file.write(WRITTEN)


# What has happened


@given(says('backend "{backend:Name}" has a storage "{storage:Name}" of {size:g} GiB'))
def has_storage(world: World, backend: str, storage: str, size: float) -> None:
    path = came_in(world, backend, storage)
    path.parent.mkdir(exist_ok=True)
    with path.open("wb") as file:
        file.truncate(int(size * GIB))
    mark(path)


@given(
    says('"{storage:Name}" of backend "{backend:Name}" was taken over as "{name:Name}"')
)
def taken_over(world: World, storage: str, backend: str, name: str) -> None:
    has_storage(world, backend, storage, 1)
    manage(world, storage, backend, name)
    is_in_status(world, name, "available")


@given(says('a process has "{storage:Name}" of backend "{backend:Name}" in use'))
def in_use(world: World, storage: str, backend: str) -> None:
    world.open_file(came_in(world, backend, storage))


@given(
    says(
        '"{name:Name}" could not be taken over from "{storage:Name}"'
        ' of backend "{backend:Name}" while it was in use'
    )
)
def not_taken_over(world: World, name: str, storage: str, backend: str) -> None:
    has_storage(world, backend, storage, 1)
    in_use(world, storage, backend)
    manage(world, storage, backend, name)
    is_in_status(world, name, "error_managing")
    world.close()


@given(
    says(
        '"{name:Name}" was given up while it was being taken over from "{storage:Name}"'
    )
)
def given_up(world: World, name: str, storage: str) -> None:
    has_storage(world, "faulty", storage, 1)
    world.steer("faulty", "hold", "adopt")
    manage(world, storage, "faulty", name)
    is_in_status(world, name, "error_managing")


@given(says('an available volume "{name:Name}" with data on it'))
def with_data(world: World, name: str) -> None:
    available(world, name)
    mark(world.storage(name))


@given(says('"{name:Name}" was unmanaged'))
def was_unmanaged(world: World, name: str) -> None:
    world.do("volume.unmanage", id=world.volumes[name])
    is_in_status(world, name, "deleted")


@given(says('a volume "{name:Name}" that could not be unmanaged'))
def could_not_be_unmanaged(world: World, name: str) -> None:
    available(world, name, backend="faulty")
    world.steer("faulty", "fail", "unmanage")
    world.do("volume.unmanage", id=world.volumes[name])
    is_in_status(world, name, "error_unmanaging")
    world.calm("faulty")


# What an operator asks


@when(says('"{storage:Name}" of backend "{backend:Name}" is managed as "{name:Name}"'))
def manage(world: World, storage: str, backend: str, name: str) -> None:
    ask(world, backend, called(world, storage), name)


@when(
    says(
        '"{storage:Name}" of backend "{backend:Name}" is managed'
        ' under the id of "{name:Name}"'
    )
)
def manage_under(world: World, storage: str, backend: str, name: str) -> None:
    ask(world, backend, called(world, storage), name, id=world.volumes[name])


@when(says('the storage of "{other:Name}" is managed as "{name:Name}"'))
def manage_managed(world: World, other: str, name: str) -> None:
    ask(world, "files", let_go(world, other), name)


@when(says('the storage that "{name:Name}" had is managed under its id'))
def manage_back(world: World, name: str) -> None:
    backend = world.volume(name)["backend"]
    ask(world, backend, let_go(world, name), name, id=world.volumes[name])


@when(says('{storage} of backend "{backend:Name}" is managed'))
def manage_oddly(world: World, storage: str, backend: str) -> None:
    ask(world, backend, spelt(storage), "db")


@when(says('"{name:Name}" is unmanaged'))
def unmanage(world: World, name: str) -> None:
    world.ask("volume.unmanage", id=world.volumes[name])


@when(says('it is listed what could be managed on backend "{backend:Name}"'))
def list_manageable(world: World, backend: str) -> None:
    world.ask("volume.manageable", backend=world.backend(backend), limit=1000)


@when(
    says(
        'it is listed what could be managed on backend "{backend:Name}",'
        " {count:d} at a time"
    )
)
def list_pages(world: World, backend: str, count: int) -> None:
    world.ask("volume.manageable", backend=backend, limit=count)
    items, cursor = list(world.answer["items"]), world.answer["next"]
    while cursor:
        asked = {"backend": backend, "limit": count, "cursor": cursor}
        page = world.do("volume.manageable", **asked)
        assert len(page["items"]) <= count
        items, cursor = items + page["items"], page["next"]
    world.answer["items"] = items


# What is then so


@then(says('"{name:Name}" has what was on "{storage:Name}"'))
@then(says('"{name:Name}" has its data'))
def has_data(world: World, name: str, storage: str = "") -> None:
    assert shows(world.storage(name)) == WRITTEN


@then(says('backend "{backend:Name}" still has "{storage:Name}"'))
def still_has(world: World, backend: str, storage: str) -> None:
    assert shows(came_in(world, backend, storage)) == WRITTEN


@then(says('the log of "{name:Name}" names "{storage:Name}"'))
def names(world: World, name: str, storage: str) -> None:
    told = world.history(name)[0]["data"]["reference"]
    assert told == reference.to(called(world, storage))


@then(says('the storage that "{name:Name}" had is to be managed again'))
@then(says('what was on "{storage:Name}" is to be managed again'))
def to_be_managed(world: World, name: str = "db", storage: str = "") -> None:
    told = world.history(name)[-1]["data"]["reference"]
    backend = world.volume(name)["backend"]
    listed = world.do("volume.manageable", backend=backend, limit=1000)["items"]
    [found] = [item for item in listed if item["reference"] == told]
    assert found["safe_to_manage"], found
    stays = world.folder(backend) / "incoming" / reference.name_in(told)
    assert shows(stays) == WRITTEN


@then(says('"{storage:Name}" can be managed as {size:d} GiB'))
def can_be_managed(world: World, storage: str, size: int) -> None:
    [found] = found_as(world, called(world, storage))
    assert found["safe_to_manage"], found
    assert (found["size_gib"], found["reason_not_safe"]) == (size, None)


@then(says('the storage of "{name:Name}" cannot, because it is "{why:Name}"'))
def cannot_be_managed(world: World, name: str, why: str) -> None:
    [found] = found_as(world, let_go(world, name))
    assert not found["safe_to_manage"]
    assert (found["id"], found["reason_not_safe"]) == (world.volumes[name], why)


def found_as(world: World, storage: str) -> list[dict[str, object]]:
    items = world.answer["items"]
    return [item for item in items if item["reference"] == reference.to(storage)]


# Snapshots


def stored(world: World, name: str) -> Path:
    """Return where storage lies that is a snapshot of a volume."""
    backend = world.volume(name)["backend"]
    return world.folder(backend) / "incoming-snapshots" / world.volumes[name]


@given(
    says(
        'a storage "{storage:Name}" that is a snapshot of "{name:Name}"'
        ' and holds "{text:Name}"'
    )
)
def has_snapshot(world: World, storage: str, name: str, text: str) -> None:
    path = stored(world, name) / called(world, storage)
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        file.truncate(GIB)
    fill(path, text)


@given(
    says(
        'a storage "{storage:Name}" that is the beginning'
        ' of a snapshot of "{name:Name}"'
    )
)
def has_beginning(world: World, storage: str, name: str) -> None:
    has_snapshot(world, storage, name, "orders")
    os.truncate(stored(world, name) / called(world, storage), GIB // 2)


@when(
    says(
        '"{storage:Name}" is managed as the snapshot "{snapshot:Name}" of "{name:Name}"'
    )
)
def manage_snapshot(world: World, storage: str, snapshot: str, name: str) -> None:
    manage_snapshot_named(world, called(world, storage), snapshot, name)


@given(
    says(
        '"{storage:Name}" was taken over as the snapshot "{snapshot:Name}"'
        ' of "{name:Name}"'
    )
)
def snapshot_taken_over(world: World, storage: str, snapshot: str, name: str) -> None:
    manage_snapshot(world, storage, snapshot, name)
    is_snapshot_in_status(world, snapshot, "available")


@given(
    says(
        'what "{gone:Name}" left was taken over as the snapshot "{snapshot:Name}"'
        ' of "{name:Name}"'
    )
)
def left_taken_over(world: World, gone: str, snapshot: str, name: str) -> None:
    told = history(world, gone)[-1]["data"]["reference"]
    manage_snapshot_named(world, reference.name_in(told), snapshot, name)
    is_snapshot_in_status(world, snapshot, "available")


@when(says('the snapshot "{snapshot:Name}" is unmanaged'))
def unmanage_snapshot(world: World, snapshot: str) -> None:
    world.ask("snapshot.unmanage", id=world.snapshots[snapshot])


@given(says('the snapshot "{snapshot:Name}" was unmanaged'))
def snapshot_was_unmanaged(world: World, snapshot: str) -> None:
    unmanage_snapshot(world, snapshot)
    is_snapshot_in_status(world, snapshot, "deleted")


def manage_snapshot_named(world: World, storage: str, snapshot: str, name: str) -> None:
    asked = {"volume_id": world.volumes[name], "reference": reference.to(storage)}
    world.snapshots[snapshot] = world.do("snapshot.manage", **asked)["id"]
