"""Who asked, why, and what led to it: carried by every event."""

from __future__ import annotations

from contextvars import ContextVar
from datetime import datetime
from typing import NamedTuple

import msgspec


class Provenance(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a command came from; what is unknown is empty and takes no space.

    `causation_id` is the position of the event that led to this one,
    `recorded_by` the program that had it recorded where that was not the
    caller's own request, `traceparent` a W3C trace context.
    """

    actor: str = ""
    reason: str = ""
    request_id: str = ""
    causation_id: str = ""
    traceparent: str = ""
    recorded_by: str = ""

    @property
    def trace_id(self) -> str:
        """The trace's id, 32 hexadecimal digits, or nothing."""
        return self.traceparent[3:35]

    def led_to(self, reported: Provenance) -> Provenance:
        """Return the provenance of what followed: asked by one, told by another."""
        return msgspec.structs.replace(
            self,
            causation_id=reported.causation_id,
            recorded_by=reported.recorded_by,
            traceparent=reported.traceparent or self.traceparent,
        )


class Ran(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was run on a host, how long it took, and with what it exited.

    What is no command of its own, as a file driver's work, has no exit status.
    """

    command: str
    milliseconds: float
    exit_status: int | None = None


class Moment(NamedTuple):
    """When a command is decided, and where it came from.

    `ran` is what a backend tells with an outcome.
    """

    timestamp: datetime
    provenance: Provenance
    ran: tuple[Ran, ...] = ()


# The domain has no clock: whoever lets it decide says when and for whom.
MOMENT: ContextVar[Moment] = ContextVar("moment")
