"""Sentences about what a caller is told, whichever noun it asked about."""

from __future__ import annotations

from typing import Any

from pytest_bdd import given, then, when

from features.steps.sentences import says
from features.steps.world import HURRIED, World

KINDS = {
    "malformed": 400,
    "invalid": 400,
    "forbidden": 403,
    "not-found": 404,
    "refused": 409,
    "conflict": 409,
    "no-capacity": 409,
    "too-large": 413,
    "fault": 500,
    "unavailable": 503,
}


@given("a service that soon loses its patience")
def hurried(world: World) -> None:
    world.use("hurried", HURRIED)


@when("the deadline passes")
def deadline_passes() -> None:
    """Nothing to do: what follows is waited for."""


def problem(world: World) -> tuple[Any, Any]:
    return world.answer.get("type"), world.answer.get("status")


@then("the request succeeds")
def succeeds(world: World) -> None:
    assert "title" not in world.answer, world.answer


@then(says('the request is refused with "{words:Name}"'))
def refused_with(world: World, words: str) -> None:
    refused_as_with(world, "refused", words)


@then(says('the request is refused as {kind:Status} with "{words:Name}"'))
def refused_as_with(world: World, kind: str, words: str) -> None:
    assert problem(world) == (kind, KINDS[kind]), world.answer
    assert words in world.answer["detail"]


@then(says("the request is refused as {kind:Status}"))
def refused_as(world: World, kind: str) -> None:
    assert problem(world) == (kind, KINDS[kind]), world.answer


@then(says('what is wrong with "{field:Name}" is said'))
def says_what_is_wrong(world: World, field: str) -> None:
    assert list(world.answer["errors"]) == [field], world.answer


@then("nothing is recorded")
def nothing_recorded(world: World) -> None:
    end = world.end_of_log()
    if end != world.ended_at:
        assert world.recorded(world.ended_at, end) == []


@then("the answer is the first one again")
def same_answer(world: World) -> None:
    assert world.answer == world.earlier


@then(says('it is said that "{backend:Name}" was passed over because it "{why:Name}"'))
def passed_over(world: World, backend: str, why: str) -> None:
    assert world.answer["considered"][backend] == why
