"""The kernel's device-mapper, asked directly: <linux/dm-ioctl.h>.

`dmsetup` does the same in a process of its own, which takes as long as all else that
connecting a volume takes.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from enum import IntEnum
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any, NamedTuple
from weakref import finalize

from adapters.lvm.failures import NoMapper
from adapters.lvm.limits import in_time
from adapters.noting import noted

CONTROL = Path("/dev/mapper/control")
HEADER = struct.Struct("=3I3Ii3IQ128s129s7x")  # struct dm_ioctl
TARGET = struct.Struct("=QQiI16s")  # struct dm_target_spec
NAMED = struct.Struct("=QI")  # struct dm_name_list
SECTOR_OF_TARGET = struct.Struct("=Q")  # the head of struct dm_target_msg
SECTOR = 512
# Bytes of an answer, doubled until it has room. With more than 1024, Python holds all
# of its threads up for as long as the kernel takes.
ROOM = 1024

SUSPENDED, STATUS_TABLE, INACTIVE_PRESENT = 1 << 1, 1 << 4, 1 << 6
BUFFER_FULL, SKIP_LOCKFS, NO_FLUSH = 1 << 8, 1 << 10, 1 << 11

# To udevd: the node is made here, and what is on the device is not to be looked at.
UDEV = (0x40 | 0x01 | 0x02 | 0x04 | 0x08) << 16


class Verb(IntEnum):
    """What can be asked."""

    LIST_DEVICES = 2
    DEV_CREATE = 3
    DEV_REMOVE = 4
    DEV_SUSPEND = 6
    DEV_STATUS = 7
    TABLE_LOAD = 9
    TABLE_STATUS = 12
    TARGET_MSG = 14


class Device(NamedTuple):
    """A device as the kernel has it."""

    number: int
    open_count: int
    is_suspended: bool
    waits: bool  # a table is loaded, and not resumed with
    uuid: str

    @property
    def numbers(self) -> str:
        """The device as tables name it."""
        return f"{os.major(self.number)}:{os.minor(self.number)}"


class Row(NamedTuple):
    """A line of a table: which sectors are what."""

    start: int
    sectors: int
    kind: str
    parameters: str

    @property
    def end(self) -> int:
        """The sector behind its last one."""
        return self.start + self.sectors


class Answer(NamedTuple):
    """What came back: the device, how many rows, and the bytes that hold them."""

    device: Device
    rows: int
    flags: int
    data: bytes


class Mapper:
    """Device-mapper's control device; raises `OSError` as the kernel does."""

    def __init__(self) -> None:
        self._control: int | None = None

    def device(self, name: str) -> Device | None:
        """Return the device of that name, if there is one."""
        try:
            return self._ask(Verb.DEV_STATUS, name).device
        except OSError as error:
            if error.errno == errno.ENXIO:
                return None
            raise

    def names(self) -> list[str]:
        """Return the names of all devices."""
        return list(names_in(self._ask(Verb.LIST_DEVICES).data))

    def table(self, name: str) -> list[Row]:
        """Return what a device is made of."""
        return rows_in(self._ask(Verb.TABLE_STATUS, name, flags=STATUS_TABLE))

    def size_bytes(self, name: str) -> int:
        """Return how large a device is; one that has no table yet holds nothing."""
        return max((row.end for row in self.table(name)), default=0) * SECTOR

    def status(self, name: str) -> list[Row]:
        """Return how a device is, as far as the kernel knows.

        Otherwise a thin pool would write down all it knows first, and so hang or
        fail with its disk.
        """
        return rows_in(self._ask(Verb.TABLE_STATUS, name, flags=NO_FLUSH))

    def create(self, name: str, uuid: str) -> Device:
        """Make a device that has no table yet."""
        return self._change("create", Verb.DEV_CREATE, name, uuid=uuid).device

    def load(self, name: str, row: Row) -> None:
        """Give a device a table, which it has from when it is resumed."""
        self._change("load", Verb.TABLE_LOAD, name, rows=1, said=target(row))

    def message(self, name: str, words: str) -> None:
        """Tell something to a device's first target, a thin pool for example.

        That writes down at once what it has heard.
        """
        said = SECTOR_OF_TARGET.pack(0) + words.encode() + b"\0"
        tell = partial(self._change, f"message {words}", Verb.TARGET_MSG)
        in_time(partial(tell, name, said=said))

    def suspend(self, name: str) -> None:
        """Hold up what comes to a device; what is under way ends first.

        Where that takes too long, the kernel goes on with it, and no resumption that
        is asked for before has an effect: so the device goes on once it is held up.
        """
        suspend = partial(self._change, "suspend", Verb.DEV_SUSPEND)
        given_up = Event()

        def hold_up() -> None:
            suspend(name, flags=SUSPENDED | SKIP_LOCKFS)
            if given_up.is_set():
                self._change("resume", Verb.DEV_SUSPEND, name, flags=SKIP_LOCKFS)

        try:
            in_time(hold_up)
        except TimeoutError:
            given_up.set()
            raise

    def resume(self, name: str) -> None:
        """Let a device go on with the table that was loaded.

        What comes meanwhile is held up, and what is under way ends first.
        """
        resume = partial(self._change, "resume", Verb.DEV_SUSPEND)
        in_time(partial(resume, name, flags=SKIP_LOCKFS))

    def remove(self, name: str) -> None:
        """Remove a device that nobody has open."""
        self._change("remove", Verb.DEV_REMOVE, name)

    def _change(self, doing: str, verb: Verb, name: str, **how: Any) -> Answer:
        with noted(f"dm {doing} {name}"):
            return self._ask(verb, name, **how)

    def _ask(
        self,
        verb: Verb,
        name: str = "",
        *,
        uuid: str = "",
        flags: int = 0,
        rows: int = 0,
        said: bytes = b"",
    ) -> Answer:
        room = ROOM
        while True:
            head = HEADER.pack(
                *(4, 0, 0),
                *(room, HEADER.size, rows),
                *(0, flags, UDEV, 0, 0),
                *(name.encode(), uuid.encode()),
            )
            buffer = bytearray((head + said).ljust(room, b"\0"))
            request = 3 << 30 | HEADER.size << 16 | 0xFD << 8 | verb
            fcntl.ioctl(self._opened(), request, buffer)
            answer = answer_in(buffer)
            if not answer.flags & BUFFER_FULL:
                return answer
            room *= 2

    def _opened(self) -> int:
        if self._control is None:
            try:
                self._control = os.open(CONTROL, os.O_RDWR | os.O_CLOEXEC)
            except OSError as error:
                raise NoMapper from error
            finalize(self, os.close, self._control)
        return self._control


