"""What a driver does for each intent."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from logging import getLogger
from typing import Any
from uuid import UUID

from domain.aggregate import Done
from domain.attachment import for_driver
from domain.backend import Backend
from domain.drift import SNAPSHOT, Drift, Remedy
from domain.group import Group
from domain.group_snapshot import GroupSnapshot
from domain.ports import (
    Cause,
    Driver,
    DriverFailed,
    Export,
    HalfReverted,
    Progress,
    TimedOut,
    Untidy,
    VolumeIsBusy,
)
from domain.snapshot import Snapshot
from domain.volume import Volume

# What drivers call a secret; how they name one that they only refer to is not it.
SECRETS = re.compile(
    r"password|passwd|passphrase|secret(?!_uuid|_type)|keyring|token|private_key",
    re.IGNORECASE,
)

logger = getLogger(__name__)


class Indiscreet(DriverFailed):
    """The driver told a secret, which has been kept nowhere."""

    code = "indiscreet"

    def __str__(self) -> str:
        return (
            f"the driver told a secret ({self.args[0]}), which nobody may keep; it "
            "has to derive one as domain/chap.py does, and tell the user name alone"
        )


class NotReverted(VolumeIsBusy):
    """The volume could not be reverted, and is as good as before."""

    def __init__(self, failure: DriverFailed) -> None:
        super().__init__(failure)
        self.code = failure.code

    def __str__(self) -> str:
        return str(self.args[0])


@dataclass(eq=False)
class StillUsed(VolumeIsBusy):
    """Somebody uses a volume, and not by a way that was given."""

    volume_id: UUID

    def __str__(self) -> str:
        return (
            f"something has volume {self.volume_id} open that was let in by nobody; "
            "see with `fuser`, and on LVM `dmsetup ls --tree`, what it is, and end it"
        )


def create(
    driver: Driver, event: Volume.Created, cause: Cause, progress: Progress
) -> Done:
    """Make the storage."""
    return Done(location=driver.create(event, cause, progress))


def extend(driver: Driver, event: Volume.ExtensionStarted, *_: Any) -> Done:
    """Grow the storage."""
    driver.extend(event.originator_id, event.size_gib)
    return Done()


def delete(
    driver: Driver, event: Volume.DeletionStarted, _: Cause, progress: Progress
) -> Done:
    """Remove the storage, and before it every way to reach it."""
    driver.remove_export(event.originator_id)
    made_at = event.made_at.isoformat()
    return Done(cleared=driver.delete(event.originator_id, made_at, progress))


def adopt(driver: Driver, event: Volume.ManagingStarted, cause: Cause, *_: Any) -> Done:
    """Take the storage over; what an earlier attempt took after all is let go first."""
    for asked_at in event.in_vain:
        driver.unmanage(event.originator_id, asked_at.isoformat())
    adopted = driver.adopt(event, cause)
    return Done(location=adopted.location, size_gib=adopted.size_gib)


def unmanage(driver: Driver, event: Volume.UnmanagingStarted, *_: Any) -> Done:
    """Let go of the storage, and before it of every way to reach it."""
    if not event.left_alone:
        driver.remove_export(event.originator_id)
    made_at = None if event.never_ours else event.made_at.isoformat()
    return Done(reference=driver.unmanage(event.originator_id, made_at))


def connect(
    driver: Driver, event: Volume.ConnectionStarted | Volume.ExportStarted, *_: Any
) -> Done:
    """Let a host reach the volume; half a way is taken back, and no other host's."""
    try:
        connector = for_driver(event.connector, event.mode)
        connection = driver.connect(event.originator_id, connector)
        check_discreet(connection)
    except TimedOut:
        raise  # it would hang once more: a sweep takes the half way back
    except DriverFailed:
        if not event.shared:
            with suppress(DriverFailed):
                driver.disconnect(event.originator_id, event.connector)
        raise
    return Done(connection=connection)


def check_discreet(told: Any, name: str = "connection") -> None:
    """Raise `Indiscreet` where a driver tells what nobody but the caller may know."""
    if isinstance(told, dict):
        for key, value in told.items():
            check_discreet(value, str(key))
    elif isinstance(told, list | tuple):
        for value in told:
            check_discreet(value, name)
    elif told not in (None, "") and SECRETS.search(name):
        raise Indiscreet(name)


def disconnect(driver: Driver, event: Volume.DisconnectionStarted, *_: Any) -> Done:
    """Take the volume away from a host, unless another hold reaches it from there."""
    if not event.shared:
        driver.disconnect(event.originator_id, event.connector)
    return Done()


def unexport(driver: Driver, event: Volume.ExportRemovalStarted, *_: Any) -> Done:
    """Take the volume away from a host, or from every host."""
    try:
        if event.connector is None:
            driver.remove_export(event.originator_id)
        elif not event.shared:
            driver.disconnect(event.originator_id, event.connector)
    except DriverFailed:
        if not event.force:
            raise
        logger.warning("forced: %s", event.originator_id, exc_info=True)
    return Done()


def look_for_session(driver: Driver, event: Volume.SessionLookedFor, *_: Any) -> Done:
    """Look whether a host uses the volume, and take it away from one that does not."""
    found = driver.has_session(event.originator_id, event.connector)
    if event.connector and not found and not event.shared:
        driver.disconnect(event.originator_id, event.connector)
    return Done(found=found)


