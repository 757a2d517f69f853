"""What is noted of a request is what its caller asked, and was told."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from adapters.jetstream.taking import Request
from adapters.jetstream.wire import HEADERS
from service.deciding.command import Reply
from service.endpoints.sending import send
from service.endpoints.watched import watched
from service.telemetry.metrics import REGISTRY
from service.telemetry.requests import measuring

BROKER: Any = SimpleNamespace(max_payload=HEADERS + 100)


def counted(subject: str, waited: str) -> float | None:
    labels = {"subject": subject, "waited": waited}
    return REGISTRY.get_sample_value("holdfast_command_seconds_count", labels)


def answer(subject: str, headers: dict[str, str], body: bytes = b"{}") -> None:
    """Answer a request of which the metrics are told."""
    asked = Request(BROKER, subject, "", headers, b"")
    send((watched(asked, [measuring(subject)]), Reply(body), b""))


# fmt: off
WAITS = [
    ({"Holdfast-Wait": "30"},                       "yes"),
    ({"holdfast-wait": "30"},                       "yes"),
    ({"Holdfast-Wait": "30", "Holdfast-Actor": ""}, "yes"),
    ({"Holdfast-Wait": ""},                         "no"),
    ({"Holdfast-Wait": "0"},                        "no"),
    ({"Holdfast-Wait": "soon"},                     "no"),
    ({},                                            "no"),
]
# fmt: on


@pytest.mark.parametrize(("headers", "waited"), WAITS)
def test_who_asked_to_wait_is_counted_apart(
    headers: dict[str, str], waited: str, request: pytest.FixtureRequest
) -> None:
    subject = request.node.name

    answer(subject, headers)

    assert counted(subject, waited) == 1


def test_an_answer_that_does_not_fit_is_counted_as_what_is_sent_instead() -> None:
    answer("large", {}, b"x" * 101)

    labels = {"subject": "large", "type": "too-large"}
    assert REGISTRY.get_sample_value("holdfast_refusals_total", labels) == 1
