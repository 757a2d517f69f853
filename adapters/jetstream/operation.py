"""An operation of a driver, and what went wrong with it."""

from __future__ import annotations

from logging import getLogger
from typing import NamedTuple
from uuid import UUID

from domain.ports import DriverFailed

MOST_WORDS = 2000  # characters of a failure; a report has to fit into a message

logger = getLogger(__name__)


class CalledOff(DriverFailed):
    """What was being made is to be removed."""

    code = "called_off"


class Operation(NamedTuple):
    """What a driver did for one intent: "done", or the code of its failure."""

    backend: str
    name: str
    id: UUID
    position: int
    lease: int
    outcome: str
    seconds: float


def code_of(failure: Exception) -> str:
    """Return what went wrong with a driver, in one word for programs."""
    code: str = getattr(failure, "code", "driver_broke_down")
    return code


def in_words(failure: Exception) -> str:
    """Return what went wrong with a driver, in words that an operator can act on."""
    if isinstance(failure, DriverFailed):
        return str(failure)[:MOST_WORDS]
    logger.error("the driver broke down", exc_info=failure)
    return f"the driver broke down ({type(failure).__name__}); see its log"
