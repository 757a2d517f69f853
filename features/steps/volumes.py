"""Sentences about volumes."""

from __future__ import annotations

import json
from os import SEEK_END
from pathlib import Path
from typing import Any
from uuid import uuid4

from pytest_bdd import given, then, when

from features.steps.sentences import says
from features.steps.world import World

GIB = 1024**3
KNOWN = {
    "id": "id",
    "name": "name",
    "description": "description",
    "project": "project",
    "backend": "backend",
    "type": "volume_type",
    "sharing": "multiattach",
    "protection": "readonly",
    "labels": "metadata",
    "colour": "colour",
}


# What has happened


@given(says('an available volume "{name:Name}"'))
def available(world: World, name: str, **described: Any) -> None:
    described = {"size_gib": 1, "backend": world.home} | described
    made = world.do("volume.create", name=name, **described)
    world.volumes[name] = made["id"]
    is_in_status(world, name, "available")


@given(says('an available volume "{name:Name}" of {size:d} GiB'))
def available_of_size(world: World, name: str, size: int) -> None:
    available(world, name, size_gib=size)


@given(says('an available volume "{name:Name}" on backend "{backend:Name}"'))
def available_on(world: World, name: str, backend: str) -> None:
    available(world, name, backend=backend)


@given(
    says('an available volume "{name:Name}" of {size:d} GiB on backend "{where:Name}"')
)
def available_of_size_on(world: World, name: str, size: int, where: str) -> None:
    available(world, name, backend=where, size_gib=size)


@given(says('an available multiattach volume "{name:Name}"'))
def available_multiattach(world: World, name: str) -> None:
    available(world, name, multiattach=True)


@given(
    says('an available multiattach volume "{name:Name}" on backend "{backend:Name}"')
)
def available_multiattach_on(world: World, name: str, backend: str) -> None:
    available(world, name, multiattach=True, backend=backend)


@given(says('an available read-only volume "{name:Name}"'))
def available_readonly(world: World, name: str) -> None:
    available(world, name)
    world.do("volume.update", id=world.volumes[name], readonly=True)


@given(says('a deleted volume "{name:Name}"'))
def deleted(world: World, name: str) -> None:
    available(world, name)
    world.do("volume.delete", id=world.volumes[name])
    is_in_status(world, name, "deleted")


@given(says('a volume "{name:Name}" that could not be made'))
def not_made(world: World, name: str) -> None:
    world.steer("faulty", "fail", "create")
    made = world.do("volume.create", name=name, size_gib=1, backend="faulty")
    world.volumes[name] = made["id"]
    is_in_status(world, name, "error")
    world.calm("faulty")


@given(says('a volume "{name:Name}" of {size:d} GiB that could not be extended'))
def not_extended(world: World, name: str, size: int) -> None:
    available(world, name, size_gib=size, backend="faulty")
    could_not_extend(world, name, size + 1)


@given(says('"{name:Name}" could not be extended to {size:d} GiB'))
def could_not_extend(world: World, name: str, size: int) -> None:
    backend = world.volume(name)["backend"]
    world.steer(backend, "fail", "extend")
    world.do("volume.extend", id=world.volumes[name], size_gib=size)
    is_in_status(world, name, "error_extending")
    world.calm(backend)


@given(says('a volume "{name:Name}" that could not be deleted'))
def not_deleted(world: World, name: str) -> None:
    available(world, name, backend="faulty")
    could_not_delete(world, name)


def could_not_delete(world: World, name: str) -> None:
    world.steer("faulty", "fail", "delete")
    world.do("volume.delete", id=world.volumes[name])
    is_in_status(world, name, "error_deleting")
    world.calm("faulty")


@given(says('"{name:Name}" is being made'))
def being_made(world: World, name: str) -> None:
    world.steer("faulty", "hold", "create")
    made = world.do("volume.create", name=name, size_gib=1, backend="faulty")
    world.volumes[name] = made["id"]


@given(says('"{name:Name}" is being extended to {size:d} GiB'))
def being_extended(world: World, name: str, size: int) -> None:
    world.steer("faulty", "hold", "extend")
    world.do("volume.extend", id=world.volumes[name], size_gib=size)


@given(says('"{name:Name}" is being deleted'))
def being_deleted(world: World, name: str) -> None:
    world.steer("faulty", "hold", "delete")
    world.do("volume.delete", id=world.volumes[name])


@given(says('a process has "{name:Name}" open'))
def opened(world: World, name: str) -> None:
    world.open(name)


@given(says('a process writes to "{name:Name}"'))
def writes(world: World, name: str) -> None:
    world.open_file(world.storage(name), "r+b")


