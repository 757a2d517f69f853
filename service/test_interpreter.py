"""What the interpreter is set up for."""

from __future__ import annotations

import gc
from typing import Any

import msgspec

from service.interpreter import quicken, structs


def is_worked_out(struct: type[Any]) -> bool:
    """Tell whether msgspec has met it; of one that is half worked out threads die."""
    return any(type(each).__name__ == "StructInfo" for each in gc.get_referents(struct))


def test_every_struct_is_met_before_there_are_threads() -> None:
    unmet = msgspec.defstruct("Unmet", [("number", int)])
    assert not is_worked_out(unmet)

    quicken()

    assert is_worked_out(unmet)
    assert [each for each in structs() if not is_worked_out(each)] == []
