"""What callers are told when something cannot be done: RFC 9457 problems."""

from __future__ import annotations

from itertools import islice
from logging import getLogger
from typing import Any
from uuid import uuid4

import msgspec
from marshmallow import ValidationError
from marshmallow.exceptions import SCHEMA

from adapters.postgres.leases import LeaseHeld
from domain.aggregate import NotInFlight, OutOfOrder
from domain.backend import LeaseLost
from domain.chain import Broken
from domain.group import Inconsistent
from domain.holding import UnknownAttachment
from domain.lifecycle import Refused
from domain.log import UnknownTopic
from domain.placement import NoCapacity
from domain.volume import Undersized
from service.deciding.command import (
    Contended,
    KeyReused,
    NotFound,
    Reply,
    Taken,
    Unavailable,
    Unreadable,
)
from service.messages.text import words

# A refusal must not be a burden: whatever was asked, it says so much and no more.
LONGEST = 1_000  # characters of a sentence
LONGEST_NAME = 100
VERIFY = "`holdfast audit verify` tells what was changed"
MOST = 20  # fields, or messages about one

logger = getLogger(__name__)


class Malformed(Exception):
    """The body is no JSON object in UTF-8."""


class TooLarge(Exception):
    """The body is larger than 64 KiB."""


class TooMuch(Exception):
    """The answer does not fit into a message; ask for less."""


class Forbidden(Exception):
    """Only an agent that has the agents' key may report."""


class BackendFailed(Exception):
    """The backend could not do it; `position` finds its report in the log."""

    def __init__(self, message: str, code: str, position: int) -> None:
        super().__init__(message)
        self.code = code
        self.position = position


# Anything absent here is a fault of ours: a 500.
PROBLEMS: dict[type[Exception], tuple[str, int]] = {
    Malformed: ("malformed", 400),
    ValidationError: ("invalid", 400),
    Undersized: ("invalid", 400),
    Forbidden: ("forbidden", 403),
    NotFound: ("not-found", 404),
    UnknownAttachment: ("not-found", 404),
    Refused: ("refused", 409),
    Inconsistent: ("refused", 409),
    NotInFlight: ("refused", 409),
    Taken: ("conflict", 409),
    KeyReused: ("conflict", 409),
    Contended: ("conflict", 409),
    LeaseHeld: ("conflict", 409),
    LeaseLost: ("conflict", 409),
    NoCapacity: ("no-capacity", 409),
    TooLarge: ("too-large", 413),
    TooMuch: ("too-large", 413),
    BackendFailed: ("fault", 500),
    Unavailable: ("unavailable", 503),
}


def problem_of(error: Exception) -> Reply:
    """Return the problem that tells a caller what went wrong."""
    listed = (PROBLEMS[kind] for kind in type(error).__mro__ if kind in PROBLEMS)
    kind, status = next(listed, ("fault", 500))
    problem = {
        "type": kind,
        "title": kind.replace("-", " ").capitalize(),
        "status": status,
        "detail": cut(str(error) or str(type(error).__doc__).rstrip(".")),
        "instance": None,
    }
    for family, more in MORE.items():
        if isinstance(error, family):
            problem |= more(error)
    if kind == "fault" and not isinstance(error, BackendFailed):
        fault_id = str(uuid4())
        logger.error("fault %s", fault_id, exc_info=error)
        problem |= {"detail": fault_of(error), "fault_id": fault_id}
    return Reply(msgspec.json.encode(problem), status)


def fault_of(error: Exception) -> str:
    """Return whose mistake it is: ours, unless the log cannot be what was written."""
    match error:
        case Broken():
            return f"{error}; {VERIFY}"
        case Unreadable() | UnknownTopic() | OutOfOrder() | msgspec.DecodeError():
            said = (f" ({why})" for why in error.args if isinstance(why, str))
            what = cut(next(said, ""), LONGEST_NAME)
            return (
                f"the log has an event of it that this version cannot read{what}: "
                f"a newer one may have written it, else {VERIFY}"
            )
    return "our mistake, not yours"


def of_refusal(error: Refused) -> dict[str, Any]:
    return {
        "command": error.command,
        "current_status": error.status,
        "unmet": error.unmet,
        **({"instance": error.about.replace(" ", "/")} if error.about else {}),
    }


def of_validation(error: ValidationError) -> dict[str, Any]:
    told: Any = error.messages
    errors = some(told if isinstance(told, dict) else {error.field_name: told})
    said = "; ".join(f"{name}: {words(why)}" for name, why in errors.items())
    return {"detail": cut(said), "errors": errors}


def some(why: Any) -> Any:
    """Return as many messages, nested as they may be, as anybody reads."""
    if isinstance(why, dict):
        first = islice(why.items(), MOST)
        kept = {
            cut(str(name), LONGEST_NAME): some(of_itself(inner))
            for name, inner in first
        }
        more = len(why) - MOST
        return kept | ({"…": [f"and {more} more"]} if more > 0 else {})
    if isinstance(why, list):
        return [some(inner) for inner in why[:MOST]]
    return cut(str(why))


def of_itself(why: Any) -> Any:
    """Return what is wrong with an object as a whole where nothing within it is."""
    alone = isinstance(why, dict) and why.keys() == {SCHEMA}
    return why[SCHEMA] if alone else why


def cut(text: str, most: int = LONGEST) -> str:
    """Return text, or its beginning where it is too long."""
    return text if len(text) <= most else f"{text[:most]}…"


# What a problem says beyond its detail.
MORE: dict[type[Exception], Any] = {
    Refused: of_refusal,
    ValidationError: of_validation,
    Undersized: lambda error: {"errors": {"size_gib": [str(error)]}},
    NotInFlight: lambda _: {
        "command": "report",
        "current_status": None,
        "unmet": ["in flight"],
    },
    Inconsistent: lambda _: {
        "command": "create",
        "current_status": None,
        "unmet": ["consistent"],
    },
    NotFound: lambda error: {"instance": f"{error.noun}/{error.key}"},
    UnknownAttachment: lambda error: {"instance": f"attachment/{error.attachment_id}"},
    NoCapacity: lambda error: {"considered": error.considered},
    BackendFailed: lambda error: {
        "fault_id": f"event-{error.position}",
        "code": error.code,
    },
}
