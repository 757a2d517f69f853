"""The committed AsyncAPI document says what the code does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_type_hints
from uuid import uuid4

import pytest
from marshmallow import ValidationError

from domain.lifecycle import Refused
from domain.placement import NoCapacity
from domain.volume_status import Status
from service.deciding.command import NotFound
from service.documents import asyncapi
from service.endpoints import ENDPOINTS
from service.endpoints.endpoint import Endpoint
from service.messages.problems import BackendFailed, problem_of

COMMITTED = Path(__file__).parents[2] / "docs" / "asyncapi.yaml"


def test_the_committed_document_is_the_generated_one() -> None:
    assert COMMITTED.read_text() == asyncapi.text(), (
        "run: python -m service.documents.asyncapi > docs/asyncapi.yaml"
    )


def test_nothing_is_referred_to_that_is_not_there() -> None:
    document = asyncapi.document()

    def refs(node: object) -> list[str]:
        if isinstance(node, list):
            return [ref for each in node for ref in refs(each)]
        if not isinstance(node, dict):
            return []
        own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
        return own + [ref for each in node.values() for ref in refs(each)]

    for ref in set(refs(document)):
        found: object = document
        for key in ref.removeprefix("#/").split("/"):
            assert isinstance(found, dict)
            assert key in found, ref
            found = found[key]


def test_descriptions_are_indented_by_nothing() -> None:
    """Markdown would make code of what is."""
    parts = asyncapi.document()["components"]["schemas"].values()
    lines = [line for p in parts for line in p.get("description", "").splitlines()]

    assert len(lines) > len(parts)
    assert [line for line in lines if line.startswith(" ")] == []


def test_whatever_is_shown_is_described() -> None:
    commands = [each for each in ENDPOINTS if isinstance(each, Endpoint)]
    shown = {get_type_hints(each.gives)["return"] for each in commands}

    assert shown <= {*asyncapi.SEEN}


@pytest.mark.parametrize(
    "problem",
    [
        ValidationError("Must be more.", "size_gib"),
        NotFound("volume", uuid4()),
        Refused("delete", Status.IN_USE, ["detached"]),
        NoCapacity(1, {"files": "is full"}),
        BackendFailed("the disk is broken", "driver_failed", 7),
        KeyError("ours"),
    ],
    ids=lambda problem: type(problem).__name__,
)
def test_whatever_a_problem_says_is_described(problem: Exception) -> None:
    told = json.loads(problem_of(problem).body)
    described = asyncapi.document()["components"]["schemas"]["Problem"]["properties"]

    assert told.keys() <= described.keys()
    for name in [name for name, said in told.items() if said is None]:
        assert "null" in described[name]["type"]
