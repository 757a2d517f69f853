"""What messages may say."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from marshmallow import ValidationError

from service.messages.schema import Connector, Instant

NODE = {"host": "node-1", "initiator": "iqn.2026-01.example:node-1"}


@pytest.mark.parametrize(
    "more", [{}, {"mode": "ro"}, {"mode": None}, {"initiator": None, "nqn": None}]
)
def test_a_connector_is_taken_as_it_is(more: dict[str, Any]) -> None:
    assert Connector().deserialize(NODE | more) == NODE | more


@pytest.mark.parametrize(
    "more",
    [
        {"initiator": "../../x"},
        {"initiator": "iqn.2026-01.a:b/../../tpgt_1"},
        {"initiator": "iqn.2026-01.a:b c"},
        {"auth_password": "told by mistake"},
        {"mode": "RO"},
        {"mode": 1},
    ],
)
def test_a_connector_names_what_there_is_and_no_secret(more: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Connector().deserialize(NODE | more)


@pytest.mark.parametrize(
    "time",
    [
        "2026-01-31T12:00:00Z",
        "2026-01-31t12:00:00z",
        "2026-01-31t14:00:00+02:00",
        f"2026-01-31T12:00:00.{'0' * 30}1Z",
    ],
)
def test_a_time_is_what_rfc_3339_takes_for_one(time: str) -> None:
    assert Instant().deserialize(time) == datetime(2026, 1, 31, 12, tzinfo=UTC)