@given(says('the storage of "{name:Name}" was removed behind our back'))
def removed(world: World, name: str) -> None:
    home = world.storage(name).parent
    for path in home.iterdir():
        path.unlink()
    home.rmdir()


@given(says('"{name:Name}" was deleted'))
def was_deleted(world: World, name: str) -> None:
    world.do("volume.delete", id=world.volumes[name])
    is_in_status(world, name, "deleted")


@given(says('"{name:Name}" was extended to {size:d} GiB'))
def was_extended(world: World, name: str, size: int) -> None:
    world.do("volume.extend", id=world.volumes[name], size_gib=size)
    log_ends_with(world, name, "volume.extension_finished")


@given(says('"{name:Name}" was asked to be deleted'))
def was_asked_to_go(world: World, name: str) -> None:
    world.do("volume.delete", id=world.volumes[name])


@given(says('"{name:Name}" was deleted by force'))
def was_deleted_by_force(world: World, name: str) -> None:
    world.do("volume.delete", id=world.volumes[name], force=True)


@given(says('"{name:Name}" could not be deleted while a process had it open'))
def put_off(world: World, name: str) -> None:
    world.open(name)
    world.do("volume.delete", id=world.volumes[name])
    log_ends_with(world, name, "volume.deletion_put_off")
    world.close()


@given(says('"{name:Name}" was given up while it was being made'))
def given_up_making(world: World, name: str) -> None:
    being_made(world, name)
    is_in_status(world, name, "error")


@given(
    says(
        'a volume "{name:Name}" was given up while it was being extended'
        " to {size:d} GiB"
    )
)
def given_up_extending(world: World, name: str, size: int) -> None:
    available(world, name, backend="faulty")
    being_extended(world, name, size)
    is_in_status(world, name, "error_extending")


# What a caller asks


@when(says('a volume "{name:Name}" of {size:d} GiB is created'))
def create(world: World, name: str, size: int, **described: Any) -> None:
    described = {"backend": world.home, "size_gib": size} | described
    answer = world.ask("volume.create", name=name, **described)
    if "id" in answer:
        world.volumes[name] = answer["id"]


@when(
    says(
        'a volume "{name:Name}" of {size:d} GiB is created on backend "{backend:Name}"'
    )
)
def create_on(world: World, name: str, size: int, backend: str) -> None:
    create(world, name, size, backend=world.backend(backend))


@when(says('a volume "{name:Name}" of {size:d} GiB is created anywhere'))
def create_anywhere(world: World, name: str, size: int) -> None:
    create(world, name, size, backend=None)


@when(says('a volume "{name:Name}" of type "{kind:Name}" is created'))
def create_of_type(world: World, name: str, kind: str) -> None:
    create(world, name, 1, volume_type=kind, backend=None)


@when(
    says(
        'a volume "{name:Name}" of type "{kind:Name}" is created'
        ' on backend "{backend:Name}"'
    )
)
def create_of_type_on(world: World, name: str, kind: str, backend: str) -> None:
    create(world, name, 1, volume_type=kind, backend=backend)


@when(says('a volume "{name:Name}" is created for the project "{project:Name}"'))
def create_for(world: World, name: str, project: str) -> None:
    create(world, name, 1, project=world.own(project))


@when(says('a volume is created under the id of "{name:Name}"'))
def create_again(world: World, name: str) -> None:
    world.ask("volume.create", id=world.volumes[name], size_gib=1, backend="files")


@when(says("a volume of {size} GiB is created"))
def create_of_any_size(world: World, size: str) -> None:
    world.ask("volume.create", size_gib=spelt(size), backend="roomy")


@when(says("a volume is created whose {what:Status} is {value}"))
def create_with(world: World, what: str, value: str) -> None:
    world.ask("volume.create", **{"size_gib": 1} | aspect(what, value))


@when(says('the {what:Status} of "{name:Name}" is changed to {value}'))
def change(world: World, what: str, name: str, value: str) -> None:
    world.ask("volume.update", id=world.volumes[name], **aspect(what, value))


@when("a volume is created without a size")
def create_without_size(world: World) -> None:
    world.ask("volume.create", name="db", backend="files")


@when("a volume is created from a snapshot that never was")
def create_from_nothing(world: World) -> None:
    world.ask("volume.create", size_gib=1, source={"snapshot": str(uuid4())})


@when("a volume is created from two sources")
def create_from_two(world: World) -> None:
    sources = {"snapshot": str(uuid4()), "volume": str(uuid4())}
    world.ask("volume.create", size_gib=1, source=sources)


@when(says('"{name:Name}" is deleted'))
def delete(world: World, name: str) -> None:
    world.ask("volume.delete", id=world.volumes[name])


