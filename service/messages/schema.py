"""What the messages of several subjects share: fields, bounds, paging."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from os import urandom
from typing import Any
from uuid import UUID

import msgspec
from marshmallow import RAISE, Schema, ValidationError, fields, validate

from adapters.jetstream.work import SECRETS
from adapters.targets.iscsi import known as is_initiator
from domain import log
from service.messages.text import is_text

LARGEST_GIB = 65_536
RFC_3339 = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)",
    re.ASCII | re.IGNORECASE,  # its letters may be small ones
)
USUAL = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
GIB = validate.Range(min=1, max=LARGEST_GIB)
POSITION = validate.Range(min=1, max=2**62)


class Printable(validate.Validator):
    """Text of a bounded length without control characters."""

    def __init__(self, most: int, least: int = 0) -> None:
        self.most = most
        self.least = least

    def __call__(self, value: str) -> str:
        if not self.least <= len(value) <= self.most:
            bounds = f"Must have {self.least} to {self.most} characters."
            raise ValidationError(bounds)
        if not is_text(value):
            raise ValidationError("Must not contain control characters.")
        return value


NAME = Printable(255)
TEXT = Printable(1024)
WORD = Printable(255, least=1)
# A backend's name stands in subjects.
BACKEND = validate.Regexp(
    r"[A-Za-z0-9_-]{1,64}\Z", error="Letters, digits, - and _, at most 64."
)


class Instant(fields.Field[datetime]):
    """A time as RFC 3339 has it, in UTC from here on."""

    default_error_messages = {  # noqa: RUF012
        "invalid": "Must be a time as RFC 3339 has it: 2026-01-31T12:00:00Z."
    }

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> datetime:
        if not isinstance(value, str) or not RFC_3339.fullmatch(value):
            raise self.make_error("invalid")
        try:
            return datetime.fromisoformat(value.upper()).astimezone(UTC)
        except (ValueError, OverflowError):
            raise self.make_error("invalid") from None


class StrictBoolean(fields.Boolean):
    """true or false, and nothing that resembles them."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> bool:
        if not isinstance(value, bool):
            raise self.make_error("invalid", input=value)
        return value


def usual_uuid(value: Any) -> UUID:
    """Return the UUID that text in its usual form stands for, or raise `ValueError`."""
    if not isinstance(value, str) or not USUAL.fullmatch(value):
        raise ValueError
    return msgspec.convert(value, UUID)


def new_id() -> UUID:
    """Return a random UUID, as `uuid4` does in thrice the time."""
    digits = urandom(16).hex()
    variant = "89ab"[int(digits[16], 16) % 4]
    return msgspec.convert(f"{digits[:12]}4{digits[13:16]}{variant}{digits[17:]}", UUID)


class StrictUUID(fields.UUID):
    """A UUID in its usual form, 36 characters."""

    def _validated(self, value: Any) -> UUID:
        try:
            return usual_uuid(value)
        except ValueError:
            raise self.make_error("invalid_uuid") from None


class StrictInteger(fields.Integer):
    """A JSON number without a fraction: neither "2" nor 2.0."""

    def _validated(self, value: Any) -> int:
        if type(value) is not int:
            raise self.make_error("invalid", input=value)
        return value


def check_end(position: int, newest: int, name: str) -> None:
    """Raise `ValidationError` for a position that the log does not have yet."""
    if position > newest:
        raise ValidationError(f"Must be at most {newest}, the log's end.", name)


class Connector(fields.Dict):
    """Cinder's connector: what the host that is to reach a volume says of itself."""

    IDENTITIES = ("host", "initiator", "nqn")

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self.make_error("invalid")
        connector: dict[str, Any] = value
        if not any(connector.get(name) for name in self.IDENTITIES):
            raise ValidationError("Must name its host, initiator or nqn.")
        for key, held in connector.items():
            if not (WORDY(key) and all(map(plain, listed(held)))):
                raise ValidationError(f"{key[:40]!r} is no plain value.")
            if SECRETS.search(key):
                raise ValidationError(f"{key!r} would be kept for ever; leave it out.")
        self._check(connector)
        return connector

    def _check(self, connector: dict[str, Any]) -> None:
        """Refuse what Holdfast itself would take otherwise than it was meant."""
        given = [connector.get(name) for name in self.IDENTITIES]
        if any(not isinstance(each, str | None) for each in given):
            raise ValidationError("host, initiator and nqn must be text.")
        initiator = connector.get("initiator")
        if initiator and not is_initiator(initiator):
            raise ValidationError("initiator must be a name as in RFC 7143, 4.2.7.")
        if connector.get("mode") not in (None, "rw", "ro"):
            # Taken for none, it would let a host write that asked only to read.
            raise ValidationError("mode must be rw or ro.")


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def plain(value: Any) -> bool:
    """Tell whether a value is text without control characters, or a number."""
    return WORDY(value) if isinstance(value, str) else isinstance(value, int | None)


def WORDY(text: str) -> bool:  # noqa: N802 - a validator that answers
    return len(text) <= NAME.most and is_text(text)


def metadata_field(**more: Any) -> fields.Dict:
    """Return the field of what callers keep beside a resource: text by text."""
    return fields.Dict(
        fields.String(validate=WORD), fields.String(validate=NAME), **more
    )


class Message(Schema):
    """A message with an unknown field is a misunderstanding; refuse it."""

    class Meta:
        unknown = RAISE


class Page(Message):
    limit = StrictInteger(load_default=100, validate=validate.Range(min=1, max=1000))
    cursor = fields.String(load_default=None, allow_none=True, validate=Printable(255))


class History(Page):
    since = Instant(load_default=None)
    until = Instant(load_default=None)
    actor = fields.String(load_default=None, validate=NAME)
    request_id = fields.String(load_default=None, validate=NAME)
    event = fields.String(load_default=None, validate=validate.OneOf([*log.EVENTS]))


class List(Page):
    min_position = StrictInteger(
        load_default=0, validate=validate.Range(min=0, max=2**62)
    )


def chosen_id(name: str = "id") -> fields.Field[Any]:
    """Return the field of an id that the caller may choose."""
    return StrictUUID(load_default=new_id, data_key=name)
