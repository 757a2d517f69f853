"""What import-linter cannot tell: only tests may import what is above them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("folder", "above"), [("adapters", "service|bed"), ("service", "bed")]
)
def test_no_program_imports_what_is_above_it(folder: str, above: str) -> None:
    importing = re.compile(rf"^\s*(from|import) ({above})\b", re.MULTILINE)

    assert [
        str(path)
        for path in (ROOT / folder).rglob("*.py")
        if not path.name.startswith("test_")
        and path.name != "conftest.py"
        and importing.search(path.read_text())
    ] == []
