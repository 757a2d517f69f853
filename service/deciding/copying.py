"""Making a volume of a snapshot or of another volume."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from marshmallow import ValidationError

from domain.lifecycle import about
from domain.snapshot import Snapshot
from domain.volume import Volume
from service.deciding.command import Decision, NotFound


def described(
    log: Decision, volume_id: UUID, source: dict[str, Any], said: dict[str, Any]
) -> dict[str, Any]:
    """Return the description of a volume as its source and the caller have it.

    What the caller leaves out is the source's, as in Cinder. The source stays as it
    is until the volume is made.

    Raises `NotFound`, `Refused`, and `ValidationError` for what the source cannot be.
    """
    origin, volume = found(log, source)
    shared = said["multiattach"]
    size_gib = said["size_gib"] or origin.size_gib
    if size_gib < origin.size_gib:
        least = f"Must be at least the {origin.size_gib} GiB of its source."
        raise ValidationError(least, "size_gib")
    if said["backend"] not in (None, volume.backend):
        raise ValidationError(f"Must be its source's, {volume.backend}.", "backend")
    with about("volume", volume.id):
        volume.check_stays("copy")
    with about(*next(iter(source.items()))):
        origin.begin_copy(volume_id)
    return said | {
        "size_gib": size_gib,
        "backend": volume.backend,
        "volume_type": said["volume_type"] or volume.volume_type,
        "multiattach": volume.multiattach if shared is None else shared,
        "metadata": said["metadata"] or volume.metadata,
        "bootable": volume.bootable,
        "source": source,
        "source_size_gib": origin.size_gib,
    }


def found(log: Decision, source: dict[str, Any]) -> tuple[Snapshot | Volume, Volume]:
    """Return what a volume is to be made of, and the volume that holds or held it."""
    [(noun, key)] = source.items()
    if noun == "snapshot":
        snapshot = log.get(Snapshot, key)
        return snapshot, log.get(Volume, snapshot.volume_id)
    if noun == "volume":
        volume = log.get(Volume, key)
        return volume, volume
    raise NotFound(noun, key)
