"""Sentences about storage that is otherwise than the log says."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from uuid import uuid4

from pytest_bdd import given, then, when

from adapters.file.testing import copy_home
from features.steps.sentences import says
from features.steps.volumes import GIB
from features.steps.world import World

BACKEND = "files"
STRANGER = "stranger"


def home(world: World, name: str) -> Path:
    """Return what a volume lies in, though it may be deleted."""
    return world.folder(BACKEND) / world.volumes[name]


def lost(world: World, name: str) -> Path:
    return home(world, name).with_name(f".lost-{world.volumes[name]}")


def look(world: World) -> None:
    """Have the agent look at its storage now, and not within a minute."""
    world.do("backend.initialize", name=BACKEND)


def differing(world: World, key: str) -> list[dict[str, Any]]:
    """Return what differs of a subject now."""
    page = world.do("backend.drift", name=BACKEND, limit=1000)
    return [item for item in page["items"] if item["subject"] == key]


def differs_by(world: World, key: str, drift: str) -> dict[str, Any]:
    """Return a finding, the only one, when it is there."""
    look(world)
    world.soon(lambda: [each["drift"] for each in differing(world, key)], [drift])
    [found] = differing(world, key)
    return found


# How it comes about


@when(says('the storage of "{name:Name}" is lost'))
def is_lost(world: World, name: str) -> None:
    home(world, name).rename(lost(world, name))


@given(
    says('the storage of "{name:Name}" was lost and found to differ by "{drift:Name}"')
)
def was_lost(world: World, name: str, drift: str) -> None:
    is_lost(world, name)
    differs_by(world, world.volumes[name], drift)


@when(says('the storage of "{name:Name}" is brought back'))
def is_brought_back(world: World, name: str) -> None:
    lost(world, name).rename(home(world, name))
    look(world)


@given(says('"{name:Name}" was deleted but its storage came back'))
def came_back(world: World, name: str) -> None:
    copy_home(home(world, name), lost(world, name))
    world.do("volume.delete", id=world.volumes[name])
    world.soon(lambda: world.volume(name)["status"], "deleted")
    lost(world, name).rename(home(world, name))


@when("somebody leaves storage of their own beside the volumes")
@given("somebody has left storage of their own beside the volumes")
def leave(world: World) -> None:
    world.volumes[STRANGER] = str(uuid4())
    home(world, STRANGER).mkdir()
    (home(world, STRANGER) / "volume").write_bytes(b"theirs")


@when(says('somebody leaves a file with the storage of "{name:Name}"'))
def leave_with(world: World, name: str) -> None:
    theirs = home(world, name) / "theirs"
    theirs.write_bytes(b"theirs")
    world.volumes[STRANGER] = str(theirs.relative_to(world.folder(BACKEND)))


@when(says('the storage of "{name:Name}" shrinks to {size:d} GiB'))
def shrinks(world: World, name: str, size: int) -> None:
    os.truncate(home(world, name) / "volume", size * GIB)


@given(says('the storage of "{name:Name}" had shrunk to {size:d} GiB'))
def had_shrunk(world: World, name: str, size: int) -> None:
    shrinks(world, name, size)
    differs_by(world, world.volumes[name], "size")


@when(says('the storage of "{name:Name}" says that it was made at another time'))
def made_at_another_time(world: World, name: str) -> None:
    [made_by] = home(world, name).glob("made-by *")
    made_by.rename(made_by.with_name("made-by 7 2020-01-01T00:00:00+00:00"))


@when(says('the storage of "{name:Name}" says no more what made it'))
def says_no_more(world: World, name: str) -> None:
    [made_by] = home(world, name).glob("made-by *")
    made_by.unlink()


@given(says('the storage of "{name:Name}" had lost what it says'))
def had_lost_what_it_says(world: World, name: str) -> None:
    says_no_more(world, name)
    differs_by(world, world.volumes[name], "tags")


@when(says('the storage of snapshot "{name:Name}" says that it is of another volume'))
def says_another_volume(world: World, name: str) -> None:
    [of] = (world.folder(BACKEND) / f"snapshot-{world.snapshots[name]}").glob("of *")
    of.rename(of.with_name(f"of {uuid4()}"))


@when(says('somebody opens the storage of "{name:Name}"'))
def opens(world: World, name: str) -> None:
    world.open(name)


# What is found


@then(
    says('"{name:Name}" differs by "{drift:Name}", for "{event:Topic}" says so'),
)
def differs(world: World, name: str, drift: str, event: str) -> None:
    found = differs_by(world, world.volumes[name], drift)
    assert found["explained_by"]["event"] == event
    assert found["explained_by"]["id"] == world.volumes[name]


@then(
    says(
        'snapshot "{name:Name}" differs by "{drift:Name}", for "{event:Topic}" says so'
    )
)
def snapshot_differs(world: World, name: str, drift: str, event: str) -> None:
    found = differs_by(world, world.snapshots[name], drift)
    assert found["explained_by"]["event"] == event


@then(says('that differs by "{drift:Name}", and nothing says why'))
def stranger_differs(world: World, drift: str) -> None:
    found = differs_by(world, world.volumes[STRANGER], drift)
    assert found["explained_by"] is None


@given(says('"{name:Name}" was found to differ by "{drift:Name}"'))
def was_found(world: World, name: str, drift: str) -> None:
    differs_by(world, world.volumes[name], drift)


@then(says('"{name:Name}" differs no more'))
def differs_no_more(world: World, name: str) -> None:
    world.soon(lambda: differing(world, world.volumes[name]), [])


@then("it was found and cleared once")
def found_and_cleared(world: World) -> None:
    [volume_id] = world.volumes.values()
    told = [it["event"] for it in told_of(world, volume_id)]
    assert told == ["backend.drift_found", "backend.drift_cleared"]


def told_of(world: World, key: str, backend: str = BACKEND) -> list[dict[str, Any]]:
    """Return what the log of the backend has of a subject."""
    page = world.do("backend.history", name=backend, limit=1000)
    return [it for it in page["items"] if it["data"].get("subject") == key]


# What is done about it


@when(says('it is asked what is to be done about backend "{backend:Name}"'))
def plan(world: World, backend: str) -> None:
    world.ask("backend.repair", name=backend)


@then(says('it is to "{remedy:Name}" "{name:Name}"'))
def is_to(world: World, remedy: str, name: str) -> None:
    those = [s for s in world.answer["steps"] if s["subject"] == world.volumes[name]]
    assert [(s["remedy"], s["under_way"]) for s in those] == [(remedy, False)]


@then(says('the storage of "{name:Name}" still has {size:d} GiB'))
def still_has(world: World, name: str, size: int) -> None:
    assert (home(world, name) / "volume").stat().st_size == size * GIB


@when(says('backend "{backend:Name}" is repaired'))
def repair(world: World, backend: str) -> None:
    look(world)
    world.ask("backend.repair", name=backend, apply=True)


@then(says('the log of backend "{backend:Name}" has that "{name:Name}" was repaired'))
def was_repaired(world: World, backend: str, name: str) -> None:
    told = [it["event"] for it in told_of(world, world.volumes[name], backend)]
    assert told[1:3] == ["backend.repair_started", "backend.repaired"]


@then(says('the storage of "{name:Name}" is gone'))
def is_gone(world: World, name: str) -> None:
    assert not home(world, name).exists()


@then("it is left where it is")
def is_left(world: World) -> None:
    differs_by(world, world.volumes[STRANGER], "object_unexplained")
    assert (home(world, STRANGER) / "volume").read_bytes() == b"theirs"
