"""What import-linter cannot tell: only tests of an adapter may import the service."""

from __future__ import annotations

import re
from pathlib import Path

MODULES = [
    path
    for path in sorted(Path(__file__).parent.rglob("*.py"))
    if not path.name.startswith("test_") and path.name != "conftest.py"
]


def test_no_adapter_imports_the_service() -> None:
    importing = re.compile(r"^\s*(from|import) service\b", re.MULTILINE)

    assert [str(path) for path in MODULES if importing.search(path.read_text())] == []
