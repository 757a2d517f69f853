"""Whose a folder is, as it says itself: a link in it to the name of its backend.

The link leads nowhere. It is there with what it says or not at all, so of two backends
that begin at once one is first.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from adapters.durable_file import sync
from adapters.file.failures import AnothersFolder

OWNER = ".backend"


def check_owner(folder: Path, backend: str) -> None:
    """Raise `AnothersFolder` where a folder says that it is another backend's."""
    with suppress(FileNotFoundError, NotADirectoryError):
        said = os.readlink(folder / OWNER)  # noqa: PTH115 - what it says is no path
        if said != backend:
            raise AnothersFolder(folder / OWNER, said)


def own(folder: Path, backend: str) -> None:
    """Note in a folder whose it is; raise `AnothersFolder` where that is another."""
    with suppress(FileExistsError):
        (folder / OWNER).symlink_to(backend)
        sync(folder)
    check_owner(folder, backend)
