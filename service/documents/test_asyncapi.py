"""The committed AsyncAPI document says what the code does."""

from __future__ import annotations

from pathlib import Path

from service.documents import asyncapi

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
