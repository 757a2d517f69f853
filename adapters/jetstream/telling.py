"""What an agent tells the service, and is asked by it; all of it is signed."""

from __future__ import annotations

from secrets import token_hex
from typing import Any

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg

from adapters.jetstream.signing import (
    NONCE,
    SIGNATURE,
    answering,
    is_signed,
    signature,
)

PREFIX = "holdfast.v1."
AGAIN = 0.2  # seconds until a broker or a service that is away is tried again
PATIENCE = 5.0  # seconds for an answer
FAULT = "500"


class Refusal(Exception):
    """The service does not accept what it was told."""


class Unsigned(TimeoutError):
    """Whoever answers for the service has not our key: it has not answered yet."""

    def __str__(self) -> str:
        return (
            "what answers for the service has another agent_key, or none; set the "
            "same for `serve` and `agent`"
        )


class Fault(TimeoutError):
    """The service made a mistake: it has not answered yet, and may not soon."""

    def __str__(self) -> str:
        return "the service fails at it, and its log says why"


class Service:
    """The service, as one of its agents asks it."""

    def __init__(self, client: Client, key: bytes) -> None:
        self._client = client
        self._key = key

    async def tell(self, subject: str, body: Any, seconds: float = PATIENCE) -> Any:
        """Return what is answered.

        Raises `Refusal`, `TimeoutError` where the service cannot answer now, of which
        `Fault` is one, `Unsigned` where somebody else does, and what nats-py does.
        """
        encoded = msgspec.json.encode(body)
        headers = self._signed(subject, encoded) | {NONCE: token_hex(8)}
        answer = await self._client.request(
            PREFIX + subject, encoded, timeout=seconds, headers=headers
        )
        code = (answer.headers or {}).get("Nats-Service-Error-Code", "")
        expected = answering(PREFIX + subject, headers)
        if not is_signed(self._key, expected, answer.data, answer.headers):
            raise Unsigned(subject)
        if code == FAULT:
            raise Fault(subject)
        if code.startswith("5"):
            raise TimeoutError(subject)
        told = msgspec.json.decode(answer.data)
        if code:
            raise Refusal(told["detail"])
        return told

    async def publish(self, subject: str, body: Any, to: str = "") -> None:
        """Tell whoever listens, or the one who asked, at `to`."""
        encoded = msgspec.json.encode(body)
        await self._client.publish(
            to or PREFIX + subject, encoded, headers=self._signed(subject, encoded)
        )

    def has_asked(self, subject: str, message: Msg) -> bool:
        """Tell whether it was `tell` that asked, with our key."""
        asked = PREFIX + subject, message.data, message.headers
        return NONCE in (message.headers or {}) and is_signed(self._key, *asked)

    async def answer(self, subject: str, message: Msg, body: Any) -> None:
        """Answer what `tell` asked."""
        encoded = msgspec.json.encode(body)
        told_as = answering(PREFIX + subject, message.headers)
        headers = {SIGNATURE: signature(self._key, told_as, encoded)}
        await self._client.publish(message.reply, encoded, headers=headers)

    def _signed(self, subject: str, body: bytes) -> dict[str, str]:
        return {SIGNATURE: signature(self._key, PREFIX + subject, body)}
