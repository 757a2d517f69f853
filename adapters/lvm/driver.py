"""The port: a volume group as storage that can hold volumes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from logging import getLogger
from math import ceil, floor
from pathlib import Path
from threading import Lock
from typing import Any
from uuid import UUID

from adapters.lvm import limits, snapshots, surveying, volumes
from adapters.lvm.clearing import REQUESTS, Clearing
from adapters.lvm.failures import (
    GIB,
    VAGUE,
    AlreadyThere,
    DeviceFailed,
    Gone,
    GroupOutOfSight,
    HasSnapshots,
    HasUnmanaged,
    Hung,
    LvmFailed,
    MadeForAnother,
    NoSnapshot,
    NotThere,
    PoolIsBroken,
    Taken,
    Unexplained,
    Unusable,
)
from adapters.lvm.filling import Filling
from adapters.lvm.fronts import Fronts
from adapters.lvm.group import SWEEP, Group
from adapters.lvm.limits import within
from adapters.lvm.lvs import Lvs
from adapters.lvm.mapper import Mapper
from adapters.lvm.reaching import Reaching
from adapters.lvm.report import Lv
from adapters.lvm.reverting import Reverting
from adapters.lvm.settings import disks_before, environment, write_system_dir
from adapters.lvm.shell import Shell
from adapters.lvm.snapshotting import Snapshots
from adapters.lvm.thin import ThinPool
from adapters.lvm.together import Together
from adapters.lvm.worker import Worker
from adapters.tracing import step
from domain import reference
from domain.capabilities import Capabilities
from domain.group_snapshot import GroupSnapshot
from domain.ports import (
    Adopted,
    Cause,
    Export,
    Manageable,
    ManageableSnapshot,
    Progress,
    Survey,
    Target,
    unheard,
)
from domain.snapshot import Snapshot
from domain.volume import Volume

TYPES = ("default", "thin", "auto")
RUN = Path("/run/holdfast/lvm")
PATH = re.compile(r"/[\w/.:@=,-]+", re.ASCII)  # in LVM's filters it is a pattern

logger = getLogger(__name__)


class LvmDriver:
    """Volumes as logical volumes, which hosts reach through a target."""

    _began = False  # to set it up
    _thin = False  # until it is set up

    def __init__(  # noqa: PLR0913 - the options that Cinder has
        self,
        target: Target,
        *,
        name: str = "lvm",
        volume_group: str = "cinder-volumes",
        lvm_type: str = "auto",
        lvm_devices: Sequence[str] = (),
        volume_clear: str = "zero",
        volume_clear_size: int = 0,
        num_shell_tries: int = 3,
        reserved_percentage: int = 0,
        max_over_subscription_ratio: float = 20.0,
        run_folder: Path = RUN,
    ) -> None:
        check(volume_group, lvm_type, lvm_devices, volume_clear)
        check_numbers(volume_clear_size, num_shell_tries)
        self._target = target
        self._name = name
        self._system_dir = run_folder / volume_group
        self._devices = lvm_devices
        self._type = lvm_type
        self._limits = reserved_percentage, max_over_subscription_ratio
        shell = Shell(environment(self._system_dir))
        self._group = Group(volume_group, Worker(volume_group, shell), num_shell_tries)
        mapper = Mapper()
        self._fronts = Fronts(volume_group, mapper)
        self._pool = ThinPool(self._group, mapper)
        made_of = self._group, mapper, self._pool
        self._lvs = Lvs(*made_of, Clearing(volume_clear, volume_clear_size))
        self._filling = Filling(self._group, self._lvs)
        self._snapshots = Snapshots(self._group, self._lvs)
        self._reverting = Reverting(self._group, self._lvs, self._filling)
        self._together = Together(self._group, self._lvs, self._fronts, self._snapshots)
        led = mapper, self._fronts, target, self._reverting
        self._reaching = Reaching(self._group, self._lvs, *led)
        self._adopting = Lock()  # or two would take the same

    def recognize(self) -> None:
        """Leave it to `set_up`: nothing else has a group's name and its tags."""

    def set_up(self) -> None:
        """Read the volume group, make or adopt its pool, and look at the target."""
        with self._at_work("set up"):
            write_system_dir(self._system_dir, self._devices)
            # Only at first: if that did not work, nothing is taken for granted.
            disks = [] if self._began else disks_before(self._system_dir)
            self._began = True
            try:
                self._group.set_up(self._name, disks)
            except GroupOutOfSight as failure:
                raise self._as_looked_for(failure) from failure
            self._thin = self._is_thin()
            if self._thin:
                self._set_up_pool()
            self._reaching.go_on()
            self._group.after_kill = self._after_kill
            self._target.set_up()

    def capabilities(self) -> Capabilities:
        """Measure; Cinder's arithmetic."""
        with self._at_work("measure"):
            self._group.look()
            seen = self._group.seen(age=SWEEP)
            usage = self._pool.usage() if self._thin else None
            total = self._pool.size_bytes() if self._thin else seen.size_bytes
        if usage:
            free = total * (1 - usage.data / 100)
            others = (lv for lv in seen.lvs.values() if lv.name != self._pool.name)
            promised = sum(lv.size_bytes for lv in others)
        else:
            # What snapshots need to keep what they do is room for nobody.
            kept = (lv for lv in seen.lvs.values() if lv.is_cow)
            total -= sum(lv.size_bytes - lv.reads_bytes for lv in kept)
            free = seen.free_bytes
            promised = total - free
        reserved, ratio = self._limits
        return Capabilities(
            volume_backend_name=self._name,
            vendor_name="Holdfast",
            driver_version="1.0.0",
            storage_protocol=self._target.storage_protocol,
            total_capacity_gb=in_gib(total),
            free_capacity_gb=in_gib(free),
            provisioned_capacity_gb=in_gib(promised, ceil),
            total_volumes=sum(map(volumes.is_ours, seen.lvs.values())),
            thin_provisioning_support=self._thin,
            thick_provisioning_support=not self._thin,
            reserved_percentage=reserved,
            max_over_subscription_ratio=ratio,
            consistent_group_snapshot_enabled=True,
            data_percent=round(usage.data, 2) if usage else None,
            metadata_percent=round(usage.metadata, 2) if usage else None,
        )

    def create(
        self, asked: Volume.Created, cause: Cause, progress: Progress = unheard
    ) -> str:
        """Make a logical volume; returns its device's path.

        A thin one of a thin source is its clone; into others the source is copied,
        and what is killed goes on where it was.
        """
        volume_id, size = asked.originator_id, asked.size_gib * GIB
        with self._at_work("create", volume_id):
            # LVM says if it is there after all: reading all takes as long again.
            lv = volumes.of(self._group.seen().lvs, volume_id)
            if lv is None:
                with suppress(AlreadyThere):
                    self._make(volume_id, size, cause, self._source(asked))
                lv = self._find(volume_id)
            if lv is None:
                raise Unexplained(self._lvs.path(volumes.name(volume_id)))
            if (made_by := self._made_by(lv)) != cause:
                raise MadeForAnother(self._lvs.path(lv.name), made_by)
            if lv.size_bytes < size:
                lv = self._lvs.grow(lv, size)
            if asked.source:
                self._fill(lv, asked, progress)
        return self._lvs.path(volumes.name(volume_id))

    def delete(
        self, volume_id: UUID, made_at: str, progress: Progress = unheard
    ) -> str | None:
        """Take the volume away from every host, clear its blocks and remove it."""
        with self._at_work("delete", volume_id):
            lv = self._find(volume_id)
            if lv is None or self._made_by(lv).at != made_at:
                return None
            with self._lvs.removing(lv, progress) as tell:
                self._check_copied(volume_id, lv)
                self._reaching.withdraw(volume_id, lv)
                self._filling.tidy(volume_id, progress, 0)
                return self._lvs.remove(lv, tell)

    def take_snapshot(
        self, asked: Snapshot.Created, cause: Cause, progress: Progress = unheard
    ) -> str:
        """Take an LVM snapshot, for which LVM holds up the volume itself."""
        snapshot_id = asked.originator_id
        with self._at_work("snapshot", snapshot_id):
            return self._snapshots.take(
                snapshot_id, asked.volume_id, asked.size_gib, cause
            )

    def delete_snapshot(
        self, snapshot_id: UUID, made_at: str, progress: Progress = unheard
    ) -> str | None:
        """Remove the snapshot; what a thick one has kept is cleared first."""
        with self._at_work("delete", snapshot_id):
            return self._snapshots.delete(snapshot_id, made_at, progress)

    def manageable(self) -> list[Manageable]:
        """Tell of the volumes, and of logical volumes that could become some."""
        with self._at_work("list"):
            self._group.forget()  # others make them, and have them open
            lvs = self._group.seen().lvs
        return [volumes.offered(lvs[name]) for name in sorted(lvs)]

    def adopt(self, asked: Volume.ManagingStarted, cause: Cause) -> Adopted:
        """Give a logical volume the volume's tags, and then its name."""
        volume_id, name = asked.originator_id, reference.name_in(asked.reference)
        with self._at_work("adopt", volume_id), self._adopting:
            lv = self._find(volume_id)
            if lv is None:
                lv = self._stranger(name, volume_id)
                self._lvs.check_name(lv, volumes.name(volume_id))
                lv = self._whole(lv)
                lv = self._lvs.tag(lv, volumes.tags(volume_id, cause))
            elif (made_by := self._made_by(lv)) != cause:
                raise MadeForAnother(self._lvs.path(lv.name), made_by)
            self._lvs.rename(lv, volumes.name(volume_id))
        path = self._lvs.path(volumes.name(volume_id))
        return Adopted(path, volumes.whole_gib(lv.size_bytes))

    def unmanage(self, volume_id: UUID, made_at: str | None) -> dict[str, str] | None:
        """Take the volume's tags from the logical volume; its name stays."""
        with self._at_work("unmanage", volume_id):
            lv = self._find(volume_id)
            if lv is None:
                name = volumes.name(volume_id)
                return reference.to(name) if self._group.find(name) else None
            if made_at not in (None, self._made_by(lv).at):
                return None
            self._reaching.withdraw(volume_id, lv)
            self._lvs.tag(lv, volumes.let_go(lv).tags, keep=False)
        return reference.to(lv.name)

    def take_group_snapshot(self, asked: GroupSnapshot.Created, cause: Cause) -> bool:
        """Take LVM snapshots, with all front devices held up if it is to be at once."""
        with self._at_work("snapshot", asked.originator_id):
            if asked.consistent:
                self._together.take_at_once(asked.members, cause)
            else:
                self._together.take(asked.members, cause)
        return asked.consistent

    def revert(
        self, asked: Volume.ReversionStarted, cause: Cause, progress: Progress = unheard
    ) -> None:
        """Put a clone of a thin snapshot in the volume's place; copy a thick one."""
        volume_id = asked.originator_id
        with self._at_work("revert", volume_id):
            lv = self._there(volume_id)
            if self._reverting.is_done(lv, cause):
                self._reverting.end(volume_id, lv, progress)
                return
            made_at = asked.snapshot_made_at.isoformat()
            snapshot = self._snapshots.of(volume_id, asked.snapshot_id, made_at)
            self._lvs.check_whole(snapshot, asked.size_gib)
            self._reaching.withdraw(volume_id, lv)
            self._reverting.revert(volume_id, lv, snapshot, cause, progress)

    def manageable_snapshots(self) -> list[ManageableSnapshot]:
        """Tell of the snapshots, and of logical volumes that could become some."""
        with self._at_work("list"):
            return self._snapshots.manageable()

    def adopt_snapshot(self, asked: Snapshot.ManagingStarted, cause: Cause) -> Adopted:
        """Give a snapshot of the volume our tags, and then our name."""
        with self._at_work("adopt", asked.originator_id):
            return self._snapshots.adopt(asked, cause)

    def unmanage_snapshot(
        self, snapshot_id: UUID, made_at: str
    ) -> dict[str, str] | None:
        """Take our tags from the snapshot; its name stays."""
        with self._at_work("unmanage", snapshot_id):
            return self._snapshots.unmanage(snapshot_id, made_at)

    def check_unused(self, volume_ids: Sequence[UUID]) -> None:
        """Look whether hosts use any of the volumes, or something else here does."""
        with self._at_work("look"):
            there = {v: lv for v in volume_ids if (lv := self._find(v))}
            self._reaching.check_unused(there)
            for volume_id, lv in there.items():
                self._check_known(volume_id, lv)

    def survey(self) -> Survey:
        """Read the group anew, and look at who reaches and uses its volumes."""
        with self._at_work("survey"):
            self._group.forget()
            lvs = self._group.seen().lvs
            objects = surveying.objects(lvs, self._pool.name)
            ways = self._reaching.exported_and_used(lvs)
            initiators = self._reaching.initiators()
        return Survey(tuple(objects), *ways, initiators)

    def mark(self, noun: str, its_id: UUID, cause: Cause, of: UUID | None) -> None:
        """Give a logical volume of that name its tags again."""
        with self._at_work("mark", its_id), self._adopting:
            self._group.forget()  # others took them away
            lvs = self._group.seen().lvs
            lv = surveying.marked(lvs, surveying.Claim(noun, its_id))
            if lv is None:
                raise Gone(its_id, self._lvs.path(volumes.name(its_id)))
            wanted = volumes.tags(its_id, cause)
            if noun == surveying.SNAPSHOT and of:
                if surveying.parents(lvs, lv) - {of}:
                    raise NoSnapshot(self._group.name, lv.name, f"it is none of {of}")
                wanted = snapshots.tags(its_id, of, cause)
            said = volumes.cause(lv)
            if said and said.at != cause.at:
                raise MadeForAnother(self._lvs.path(lv.name), said)
            if said:
                wanted -= {volumes.made_by(cause)}
            self._lvs.tag(lv, wanted)

    def extend(self, volume_id: UUID, size_gib: int) -> None:
        """Grow the logical volume, and what hosts see of it, while they use it."""
        with self._at_work("extend", volume_id):
            lv = self._there(volume_id)
            if lv.size_bytes < size_gib * GIB:
                lv = self._lvs.grow(lv, size_gib * GIB)
            self._reaching.grow(volume_id, lv)

    def connect(self, volume_id: UUID, connector: dict[str, Any]) -> dict[str, Any]:
        """Let the connector's host reach the volume's front device."""
        with self._at_work("connect", volume_id):
            lv = self._there(volume_id)
            return self._reaching.connect(volume_id, lv, connector)

    def disconnect(self, volume_id: UUID, connector: dict[str, Any]) -> None:
        """Take the volume away from the connector's host."""
        with self._at_work("disconnect", volume_id):
            self._reaching.disconnect(volume_id, connector)

    def remove_export(self, volume_id: UUID) -> None:
        """Take the volume away from every host; `VolumeIsBusy` if one keeps it."""
        with self._at_work("unexport", volume_id):
            self._reaching.remove(volume_id)

    def has_session(self, volume_id: UUID, connector: dict[str, Any] | None) -> bool:
        """Tell whether the connector's host (None: any host) uses the volume now."""
        with self._at_work("look", volume_id):
            return self._reaching.has_session(volume_id, connector)

    def exports(self) -> set[UUID]:
        """Tell which volumes any host can reach, or could a moment ago."""
        with self._at_work("list"):
            return self._reaching.exports()

    def converge(self, wanted: Export) -> bool:
        """Let exactly these hosts reach the volume."""
        with self._at_work("converge", wanted.volume_id):
            lv = volumes.of(self._group.seen().lvs, wanted.volume_id)
            return self._reaching.converge(wanted, lv)

    # The logical volume

    def _as_looked_for(self, failure: GroupOutOfSight) -> GroupOutOfSight:
        """Return a failure that says where LVM was allowed to look."""
        if not self._devices:
            return failure
        where = f"LVM looks at {', '.join(self._devices)} alone (lvm_devices)"
        about = failure.group, failure.command, failure.said
        return GroupOutOfSight(*about, f"{where}; {failure.advice}")

    def _is_thin(self) -> bool:
        if self._type != "auto":
            return self._type == "thin"
        lvs = self._group.seen().lvs
        return self._pool.name in lvs or not lvs

    def _find(self, volume_id: UUID) -> Lv | None:
        """Return the volume's logical volume; one is looked for before it is absent.

        The group is then in sight, so that what is absent has not gone with a disk.
        """
        if lv := volumes.of(self._group.seen().lvs, volume_id):
            return lv
        self._group.forget()
        return volumes.of(self._group.seen().lvs, volume_id)

    def _there(self, volume_id: UUID) -> Lv:
        """Return the volume's logical volume; raise `Gone` or `AnothersToo`."""
        if lv := self._find(volume_id):
            self._lvs.check_nobody_elses(lv, volume_id)
            return lv
        raise Gone(volume_id, self._lvs.path(volumes.name(volume_id)))

    def _made_by(self, lv: Lv) -> Cause:
        if cause := volumes.cause(lv):
            return cause
        raise Unexplained(self._lvs.path(lv.name))

    def _source(self, asked: Volume.Created) -> Lv | None:
        """Return what the volume is to hold, if anything."""
        match asked.source:
            case {"snapshot": snapshot_id}:
                source = self._snapshots.there(snapshot_id)
            case {"volume": volume_id}:
                source = self._there(volume_id)
            case _:
                return None
        self._lvs.check_whole(source, asked.source_size_gib)
        return source

    def _make(
        self, volume_id: UUID, size_bytes: int, cause: Cause, source: Lv | None
    ) -> None:
        name, tags = volumes.name(volume_id), volumes.tags(volume_id, cause)
        if source and source.pool and self._thin:
            self._pool.has_room()
            self._lvs.snapshot(source, name, tags, to_use=True)
            return
        if source:
            tags |= {f"{volumes.COPIED}0"}
        self._lvs.make(name, size_bytes, tags, thin=self._thin)

    def _fill(self, lv: Lv, asked: Volume.Created, progress: Progress) -> None:
        """Copy what is to be in it, unless it is there; then nothing else stays."""
        if volumes.is_unfilled(lv):
            source = self._source(asked)
            assert source
            self._filling.fill(lv, asked.originator_id, source, progress)
        self._filling.tidy(asked.originator_id, progress, 100)

    def _check_copied(self, volume_id: UUID, lv: Lv) -> None:
        """Raise `HasSnapshots` where others depend on it, or on what it held."""
        cows, lvs = self._lvs.cows(lv), self._group.seen().lvs
        own = volumes.helpers(lvs, volume_id)
        held = cows + snapshots.of_volume(lvs, volume_id)
        if any(each not in own for each in held):
            self._check_known(volume_id, lv)
            raise HasSnapshots(volume_id)

    def _check_known(self, volume_id: UUID, lv: Lv) -> None:
        """Raise `HasUnmanaged` where a snapshot that nobody manages depends on it."""
        names = [each.name for each in self._lvs.cows(lv) if snapshots.is_strange(each)]
        if names:
            raise HasUnmanaged(volume_id, sorted(names))

    def _stranger(self, name: str, volume_id: UUID) -> Lv:
        """Return the logical volume that is to become a volume, or raise why not."""
        lv = self._group.find(name) if reference.NAME.fullmatch(name) else None
        if lv is None:
            raise NotThere(self._group.name, name, "there is none")
        if volumes.cause(lv) or volumes.tagged(lv) - {volume_id}:
            raise Taken(self._lvs.path(name))
        if why := volumes.unfit(lv):
            raise NotThere(self._group.name, name, why)
        self._lvs.check_closed(lv)
        return lv

    def _whole(self, lv: Lv) -> Lv:
        """Have whole GiB before anything says whose it is: there may be no room."""
        size = volumes.whole_gib(lv.size_bytes) * GIB
        return self._lvs.grow(lv, size) if lv.size_bytes < size else lv

    def _set_up_pool(self) -> None:
        """Have a pool, and one that takes writes if its disks do so again."""
        self._pool.set_up()
        try:
            self._pool.usage()
        except PoolIsBroken as broken:
            if broken.metadata_is_full:
                raise  # or it would soon take none again
            self._mend_pool()

    def _mend_pool(self) -> None:
        """Switch the pool off and on below the hosts that have its volumes open.

        They get errors for so long, as they do when they write to one that is broken.
        """
        pool = self._pool.lv
        assert pool
        # A disk that takes no writes does not take this one: the pool is left alone.
        tagged = volumes.mended(pool, datetime.now(UTC).isoformat())
        self._lvs.tag(pool, tagged.tags, keep=False)
        with self._reaching.cut_off():
            self._pool.restart()
        logger.warning("thin pool %s was switched off and on", self._pool.where)

    def _after_kill(self) -> None:
        """Do what an LVM was kept from that had made its change."""
        with self._group.alone():
            self._group.forget()
            if self._thin:
                self._pool.catch_up()
            self._lvs.go_on()

    @contextmanager
    def _at_work(self, verb: str, volume_id: UUID | None = None) -> Iterator[None]:
        doing = f"{verb} {volume_id}" if volume_id else verb
        with step(f"lvm {verb}", **{"holdfast.doing": doing}), within():
            try:
                yield
            except TimeoutError as error:
                about = self._group.name, doing, limits.LIMIT, error.filename
                raise Hung(*about) from error
            except OSError as error:
                raise DeviceFailed(self._group.name, doing, error) from error
            except LvmFailed as failure:
                if self._thin and type(failure) in VAGUE:
                    self._look_at_pool()
                raise

    def _look_at_pool(self) -> None:
        """Raise `PoolIsBroken` where that is so, and so why LVM has failed."""
        with suppress(OSError):
            self._pool.usage()


