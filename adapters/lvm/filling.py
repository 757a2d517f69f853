"""A volume that is not there at once: what it is to hold is copied into it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from uuid import UUID

from adapters.lvm import snapshots, volumes
from adapters.lvm.clearing import is_busy
from adapters.lvm.copying import copy
from adapters.lvm.failures import InUse
from adapters.lvm.group import Group
from adapters.lvm.limits import in_steps, within
from adapters.lvm.lvs import Lvs
from adapters.lvm.report import Lv
from domain.ports import Progress

MOMENT = "_copying-"  # what the snapshot is called that a volume is filled from


class Filling:
    """Copying one logical volume into another, as far as a crash lets it, and on."""

    def __init__(self, group: Group, lvs: Lvs) -> None:
        self._group = group
        self._lvs = lvs

    def fill(self, lv: Lv, volume_id: UUID, source: Lv, progress: Progress) -> None:
        """Let a volume that says that it is to be filled hold what the source does.

        A volume is read from a snapshot of it, which is there until the end.
        """
        done = volumes.kept(lv, volumes.COPIED)
        if volumes.is_ours(source):
            moment = self._group.find(f"{MOMENT}{volume_id}")
            if moment is None or not snapshots.is_whole(moment):
                if done:  # of an earlier moment, to which this one does not fit
                    with within():
                        self._lvs.keep(lv.name, volumes.COPIED, 0)
                moment, done = self._moment(volume_id, source, progress), 0
            source = moment
        self.copy(source, lv, done, progress, volumes.COPIED)
        with within():
            now = self._group.find(lv.name)
            assert now
            self._lvs.tag(now, volumes.without(now, volumes.COPIED).tags, keep=False)

    def copy(
        self, source: Lv, lv: Lv, done: int, progress: Progress, what: str | None
    ) -> None:
        """Copy from where it was left; the target says how far `what` is, if anything.

        Only into a thick volume that is new all is written: it is as fast as reading.
        """

        def keep(done: int, _: int) -> None:
            if what:
                with within():
                    self._lvs.keep(lv.name, what, done)

        def tell(done: int, size: int) -> None:
            progress(100.0 * done / size)

        with within():
            ends = Path(self._lvs.active(source)), Path(self._lvs.active(lv))
        differing = bool(lv.pool) or what != volumes.COPIED
        do = partial(copy, *ends, source.reads_bytes, differing=differing)
        try:
            in_steps(do, done, lv.size_bytes, keep, tell)
        except OSError as error:
            if is_busy(error):
                raise InUse(str(ends[1])) from error
            raise

    def tidy(self, volume_id: UUID, progress: Progress, percent: float) -> None:
        """Remove what a volume needed for a while, when so much of all is done."""
        for lv in volumes.helpers(self._group.seen().lvs, volume_id):
            with within():
                self._lvs.remove(lv, lambda _: progress(percent))

    def _moment(self, volume_id: UUID, source: Lv, progress: Progress) -> Lv:
        self.tidy(volume_id, progress, 0)
        tags = frozenset({volumes.helping(volume_id)})
        with within():
            self._lvs.check_room([source])
            return self._lvs.snapshot(source, f"{MOMENT}{volume_id}", tags)
