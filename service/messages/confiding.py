"""The secret in an answer: for the caller who has a host connected, and nobody else.

It is derived when the answer is sent, so nothing that is stored, remembered or told
to others ever has it.
"""

from __future__ import annotations

from functools import partial
from typing import Any
from uuid import UUID

import msgspec

from domain.chap import with_secret
from service.deciding.command import Reply


def confided(key: bytes, reply: Reply, connector: dict[str, Any] | None) -> Reply:
    """Return an answer with what the connector's host proves itself with.

    An attachment that another connector was given since is for whoever gave it.
    """
    told: dict[str, Any] = msgspec.json.decode(reply.body)
    if connector is None or told.get("connector", connector) != connector:
        return reply
    initiator = str(connector.get("initiator"))
    whole = partial(with_secret, key, UUID(told["volume_id"]), initiator)
    if "connection" in told:
        told["connection"] = told["connection"] and whole(told["connection"])
    else:
        told = whole(told)
    return msgspec.structs.replace(reply, body=msgspec.json.encode(told))
