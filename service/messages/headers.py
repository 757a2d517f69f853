"""What callers say in a request's headers: bounds, defaults, and what is stored."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from marshmallow import ValidationError

from adapters.jetstream.signing import NONCE, SIGNATURE
from domain.provenance import Provenance
from service.messages.text import is_text

AGE = "Holdfast-Age"  # of an answer from memory, in seconds
LONGEST_WAIT = 300.0
UNREADABLE = "\ufffd"  # what bytes that are no UTF-8 become
MOST = {
    "Holdfast-Actor": 255,
    "Holdfast-Reason": 1024,
    "Holdfast-Request-Id": 128,
}
SECONDS = re.compile(r"\d{1,9}(\.\d{1,9})?", re.ASCII)
# W3C Trace Context: version, trace id, parent id, flags; none of them all zeros.
TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
)
TRACED = 55  # characters of one


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
    told: dict[str, Any] = {}
    wrong: dict[str, list[str]] = {}
    for given, value in headers.items():
        name = NAMES.get(given) or NAMES.get(given.lower())
        if name and value:
            field, take = TAKEN[name]
            try:
                told[field] = take(value)
            except ValueError as problem:
                wrong[name] = [str(problem)]
        elif value and is_mistaken(given.lower()):
            wrong[given] = [UNKNOWN]
    if wrong:
        raise ValidationError(wrong)
    wait = told.pop("wait", 0.0)
    return Headers(Provenance(**told), wait)


def is_mistaken(name: str) -> bool:
    """Tell whether a header that we do not take is meant for us nevertheless.

    A misspelt key that is ignored would have what it is for done twice.
    """
    return name.startswith(OURS) and name not in LEFT_ASIDE


def printable(most: int) -> Callable[[str], str]:
    """Return what lets text of a bounded length pass."""

    def take(value: str) -> str:
        if len(value) > most:
            raise ValueError(f"Longer than {most} characters.")
        if not is_text(value) or UNREADABLE in value:
            raise ValueError("Has control characters, or is no UTF-8.")
        return value

    return take


def seconds(value: str) -> float:
    """Return how long to wait."""
    if not SECONDS.fullmatch(value) or float(value) > LONGEST_WAIT:
        raise ValueError(f"Must be seconds, from 0 to {LONGEST_WAIT:g}.")
    return float(value)


def trace(value: str) -> str:
    """Return a trace context; what is none is left aside, as W3C asks.

    So is what a later version has beyond ours.
    """
    known, more = value[:TRACED], value[TRACED:]
    later = more.startswith("-") and not known.startswith("00")
    return known if TRACEPARENT.fullmatch(known) and (later or not more) else ""


def one_line(text: str) -> str:
    """Return the text as a header can carry it."""
    return " ".join(text.encode("ascii", "replace").decode().split())


# What each header is taken for, and how.
TAKEN: dict[str, tuple[str, Callable[[str], Any]]] = {
    **{
        name: (name[9:].replace("-", "_").lower(), printable(m))
        for name, m in MOST.items()
    },
    "Holdfast-Wait": ("wait", seconds),
    "traceparent": ("traceparent", trace),
}
UNKNOWN = f"No such header. There are {', '.join(sorted(TAKEN))}."
OURS = "holdfast"
# What agents say, and what an answer says that somebody passes on with its request.
LEFT_ASIDE = {name.lower() for name in (SIGNATURE, NONCE, AGE)}
# Names mean the same in any case; as they are written here is the usual one.
NAMES = {name: name for name in TAKEN} | {name.lower(): name for name in TAKEN}
