"""Loading plainly valid messages quickly.

A marshmallow schema spends some 30 us on a message, most of it on questions a
valid message does not raise. `quickly` makes a msgspec struct of the schema that
takes only what is plainly valid, and asks those fields that have judgement of their
own; whatever these do not take goes to the schema, so results and error messages are
the schema's own. `test_quick` holds the two together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any
from uuid import UUID

import marshmallow
from marshmallow import Schema, fields, missing, validate
from msgspec import UNSET, Meta, ValidationError, convert, defstruct, field
from msgspec.structs import asdict

from service.messages.schema import Printable, StrictBoolean, StrictInteger, StrictUUID

Load = Callable[[dict[str, Any]], dict[str, Any]]

USUAL = 36  # characters of a UUID; msgspec takes one without hyphens as well
# Of each kind of field what a plainly valid value is, of each validator its bounds.
PLAIN: dict[type[fields.Field[Any]], type] = {
    fields.String: str,
    StrictInteger: int,
    StrictBoolean: bool,
    StrictUUID: UUID,
}
BOUNDS: dict[type[Any], Callable[[Any], Meta]] = {
    validate.Range: lambda known: Meta(ge=known.min, le=known.max),
    Printable: lambda known: Meta(min_length=known.least, max_length=known.most),
}


def quickly(schema: Schema) -> Load:
    """Return `schema.load`, only faster for plainly valid messages."""
    hooked = any(schema._hooks.values())  # noqa: SLF001 - nothing public tells
    return schema.load if hooked else plainly(schema)


def plainly(schema: Schema) -> Load:
    """Return the fast way through a schema that has no hooks."""
    known = schema.load_fields
    plain = defstruct(
        "Plain",
        [(name, plain_value(of), default(of)) for name, of in known.items()],
        rename={name: of.data_key for name, of in known.items() if of.data_key},
        forbid_unknown_fields=True,
        kw_only=True,
    )
    ids = {of.data_key or n for n, of in known.items() if type(of) is StrictUUID}
    omissible = [name for name, of in known.items() if of.load_default is missing]
    judging = [
        (name, of.data_key or name, of.deserialize)
        for name, of in known.items()
        if plain_value(of) is Any
    ]

    def load(message: dict[str, Any]) -> dict[str, Any]:
        try:
            loaded = asdict(convert(message, plain))
            for name, key, judge in judging:
                if key in message:
                    loaded[name] = judge(message[key], key, message)
        except (ValidationError, marshmallow.ValidationError):
            return dict(schema.load(message))
        text = "".join([value for value in message.values() if type(value) is str])
        unusual = not ids.isdisjoint(message) and any(
            len(message[key]) != USUAL for key in ids & message.keys()
        )
        if unusual or not text.isprintable():
            return dict(schema.load(message))
        for name in omissible:
            if loaded[name] is UNSET:
                del loaded[name]
        return loaded

    return load


def plain_value(of: fields.Field[Any]) -> Any:
    """Return the type of what a field plainly takes, Any where it judges itself."""
    kind = PLAIN.get(type(of))
    if kind is None or any(type(each) not in BOUNDS for each in of.validators):
        return Any
    bounds = [BOUNDS[type(each)](each) for each in of.validators]
    return Annotated[kind, *bounds] if bounds else kind


def default(of: fields.Field[Any]) -> Any:
    """Return what a field is where a message leaves it out."""
    if of.required:
        return field()
    if of.load_default is missing:
        return UNSET
    made = callable(of.load_default)
    return field(default_factory=of.load_default) if made else of.load_default
