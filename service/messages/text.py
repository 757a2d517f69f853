"""What text may contain that callers give, and what we make of it."""

from __future__ import annotations

import re
from typing import Any
from unicodedata import category

# Joiners are spelling in Persian and in Hindi, and make one emoji of several.
JOINERS = "\u200c\u200d"
EMPTY = '""'  # a name without characters, as it can be seen


def is_text(value: str) -> bool:
    """Tell whether there are only characters that can be shown as they stand.

    No control character, no line or paragraph separator, nothing that turns the
    direction of what follows, no lone surrogate.
    """
    if value.isprintable():
        return True
    return all(
        character.isprintable() or character in JOINERS or category(character) == "Zs"
        for character in value
    )


def words(why: Any) -> str:
    """Return messages, nested as they may be, as one line."""
    if isinstance(why, dict):
        return ", ".join(
            f"{EMPTY if name == '' else name}: {words(inner)}"
            for name, inner in why.items()
        )
    if isinstance(why, list):
        return " ".join(map(words, why))
    return str(why)


def said_by(error: BaseException | None) -> str:
    """Return what an error says, in one line; what kind it is if it says nothing."""
    return " ".join(str(error or "").split()) or type(error).__name__


def without_secret(url: str) -> str:
    """Return an address as it can be shown: without user and password."""
    return re.sub(r"//[^/]*@", "//", url)
