"""What shows that a message comes from one of our agents."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from functools import lru_cache

SIGNATURE = "Holdfast-Signature"
NONCE = "Holdfast-Nonce"  # said once by who asks, so that no old answer passes


def signature(key: bytes, subject: str, body: bytes) -> str:
    """Return the HMAC-SHA256 of a message under the agents' key, hexadecimal."""
    signing = _keyed(key).copy()
    signing.update(subject.encode() + b"\0" + body)
    return signing.hexdigest()


def is_signed(
    key: bytes, subject: str, body: bytes, headers: Mapping[str, str] | None
) -> bool:
    """Tell whether a message was signed with the agents' key."""
    given = (headers or {}).get(SIGNATURE, "")
    return hmac.compare_digest(given.encode(), signature(key, subject, body).encode())


def answering(subject: str, headers: Mapping[str, str] | None) -> str:
    """Return what the answer to a request is signed as."""
    nonce = (headers or {}).get(NONCE)
    return f"{subject} {nonce}" if nonce else subject


def position_signature(key: bytes, subject: str, body: bytes, position: int) -> str:
    """Return what shows that an event was published at that position by us."""
    return signature(key, f"{position} {subject}", body)


def is_published(
    key: bytes,
    subject: str,
    body: bytes,
    headers: Mapping[str, str] | None,
    sequence: int,
) -> bool:
    """Tell whether a message of the stream is the log's event of that position."""
    return is_signed(key, f"{sequence} {subject}", body, headers)


@lru_cache(maxsize=16)
def _keyed(key: bytes) -> hmac.HMAC:
    return hmac.new(key, digestmod="sha256")
