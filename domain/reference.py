"""A reference: what an operator calls storage that is there, as Cinder has it.

`{"source-name": name}`, the name in letters that LVM has names of.
"""

from __future__ import annotations

import re
from uuid import UUID

SOURCE_NAME = "source-name"
NAME = re.compile(r"[A-Za-z0-9_+][A-Za-z0-9_+.-]{0,126}")
ID = r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"
# What Cinder calls the storage of a volume, and what is let go is called again.
MANAGED = re.compile(f"volume-{ID}")
MANAGED_SNAPSHOT = re.compile(f"_snapshot-{ID}")


def to(name: str) -> dict[str, str]:
    """Return the reference to a name."""
    return {SOURCE_NAME: name}


def name_in(reference: dict[str, str]) -> str:
    """Return the name that a reference holds."""
    return reference[SOURCE_NAME]


def name_of(volume_id: UUID) -> str:
    """Return what the storage of a volume is called."""
    return f"volume-{volume_id}"


def volume_of(name: str) -> UUID | None:
    """Return the volume whose storage is called so, if it is one's."""
    found = MANAGED.fullmatch(name)
    return UUID(found[1]) if found else None


def name_of_snapshot(snapshot_id: UUID) -> str:
    """Return what the storage of a snapshot is called."""
    return f"_snapshot-{snapshot_id}"


def snapshot_of(name: str) -> UUID | None:
    """Return the snapshot whose storage is called so, if it is one's."""
    found = MANAGED_SNAPSHOT.fullmatch(name)
    return UUID(found[1]) if found else None
