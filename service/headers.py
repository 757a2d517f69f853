"""What callers say in a request's headers: bounds, defaults, and what is stored."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec
from marshmallow import ValidationError

from domain.provenance import Provenance
from service.text import is_text

LONGEST_WAIT = 300.0
UNREADABLE = "\ufffd"  # what bytes that are no UTF-8 become
MOST = {
    "Holdfast-Actor": 255,
    "Holdfast-Reason": 1024,
    "Holdfast-Request-Id": 128,
}
BOUNDS = [(name, name.lower(), most) for name, most in MOST.items()]
SECONDS = re.compile(r"(\d{1,9}(\.\d{1,9})?)?", re.ASCII)
# W3C Trace Context: version, trace id, parent id, flags; none of them all zeros.
TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
)


class Headers(msgspec.Struct, frozen=True):
    """What a caller said beside the message."""

    provenance: Provenance
    wait: float

    @property
    def request_id(self) -> str:
        return self.provenance.request_id


NOTHING = Headers(Provenance(), 0.0)


def read(headers: Mapping[str, str] | None) -> Headers:
    """Return what the headers say, or raise `ValidationError` naming them."""
    if not headers:
        return NOTHING
    headers = {name.lower(): value for name, value in headers.items()}
    wrong: dict[str, list[str]] = {}
    for name, key, most in BOUNDS:
        said = headers.get(key)
        if said and (problem := unprintable(said, most)):
            wrong[name] = [problem]
    said = headers.get("holdfast-wait")
    wait = seconds(said) if said else 0.0
    if wait is None:
        wrong["Holdfast-Wait"] = [f"Must be seconds, from 0 to {LONGEST_WAIT:g}."]
    if wrong or wait is None:
        raise ValidationError(wrong)
    trace = headers.get("traceparent", "")
    if trace and not TRACEPARENT.fullmatch(trace):
        trace = ""
    return Headers(
        Provenance(
            actor=headers.get("holdfast-actor", ""),
            reason=headers.get("holdfast-reason", ""),
            request_id=headers.get("holdfast-request-id", ""),
            traceparent=trace,
        ),
        wait,
    )


def unprintable(value: str, most: int) -> str | None:
    """Return what is wrong with a value, or None."""
    if len(value) > most:
        return f"Longer than {most} characters."
    if not is_text(value) or UNREADABLE in value:
        return "Has control characters, or is no UTF-8."
    return None


def seconds(value: str) -> float | None:
    """Return how long to wait, or None for what is no such time."""
    if not SECONDS.fullmatch(value):
        return None
    wait = float(value or 0)
    return wait if wait <= LONGEST_WAIT else None


def one_line(text: str) -> str:
    """Return the text as a header can carry it."""
    return " ".join(text.encode("ascii", "replace").decode().split())
