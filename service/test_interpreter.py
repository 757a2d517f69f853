"""What the interpreter is set up for."""

from __future__ import annotations

import gc
from typing import Any

import msgspec

from service.interpreter import quicken, structs


class Nested(msgspec.Struct):
    """Something that is met with what it is in."""


class Unmet(msgspec.Struct):
    """Something that nobody has read yet."""

    nested: Nested


def is_worked_out(struct: type[Any]) -> bool:
    """Tell whether msgspec has met it; of one that is half worked out threads die."""
    return any(type(each).__name__ == "StructInfo" for each in gc.get_referents(struct))


def test_every_struct_is_met_before_there_are_threads() -> None:
    assert not is_worked_out(Unmet)

    quicken()

    assert [each for each in structs() if not is_worked_out(each)] == []
