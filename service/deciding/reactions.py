"""What follows from what was recorded, decided with it and stored with it.

Whatever one aggregate has to learn of another is a function of the event that tells
so. It runs within the decision that recorded the event, so both are in the log or
neither is, whoever dies in between.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from domain.aggregate import Event, Failure, NotDone
from domain.copying import Copied
from domain.group import Group
from domain.group_snapshot import GroupSnapshot, GroupSnapshotStatus
from domain.lifecycle import Refused, about
from domain.provenance import MOMENT, Moment
from domain.snapshot import Snapshot
from domain.volume import Volume
from service.deciding.command import Decision

SOURCES: dict[str, type[Copied]] = {"snapshot": Snapshot, "volume": Volume}


def follow(log: Decision) -> None:
    """Let what was recorded have its consequences, and those have theirs.

    They are of whoever asked for what they follow from, as that is.
    """
    reacted = True
    while reacted:
        reacted = False
        for event in log.news():
            for react in REACTIONS.get(type(event), ()):
                MOMENT.set(Moment(event.timestamp, event.provenance))
                react(log, event)
                reacted = True


# A volume that is made from something


def free_source(log: Decision, event: Event) -> None:
    """Let go of what a volume was made from."""
    volume = log.get(Volume, event.originator_id)
    for noun, source_id in (volume.source or {}).items():
        log.get(SOURCES[noun], source_id).end_copy(volume.id)


# A volume and its snapshots


def forget_snapshot(log: Decision, event: Snapshot.Deleted) -> None:
    """Have the volume, and those it was taken with, know that it is gone."""
    snapshot = log.get(Snapshot, event.originator_id)
    log.get(Volume, snapshot.volume_id).remove_snapshot(snapshot.id)
    if snapshot.group_snapshot_id:
        taken = log.get(GroupSnapshot, snapshot.group_snapshot_id)
        taken.member_gone(snapshot.id)


def keep_snapshot(log: Decision, event: Failure) -> None:
    """Have those who wait for a snapshot to go know that it stays."""
    snapshot = log.get(Snapshot, event.originator_id)
    volume = log.get(Volume, snapshot.volume_id)
    volume.call_off_deletion("snapshots", because(event))
    if snapshot.group_snapshot_id:
        taken = log.get(GroupSnapshot, snapshot.group_snapshot_id)
        taken.member_stays(snapshot.id, because(event))


def delete_snapshots(log: Decision, event: Volume.CascadeLookedAt) -> None:
    """Remove a volume's snapshots, which nobody uses, and then the volume itself."""
    volume = log.get(Volume, event.originator_id)
    snapshots = log.all(Snapshot, volume.snapshots)
    try:
        for snapshot in snapshots:
            with about("snapshot", snapshot.id):
                snapshot.check_goes(force=event.force)
    except Refused as refused:
        volume.call_off_deletion("snapshots", NotDone("refused", str(refused)))
        return
    for snapshot in snapshots:
        snapshot.delete(force=event.force)
    if not snapshots:
        volume.begin_deletion("snapshots")


def end_restoration(log: Decision, event: Event) -> None:
    """Have the snapshot know that its volume was reverted, or was not."""
    volume = log.get(Volume, event.originator_id)
    if volume.reverted_to:
        log.get(Snapshot, volume.reverted_to).end_restoration()


# A group and its members


def tell_made(log: Decision, event: Volume.CreationFinished) -> None:
    """Have the group know that a member was made."""
    if group := group_of(log, event):
        group.volume_made(event.originator_id)


def tell_not_made(log: Decision, event: Volume.CreationFailed) -> None:
    """Have the group know that a member could not be made."""
    if group := group_of(log, event):
        group.making_failed(event.originator_id, because(event))


def begin_deletions(log: Decision, event: Group.LookedAt) -> None:
    """Remove all members: none is in use."""
    for volume in log.all(Volume, log.get(Group, event.originator_id).volumes):
        volume.begin_deletion("group")


def call_off_deletions(log: Decision, event: Group.DeletionPutOff) -> None:
    """Keep all members: one is in use."""
    for volume in log.all(Volume, log.get(Group, event.originator_id).volumes):
        volume.call_off_deletion("group", because(event))


def tell_gone(log: Decision, event: Volume.Deleted) -> None:
    """Have the group know that a member is gone."""
    if group := group_of(log, event):
        group.member_gone(event.originator_id)


def tell_kept(log: Decision, event: Failure) -> None:
    """Have the group know that a member could not be removed."""
    if group := group_of(log, event):
        group.member_stays(event.originator_id, because(event))


# A group and its snapshots


def tell_taken(log: Decision, event: GroupSnapshot.CreationFinished) -> None:
    """Have each snapshot know that it was taken."""
    taken = log.get(GroupSnapshot, event.originator_id)
    for snapshot in log.all(Snapshot, taken.snapshots):
        snapshot.taken_in_group()


def tell_not_taken(log: Decision, event: GroupSnapshot.CreationFailed) -> None:
    """Have each snapshot know that it was not taken."""
    taken = log.get(GroupSnapshot, event.originator_id)
    for snapshot in log.all(Snapshot, taken.snapshots):
        snapshot.not_taken_in_group(because(event))


def forget_group_snapshot(log: Decision, event: GroupSnapshot.SnapshotRemoved) -> None:
    """Have the group know when the last of the snapshots is gone."""
    taken = log.get(GroupSnapshot, event.originator_id)
    if taken.status == GroupSnapshotStatus.DELETED:
        log.get(Group, taken.group_id).remove_snapshot(taken.id)


def group_of(log: Decision, event: Event) -> Group | None:
    """Return the group of the volume that an event is about, if it is in one."""
    group_id = log.get(Volume, event.originator_id).group_id
    return log.get(Group, group_id) if group_id else None


def because(failure: Failure) -> NotDone:
    """Return why something failed, for those who have to know."""
    return NotDone(failure.code, failure.message)


# fmt: off
REACTIONS: dict[type[Event], tuple[Callable[[Decision, Any], None], ...]] = {
    Volume.CreationFinished:         (free_source, tell_made),
    Volume.CreationFailed:           (free_source, tell_not_made),
    Volume.Deleted:                  (free_source, tell_gone),
    Volume.DeletionFailed:           (tell_kept,),
    Volume.DeletionPutOff:           (tell_kept,),
    Volume.CascadeLookedAt:          (delete_snapshots,),
    Volume.ReversionFinished:        (end_restoration,),
    Volume.ReversionFailed:          (end_restoration,),
    Volume.ReversionPutOff:          (end_restoration,),
    Snapshot.Deleted:                (forget_snapshot,),
    Snapshot.Unmanaged:              (forget_snapshot,),
    Snapshot.DeletionFailed:         (keep_snapshot,),
    Snapshot.DeletionPutOff:         (keep_snapshot,),
    GroupSnapshot.CreationFinished:  (tell_taken,),
    GroupSnapshot.CreationFailed:    (tell_not_taken,),
    GroupSnapshot.SnapshotRemoved:   (forget_group_snapshot,),
    Group.LookedAt:                  (begin_deletions,),
    Group.DeletionPutOff:            (call_off_deletions,),
}
# fmt: on
