"""Who reaches volumes: hosts by a target, which serves their front devices."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager, suppress
from logging import getLogger
from pathlib import Path
from typing import Any
from uuid import UUID

from adapters.holders import is_held_by_others
from adapters.lvm import surveying, volumes
from adapters.lvm.failures import NoMapper, StillOpen
from adapters.lvm.fronts import Fronts
from adapters.lvm.group import Group
from adapters.lvm.limits import in_time
from adapters.lvm.lvs import Lvs
from adapters.lvm.mapper import Mapper, mapped
from adapters.lvm.report import Lv
from adapters.lvm.reverting import Reverting
from domain.ports import DriverFailed, Export, Target

logger = getLogger(__name__)


class Reaching:
    """The ways of hosts to the volumes of one group."""

    def __init__(
        self,
        group: Group,
        lvs: Lvs,
        mapper: Mapper,
        fronts: Fronts,
        target: Target,
        reverting: Reverting,
    ) -> None:
        self._group = group
        self._lvs = lvs
        self._mapper = mapper
        self._fronts = fronts
        self._target = target
        self._reverting = reverting

    # One host, or all of them

    def connect(
        self, volume_id: UUID, lv: Lv, connector: dict[str, Any]
    ) -> dict[str, Any]:
        """Let the connector's host reach the volume's front device."""
        front = self._served(volume_id, lv)
        return in_time(self._target.connect, volume_id, front, connector)

    def disconnect(self, volume_id: UUID, connector: dict[str, Any]) -> None:
        """Take the volume away from the connector's host."""
        in_time(self._target.disconnect, volume_id, connector)

    def converge(self, wanted: Export, lv: Lv | None) -> bool:
        """Let exactly these hosts reach the volume; none, if there is none."""
        if lv is None or not wanted.connectors:
            return self._let_go(wanted.volume_id)
        front = self._served(wanted.volume_id, lv)
        return in_time(self._target.converge, wanted, front)

    def remove(self, volume_id: UUID) -> None:
        """Take the volume away from every host; `VolumeIsBusy` if one keeps it.

        What hosts reach of another group of this machine is not ours to take away.
        """
        if self._fronts.is_elsewhere(volume_id):
            return
        in_time(self._target.remove, volume_id)
        self._fronts.remove(volume_id)

    def withdraw(self, volume_id: UUID, lv: Lv) -> None:
        """Take an unused volume away from every host, or raise `StillOpen`."""
        self._check_no_session(volume_id)
        self.remove(volume_id)
        device = self._mapper.device(mapped(self._group.name, lv.name))
        if device and device.open_count:
            raise StillOpen(volume_id, self._lvs.path(lv.name))

    # What hosts have, while it changes

    def grow(self, volume_id: UUID, lv: Lv) -> None:
        """Let those who reach the volume see all of it."""
        self._lvs.active(lv)
        if self._fronts.grow(volume_id, lv.name):
            in_time(self._target.resized, volume_id, self._front(volume_id))

    @contextmanager
    def cut_off(self) -> Iterator[None]:
        """Have no thin volume open until left: who reaches one gets errors.

        What is killed or fails meanwhile leaves fronts cut, which the next sweep mends.
        """
        lvs = self._group.seen().lvs
        served = {v: volumes.of(lvs, v) for v in self._fronts.volumes()}
        thin = {v: lv for v, lv in served.items() if lv and lv.pool}
        try:
            for volume_id in thin:
                self._fronts.cut(volume_id)
            yield
        finally:
            for volume_id, lv in thin.items():
                with suppress(DriverFailed, OSError):
                    self._served(volume_id, lv)

    def go_on(self) -> None:
        """Let hosts go on writing that an agent or an LVM held up which was killed."""
        try:
            served = self._fronts.volumes()
        except NoMapper:  # there has never been a device
            return
        self._lvs.go_on()
        lvs = self._group.seen().lvs
        for volume_id in served:
            lv, front = volumes.of(lvs, volume_id), self._fronts.device(volume_id)
            if lv and front and front.is_suspended:
                with suppress(DriverFailed, OSError):  # the next sweep tries again
                    self._served(volume_id, lv)
                logger.warning("%s was held up by an agent that was killed", lv.name)

    # Who has what

    def has_session(self, volume_id: UUID, connector: dict[str, Any] | None) -> bool:
        """Tell whether the connector's host (None: any host) uses the volume now."""
        if self._fronts.is_elsewhere(volume_id):
            return False
        return self._target.has_session(volume_id, self._front(volume_id), connector)

    def exports(self) -> set[UUID]:
        """Tell which volumes any host can reach, or could a moment ago."""
        return self._target.exports() | self._fronted(self._group.seen().lvs)

    def exported_and_used(
        self, lvs: Mapping[str, Lv]
    ) -> tuple[frozenset[UUID] | None, frozenset[UUID]]:
        """Tell which volumes hosts can reach, and which are used by anybody.

        None where every host is here: nothing is exported then.
        """
        local = self._target.storage_protocol == "local"
        exported = frozenset[UUID]() if local else frozenset(self._target.exports())
        those = self._fronted(lvs) | {*opened(lvs)} | exported
        used = (each for each in those if self._is_used(each, lvs, exported))
        return None if local else exported, frozenset(used)

    def initiators(self) -> dict[UUID, frozenset[str]]:
        """Tell which initiators may log in to each volume, where that is known."""
        return self._target.initiators()

    def check_unused(self, volumes_by_id: Mapping[UUID, Lv]) -> None:
        """Raise `StillOpen` where something uses a volume; a target does not count."""
        exported = self._target.exports()
        for volume_id, lv in volumes_by_id.items():
            self._check_no_session(volume_id)
            served = self._fronts.device(volume_id)
            if served and served.open_count and volume_id not in exported:
                raise StillOpen(volume_id, self._front(volume_id))
            device = self._mapper.device(mapped(self._group.name, lv.name))
            if device and device.open_count > bool(served):
                raise StillOpen(volume_id, self._lvs.path(lv.name))

    def _check_no_session(self, volume_id: UUID) -> None:
        if self.has_session(volume_id, None):
            raise StillOpen(volume_id, self._front(volume_id))

    def _is_used(
        self, volume_id: UUID, lvs: Mapping[str, Lv], exported: Container[UUID]
    ) -> bool:
        """Tell whether a host uses a volume, or something here that is not ours."""
        if volume_id in exported:
            return self.has_session(volume_id, None)
        if served := self._fronts.device(volume_id):
            return served.open_count > 0
        lv = volumes.of(lvs, volume_id)
        if lv is None:
            return False
        return is_held_by_others(Path(self._lvs.path(lv.name)).resolve())

    def _fronted(self, lvs: Mapping[str, Lv]) -> set[UUID]:
        """Tell of our volumes that have a front device."""
        return {each for each in self._fronts.volumes() if volumes.of(lvs, each)}

    # The front device

    def _front(self, volume_id: UUID) -> str:
        """Return where the front device is, or would be."""
        return str(self._fronts.path(volume_id))

    def _served(self, volume_id: UUID, lv: Lv) -> str:
        """Return where the front device is, which is made if need be."""
        self._lvs.check_nobody_elses(lv, volume_id)
        self._reverting.check_whole(volume_id, lv)
        self._lvs.active(lv)
        return str(self._fronts.make(volume_id, lv.name))

    def _let_go(self, volume_id: UUID) -> bool:
        if self._fronts.is_elsewhere(volume_id):
            return False
        exported = volume_id in self._target.exports()
        if exported:
            in_time(self._target.remove, volume_id)
        with suppress(StillOpen):
            return self._fronts.remove(volume_id) or exported
        return exported


def opened(lvs: Mapping[str, Lv]) -> Iterator[UUID]:
    """Tell of the volumes that LVM has just seen in use."""
    claims = (surveying.claimed(lv) for lv in lvs.values() if lv.is_open)
    return (it.id for it in claims if it and it.noun == surveying.VOLUME)
