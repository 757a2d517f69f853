"""What an agent tells the service, and is asked by it; all of it is signed."""

from __future__ import annotations

from logging import getLogger
from secrets import token_hex
from typing import Any, TypeVar

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

T = TypeVar("T")

PREFIX = "holdfast.v1."
AGAIN = 0.2  # seconds until a broker or a service that is away is tried again
PATIENCE = 5.0  # seconds for an answer
FAULT = "500"
USUAL = ("conflict", "refused")  # refusals that say no more than that it is too late

logger = getLogger(__name__)


class Refusal(Exception):
    """The service does not accept what it was told."""


class Problem(msgspec.Struct):
    """Why it does not, as far as it says so."""

    type: str = ""
    detail: str = ""


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


class Strange(TimeoutError):
    """The answer is of another version: one that we can read may come later."""

    def __init__(self, subject: str, why: Exception) -> None:
        super().__init__(subject, why)
        self.subject = subject
        self.why = why

    def __str__(self) -> str:
        return (
            f"the service's answer to {self.subject} cannot be read ({self.why}); "
            "is it of another version?"
        )


class Service:
    """The service, as one of its agents asks it.

    What only another version can have answered is told of once.
    """

    def __init__(self, client: Client, key: bytes) -> None:
        self._client = client
        self._key = key
        self._met = set[tuple[str, str]]()

    async def tell(
        self, subject: str, body: Any, seconds: float = PATIENCE, *, gives: Any = Any
    ) -> Any:
        """Return what is answered, as what it is to be.

        Raises `Refusal`, `TimeoutError` where the service cannot answer now, of which
        `Fault` is one and `Strange` another, `Unsigned` where somebody else does, and
        what nats-py does.
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
        if code:
            raise self._refusal(subject, code, answer.data)
        try:
            return decoded(answer.data, gives)
        except msgspec.DecodeError as wrong:
            strange = Strange(subject, wrong)
            self._tell_once(subject, "", str(strange))
            raise strange from wrong

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

    def asked(self, subject: str, message: Msg, kind: type[T]) -> T | None:
        """Return what was asked; None where another version asks it otherwise."""
        try:
            return decoded(message.data, kind)
        except msgspec.DecodeError as wrong:
            self._tell_once(subject, "", f"{subject} is not asked as we know ({wrong})")
            return None

    async def answer(self, subject: str, message: Msg, body: Any) -> None:
        """Answer what `tell` asked."""
        encoded = msgspec.json.encode(body)
        told_as = answering(PREFIX + subject, message.headers)
        headers = {SIGNATURE: signature(self._key, told_as, encoded)}
        await self._client.publish(message.reply, encoded, headers=headers)

    def _refusal(self, subject: str, code: str, body: bytes) -> Refusal:
        """Return the refusal; whoever asks passes over it, so it is told of here."""
        try:
            problem = decoded(body, Problem)
        except msgspec.DecodeError:
            problem = Problem()
        why = problem.detail or f"{code} {problem.type}".rstrip()
        if problem.type not in USUAL:
            said = f"the service's answer to {subject} is a refusal: {why}"
            self._tell_once(subject, problem.type or code, said)
        return Refusal(why)

    def _tell_once(self, subject: str, kind: str, what: str) -> None:
        if (subject, kind) not in self._met:
            self._met.add((subject, kind))
            logger.warning(what)

    def _signed(self, subject: str, body: bytes) -> dict[str, str]:
        return {SIGNATURE: signature(self._key, PREFIX + subject, body)}


def decoded(body: bytes, kind: type[T]) -> T:
    """Return what JSON says, as a kind; raise `msgspec.DecodeError`."""
    try:
        return msgspec.json.decode(body, type=kind)
    except UnicodeDecodeError as wrong:
        raise msgspec.DecodeError("it is no UTF-8") from wrong
