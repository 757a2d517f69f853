"""The thin pool of a volume group: made or adopted, and how full it is."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from logging import getLogger
from typing import NamedTuple, TypeVar

from adapters.lvm.failures import LvmFailed, NoPool, PoolIsBroken, PoolIsFull
from adapters.lvm.group import Group
from adapters.lvm.mapper import Mapper, mapped
from adapters.lvm.report import Lv
from domain.pool import FULL

T = TypeVar("T")

MADE_ALREADY = os.strerror(errno.EEXIST)

logger = getLogger(__name__)


class Usage(NamedTuple):
    """How much of a pool is in use, in percent."""

    data: float
    metadata: float


class ThinPool:
    """`<group>-pool`, Cinder's name."""

    def __init__(self, group: Group, mapper: Mapper) -> None:
        self._group = group
        self._mapper = mapper
        self.name = f"{group.name}-pool"
        self.where = f"{group.name}/{self.name}"
        self._mapped = mapped(group.name, self.name)
        # How often the group had been forgotten when LVM last told the pool all.
        self._all_told = -1

    @property
    def lv(self) -> Lv | None:
        """The pool itself, if it is there."""
        return self._group.find(self.name)

    def set_up(self) -> None:
        """Make the pool of 95 % of what is free, or adopt the one that is there."""
        lv = self.lv
        if lv is None:
            self._make()
        elif not lv.is_pool:
            raise NoPool(self._group.name, self.name)
        else:
            if not lv.zeroes:
                # Or a volume would show what was in its blocks before.
                self._group.change(lv.name, lv, "lvchange", "-Zy", "-y", self.where)
                self._group.forget()
            self._wake()
            self.catch_up()

    def usage(self) -> Usage:
        """Ask the kernel how full the pool is: LVM would look at every volume.

        Raises `PoolIsBroken` where it takes no writes.
        """
        return self._asked(self._usage)

    def size_bytes(self) -> int:
        """Ask the kernel how large the pool is: somebody may have extended it."""
        return self._asked(lambda: self._mapper.size_bytes(self._device()))

    def _asked(self, ask: Callable[[], T]) -> T:
        try:
            return ask()
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
        # For a moment a pool has no name, when its first volume becomes active.
        with self._group.alone():
            return ask()

    def _usage(self) -> Usage:
        status = self._status()
        usage = usage_in(status)
        if usage is None or is_read_only(status):
            raise PoolIsBroken(self.where, usage and usage.metadata)
        return usage

    def restart(self) -> None:
        """Switch the pool off, which nothing may use, and on: its metadata is checked.

        A pool that has failed to write stays as it is until then.
        """
        volumes = "-S", f"pool_lv={self.name}", self._group.name
        for on, what in ("n", volumes), ("n", [self.where]), ("y", volumes):
            self._group.change(self.name, self.lv, "lvchange", f"-a{on}", "-y", *what)
        self._wake()

    def has_room(self) -> None:
        """Raise `PoolIsFull` unless a volume can be begun."""
        usage = self.usage()
        if max(usage) >= FULL:
            raise PoolIsFull(self.where, *usage)

    def _status(self) -> str:
        """Return what the kernel says of it: its transaction, or that it has failed."""
        return self._mapper.status(self._device())[0].parameters

    def _device(self) -> str:
        """Return what the kernel calls the pool, another name once it is in use."""
        used = f"{self._mapped}-tpool"
        return used if self._mapper.device(used) else self._mapped

    def _wake(self) -> None:
        """Have the kernel know the pool; an LVM that was killed may have held it up."""
        lv, device = self.lv, self._mapper.device(self._device())
        assert lv
        if device is None:
            self._group.change(self.name, lv, "lvchange", "-ay", "-y", self.where)
        elif device.is_suspended:
            self._change(lv, "--refresh", self.where)

    def catch_up(self) -> None:
        """Let LVM tell the pool what a kill, or a power cut, has kept it from telling.

        Until then the pool has no volume of what was being made, and keeps the blocks
        of what was removed. LVM tells it with its next change of the pool, or when a
        volume that is active is made active anew.
        """
        told, written = self._transactions()
        if told is None or told == written:
            return
        lvs = self._group.seen().lvs.values()
        those = [lv for lv in lvs if lv.pool == self.name]
        for lv in those[:2]:  # the pool has all of them but one at most
            where = f"{self._group.name}/{lv.name}"
            with suppress(LvmFailed):
                self._change(lv, "-ay", "-K", "-y", where)
                self._change(lv, "--refresh", where)
                logger.warning("thin pool %s was told what it had missed", self.where)
                return
        if len(those) == 1:  # and none is active that LVM could make active anew
            with suppress(OSError):  # or the pool has it, and something else is wrong
                self._tell(f"create_thin {those[0].thin_id}")
                self._tell(f"set_transaction_id {told} {written}")

    @contextmanager
    def telling(self, lv: Lv) -> Iterator[None]:
        """Note that LVM tells the pool all with what it does to a volume of it."""
        forgotten = self._group.forgotten
        yield
        if lv.pool == self.name:
            self._all_told = forgotten

    def let_go(self, lv: Lv) -> None:
        """Have the pool delete an unused volume of it before LVM does, if need be.

        What an LVM that was killed had written down for the pool may still be there,
        long done. To that the next one adds that a volume goes, without a transaction
        of its own, and believes that the pool has heard of it.
        """
        if lv.pool != self.name or self._all_told == self._group.forgotten:
            return
        self._group.forget()
        known = self._group.find(lv.name)
        if known is None:
            return  # which LVM will say
        where = f"{self._group.name}/{lv.name}"
        self._wake()  # in thick groups nobody has
        self._group.change(lv.name, known, "lvchange", "-an", "-y", where)
        try:
            self._tell(f"delete {known.thin_id}")
        except OSError as error:
            if error.errno != errno.ENODATA:  # what it does not have is deleted
                raise

    def _change(self, lv: Lv, *words: str) -> None:
        """Have LVM change what the kernel has; it first tells the pool what it missed.

        A pool that has made a volume already refuses to make it: then LVM was killed
        before it told it that this was all, and would now fail for ever.
        """
        change = partial(self._group.change, lv.name, lv, "lvchange", *words)
        try:
            change()
        except LvmFailed as failure:
            told, written = self._transactions()
            if MADE_ALREADY not in failure.said or told != written - 1:
                raise
            self._tell(f"set_transaction_id {told} {written}")
            change()

    def _tell(self, message: str) -> None:
        self._mapper.message(self._device(), message)

    def _transactions(self) -> tuple[int | None, int]:
        """Return how far the pool is, unless it has failed, and how far LVM is."""
        told, *rest = self._status().split()
        written = self._group.seen().lvs[self.name].transaction_id
        return int(told) if rest else None, written

    def _make(self) -> None:
        kind = ["--type", "thin-pool", "-l", "95%FREE", "-Zy", "-n", self.name]
        anything = Lv(self.name, 0)
        words = ["lvcreate", "-y", *kind, self._group.name]
        self._group.look_everywhere()
        self._group.change(self.name, anything, *words)
        self._group.forget()  # its size is what LVM made of it


def usage_in(status: str) -> Usage | None:
    """Return what the kernel says of a thin pool: `1 16/4096 512/8192 - rw …`.

    One that has failed says `Fail`, and how full it is no more.
    """
    match status.split():
        case [_, metadata, data, *_]:
            return Usage(percent(data), percent(metadata))
    return None


def is_read_only(status: str) -> bool:
    """Tell whether a pool takes no writes, or will not once it is switched on."""
    return not {"ro", "needs_check"}.isdisjoint(status.split())


def percent(share: str) -> float:
    """Return `3/4` as 75.0."""
    used, total = map(int, share.split("/"))
    return 100.0 * used / total
