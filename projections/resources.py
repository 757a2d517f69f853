"""What callers see of an aggregate: the contract's resources, field by field.

Times are RFC 3339 in UTC, always with microseconds; sizes are GiB.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from domain.attachment import Attachment
from domain.backend import Administration, Backend
from domain.volume import Volume


class FaultSeen(msgspec.Struct):
    """What went wrong last, in words an operator can act on."""

    code: str
    message: str
    at: str


class VolumeSeen(msgspec.Struct):
    """A volume."""

    id: UUID
    name: str
    description: str
    project: str
    size_gib: int
    status: str
    attach_status: str
    migration_status: str | None
    replication_status: str | None
    backend: str
    volume_type: str | None
    multiattach: bool
    readonly: bool
    bootable: bool
    metadata: dict[str, str]
    source: dict[str, str] | None
    group_id: UUID | None
    attachments: list[UUID]
    error: FaultSeen | None
    created_at: str
    updated_at: str
    version: int


class AttachmentSeen(msgspec.Struct):
    """The hold that one instance or host has on a volume."""

    id: UUID
    volume_id: UUID
    instance: str | None
    host: str | None
    mountpoint: str | None
    mode: str | None
    status: str
    connector: dict[str, Any] | None
    connection: dict[str, Any] | None
    attached_at: str | None
    detached_at: str | None
    error: FaultSeen | None
    version: int


class BackendSeen(msgspec.Struct):
    """A backend, and what its agent last told: `state`, `working`, `capabilities`."""

    name: str
    host: str
    driver: str
    state: str | None
    working: bool | None
    frozen: bool
    disabled: bool
    disabled_reason: str | None
    replication_status: str
    active_backend_id: str | None
    capabilities: dict[str, Any] | None
    reported_at: str | None
    version: int


def volume(seen: Volume, *_: Any) -> VolumeSeen:
    """Return the volume as the contract names its parts."""
    return VolumeSeen(
        id=seen.id,
        name=seen.name,
        description=seen.description,
        project=seen.project,
        size_gib=seen.size_gib,
        status=seen.status,
        attach_status=seen.attach_status,
        migration_status=None,
        replication_status=None,
        backend=seen.backend,
        volume_type=seen.volume_type,
        multiattach=seen.multiattach,
        readonly=seen.readonly,
        bootable=seen.bootable,
        metadata=seen.metadata,
        source=None,
        group_id=None,
        attachments=list(seen.attachments),
        error=fault(seen.error),
        created_at=instant(seen.created_at),
        updated_at=instant(seen.updated_at),
        version=seen.version,
    )


def attachment(of: Volume, attachment_id: UUID | None, *_: Any) -> AttachmentSeen:
    """Return one attachment of a volume, live or gone."""
    assert attachment_id
    seen: Attachment = of.attachments.get(attachment_id) or of.gone[attachment_id]
    return AttachmentSeen(
        id=seen.id,
        volume_id=of.id,
        instance=seen.instance,
        host=seen.host,
        mountpoint=seen.mountpoint,
        mode=seen.mode,
        status=seen.status,
        connector=seen.connector,
        connection=seen.connection,
        attached_at=instant(seen.attached_at) if seen.attached_at else None,
        detached_at=instant(seen.detached_at) if seen.detached_at else None,
        error=fault(seen.error),
        version=seen.ended or of.version,
    )


def backend(seen: Backend, *_: Any) -> BackendSeen:
    """Return what the log knows of a backend; what is measured stands beside it."""
    return BackendSeen(
        name=seen.name,
        host=seen.host,
        driver=seen.driver,
        state=None,
        working=None,
        frozen=False,
        disabled=seen.status == Administration.DISABLED,
        disabled_reason=seen.disabled_reason,
        replication_status="disabled",
        active_backend_id=None,
        capabilities=None,
        reported_at=None,
        version=seen.version,
    )


def fault(seen: Any) -> FaultSeen | None:
    """Return what went wrong last, if anything did."""
    return seen and FaultSeen(seen.code, seen.message, instant(seen.at))


def instant(at: datetime) -> str:
    """Return a time as RFC 3339 in UTC, always with microseconds."""
    # All our times are in UTC. msgspec leaves out microseconds that are none.
    if at.microsecond:
        return str(msgspec.to_builtins(at))
    return at.isoformat("T", "microseconds")[:26] + "Z"
