"""Snapshots of several volumes at one moment."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from adapters.lvm import snapshots
from adapters.lvm.failures import MadeForAnother
from adapters.lvm.fronts import Fronts
from adapters.lvm.group import Group
from adapters.lvm.limits import within
from adapters.lvm.lvs import Lvs
from adapters.lvm.report import Lv
from adapters.lvm.snapshotting import Snapshots
from adapters.lvm.volumes import OURS
from domain.group_snapshot import Member
from domain.ports import Cause, DriverFailed

STALL = 5.0  # seconds that hosts may have to wait at most
AT_ONCE = f"{OURS}at-once"  # said by the last: those before were taken with it


class Together:
    """Snapshots that are taken all, or none of them."""

    def __init__(
        self, group: Group, lvs: Lvs, fronts: Fronts, taken: Snapshots
    ) -> None:
        self._group = group
        self._lvs = lvs
        self._fronts = fronts
        self._snapshots = taken

    def take(self, members: Sequence[Member], cause: Cause) -> None:
        """Take one after the other; what was taken before a crash counts."""
        try:
            for each in members:
                with within():
                    self._snapshots.take(
                        each.snapshot_id, each.volume_id, each.size_gib, cause
                    )
        except (DriverFailed, OSError):
            self._drop(members, cause)
            raise

    def take_at_once(self, members: Sequence[Member], cause: Cause) -> None:
        """Take all while every front device is held up.

        Those that an earlier attempt has left say nothing of one moment, unless the
        last is there, which says that it was one.
        """
        if self._were_at_once(members, cause):
            return
        self._drop(members, cause)
        origins = [
            self._snapshots.origin(each.volume_id, each.size_gib) for each in members
        ]
        self._lvs.check_room(origins)
        try:
            self._hold_up_and_take(members, origins, cause)
        except (DriverFailed, OSError):
            for lv in origins:  # LVM may have been killed while it held one up
                with suppress(DriverFailed, OSError), within():
                    self._lvs.active(lv)
            self._drop(members, cause)
            raise

    def _hold_up_and_take(
        self, members: Sequence[Member], origins: Sequence[Lv], cause: Cause
    ) -> None:
        names = [snapshots.name(each.snapshot_id) for each in members]
        tags = [snapshots.tags(m.snapshot_id, m.volume_id, cause) for m in members]
        tags[-1] |= {AT_ONCE}
        served = [each.volume_id for each in members]
        with self._group.alone():
            for lv in origins:
                self._lvs.active(lv)
            with within(STALL), self._fronts.held_up(served):
                for told in zip(origins, names, tags, strict=True):
                    self._lvs.snapshot_active(*told)

    def _were_at_once(self, members: Sequence[Member], cause: Cause) -> bool:
        lvs = self._group.seen().lvs
        taken = [snapshots.of(lvs, each.snapshot_id) for each in members]
        there = [lv for lv in taken if lv and snapshots.is_whole(lv)]
        for lv in there:
            if (made_by := self._snapshots.made_by(lv)) != cause:
                raise MadeForAnother(self._lvs.path(lv.name), made_by)
        return len(there) == len(members) and AT_ONCE in there[-1].tags

    def _drop(self, members: Sequence[Member], cause: Cause) -> None:
        """Remove those that are there."""
        for each in members:
            lv = snapshots.of(self._group.seen().lvs, each.snapshot_id)
            if lv and self._snapshots.made_by(lv) == cause:
                with within():
                    self._lvs.remove(lv)
