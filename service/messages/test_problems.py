"""What callers are told of a log that is not what was written."""

from __future__ import annotations

import msgspec
import pytest
from marshmallow import ValidationError

from domain.aggregate import OutOfOrder
from domain.chain import Broken
from domain.log import UnknownTopic
from service.deciding.command import Unreadable
from service.endpoints.volumes import Create
from service.messages.problems import VERIFY, problem_of


@pytest.mark.parametrize(
    "wrong",
    [UnknownTopic("x"), OutOfOrder(), msgspec.ValidationError("x"), Unreadable("x")],
    ids=lambda wrong: type(wrong).__name__,
)
def test_who_meets_an_event_that_cannot_be_read_is_told_to_verify(
    wrong: Exception,
) -> None:
    problem = msgspec.json.decode(problem_of(wrong).body)

    assert problem["status"] == 500
    assert problem["detail"].endswith(f"may have written it, else {VERIFY}")
    assert problem["fault_id"]


def test_a_changed_log_is_told_of_with_the_position() -> None:
    problem = msgspec.json.decode(problem_of(Broken(7)).body)

    assert problem["detail"] == (
        f"the log is not what was written at position 7; {VERIFY}"
    )


def test_a_key_without_characters_can_be_seen() -> None:
    wrong = ValidationError({"metadata": {"": {"key": ["Must have 1."]}}})

    problem = msgspec.json.decode(problem_of(wrong).body)

    assert problem["detail"] == 'metadata: "": key: Must have 1.'


def test_what_is_wrong_with_a_field_as_a_whole_is_said_of_the_field() -> None:
    with pytest.raises(ValidationError) as wrong:
        Create().load({"source": {}})

    problem = msgspec.json.decode(problem_of(wrong.value).body)

    said = "Must be a snapshot, a volume or an image."
    assert problem["errors"] == {"source": [said]}
    assert problem["detail"] == f"source: {said}"


def test_any_other_mistake_is_ours() -> None:
    problem = msgspec.json.decode(problem_of(KeyError("x")).body)

    assert problem["detail"] == "our mistake, not yours"