def revert(
    driver: Driver, event: Volume.ReversionStarted, cause: Cause, progress: Progress
) -> Done:
    """Let the volume hold what its snapshot does, and before it remove every way."""
    driver.remove_export(event.originator_id)
    try:
        driver.revert(event, cause, progress)
    except (HalfReverted, Untidy, TimedOut):
        raise
    except DriverFailed as failure:
        raise NotReverted(failure) from failure
    return Done()


def take_snapshot(
    driver: Driver, event: Snapshot.Created, cause: Cause, progress: Progress
) -> Done:
    """Keep what the volume holds."""
    return Done(location=driver.take_snapshot(event, cause, progress))


def delete_snapshot(
    driver: Driver, event: Snapshot.DeletionStarted, _: Cause, progress: Progress
) -> Done:
    """Remove the snapshot."""
    made_at = event.made_at.isoformat()
    return Done(cleared=driver.delete_snapshot(event.originator_id, made_at, progress))


def adopt_snapshot(
    driver: Driver, event: Snapshot.ManagingStarted, cause: Cause, *_: Any
) -> Done:
    """Take the storage over as a snapshot."""
    adopted = driver.adopt_snapshot(event, cause)
    return Done(location=adopted.location, size_gib=adopted.size_gib)


def unmanage_snapshot(
    driver: Driver, event: Snapshot.UnmanagingStarted, *_: Any
) -> Done:
    """Let go of the snapshot."""
    made_at = event.made_at.isoformat()
    return Done(reference=driver.unmanage_snapshot(event.originator_id, made_at))


def take_group_snapshot(
    driver: Driver, event: GroupSnapshot.Created, cause: Cause, *_: Any
) -> Done:
    """Keep what the members hold, at one moment if that is asked."""
    return Done(consistent=driver.take_group_snapshot(event, cause))


def look_at_members(driver: Driver, event: Group.DeletionStarted, *_: Any) -> Done:
    """See that nothing uses any of the members."""
    driver.check_unused(event.volumes)
    return Done()


def look_at(driver: Driver, event: Volume.CascadeStarted, *_: Any) -> Done:
    """See that nothing uses the volume."""
    driver.check_unused([event.originator_id])
    return Done()


def initialize(driver: Driver, *_: Any) -> Done:
    """Look at the storage anew."""
    driver.set_up()
    return Done()


def repair(
    driver: Driver, event: Backend.RepairStarted, _: Cause, progress: Progress
) -> Done:
    """Do what is safe about what differs; each looks again before it changes."""
    its_id = UUID(event.subject)
    REPAIRS[event.remedy](driver, its_id, event, progress)
    return Done()


def converge(
    driver: Driver, volume_id: UUID, event: Backend.RepairStarted, _: Progress
) -> None:
    """Let exactly those hosts reach a volume that are to."""
    driver.converge(Export(volume_id, tuple(event.connectors)))
    if event.connectors:
        return
    used = driver.has_session(volume_id, None)
    if event.drift is Drift.SESSION_WITHOUT_ATTACHMENT:
        # What was found may be no host's, of which a target knows nothing.
        used = used or volume_id in driver.survey().used
    if used:
        raise StillUsed(volume_id)


def mark(
    driver: Driver, its_id: UUID, event: Backend.RepairStarted, _: Progress
) -> None:
    """Let it say again what it is."""
    driver.mark(event.noun, its_id, Cause(event.cause, event.made_at), event.of)


def grow(
    driver: Driver, volume_id: UUID, event: Backend.RepairStarted, _: Progress
) -> None:
    """Grow it to what the log says."""
    driver.extend(volume_id, event.size_gib)


def remove(
    driver: Driver, its_id: UUID, event: Backend.RepairStarted, progress: Progress
) -> None:
    """Remove what was made at that time, as its deletion should have."""
    if event.noun == SNAPSHOT:
        driver.delete_snapshot(its_id, event.made_at, progress)
    else:
        driver.remove_export(its_id)
        driver.delete(its_id, event.made_at, progress)


REPAIRS: dict[Remedy, Callable[[Driver, UUID, Any, Progress], None]] = {
    Remedy.CONVERGE: converge,
    Remedy.MARK: mark,
    Remedy.GROW: grow,
    Remedy.REMOVE: remove,
}

WORK: dict[str, Callable[[Driver, Any, Cause, Progress], Done]] = {
    Volume.Created.TOPIC: create,
    Volume.Rescheduled.TOPIC: create,
    Volume.ExtensionStarted.TOPIC: extend,
    Volume.ReversionStarted.TOPIC: revert,
    Volume.DeletionStarted.TOPIC: delete,
    Volume.ManagingStarted.TOPIC: adopt,
    Volume.UnmanagingStarted.TOPIC: unmanage,
    Volume.ConnectionStarted.TOPIC: connect,
    Volume.DisconnectionStarted.TOPIC: disconnect,
    Volume.ExportStarted.TOPIC: connect,
    Volume.ExportRemovalStarted.TOPIC: unexport,
    Volume.SessionLookedFor.TOPIC: look_for_session,
    Snapshot.Created.TOPIC: take_snapshot,
    Snapshot.DeletionStarted.TOPIC: delete_snapshot,
    Snapshot.ManagingStarted.TOPIC: adopt_snapshot,
    Snapshot.UnmanagingStarted.TOPIC: unmanage_snapshot,
    GroupSnapshot.Created.TOPIC: take_group_snapshot,
    Group.DeletionStarted.TOPIC: look_at_members,
    Volume.CascadeStarted.TOPIC: look_at,
    Backend.InitializationStarted.TOPIC: initialize,
    Backend.RepairStarted.TOPIC: repair,
}
