"""Sentences about the ways by which hosts reach a volume."""

from __future__ import annotations

from typing import Any

from pytest_bdd import given, then, when

from features.steps.attachments import MODES, succeeded
from features.steps.sentences import says
from features.steps.volumes import available
from features.steps.world import World


@given(says('"{host:Name}" was given a way to "{name:Name}"'))
def was_given(world: World, host: str, name: str) -> None:
    give(world, host, name)
    succeeded(world.answer)


@given(says('"{host:Name}" could not lose its way to "{name:Name}"'))
def could_not_lose(world: World, host: str, name: str) -> None:
    was_given(world, host, name)
    world.steer("faulty", "fail", "disconnect")
    take(world, host, name)
    assert world.answer["type"] == "fault", world.answer
    world.calm("faulty")


@given(says('"{host:Name}" was given a way to "{name:Name}" before its backend failed'))
def was_given_before(world: World, host: str, name: str) -> None:
    available(world, name, backend="faulty")
    was_given(world, host, name)
    world.steer("faulty", "fail", "connect")


@when(says('"{host:Name}" is given a way to "{name:Name}"'))
def give(world: World, host: str, name: str, **more: str) -> None:
    asked = {"id": world.volumes[name], "connector": world.connector(host, **more)}
    world.ask("volume.initialize_connection", **asked)


@when(says('"{host:Name}" is given a way to "{name:Name}" for {purpose:Status}'))
def give_for(world: World, host: str, name: str, purpose: str) -> None:
    give(world, host, name, mode=MODES[purpose])


@when(says('a host that says {said} of itself is given a way to "{name:Name}"'))
def give_to_stranger(world: World, said: str, name: str) -> None:
    connectors: dict[str, Any] = {
        "nothing": {},
        "only its address": {"ip": "192.0.2.1"},
        "only its name": {"host": "node-3"},
        "no text": {"host": 5},
        "an empty name": {"host": ""},
    }
    asked = {"id": world.volumes[name], "connector": connectors[said]}
    world.ask("volume.initialize_connection", **asked)


@when(says('"{host:Name}" loses its way to "{name:Name}"'))
def take(world: World, host: str, name: str) -> None:
    asked = {"id": world.volumes[name], "connector": world.connector(host)}
    world.ask("volume.terminate_connection", **asked)


@when(says('"{host:Name}" loses its way to "{name:Name}" by force'))
def take_by_force(world: World, host: str, name: str) -> None:
    asked = {
        "id": world.volumes[name],
        "connector": world.connector(host),
        "force": True,
    }
    world.ask("volume.terminate_connection", **asked)


@when(says('every way to "{name:Name}" is closed'))
def close_all(world: World, name: str) -> None:
    world.ask("volume.remove_export", id=world.volumes[name])


def ways(world: World, name: str) -> list[str]:
    """Return the hosts for which the storage has a way open."""
    backend = world.volume(name)["backend"]
    there = world.folder(backend) / "ways" / world.volumes[name]
    return sorted(way.name for way in there.iterdir()) if there.exists() else []


@then(says('"{host:Name}" reaches "{name:Name}"'))
def reaches(world: World, host: str, name: str) -> None:
    assert host in ways(world, name)


@then(says('"{host:Name}" does not reach "{name:Name}"'))
def does_not_reach(world: World, host: str, name: str) -> None:
    world.soon(lambda: host in ways(world, name), expected=False)


@then(says('no host reaches "{name:Name}"'))
def nobody_reaches(world: World, name: str) -> None:
    world.soon(lambda: ways(world, name), [])


@then(says('the caller is told where "{name:Name}" is'))
def is_told_where(world: World, name: str) -> None:
    told = world.answer.get("connection") or world.answer
    assert world.leads_to(name, told), world.answer


@then(says("the caller is told that it may {what:Status}"))
def is_told_mode(world: World, what: str) -> None:
    told = world.answer.get("connection") or world.answer
    assert told["data"]["access_mode"] == {"write": "rw", "read": "ro"}[what]