def in_gib(size_bytes: float, rounded: Callable[[float], int] = floor) -> float:
    """Return bytes as GiB, to the hundredth: no more than there is."""
    return rounded(size_bytes / GIB * 100) / 100


def check(group: Any, sort: str, devices: Any, clearing: str) -> None:
    """Raise `Unusable` for options that have no meaning."""
    for option, value, allowed in (
        ("lvm_type", sort, TYPES),
        ("volume_clear", clearing, REQUESTS),
    ):
        if value not in [*allowed]:
            raise Unusable(option, value, allowed)
    listed = isinstance(devices, list | tuple)
    if not (listed and all(map(is_path, devices))):
        raise Unusable("lvm_devices", devices, ["a list of paths of disks"])
    if not (isinstance(group, str) and reference.NAME.fullmatch(group)):
        raise Unusable("volume_group", group, ["a name that LVM takes"])


def check_numbers(clear_size: Any, tries: Any) -> None:
    """Raise `Unusable` for what is no number, or clears nothing, or never tries."""
    for option, value, least, meant in (
        ("volume_clear_size", clear_size, 0, ["MiB", "0 for all"]),
        ("num_shell_tries", tries, 1, ["1", "more"]),
    ):
        if type(value) is not int or value < least:
            raise Unusable(option, value, meant)


def is_path(device: Any) -> bool:
    """Tell whether it is a path that means nothing else to LVM."""
    return isinstance(device, str) and bool(PATH.fullmatch(device))
