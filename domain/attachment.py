"""An attachment: the hold that one instance or host has on a volume.

It is part of its volume's aggregate; `domain.holding` decides about it.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import msgspec

from domain.aggregate import Fault
from domain.lifecycle import Lifecycle


class AttachStatus(StrEnum):
    RESERVED = "reserved"
    ATTACHING = "attaching"
    ATTACHED = "attached"
    DETACHING = "detaching"
    DETACHED = "detached"
    ERROR_ATTACHING = "error_attaching"
    ERROR_DETACHING = "error_detaching"


A = AttachStatus
LIVE = [s for s in AttachStatus if s is not A.DETACHED]

# fmt: off
ATTACHMENT = Lifecycle(AttachStatus, [
    # command              from                          to               only if
    ["expire",             A.RESERVED,                   A.DETACHED],
    ["unreserve",          A.ATTACHING,                  A.DETACHED],
    ["attach",             [A.RESERVED, A.ATTACHING],    A.ATTACHED],
    ["connect",            [A.RESERVED, A.ATTACHING],    A.ATTACHING],
    ["connect",            A.ATTACHED,                   A.ATTACHED],
    ["complete",           A.ATTACHING,                  A.ATTACHED,      "connected"],
    ["begin_detaching",    A.ATTACHED,                   A.DETACHING],
    ["roll_detaching",     A.DETACHING,                  A.ATTACHED],
    ["detach",             LIVE,                         A.DETACHED,      "unexported"],
    ["detach",             A.ERROR_ATTACHING,            "="],
    ["detach",             LIVE,                         A.DETACHING],
    ["look_for_session",   [A.ATTACHING, A.DETACHING],   "="],
    # What a backend reports has happened, so it is never refused.
    ["connected",          LIVE,                         "="],
    ["connection_failed",  A.ATTACHING,                  A.ERROR_ATTACHING],
    ["connection_failed",  LIVE,                         "="],
    ["connection_failed/busy", LIVE,                     "="],
    ["detached",           LIVE,                         A.DETACHED],
    ["detaching_failed",   A.DETACHING,                  A.ERROR_DETACHING],
    ["detaching_failed",   LIVE,                         "="],
    ["session_found",      [A.ATTACHING, A.DETACHING],   A.ATTACHED],
    ["session_found",      LIVE,                         "="],
    ["session_missing",      [A.ATTACHING, A.DETACHING], A.DETACHED],
    ["session_missing",      LIVE,                       "="],
    ["session_missing/busy", LIVE,                       "="],
    ["session_unclear",    LIVE,                         "="],
])
# fmt: on


class Attachment(msgspec.Struct, frozen=True):
    """Who holds the volume, how far that has come, and how the host reaches it."""

    id: UUID
    status: AttachStatus
    since: datetime
    instance: str | None = None
    host: str | None = None
    mode: str | None = None
    mountpoint: str | None = None
    connector: dict[str, Any] | None = None
    connection: dict[str, Any] | None = None
    attached_at: datetime | None = None
    detached_at: datetime | None = None
    error: Fault | None = None
    ended: int | None = None  # the volume's version that ended it

    @property
    def nameless(self) -> bool:
        """Nobody has claimed it yet."""
        return self.instance is None and self.host is None

    @property
    def connected(self) -> bool:
        """The backend has told how the host reaches the volume."""
        return self.connection is not None

    @property
    def attached(self) -> bool:
        """Its holder may write, or nobody could take it off."""
        return self.status in (A.ATTACHED, A.ERROR_DETACHING)

    @property
    def unexported(self) -> bool:
        """No backend was ever asked to let a host reach the volume for it."""
        return self.connector is None

    @property
    def turned_away(self) -> bool:
        """Its host could not be let in, and is to reach the volume no more."""
        return self.status is A.ERROR_ATTACHING

    @property
    def exported(self) -> bool:
        """Its host is to reach the volume: it was told how, and not turned away."""
        return self.connected and not self.turned_away

    @property
    def uses_a_way(self) -> bool:
        """A backend was asked to let its host in, and has not turned it away."""
        return self.connector is not None and not self.turned_away

    def held_by(self, instance: str | None, host: str | None) -> bool:
        """Tell whether the same instance, or without one the same host, holds it."""
        if instance is not None:
            return self.instance == instance
        return self.instance is None and host is not None and self.host == host

    def may_be_of(self, host: str | None) -> bool:
        """Tell whether a host may claim it: another may have been let in for it."""
        let_in = (self.connector or {}).get("host")
        return not (host and let_in) or host in (self.host, let_in)


def reached_from(connector: dict[str, Any] | None) -> str:
    """Return what tells a connector's host from others."""
    known = connector or {}
    return str(known.get("host") or known.get("initiator") or known.get("nqn") or "")


def known_by(connector: dict[str, Any] | None) -> tuple[str, ...]:
    """Return what a target tells a host by: one may have changed its initiator."""
    known = connector or {}
    names = (reached_from(known), known.get("initiator"), known.get("nqn"))
    return tuple(str(name) for name in names if name)


def same_way(one: dict[str, Any] | None, other: dict[str, Any] | None) -> bool:
    """Tell whether two connectors may reach a volume by one way.

    A target knows who logs in by its initiator, whatever host a caller gives it.
    """
    return not {*known_by(one)}.isdisjoint(known_by(other))


def connector_mode(connector: dict[str, Any]) -> str | None:
    """Return the mode that a connector asks for, if it asks for one."""
    mode = connector.get("mode")
    return mode if mode in ("rw", "ro") else None


def for_driver(connector: dict[str, Any], mode: str | None) -> dict[str, Any]:
    """Return a connector that says what was promised to its host, not what it asked."""
    asked = connector_mode(connector) or "rw"
    return connector if mode in (None, asked) else connector | {"mode": mode}
