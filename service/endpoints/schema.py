"""What the messages of several subjects share: fields, bounds, paging."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

from marshmallow import RAISE, Schema, ValidationError, fields, validate

LARGEST_GIB = 65_536
GIB = validate.Range(min=1, max=LARGEST_GIB)


class Printable(validate.Validator):
    """Text of a bounded length without control characters."""

    def __init__(self, most: int, least: int = 0) -> None:
        self.most = most
        self.least = least

    def __call__(self, value: str) -> str:
        if not self.least <= len(value) <= self.most:
            bounds = f"Must have {self.least} to {self.most} characters."
            raise ValidationError(bounds)
        if not value.isprintable():
            raise ValidationError("Must not contain control characters.")
        return value


NAME = Printable(255)
TEXT = Printable(1024)
WORD = Printable(255, least=1)


class StrictBoolean(fields.Boolean):
    """true or false, and nothing that resembles them."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> bool:
        if not isinstance(value, bool):
            raise self.make_error("invalid", input=value)
        return value


class StrictUUID(fields.UUID):
    """A UUID in its usual form."""

    def _validated(self, value: Any) -> UUID:
        if not isinstance(value, str) or len(value) != 36:  # noqa: PLR2004
            raise self.make_error("invalid_uuid")
        return super()._validated(value)  # type: ignore[return-value]


class StrictInteger(fields.Integer):
    """A JSON number without a fraction: neither "2" nor 2.0."""

    def _validated(self, value: Any) -> int | None:
        if type(value) is not int:
            raise self.make_error("invalid", input=value)
        return value


class Connector(fields.Dict):
    """Cinder's connector: what the host that is to reach a volume says of itself."""

    IDENTITIES = ("host", "initiator", "nqn")

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        connector: dict[str, Any] = super()._deserialize(value, *args, **kwargs)
        if not any(connector.get(name) for name in self.IDENTITIES):
            raise ValidationError("Must name its host, initiator or nqn.")
        for key, held in connector.items():
            if not (WORDY(key) and all(map(plain, listed(held)))):
                raise ValidationError(f"{key[:40]!r} is no plain value.")
        if any(not isinstance(connector.get(n, ""), str) for n in self.IDENTITIES):
            raise ValidationError("host, initiator and nqn must be text.")
        return connector


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def plain(value: Any) -> bool:
    """Tell whether a value is text without control characters, or a number."""
    return WORDY(value) if isinstance(value, str) else isinstance(value, int | None)


def WORDY(text: str) -> bool:  # noqa: N802 - a validator that answers
    return len(text) <= NAME.most and text.isprintable()


METADATA = {
    "keys": fields.String(validate=WORD),
    "values": fields.String(validate=NAME),
}


class Message(Schema):
    """A message with an unknown field is a misunderstanding; refuse it."""

    class Meta:
        unknown = RAISE


class Page(Message):
    limit = StrictInteger(load_default=100, validate=validate.Range(min=1, max=1000))
    cursor = fields.String(load_default=None, allow_none=True, validate=Printable(255))


class List(Page):
    min_position = StrictInteger(
        load_default=0, validate=validate.Range(min=0, max=2**62)
    )


def chosen_id(name: str = "id") -> fields.Field[Any]:
    """Return the field of an id that the caller may choose."""
    return StrictUUID(load_default=uuid4, data_key=name)