@when(says('"{name:Name}" is deleted by force'))
def delete_by_force(world: World, name: str) -> None:
    world.ask("volume.delete", id=world.volumes[name], force=True)


@when("a volume that never was is deleted")
def delete_nothing(world: World) -> None:
    world.ask("volume.delete", id=str(uuid4()))


@when(says('"{name:Name}" is extended to {size} GiB'))
def extend(world: World, name: str, size: str) -> None:
    world.ask("volume.extend", id=world.volumes[name], size_gib=spelt(size))


@when(
    says(
        '"{name:Name}" begins to be extended to {size:d} GiB'
        ' and backend "{backend:Name}" takes its time'
    )
)
def extend_slowly(world: World, name: str, size: int, backend: str) -> None:
    world.steer(backend, "hold", "extend")
    world.ask("volume.extend", id=world.volumes[name], size_gib=size)


@when(
    says('two volumes of {size:d} GiB are created on backend "{backend:Name}" at once')
)
def create_two(world: World, size: int, backend: str) -> None:
    asked = ("volume.create", {"size_gib": size, "backend": backend})
    world.answers = world.service.ask_at_once(asked, asked)


@then(says("one of them is made and the other is refused as {kind:Status}"))
def one_is_made(world: World, kind: str) -> None:
    told = sorted(answer.get("type", "made") for answer in world.answers)
    assert told == sorted(["made", kind])


@when(says('"{name:Name}" is renamed to "{other:Name}"'))
def rename(world: World, name: str, other: str) -> None:
    world.ask("volume.update", id=world.volumes[name], name=other)
    world.volumes.setdefault(other, world.volumes[name])


@when(says('"{name:Name}" is described as "{words:Name}"'))
def describe(world: World, name: str, words: str) -> None:
    world.ask("volume.update", id=world.volumes[name], description=words)


@given(says('"{name:Name}" was labelled "{key:Name}" as "{value:Name}"'))
@when(says('"{name:Name}" is labelled "{key:Name}" as "{value:Name}"'))
def label(world: World, name: str, key: str, value: str) -> None:
    world.ask("volume.update", id=world.volumes[name], metadata={key: value})


@given(says('"{name:Name}" was made {kind:Status}'))
@when(says('"{name:Name}" is made {kind:Status}'))
def make(world: World, name: str, kind: str) -> None:
    said = {"read-only": {"readonly": True}, "writable": {"readonly": False}}
    said["bootable"] = {"bootable": True}
    world.ask("volume.update", id=world.volumes[name], **said[kind])


@when(says('"{name:Name}" is looked at'))
def look_at(world: World, name: str) -> None:
    world.ask("volume.show", id=world.volumes[name])


@when("a volume that never was is looked at")
def look_at_nothing(world: World) -> None:
    world.ask("volume.show", id=str(uuid4()))


# Many volumes


@given(says('available volumes "{names:Name}" in the project "{project:Name}"'))
def available_in(world: World, names: str, project: str) -> None:
    for name in names.split(", "):
        available(world, name, project=world.own(project))


@when(says('the volumes of the project "{project:Name}" are listed'))
def list_project(world: World, project: str) -> None:
    find(world, project=world.own(project))


@when(says('the {status:Status} volumes of the project "{project:Name}" are listed'))
def list_status(world: World, status: str, project: str) -> None:
    find(world, project=world.own(project), status=status)


@when(
    says('the volumes of the project "{project:Name}" called "{name:Name}" are listed')
)
def list_name(world: World, project: str, name: str) -> None:
    find(world, project=world.own(project), name=name)


@when(
    says('the volumes of the project "{project:Name}" on "{backend:Name}" are listed')
)
def list_backend(world: World, project: str, backend: str) -> None:
    find(world, project=world.own(project), backend=backend)


@when(
    says('the volumes of the project "{project:Name}" are listed {count:d} at a time')
)
def list_pages(world: World, project: str, count: int) -> None:
    find(world, project=world.own(project), limit=count)
    items = list(world.answer["items"])
    world.pages = [len(items)]
    while world.answer["next"]:
        cursor = world.answer["next"]
        find(world, project=world.own(project), limit=count, cursor=cursor)
        world.pages.append(len(world.answer["items"]))
        items += world.answer["items"]
    world.answer["items"] = items


@when(says("volumes are listed {count} at a time"))
def list_limited(world: World, count: str) -> None:
    world.ask("volume.list", limit=spelt(count))


@when(says("volumes are listed from a place that never was"))
def list_from_nowhere(world: World) -> None:
    world.ask("volume.list", cursor="nowhere")


@when(says('volumes are listed whose status is "{status}"'))
def list_by_status(world: World, status: str) -> None:
    world.ask("volume.list", status=status)


