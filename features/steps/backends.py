"""Sentences about backends: how they are, and how they are made to misbehave."""

from __future__ import annotations

from functools import partial
from typing import Any

from pytest_bdd import given, then, when

from features.steps.sentences import says
from features.steps.world import UNASKED, World

OPERATIONS = {
    "make": "create",
    "remove": "delete",
    "grow": "extend",
    "connect": "connect",
    "disconnect": "disconnect",
    "unexport": "remove_export",
    "watch": "has_session",
    "adopt": "adopt",
    "release": "unmanage",
    "list": "manageable",
    "revert": "revert",
}
REASON = "being repaired"


# How the storage behaves


@given(says('backend "{backend:Name}" fails to {verb:Status} volumes'))
def fails_to(world: World, backend: str, verb: str) -> None:
    world.steer(backend, "fail", OPERATIONS[verb])


@given(
    says(
        'backend "{backend:Name}" does not answer when asked to {verb:Status} a volume'
    )
)
def does_not_answer(world: World, backend: str, verb: str) -> None:
    world.steer(backend, "hold", OPERATIONS[verb])


@given(says('the storage of backend "{backend:Name}" is out of order'))
def out_of_order(world: World, backend: str) -> None:
    world.steer(backend, "fail", "set_up")
    world.mend(backend)
    world.look("backend.initialize", name=backend)


@given(says('backend "{backend:Name}" behaved again'))
@when(says('backend "{backend:Name}" behaves again'))
def behaves(world: World, backend: str) -> None:
    world.calm(backend)


@then(says('backend "{backend:Name}" was not asked to {verb:Status} "{name:Name}"'))
def was_not_asked(world: World, backend: str, verb: str, name: str) -> None:
    done = world.done(backend)
    assert f"create {world.volumes[name]}" in done
    assert f"{OPERATIONS[verb]} {world.volumes[name]}" not in done


@given(
    says(
        '"{name:Name}" was asked to be deleted'
        ' while backend "{backend:Name}" was out of order'
    )
)
def deleted_in_vain(world: World, name: str, backend: str) -> None:
    out_of_order(world, backend)
    world.do("volume.delete", id=world.volumes[name])
    world.calm(backend)


# How much it holds


@given(says('backend "{backend:Name}" has room for {size:d} GiB'))
@then(says('backend "{backend:Name}" has room for {size:d} GiB'))
def has_room(world: World, backend: str, size: int) -> None:
    world.soon(lambda: room(world, backend), size)


def room(world: World, backend: str) -> float:
    asked = {"name": backend, "discover": True}
    told = world.do("backend.capabilities", **asked)["capabilities"]
    return float(told["virtual_free_gb"])


@then(says('backend "{backend:Name}" counts what its volumes take'))
def counts(world: World, backend: str) -> None:
    world.soon(lambda: taken(world, backend) == promised(world, backend), expected=True)


def taken(world: World, backend: str) -> int:
    told = world.do("backend.capabilities", name=backend)["capabilities"]
    return int(told["allocated_capacity_gb"])


def promised(world: World, backend: str) -> int:
    asked = {"backend": backend, "limit": 1000, "min_position": world.end_of_log()}
    nouns = "volume", "snapshot"
    listed = [i for n in nouns for i in world.do(f"{n}.list", **asked)["items"]]
    return sum(item["size_gib"] for item in listed if item["status"] != "error")


# What operators ask


@given(says('backend "{backend:Name}" was disabled'))
def was_disabled(world: World, backend: str) -> None:
    world.mend(backend)
    world.do("backend.disable", name=backend, reason=REASON)


@given(says('backend "{backend:Name}" was enabled'))
def was_enabled(world: World, backend: str) -> None:
    world.do("backend.enable", name=backend)


@given(says('backends "{one:Name}" and "{other:Name}" were disabled'))
def were_disabled(world: World, one: str, other: str) -> None:
    was_disabled(world, one)
    was_disabled(world, other)


@when(says('backend "{backend:Name}" is disabled because it is "{reason:Name}"'))
def disable(world: World, backend: str, reason: str) -> None:
    world.mend(backend)
    world.ask("backend.disable", name=backend, reason=reason)


@when(says('backend "{backend:Name}" is disabled for no reason'))
def disable_for_nothing(world: World, backend: str) -> None:
    world.mend(backend)
    world.ask("backend.disable", name=backend)


@when(says('backend "{backend:Name}" is enabled'))
def enable(world: World, backend: str) -> None:
    world.ask("backend.enable", name=world.backend(backend))


@when(says('another agent comes to serve backend "{backend:Name}"'))
def another_agent(world: World, backend: str) -> None:
    about = {"name": backend, "holder": "another", "host": "node-2"}
    world.tell("agent.take_lease", **about)


