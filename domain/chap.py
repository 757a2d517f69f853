"""CHAP credentials: derived, so that nobody has to keep them.

Whoever has the installation's key can tell them again: the agent, which sets them,
and the replica that answers the caller who connects. No event, read model or log
line ever holds one.
"""

from __future__ import annotations

import hmac
from base64 import b32encode
from hashlib import sha256
from typing import Any
from uuid import UUID

CHARACTERS = 16  # open-iscsi takes 12 to 16 from and for every initiator


def username(volume_id: UUID, initiator: str) -> str:
    """Return who an initiator is to a volume's target."""
    return derived(b"holdfast", "username", volume_id, initiator)


def secret(key: bytes, volume_id: UUID, initiator: str) -> str:
    """Return what proves it (RFC 7143, 12.1.3)."""
    return derived(key, "secret", volume_id, initiator)


def with_secret(
    key: bytes, volume_id: UUID, initiator: str, connection: dict[str, Any]
) -> dict[str, Any]:
    """Return a connection_info as its caller needs it: with the password, if any."""
    data = connection.get("data", {})
    if data.get("auth_method") != "CHAP":
        return connection
    password = secret(key, volume_id, initiator)
    return connection | {"data": data | {"auth_password": password}}


def derived(key: bytes, what: str, volume_id: UUID, initiator: str) -> str:
    words = f"holdfast chap {what} {volume_id} {initiator}".encode()
    digest = hmac.digest(key, words, sha256)
    return b32encode(digest)[:CHARACTERS].decode().lower()
