"""The quick loader and the schema say the same about every message."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from marshmallow import ValidationError

from service.endpoints.volumes import Create, Update
from service.messages.quick import quickly

SCHEMAS = [Create(), Update()]
QUICK = [quickly(schema) for schema in SCHEMAS]

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
)
MESSAGES = st.dictionaries(
    st.sampled_from(["id", "size_gib", "name", "multiattach", "metadata", "typo"]),
    VALUES,
)


def said(load: Any, message: dict[str, Any]) -> Any:
    try:
        loaded = dict(load(message))
    except ValidationError as error:
        return error.messages
    if "id" not in message:
        loaded.pop("volume_id", None)  # a new one every time
    return {name: (type(value), value) for name, value in loaded.items()}


@settings(deadline=None, derandomize=True)
@given(MESSAGES)
def test_quick_and_slow_agree(message: dict[str, Any]) -> None:
    for quick, schema in zip(QUICK, SCHEMAS, strict=True):
        assert said(quick, message) == said(schema.load, message)
