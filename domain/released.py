"""What was released stays: the fields of every event, as the logs out there have them.

    python -m domain.released

writes the committed list anew. It refuses what old logs, or their readers, would not
bear: lines are added, and a line that is there changes only with the event's version.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import chain
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, get_args, get_origin

import msgspec
from msgspec import NODEFAULT, UNSET, UnsetType

from domain import log
from domain.aggregate import Event

LIST = Path(__file__).with_name("released_topics.txt")
EVERY = "every event"
HEAD = "# Written by `just generate`. Indented: fields, then what they are made of.\n"
VERSION = ", version "


@dataclass(frozen=True)
class Shape:
    """How something is written: `size_gib` by `int`, `name` by `str = ""`.

    The values of an enumeration stand for themselves.
    """

    version: int = 1
    lines: dict[str, str] = field(default_factory=dict)


Shapes = dict[str, Shape]


def shapes() -> Shapes:
    """Return how everything that a log has is written."""
    parts = sorted({*chain(*map(parts_of, [Event, *log.EVENTS.values()]))}, key=str)
    return {
        EVERY: shape_of(Event),
        **{topic: shape_of(log.EVENTS[topic]) for topic in sorted(log.EVENTS)},
        **{part.__name__: shape_of(part) for part in parts},
    }


def shape_of(kind: type[Any]) -> Shape:
    """Return how one kind is written; of an event, what it has beside all others."""
    if issubclass(kind, StrEnum):
        return Shape(lines=dict.fromkeys(kind, ""))
    common = Event.__struct_fields__ if kind is not Event else ()
    told = {f.name: f for f in msgspec.structs.fields(kind)}
    version = told["event_version"].default if issubclass(kind, Event) else 1
    own = {name: said_of(f) for name, f in told.items() if name not in common}
    return Shape(version, own)


def said_of(told: msgspec.structs.FieldInfo) -> str:
    """Return the type of a field, and what stands for it where it is absent."""
    if told.required:
        return named(told.type)
    absent = told.default
    if absent is NODEFAULT:
        absent = told.default_factory()
    said = "absent" if absent is UNSET else msgspec.json.encode(absent).decode()
    return f"{named(told.type)} = {said}"


def named(kind: Any) -> str:
    """Return what a type is called."""
    if isinstance(kind, UnionType):
        told = (named(each) for each in get_args(kind) if each is not UnsetType)
        return " | ".join(told)
    if inner := get_args(kind):
        return f"{get_origin(kind).__name__}[{', '.join(map(named, inner))}]"
    if kind is Ellipsis:
        return "..."
    return "None" if kind is NoneType else str(getattr(kind, "__name__", kind))


def parts_of(kind: Any) -> Iterator[type[Any]]:
    """Yield the structs and enumerations that the fields of a struct are made of."""
    for told in msgspec.structs.fields(kind):
        for each in (told.type, *get_args(told.type)):
            if isinstance(each, type) and issubclass(each, msgspec.Struct):
                yield each
                yield from parts_of(each)
            elif isinstance(each, type) and issubclass(each, StrEnum):
                yield each


def breaches(before: Shapes, now: Shapes) -> Iterator[str]:
    """Yield what a log of before, or a reader of it, would not bear."""
    for name, was in before.items():
        if name in now:
            yield from (f"{name}: {each}" for each in changed(was, now[name]))
        else:
            yield f"{name} is gone"


def changed(was: Shape, is_: Shape) -> Iterator[str]:
    """Yield what must not change in one shape; a new version lifts what was written."""
    lifted = is_.version > was.version
    if is_.version < was.version:
        yield f"version {was.version} was released, and this is {is_.version}"
    for name, said in was.lines.items():
        if name not in is_.lines:
            yield f"{name} is gone"
        elif is_.lines[name] != said and not lifted:
            yield f"{name} is {is_.lines[name]}, and was {said}"
    for name in is_.lines.keys() - was.lines.keys():
        if is_required(is_.lines[name]) and not lifted:
            yield f"{name} is required, and what was written does not have it"


def is_required(said: str) -> bool:
    """Tell whether a field has to be there; the values of an enumeration need not."""
    return bool(said) and " = " not in said


def text(told: Shapes) -> str:
    """Return the list as it is committed."""
    blocks = (block(name, shape) for name, shape in told.items())
    return HEAD + "\n".join(blocks)


def block(name: str, shape: Shape) -> str:
    version = f"{VERSION}{shape.version}" if shape.version > 1 else ""
    lines = (
        f"    {key}: {said}" if said else f"    {key}"
        for key, said in shape.lines.items()
    )
    return "\n".join([f"{name}{version}", *lines, ""])


def parsed(listed: str) -> Shapes:
    """Return what a list says, as `text` wrote it."""
    found: Shapes = {}
    for told in listed.removeprefix(HEAD).strip().split("\n\n"):
        head, *lines = told.splitlines()
        name, _, version = head.partition(VERSION)
        facts = (line.strip().partition(": ") for line in lines)
        found[name] = Shape(int(version or 1), {key: said for key, _, said in facts})
    return found


def main() -> None:
    """Write the list anew, or say why not."""
    broken = [*breaches(parsed(LIST.read_text()), shapes())]
    if broken:
        sys.exit("\n".join(["This was released, and has to stay:", *broken]))
    LIST.write_text(text(shapes()))


if __name__ == "__main__":
    main()
