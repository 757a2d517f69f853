"""A block volume, from the request for it to its removal."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import takewhile
from typing import Any, TypedDict, Unpack
from uuid import UUID

from domain import aggregate
from domain.aggregate import Done, NotDone
from domain.holding import Held
from domain.lifecycle import Refused
from domain.placement import Basis
from domain.volume_status import (
    ALREADY_MANAGED,
    GOING,
    HELD,
    NOT_OURS,
    NOTHING_TAKEN,
    Status,
)

# What whoever makes it is told anew, as it is by now.
SAID_OF_IT = (
    "size_gib",
    "name",
    "description",
    "project",
    "volume_type",
    "multiattach",
    "metadata",
    "bootable",
)
NOT_TAKEN_OVER = (
    "manage it again under this id, or delete this volume, which touches no storage"
)


@dataclass(eq=False)
class Undersized(Exception):
    """A volume can only grow."""

    size_gib: int
    current_gib: int

    def __str__(self) -> str:
        return f"{self.size_gib} GiB is not more than the {self.current_gib} GiB it has"


class Description(TypedDict, total=False):
    """What a caller may say about a new volume; what is left out is empty.

    `source`: what it is made from, `{"snapshot": id}` or `{"volume": id}`;
    `considered`: backends that were fit for it, the roomiest, as they were known.
    """

    name: str
    description: str
    project: str
    volume_type: str | None
    multiattach: bool
    bootable: bool
    metadata: dict[str, str]
    source: dict[str, UUID] | None
    source_size_gib: int | None
    group_id: UUID | None
    considered: list[Basis]


class Volume(Held):
    """Storage that hosts can hold; one at a time unless it is `multiattach`."""

    # Commands: ask the table, then record the answer.

    @classmethod
    def create(
        cls,
        volume_id: UUID,
        *,
        size_gib: int,
        backend: str,
        **described: Unpack[Description],
    ) -> Volume:
        """Ask for a volume that a backend will make."""
        return cls.begin(
            Volume.Created,
            volume_id,
            status=Status.CREATING,
            size_gib=size_gib,
            backend=backend,
            **described,
        )

    @classmethod
    def manage(
        cls,
        volume_id: UUID,
        *,
        backend: str,
        reference: dict[str, str],
        **described: Unpack[Description],
    ) -> Volume:
        """Ask for storage that a backend has to be taken over as a volume."""
        return cls.begin(
            Volume.ManagingStarted,
            volume_id,
            status=Status.MANAGING,
            backend=backend,
            reference=reference,
            **described,
        )

    def manage_again(self, *, backend: str, **asked: Any) -> None:
        """Ask as `manage` does, where it came to nothing or the volume was let go.

        It is not asked of another backend while the one before may have taken
        something over, for nobody but that one can let go of it.
        """
        status = self._after("manage")
        if backend != self.backend:
            self._check_free("manage", self.perhaps_taken)
        if self.readonly:  # as all that was said of it: it begins anew
            self.record(Volume.Updated, status=self.status, readonly=False)
        asked |= {"backend": backend, "earlier": self.created_at}
        asked |= {"attempts": [*self.attempts, self.created_at]}
        self.record(Volume.ManagingStarted, status=status, **asked)

    def unmanage(self) -> None:
        """Ask for the volume to be forgotten; its storage stays, under some name.

        Once that was asked for, or it is gone, asking adds nothing.
        """
        if self.status not in (Status.UNMANAGING, Status.DELETED):
            self._check_free("unmanage", self.needed_by)
            status = self._after("unmanage")
            self._remove(Volume.UnmanagingStarted, status, self.status)

    def update(self, **said: Any) -> None:
        """Change what callers say about the volume.

        `readonly` changes only while nobody holds the volume, so that no host
        is told otherwise than it was when it attached.
        """
        changes = {k: v for k, v in said.items() if getattr(self, k) != v}
        command = "update/readonly" if "readonly" in changes else "update"
        status = self._after(command)
        if changes:
            self.record(Volume.Updated, status=status, **changes)

    def extend(self, size_gib: int, considered: Sequence[Basis] = ()) -> None:
        """Ask for more room; raise `Undersized` unless it is more.

        `considered` is its backend as it was known then.
        """
        if size_gib <= self.size_gib:
            raise Undersized(size_gib, self.size_gib)
        status = self._after("extend")
        self._check_free("extend", self.copied_to)
        asked = {"size_gib": size_gib, "considered": list(considered)}
        self._intend(Volume.ExtensionStarted, status, **asked)

    def delete(self, *, force: bool = False) -> None:
        """Ask for the storage to be removed; once asked for, asking adds nothing."""
        if self.status not in (Status.DELETING, Status.DELETED):
            self._check_free("delete", self.needed_by)
            self._leave("delete/force" if force else "delete", force=force)

    def delete_with_group(self) -> None:
        """Ask for the storage to be removed once all of its group was looked at."""
        self._check_free("delete", [*self.copied_to, *self.unsnapped])
        self.record(
            Volume.DeletionAwaited,
            status=self._after("delete"),
            awaited="group",
            previous_status=self.status,
        )

    def cascade(self, *, force: bool) -> None:
        """Ask for its snapshots to be removed, and then the volume, if nobody uses it.

        Once asked for, asking adds nothing.
        """
        if self.status in (Status.DELETING, Status.DELETED):
            return
        command = "delete/force" if force else "delete"
        self._check_free(command, [*self.copied_to, *self.outside_group])
        self._intend(
            Volume.CascadeStarted,
            self._after(command),
            previous_status=self.status,
            force=force,
        )

    def begin_deletion(self, awaited: str) -> None:
        """Ask for the storage to be removed: what was awaited is done."""
        if self.awaited == awaited:
            status = self._after("delete/awaited")
            self._remove(Volume.DeletionStarted, status, self.previous_status)

    def call_off_deletion(self, awaited: str, why: NotDone) -> None:
        """Stay: what was awaited could not be done."""
        if self.awaited == awaited:
            self.record(
                Volume.DeletionCalledOff,
                status=self._after("deletion_put_off"),
                code=why.code,
                message=why.message,
            )

    def add_snapshot(self, snapshot_id: UUID, *, force: bool) -> None:
        """Stay as long as a snapshot does; `force` where hosts may be writing."""
        if not force and self.status in HELD:
            raise Refused("snapshot", self.status, ["force given"])
        status = self._after("snapshot/force" if force else "snapshot")
        self.record(Volume.SnapshotAdded, status=status, snapshot_id=snapshot_id)

    def remove_snapshot(self, snapshot_id: UUID) -> None:
        """Note that a snapshot is gone; a removal that awaited that goes on."""
        if snapshot_id in self.snapshots:
            told = {"status": self.status, "snapshot_id": snapshot_id}
            self.record(Volume.SnapshotRemoved, **told)
            if not self.snapshots:
                self.begin_deletion("snapshots")

    def check_stays(self, command: str) -> None:
        """Raise `Refused` where the volume is about to go."""
        if self.status in GOING:
            raise Refused(command, self.status, [])

    def begin_copy(self, copy_id: UUID) -> None:
        """Stay as it is until another volume is made from it."""
        status = self._after("copy")
        self.record(Volume.CopyBegun, status=status, copy_id=copy_id)

    def join(self, group_id: UUID) -> None:
        """Be a member of a group from now on."""
        if self.group_id == group_id:
            return
        self._check_free("group", self.outside_group)
        status = self._after("group")
        self.record(Volume.Grouped, status=status, group_id=group_id)

    def leave(self, group_id: UUID) -> None:
        """Be a member of the group no more."""
        if self.group_id == group_id:
            self.record(Volume.Ungrouped, status=self._after("ungroup"))

    def revert(
        self,
        snapshot_id: UUID,
        made_at: datetime,
        size_gib: int,
        failed: Collection[UUID] = (),
    ) -> None:
        """Ask for the volume to hold again what its latest snapshot does.

        Those that `failed` hold nothing, so they are not the latest.
        """
        unmet = list(self.copied_to)
        latest = next((s for s in reversed(self.snapshots) if s not in failed), None)
        if snapshot_id not in self.snapshots:
            unmet.append(f"the volume that snapshot {snapshot_id} is of")
        elif snapshot_id != latest:
            unmet.append(f"its latest snapshot, which is {latest}")
        elif size_gib != self.size_gib:
            unmet.append("of the snapshot's size any more")
        status = self._after("revert")
        self._check_free("revert", unmet)
        self._intend(
            Volume.ReversionStarted,
            status,
            snapshot_id=snapshot_id,
            snapshot_made_at=made_at,
            previous_status=self.status,
            size_gib=size_gib,
        )

    def snapshots_since(self, snapshot_id: UUID) -> list[UUID]:
        """Return the snapshots that were asked for after one of them."""
        since = takewhile(lambda each: each != snapshot_id, reversed(self.snapshots))
        return [*since]

    def report(self, version: int, result: Done | NotDone) -> None:
        """Accept what came of an intent; `NotInFlight` for one that is settled."""
        intent = self.intended(version)
        # fmt: off
        V = Volume  # noqa: N806 - keeps the table narrow
        outcomes: dict[type[aggregate.Intent], tuple[Any, Any]] = {
            # asked                done                  not done
            V.Created:             (self._created,       self._creation_failed),
            V.Rescheduled:         (self._created,       self._creation_failed),
            V.ManagingStarted:     (self._managed,       self._managing_failed),
            V.ExtensionStarted:    (self._extended,      self._extension_failed),
            V.ReversionStarted:    (self._reverted,      self._reversion_failed),
            V.DeletionStarted:     (self._deleted,       self._deletion_failed),
            V.CascadeStarted:      (self._looked_at,     self._cascade_put_off),
            V.UnmanagingStarted:   (self._unmanaged,     self._unmanaging_failed),
            V.ConnectionStarted:   (self._connected,     self._connection_failed),
            V.DisconnectionStarted:(self._disconnected,  self._disconnection_failed),
            V.ExportStarted:       (self._exported,      self._export_failed),
            V.ExportRemovalStarted:(self._unexported,    self._unexport_failed),
            V.SessionLookedFor:    (self._session_found, self._session_unclear),
        }
        # fmt: on
        done, not_done = outcomes[type(intent)]
        if isinstance(result, Done):
            done(intent, result)
        else:
            not_done(intent, result)

    def progress(self, version: int, percent: int) -> None:
        """Note how far work is; what is always short has no more than its deadline."""
        intent = self.intended(version)
        told = {"status": self.status, "percent": percent}
        for asked, progressed in {
            Volume.DeletionStarted: Volume.DeletionProgressed,
            Volume.Created: Volume.CreationProgressed,
            Volume.ReversionStarted: Volume.ReversionProgressed,
        }.items():
            if isinstance(intent, asked):
                self.settle(progressed, intent, **told)

    def reschedule(
        self, version: int, why: NotDone, *, backend: str, considered: list[Basis]
    ) -> None:
        """Ask another backend for the storage that one could not make, and why."""
        intent = self.intended(version)
        status = self._after("reschedule")
        self.fail(Volume.CreationGivenUp, intent, why, status=status)
        asked = {"backend": backend, "considered": considered}
        asked |= {said: getattr(self, said) for said in SAID_OF_IT}
        self.follow_up(Volume.Rescheduled, intent, status=status, **asked)

    # Outcomes: what a backend reported, one pair for each intent.

    def _created(self, intent: Volume.Created, done: Done) -> None:
        status = self._after("created")
        self.settle(
            Volume.CreationFinished, intent, status=status, location=done.location
        )

    def _creation_failed(self, intent: Volume.Created, why: NotDone) -> None:
        status = self._after("creation_failed")
        self.fail(Volume.CreationFailed, intent, why, status=status)

    def _managed(self, intent: Volume.ManagingStarted, done: Done) -> None:
        self.settle(
            Volume.ManagingFinished,
            intent,
            status=self._after("managed"),
            location=done.location,
            size_gib=done.size_gib,
        )

    def _managing_failed(self, intent: Volume.ManagingStarted, why: NotDone) -> None:
        status = self._after("managing_failed")
        said = NotDone(why.code, f"{why.message}; {NOT_TAKEN_OVER}", why.busy)
        self.fail(Volume.ManagingFailed, intent, said, status=status)

    def _extended(self, intent: Volume.ExtensionStarted, _: Done) -> None:
        status, size_gib = self._after("extended"), intent.size_gib
        self.settle(Volume.ExtensionFinished, intent, status=status, size_gib=size_gib)

    def _extension_failed(self, intent: Volume.ExtensionStarted, why: NotDone) -> None:
        status = self._after("extension_failed")
        self.fail(Volume.ExtensionFailed, intent, why, status=status)

    def _reverted(self, intent: Volume.ReversionStarted, _: Done) -> None:
        self.settle(Volume.ReversionFinished, intent, status=self._after("reverted"))

    def _reversion_failed(self, intent: Volume.ReversionStarted, why: NotDone) -> None:
        kind = Volume.ReversionPutOff if why.busy else Volume.ReversionFailed
        command = "reversion_put_off" if why.busy else "reversion_failed"
        self.fail(kind, intent, why, status=self._after(command))

    def _deleted(self, intent: Volume.DeletionStarted, done: Done) -> None:
        status = self._after("deleted")
        self._release_all("the volume was deleted")
        self.settle(Volume.Deleted, intent, status=status, cleared=done.cleared)

    def _deletion_failed(self, intent: Volume.DeletionStarted, why: NotDone) -> None:
        kind = Volume.DeletionPutOff if why.busy else Volume.DeletionFailed
        command = "deletion_put_off" if why.busy else "deletion_failed"
        self.fail(kind, intent, why, status=self._after(command))

    def _looked_at(self, intent: Volume.CascadeStarted, _: Done) -> None:
        status = self._after("delete/awaited")
        self.settle(Volume.CascadeLookedAt, intent, status=status, force=intent.force)

    def _cascade_put_off(self, intent: Volume.CascadeStarted, why: NotDone) -> None:
        self.fail(
            Volume.CascadePutOff, intent, why, status=self._after("deletion_put_off")
        )

    def _unmanaged(self, intent: Volume.UnmanagingStarted, done: Done) -> None:
        status = self._after("unmanaged")
        self._release_all("the volume is no longer managed")
        self.settle(Volume.Unmanaged, intent, status=status, reference=done.reference)

    def _unmanaging_failed(
        self, intent: Volume.UnmanagingStarted, why: NotDone
    ) -> None:
        kind = Volume.UnmanagingPutOff if why.busy else Volume.UnmanagingFailed
        command = "unmanaging_put_off" if why.busy else "unmanaging_failed"
        told = {"status": self._after(command), "left_alone": intent.left_alone}
        self.fail(kind, intent, why, **told)

    # Recording: what several commands share.

    def _leave(self, command: str, *, force: bool) -> None:
        """Record what the table makes of it: removal, or only letting go."""
        status = self._after(command)
        letting_go = status is Status.UNMANAGING
        event = Volume.UnmanagingStarted if letting_go else Volume.DeletionStarted
        self._remove(event, status, self.status, force=force)

    def _remove(
        self,
        event: type[Volume.DeletionStarted],
        status: Status,
        previous: Status | None,
        *,
        force: bool = False,
    ) -> None:
        asked: dict[str, Any] = {"previous_status": previous, "force": force}
        if event.LETS_GO:
            refused = self.error is not None and self.error.code == ALREADY_MANAGED
            asked["left_alone"] = refused or self.refused
        self._intend(event, status, made_at=self.created_at, **asked)

    def _check_free(self, command: str, unmet: list[str]) -> None:
        """Refuse what others would suffer from; `unmet` names them."""
        if unmet:
            raise Refused(command, self.status, unmet)

    # Asking: what others would suffer from.

    @property
    def needed_by(self) -> list[str]:
        """What keeps it from going, in words."""
        return [*self.unsnapped, *self.copied_to, *self.outside_group]

    @property
    def unsnapped(self) -> list[str]:
        """What has to be so before it can go without its snapshots."""
        return [f"without snapshot {each}" for each in self.snapshots]

    @property
    def outside_group(self) -> list[str]:
        """What has to be so before it can go, or join others, by itself."""
        return [f"outside group {self.group_id}"] if self.group_id else []

    @property
    def perhaps_taken(self) -> list[str]:
        """What keeps it on its backend, which may have taken it over, in words."""
        code = self.error and self.error.code
        if self.status == Status.DELETED or self.refused or code in NOTHING_TAKEN:
            return []
        there = f"on backend {self.backend}, which may have taken storage over for it"
        return [f"{there}: manage it there, or delete this volume first"]

    def needs(self, snapshot_id: UUID) -> list[str]:
        """Return what keeps its snapshot from going before it does, in words."""
        failed = self.status == Status.ERROR and self.reverted_to == snapshot_id
        again = "revert it again, or delete it with its snapshots"
        why = f"which was not reverted to it: {again}"
        return [f"without volume {self.id}, {why}"] if failed else []

    @property
    def unsettled(self) -> bool:
        """Whether something is under way that will change its status."""
        return super().unsettled or self.awaited is not None

    # Guards: what the table may ask.

    @property
    def was_available(self) -> bool:
        """Deleting it began with a volume that could be used."""
        return self.previous_status == Status.AVAILABLE

    @property
    def was_error(self) -> bool:
        """It began with one of which only a reversion may make a whole one again."""
        return self.previous_status == Status.ERROR

    @property
    def was_too_small(self) -> bool:
        """It began with one that could not grow."""
        return self.previous_status == Status.ERROR_EXTENDING

    @property
    def never_ours(self) -> bool:
        """Letting go of it began before it was known to be taken over."""
        return self.previous_status in NOT_OURS
