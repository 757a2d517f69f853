"""What callers see of an aggregate: the contract's resources, field by field."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from domain.attachment import Attachment
from domain.backend import Backend
from domain.volume import Volume


def volume(seen: Volume, *_: Any) -> dict[str, Any]:
    """Return the volume as the contract names its parts."""
    return {
        "id": seen.id,
        "name": seen.name,
        "description": seen.description,
        "project": seen.project,
        "size_gib": seen.size_gib,
        "status": seen.status,
        "attach_status": seen.attach_status,
        "migration_status": None,
        "replication_status": None,
        "backend": seen.backend,
        "volume_type": seen.volume_type,
        "multiattach": seen.multiattach,
        "readonly": seen.readonly,
        "bootable": seen.bootable,
        "metadata": seen.metadata,
        "source": None,
        "group_id": None,
        "attachments": list(seen.attachments),
        "error": seen.error,
        "created_at": instant(seen.created_at),
        "updated_at": instant(seen.updated_at),
        "version": seen.version,
    }


def attachment(seen: Volume, attachment_id: UUID | None, *_: Any) -> dict[str, Any]:
    """Return one attachment of a volume, live or gone."""
    assert attachment_id
    live = seen.attachments.get(attachment_id)
    return attachment_row(seen, live or seen.gone[attachment_id]) | {
        "version": seen.version
    }


def attachment_row(volume: Volume, seen: Attachment) -> dict[str, Any]:
    """Return an attachment's own fields."""
    return {
        "id": seen.id,
        "volume_id": volume.id,
        "instance": seen.instance,
        "host": seen.host,
        "mountpoint": seen.mountpoint,
        "mode": seen.mode,
        "status": seen.status,
        "connector": seen.connector,
        "connection": seen.connection,
        "attached_at": instant(seen.attached_at),
        "detached_at": instant(seen.detached_at),
        "error": seen.error,
    }


def backend(seen: Backend, *_: Any) -> dict[str, Any]:
    """Return what the log knows of a backend; what is measured stands beside it."""
    return {
        "name": seen.name,
        "host": seen.host,
        "driver": seen.driver,
        "state": None,
        "working": None,
        "frozen": False,
        "disabled": seen.status == "disabled",
        "disabled_reason": seen.disabled_reason,
        "replication_status": "disabled",
        "active_backend_id": None,
        "capabilities": None,
        "reported_at": None,
        "version": seen.version,
    }


def instant(at: Any) -> str | None:
    """Return a time as RFC 3339 in UTC, always with microseconds."""
    if at is None:
        return None
    text: str = at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return text
