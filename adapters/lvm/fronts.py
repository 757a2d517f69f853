"""Front devices: what hosts are served is a linear device of ours over the volume.

So a volume can be held up for a moment, grown, or moved to another place while hosts
have it open: what they have open stays the same. One is made when it is first
needed, and a restart finds it or makes it again.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from threading import RLock
from uuid import UUID

from adapters.lvm.failures import StillOpen
from adapters.lvm.limits import left, within
from adapters.lvm.mapper import SECTOR, Device, Mapper, Row, mapped

FOLDER = Path("/dev/mapper")
BLOCK = Path("/sys/dev/block")
PREFIX = "front-"
TURNS = 64
UUID_PREFIX = "HOLDFAST-"  # LVM's own devices have LVM-


class Fronts:
    """The front devices of one volume group."""

    def __init__(self, group: str, mapper: Mapper) -> None:
        self._group = group
        self._mapper = mapper
        # Volumes share them, so that there is no end of locks.
        self._turns = [RLock() for _ in range(TURNS)]

    def path(self, volume_id: UUID) -> Path:
        """Return where the front device is, or would be."""
        return FOLDER / name(volume_id)

    def make(self, volume_id: UUID, lv: str) -> Path:
        """Have a front device over all of the logical volume, and return its path.

        One that is there is grown with it, and goes on if it was held up.
        """
        front = name(volume_id)
        with self._turn(volume_id):
            wanted = self._over(lv)
            device = self._mapper.device(front) or self._create(front)
            if device.is_suspended or self._mapper.table(front) != [wanted]:
                self._mapper.load(front, wanted)
                self._mapper.resume(front)
            link(volume_id, device)
        return self.path(volume_id)

    @contextmanager
    def held_up(self, volume_ids: Sequence[UUID]) -> Iterator[None]:
        """Keep hosts from writing to the volumes, whatever else is asked meanwhile.

        Whatever happens, each front device goes on then.
        """
        with ExitStack() as stack:
            for index in sorted({index_of(each) for each in volume_ids}):
                stack.enter_context(self._turn_of(index))
            for each in filter(self.device, volume_ids):
                stack.callback(self._go_on, name(each))
                self._mapper.suspend(name(each))
            yield

    def grow(self, volume_id: UUID, lv: str) -> bool:
        """Let a front device, if there is one, grow with its volume."""
        if self.device(volume_id) is None:
            return False
        self.make(volume_id, lv)
        return True

    def cut(self, volume_id: UUID) -> None:
        """Let go of the volume: who has the front device open gets errors."""
        front = name(volume_id)
        with self._turn(volume_id):
            # Where an agent was killed before it gave it a table, nobody can read it.
            if sectors := self._mapper.size_bytes(front) // SECTOR:
                self._mapper.load(front, Row(0, sectors, "error", ""))
                self._mapper.resume(front)

    def remove(self, volume_id: UUID) -> bool:
        """Remove it, if there is one, or raise `StillOpen`."""
        try:
            with self._turn(volume_id):
                self._mapper.remove(name(volume_id))
        except OSError as error:
            if error.errno == errno.EBUSY:
                raise StillOpen(volume_id, str(self.path(volume_id))) from error
            if error.errno != errno.ENXIO:
                raise
            return False
        finally:
            if not self.device(volume_id):
                self.path(volume_id).unlink(missing_ok=True)
        return True

    def device(self, volume_id: UUID) -> Device | None:
        """Return the front device as the kernel has it, if there is one."""
        return self._mapper.device(name(volume_id))

    def volumes(self) -> set[UUID]:
        """Return the volumes that have a front device, but for those of others."""
        found = set()
        for each in self._mapper.names():
            if each.startswith(PREFIX):
                with suppress(ValueError):
                    found.add(UUID(each.removeprefix(PREFIX)))
        return {each for each in found if not self.is_elsewhere(each)}

    def is_elsewhere(self, volume_id: UUID) -> bool:
        """Tell whether the front device is over a volume of another group.

        Two backends of a machine may have one: what this one has is then left of what
        the other one was asked for in its place.
        """
        under = self._under(name(volume_id))
        return under is not None and not is_of(self._group, under)

    def _go_on(self, front: str) -> None:
        with within():  # however long the others took
            self._mapper.resume(front)

    def _turn(self, volume_id: UUID) -> AbstractContextManager[None]:
        return self._turn_of(index_of(volume_id))

    @contextmanager
    def _turn_of(self, index: int) -> Iterator[None]:
        turn = self._turns[index]
        if not turn.acquire(timeout=left()):
            raise TimeoutError
        try:
            yield
        finally:
            turn.release()

    def _create(self, front: str) -> Device:
        return self._mapper.create(front, f"{UUID_PREFIX}{front}")

    def _under(self, front: str) -> str | None:
        """Return what the device is called that a front device is over, if any is."""
        try:
            rows = self._mapper.table(front)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return None
            raise
        for row in rows:
            if row.kind == "linear":
                numbers = row.parameters.partition(" ")[0]
                with suppress(OSError):
                    return (BLOCK / numbers / "dm" / "name").read_text().strip()
        return None

    def _over(self, lv: str) -> Row:
        under = mapped(self._group, lv)
        device = self._mapper.device(under)
        if device is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), under)
        sectors = self._mapper.size_bytes(under) // SECTOR
        return Row(0, sectors, "linear", f"{device.numbers} 0")


def index_of(volume_id: UUID) -> int:
    """Return whose turn a volume waits for."""
    return volume_id.int % TURNS


def name(volume_id: UUID) -> str:
    """Return what a volume's front device is called."""
    return f"{PREFIX}{volume_id}"


def is_of(group: str, device: str) -> bool:
    """Tell whether a device is of a volume group, by its name."""
    begins = mapped(group, "")
    rest = device.removeprefix(begins)
    # A hyphen of a group's own name is doubled.
    return device.startswith(begins) and not rest.startswith("-")


def link(volume_id: UUID, device: Device) -> None:
    """Have the front device's name in /dev/mapper, as it is numbered now."""
    path, to = FOLDER / name(volume_id), f"../dm-{os.minor(device.number)}"
    with suppress(OSError):
        if path.readlink() == Path(to):
            return
    new = path.with_name(f".{path.name}")
    new.unlink(missing_ok=True)
    new.symlink_to(to)
    new.rename(path)