@when("volumes are listed as of a moment that has not come")
def list_in_future(world: World) -> None:
    world.ask("volume.list", min_position=world.end_of_log() + 1_000_000)


def find(world: World, **asked: Any) -> None:
    world.ask("volume.list", min_position=world.end_of_log(), **asked)


@then(says('"{names:Name}" are found'))
@then(says('"{names:Name}" is found'))
def are_found(world: World, names: str) -> None:
    assert [item["name"] for item in world.answer["items"]] == names.split(", ")


@then("nothing is found")
def nothing_found(world: World) -> None:
    assert world.answer["items"] == []


@then(says("they came in pages of {sizes}"))
def came_in_pages(world: World, sizes: str) -> None:
    assert world.pages == [int(size) for size in sizes.split(", ")]


# What is then so


@then(says('"{name:Name}" is {status:Status}'))
def is_in_status(world: World, name: str, status: str) -> None:
    world.soon(lambda: world.volume(name)["status"], status)


@then(says('"{name:Name}" is {status:Status} and has {size:d} GiB'))
def is_with_size(world: World, name: str, status: str, size: int) -> None:
    is_in_status(world, name, status)
    assert world.volume(name)["size_gib"] == size


@then(says('"{name:Name}" is {status:Status} because "{words:Name}"'))
def is_because(world: World, name: str, status: str, words: str) -> None:
    is_in_status(world, name, status)
    error = world.volume(name)["error"]
    assert error, world.volume(name)
    assert words in error["message"]


@then(says('"{name:Name}" shows no error'))
def no_error(world: World, name: str) -> None:
    assert world.volume(name)["error"] is None


@then(says('"{name:Name}" shows the error "{words:Name}"'))
def shows_error(world: World, name: str, words: str) -> None:
    def shown() -> bool:
        error = world.volume(name)["error"]
        return bool(error) and words in error["message"]

    world.soon(shown, expected=True)


@then(says('"{name:Name}" is of the backend "{backend:Name}"'))
def is_of_backend(world: World, name: str, backend: str) -> None:
    assert world.volume(name)["backend"] == backend


@then(says('"{name:Name}" can be attached by several'))
def is_multiattach(world: World, name: str) -> None:
    assert world.volume(name)["multiattach"] is True


@then(says('"{name:Name}" is called "{other:Name}"'))
def is_called(world: World, name: str, other: str) -> None:
    assert world.volume(name)["name"] == other


@then(says('"{name:Name}" has only the label "{key:Name}" as "{value:Name}"'))
def has_label(world: World, name: str, key: str, value: str) -> None:
    assert world.volume(name)["metadata"] == {key: value}


@then(says("the volume is to have {size} GiB"))
def is_to_have(world: World, size: str) -> None:
    assert world.answer["size_gib"] == spelt(size)


@then(says("the volume is shown with the {what:Status} {value}"))
def is_shown_with(world: World, what: str, value: str) -> None:
    [(field, said)] = aspect(what, value).items()
    assert world.volume_of(world.answer["id"])[field] == said


@then(says('"{name:Name}" can be started from'))
def is_bootable(world: World, name: str) -> None:
    assert world.volume(name)["bootable"] is True


@then(says('"{name:Name}" has a storage of {size:d} GiB'))
def has_storage(world: World, name: str, size: int) -> None:
    assert size_of(world.storage(name)) == size * GIB


@then(says('"{name:Name}" gets a storage'))
def gets_storage(world: World, name: str) -> None:
    world.soon(world.storage(name).exists, expected=True)


@then(says('"{name:Name}" has no storage'))
def has_no_storage(world: World, name: str) -> None:
    assert not world.has_traces(name)


@then(says('the log of "{name:Name}" ends with "{topic:Topic}"'))
def log_ends_with(world: World, name: str, topic: str) -> None:
    world.soon(lambda: world.log(name)[-1], topic)


@then(says('the log of "{name:Name}" has {times:d} "{topic:Topic}"'))
def log_has(world: World, name: str, times: int, topic: str) -> None:
    assert world.log(name).count(topic) == times


def size_of(path: Path) -> int:
    """Return the bytes of a storage."""
    with path.open("rb") as storage:
        return storage.seek(0, SEEK_END)


def aspect(what: str, value: str) -> dict[str, Any]:
    """Return what is said of a volume, in the words of the contract."""
    said = spelt(value)
    labels = {"label": {"tier": said}, "label-name": {said: "gold"}}
    return {"metadata": labels[what]} if what in labels else {KNOWN[what]: said}


def spelt(value: str) -> Any:
    """Return a value as it is spelt in a feature: JSON, or so many characters."""
    many, _, what = value.partition(" times ")
    return json.loads(what) * int(many) if what else json.loads(value)
