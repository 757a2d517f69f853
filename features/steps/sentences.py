"""How sentences are matched: names stand in quotes, numbers and statuses do not."""

from __future__ import annotations

from pytest_bdd import parsers

TYPES = {
    "Name": lambda text: text,
    "Status": lambda text: text,
    "Topic": lambda text: text,
}
TYPES["Name"].pattern = r'[^"]*'  # type: ignore[attr-defined]
TYPES["Status"].pattern = r"[a-z][a-z_-]*"  # type: ignore[attr-defined]
TYPES["Topic"].pattern = r"[a-z_]+\.[a-z_]+"  # type: ignore[attr-defined]


def says(sentence: str) -> parsers.cfparse:
    """Return what matches a sentence and nothing longer: no name swallows another."""
    return parsers.cfparse(sentence, extra_types=TYPES)
