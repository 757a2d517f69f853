"""What stands beside the data of a volume, and says something by its name alone."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from uuid import UUID

import msgspec

from domain.ports import Cause

DATA = "volume"
OLD_MADE_BY = "made-by.json"
ID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
MADE_BY = re.compile(r"made-by \d+ .*")
OF = re.compile(rf"of ({ID})")
REVERTED_BY = re.compile(r"reverted-by \d+ .*")
COPIED = re.compile(r"copied (\d+) of (.*)")
BEFORE = "before"
NEW = "new"  # a name on its way to replace another
OURS = re.compile(f"{DATA}|{OLD_MADE_BY}|{BEFORE}|{NEW}")
TOLD = (OURS, MADE_BY, OF, REVERTED_BY, COPIED)


def names(directory: Path) -> set[str]:
    """Return the names of what is in a directory."""
    return set(os.listdir(directory))  # noqa: PTH208 - a path each is ten times slower


def made_by(cause: Cause) -> str:
    """Return the name by which a volume's data says what made it."""
    return f"made-by {cause.position} {cause.at}"


def cause_in(home: Path) -> Cause:
    """Return what made a volume, as it says itself."""
    for name in tags(home, names(home)):
        _, position, at = name.split(" ", 2)
        return Cause(int(position), at)
    return _old((home / OLD_MADE_BY).read_bytes())


def tags(home: Path, beside: Iterable[str]) -> list[str]:
    """Return the names by which a volume says what made it: one, if all is well.

    Of several those count that are its data's, as ours are where no copy was made.
    """
    told = sorted(filter(MADE_BY.fullmatch, beside))
    if not told[1:]:
        return told
    return [name for name in told if is_the_data(home, name)] or told


def is_the_data(home: Path, name: str) -> bool:
    """Tell whether what is beside a volume's data is another link to it."""
    try:
        return os.path.samestat((home / name).lstat(), (home / DATA).lstat())
    except FileNotFoundError:
        return False


def said_to_be_of(beside: Iterable[str]) -> list[UUID]:
    """Return what a snapshot is of, as it says itself: one volume, if all is well."""
    return [UUID(told[1]) for told in map(OF.fullmatch, beside) if told]


def is_ours(name: str) -> bool:
    """Tell whether we put something of that name beside a volume's data."""
    return any(pattern.fullmatch(name) for pattern in TOLD)


def strangers(home: Path, beside: Iterable[str]) -> list[str]:
    """Return which names beside a volume's data are not ours."""
    told = tags(home, beside)
    return sorted(
        name
        for name in beside
        if not is_ours(name) or (MADE_BY.fullmatch(name) and name not in told)
    )


def size_of(path: Path) -> int:
    """Return the size of a file, or of the largest in a folder.

    Beside data that was removed by hand there may be another link to it.
    """
    if path.is_symlink() or not path.is_dir():
        return path.lstat().st_size
    sizes = [0]
    for each in path.iterdir():
        with suppress(FileNotFoundError):  # somebody may remove it meanwhile
            sizes.append(each.lstat().st_size)
    return max(sizes)


def readable(name: str) -> str:
    """Return a name as it can be told, though it be no text."""
    return os.fsencode(name).decode(errors="backslashreplace")


_old = msgspec.json.Decoder(Cause).decode