def mapped(group: str, lv: str) -> str:
    """Return what device-mapper calls a logical volume."""
    return "-".join(part.replace("-", "--") for part in (group, lv))


def target(row: Row) -> bytes:
    """Return a table's only row as the kernel reads it."""
    parameters = row.parameters.encode() + b"\0"
    head = TARGET.pack(row.start, row.sectors, 0, 0, row.kind.encode())
    return head + parameters


def answer_in(buffer: bytearray) -> Answer:
    """Return what the kernel has written over a question."""
    told = HEADER.unpack_from(buffer)
    size, start, rows, open_count, flags, number = *told[3:8], told[10]
    is_suspended, waits = bool(flags & SUSPENDED), bool(flags & INACTIVE_PRESENT)
    device = Device(number, open_count, is_suspended, waits, text(told[12]))
    return Answer(device, rows, flags, bytes(buffer[start:size]))


def rows_in(answer: Answer) -> list[Row]:
    """Return the rows of a table, as `dm_target_spec`s one behind the other."""
    rows, at = [], 0
    for _ in range(answer.rows):
        start, sectors, _, following, kind = TARGET.unpack_from(answer.data, at)
        parameters = text(answer.data[at + TARGET.size :])
        rows.append(Row(start, sectors, text(kind), parameters))
        at = following
    return rows


def names_in(data: bytes) -> Iterator[str]:
    """Yield the names in a `dm_name_list`."""
    at, following = 0, len(data)  # nothing, where there is no device
    while following:
        number, following = NAMED.unpack_from(data, at)
        if number:
            yield text(data[at + NAMED.size :][:128])
        at += following


def text(data: bytes) -> str:
    """Return the text before the first zero."""
    return data.partition(b"\0")[0].decode()