@when(
    says('the first agent of backend "{backend:Name}" tells that "{name:Name}" is made')
)
def first_agent_reports(world: World, backend: str, name: str) -> None:
    told = {"noun": "volume", "id": world.volumes[name], "intent": 1}
    done = told | {"causation_id": "", "done": {"location": "/elsewhere"}}
    world.tell("agent.report", name=backend, lease=1, reports=[done])


@when(says('the first agent of backend "{backend:Name}" asks for its work'))
def first_agent_asks(world: World, backend: str) -> None:
    world.tell("agent.in_flight", name=backend, lease=1, after=0)


@then("that agent is told that its lease is over")
def lease_is_over(world: World) -> None:
    [told] = world.answer.get("refused", [world.answer])
    assert told["detail"].startswith("lease 1 of backend faulty is not ")


@when(says('backend "{backend:Name}" is looked at'))
def look_at(world: World, backend: str) -> None:
    world.ask("backend.show", name=world.backend(backend))


@when(says('backend "{backend:Name}" is set up anew'))
def initialize(world: World, backend: str) -> None:
    world.ask("backend.initialize", name=world.backend(backend))


@when(says('backend "{backend:Name}" is measured'))
def measure(world: World, backend: str) -> None:
    world.ask("backend.publish_capabilities", name=world.backend(backend))


@when(says('it is asked whether backend "{backend:Name}" works'))
def ask_whether_works(world: World, backend: str) -> None:
    world.ask("backend.is_working", name=world.backend(backend))


@when(says('it is asked what backend "{backend:Name}" can do'))
def ask_capabilities(world: World, backend: str) -> None:
    world.ask("backend.capabilities", name=world.backend(backend))


def seen(world: World, backend: str) -> dict[str, Any]:
    return world.do("backend.show", name=backend)


@then(
    says('the answer shows as much of backend "{backend:Name}" as looking at it does')
)
def shows_as_much(world: World, backend: str) -> None:
    told, shown = world.answer, seen(world, backend)
    assert told.keys() == shown.keys()
    assert (told["version"], told["position"]) == (shown["version"], shown["position"])


@then(says('backend "{backend:Name}" is disabled because it is "{reason:Name}"'))
def is_disabled(world: World, backend: str, reason: str) -> None:
    shown = seen(world, backend)
    assert (shown["disabled"], shown["disabled_reason"]) == (True, reason)


@then(says('backend "{backend:Name}" is enabled'))
def is_enabled(world: World, backend: str) -> None:
    shown = seen(world, backend)
    assert (shown["disabled"], shown["disabled_reason"]) == (False, None)


@then(says('backend "{backend:Name}" works'))
def works(world: World, backend: str) -> None:
    world.soon(partial(world.works, backend), expected=True)
    shown = seen(world, backend)
    assert (shown["state"], shown["working"]) == ("up", True)


@given(says('backend "{backend:Name}" does not work'))
def known_not_to_work(world: World, backend: str) -> None:
    does_not_work(world, backend, "")


@then(says('backend "{backend:Name}" does not work because "{words:Name}"'))
def does_not_work(world: World, backend: str, words: str) -> None:
    def says_so() -> bool:
        told = world.do("backend.is_working", name=backend)
        return not told["working"] and words in told["reason"]

    world.soon(says_so, expected=True)


@then(says('the caller is told that it is a "{driver:Name}" on this machine'))
def is_told_driver(world: World, driver: str) -> None:
    assert world.answer["driver"].rpartition(".")[2] == driver
    assert world.answer["host"]
    assert world.answer["state"] == "up"


@then("the caller is told its sizes and when they were measured")
def is_told_sizes(world: World) -> None:
    told = world.answer["capabilities"]
    assert told["total_capacity_gb"] >= told["free_capacity_gb"] > 0
    assert world.answer.get("measured_at") or world.answer.get("reported_at")


@when("the backends are listed")
def list_all(world: World) -> None:
    world.ask("backend.list")


@when(says('the backends are listed whose status is "{status:Name}"'))
def list_of_status(world: World, status: str) -> None:
    world.ask("backend.list", status=status, min_position=world.end_of_log())


@then(says('they are "{names:Name}"'))
def they_are(world: World, names: str) -> None:
    listed = world.answer["items"]
    assert sorted(item["name"] for item in listed) == names.split(", ")


@then(says('the log of backend "{backend:Name}" ends with "{topic:Topic}"'))
def log_ends_with(world: World, backend: str, topic: str) -> None:
    items = world.do("backend.history", name=backend, limit=1000)["items"]
    asked = [it["event"] for it in items if it["event"] not in UNASKED - {topic}]
    assert asked[-1] == topic
