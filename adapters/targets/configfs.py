"""Changing the kernel by configfs: only what is not so already."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

PAGE = 4096


class Visit:
    """One visit to a configfs tree; counts what it had to change.

    Nothing of it needs to be undone: whoever is killed in between, or anybody
    else, makes the same visit again.
    """

    def __init__(self) -> None:
        self.changes = 0

    def folder(self, path: Path) -> None:
        """Have the folder, and so the object that the kernel makes for it."""
        with suppress(FileExistsError):
            path.mkdir()
            self.changes += 1

    def link(self, path: Path, to: Path) -> None:
        """Have the link."""
        with suppress(FileExistsError):
            path.symlink_to(to)
            self.changes += 1

    def put(self, path: Path, value: str) -> None:
        """Have the attribute say so."""
        if said(path) != value:
            self.write(path, value)

    def write(self, path: Path, value: str) -> None:
        """Write an attribute, in one piece as the kernel wants it."""
        file = os.open(path, os.O_WRONLY)
        try:
            os.write(file, value.encode())
        except OSError as error:
            error.filename = str(path)
            raise
        finally:
            os.close(file)
        self.changes += 1

    def gone(self, path: Path) -> None:
        """Have no such folder or link."""
        if path.is_symlink():
            path.unlink()
        elif path.is_dir():
            path.rmdir()
        else:
            return
        self.changes += 1


def said(path: Path) -> str:
    """Return what an attribute says, a page at most; what is absent says nothing."""
    try:
        file = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return ""
    try:
        return os.read(file, PAGE).decode().rstrip("\n")
    finally:
        os.close(file)


def inside(path: Path) -> list[Path]:
    """Return the folders and links in a folder; none in an absent one."""
    try:
        with os.scandir(path) as found:
            return [Path(e) for e in found if e.is_symlink() or e.is_dir()]
    except FileNotFoundError:
        return []
