"""The quick loader and the schema say the same about every message."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from marshmallow import ValidationError

from service.endpoints.agents import Reports
from service.endpoints.volumes import Connect, Create, Update
from service.messages.quick import quickly

SCHEMAS = [Create(), Update(), Connect(), Reports()]
QUICK = [quickly(schema) for schema in SCHEMAS]

ID = "6b1c0000-0000-4000-8000-000000000001"
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 3),
    st.floats(allow_nan=False),
    st.sampled_from(["", "x" * 255, "x" * 256, "7", "true", "a\x7f", "a\u200db"]),
    st.uuids().map(str),
    st.uuids().map(lambda each: each.hex),
    st.dictionaries(
        st.text("ab", max_size=2), st.one_of(st.text("ab", max_size=2), st.integers())
    ),
    st.lists(st.integers(), max_size=1),
    st.sampled_from(
        [
            {"host": "node-1"},
            {"initiator": "iqn.2026-01.example:node-1"},
            {"initiator": "node 1"},
            [{"noun": "volume", "id": ID, "intent": 1, "causation_id": "1"}],
            [{"noun": "volume", "id": "1", "intent": 1, "causation_id": "1"}],
        ]
    ),
)
KEYS = [{field.data_key or name for name, field in s.fields.items()} for s in SCHEMAS]
# Of one schema, so that it has a chance, and what none knows.
MESSAGES = st.sampled_from(KEYS).flatmap(
    lambda keys: st.dictionaries(st.sampled_from([*sorted(keys), "typo"]), VALUES)
)


def said(load: Any, message: dict[str, Any]) -> Any:
    try:
        loaded = dict(load(message))
    except ValidationError as error:
        return error.messages
    if "id" not in message:
        loaded.pop("volume_id", None)  # a new one every time
    return {name: (type(value), value) for name, value in loaded.items()}


@settings(derandomize=True)
@given(MESSAGES)
def test_quick_and_slow_agree(message: dict[str, Any]) -> None:
    for quick, schema in zip(QUICK, SCHEMAS, strict=True):
        assert said(quick, message) == said(schema.load, message)
