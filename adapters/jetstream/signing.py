"""What shows that a message comes from one of our agents."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from hashlib import sha256

SIGNATURE = "Holdfast-Signature"


def signature(key: bytes, subject: str, body: bytes) -> str:
    """Return the HMAC-SHA256 of a message under the agents' key, hexadecimal."""
    return hmac.new(key, subject.encode() + b"\0" + body, sha256).hexdigest()


def is_signed(
    key: bytes, subject: str, body: bytes, headers: Mapping[str, str] | None
) -> bool:
    """Tell whether a message was signed with the agents' key."""
    given = (headers or {}).get(SIGNATURE, "")
    return hmac.compare_digest(given.encode(), signature(key, subject, body).encode())
