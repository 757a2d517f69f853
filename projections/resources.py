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
from domain.drift import advice
from domain.group import Group
from domain.group_snapshot import GroupSnapshot
from domain.snapshot import Snapshot
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


class SnapshotSeen(msgspec.Struct):
    """What a volume held at one moment."""

    id: UUID
    volume_id: UUID
    group_snapshot_id: UUID | None
    name: str
    description: str
    size_gib: int
    status: str
    progress: str
    metadata: dict[str, str]
    error: FaultSeen | None
    created_at: str
    updated_at: str
    version: int


class GroupSeen(msgspec.Struct):
    """Volumes that belong together."""

    id: UUID
    name: str
    description: str
    backend: str
    status: str
    consistent: bool
    replication_status: str
    volumes: list[UUID]
    source: dict[str, str] | None
    error: FaultSeen | None
    created_at: str
    updated_at: str
    version: int


class GroupSnapshotSeen(msgspec.Struct):
    """Snapshots that were taken together; `consistency` says what that promises."""

    id: UUID
    group_id: UUID
    name: str
    description: str
    status: str
    consistency: str | None
    snapshots: list[UUID]
    error: FaultSeen | None
    created_at: str
    updated_at: str
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


class StepSeen(msgspec.Struct):
    """What is to be done about a finding, in a word and in a sentence."""

    drift: str
    noun: str
    subject: str
    found: str
    remedy: str
    advice: str
    under_way: bool


class RepairsSeen(msgspec.Struct):
    """What is to be done about what differs of a backend; `error`: what failed last."""

    name: str
    steps: list[StepSeen]
    error: FaultSeen | None
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
        source=named(seen.source),
        group_id=seen.group_id,
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


def snapshot(seen: Snapshot, *_: Any) -> SnapshotSeen:
    """Return the snapshot as the contract names its parts."""
    return SnapshotSeen(
        id=seen.id,
        volume_id=seen.volume_id,
        group_snapshot_id=seen.group_snapshot_id,
        name=seen.name,
        description=seen.description,
        size_gib=seen.size_gib,
        status=seen.status,
        progress=f"{seen.percent}%",
        metadata=seen.metadata,
        error=fault(seen.error),
        created_at=instant(seen.created_at),
        updated_at=instant(seen.updated_at),
        version=seen.version,
    )


def group(seen: Group, *_: Any) -> GroupSeen:
    """Return the group as the contract names its parts."""
    return GroupSeen(
        id=seen.id,
        name=seen.name,
        description=seen.description,
        backend=seen.backend,
        status=seen.status,
        consistent=seen.consistent,
        replication_status="disabled",
        volumes=list(seen.volumes),
        source=named(seen.source),
        error=fault(seen.error),
        created_at=instant(seen.created_at),
        updated_at=instant(seen.updated_at),
        version=seen.version,
    )


def group_snapshot(seen: GroupSnapshot, *_: Any) -> GroupSnapshotSeen:
    """Return the group snapshot as the contract names its parts."""
    return GroupSnapshotSeen(
        id=seen.id,
        group_id=seen.group_id,
        name=seen.name,
        description=seen.description,
        status=seen.status,
        consistency=seen.consistency,
        snapshots=list(seen.snapshots),
        error=fault(seen.error),
        created_at=instant(seen.created_at),
        updated_at=instant(seen.updated_at),
        version=seen.version,
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


def repairs(seen: Backend, *_: Any) -> RepairsSeen:
    """Return what is to be done about what differs of a backend, and what is done."""
    under_way = seen.repairs
    steps = [
        StepSeen(
            drift=found.drift,
            noun=found.noun,
            subject=found.subject,
            found=found.found,
            remedy=found.remedy,
            advice=advice(found.drift, found.remedy),
            under_way=key in under_way,
        )
        for key, found in seen.drift.items()
    ]
    return RepairsSeen(seen.name, steps, fault(seen.error), seen.version)


def named(source: dict[str, UUID] | None) -> dict[str, str] | None:
    """Return what something was made from, its id as text."""
    return {noun: str(key) for noun, key in source.items()} if source else None


def fault(seen: Any) -> FaultSeen | None:
    """Return what went wrong last, if anything did."""
    return seen and FaultSeen(seen.code, seen.message, instant(seen.at))


def instant(at: datetime) -> str:
    """Return a time as RFC 3339 in UTC, always with microseconds."""
    # All our times are in UTC. msgspec leaves out microseconds that are none.
    if at.microsecond:
        return str(msgspec.to_builtins(at))
    return at.isoformat("T", "microseconds")[:26] + "Z"
