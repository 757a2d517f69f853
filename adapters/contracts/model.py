"""A driver against a dictionary, killed now and then where that can be done."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from itertools import count
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from msgspec.structs import replace

from adapters.contracts.drivers import (
    GIB,
    NODE_1,
    asked,
    counted,
    device,
    read,
    size,
    write,
)
from adapters.contracts.snapshots import copy_of, reversion, wanted
from domain.ports import Cause, Driver, DriverFailed, VolumeIsBusy

VOLUMES = st.sampled_from([UUID(int=n) for n in (1, 2, 3)])
SNAPSHOTS = st.sampled_from([UUID(int=n) for n in (7, 8)])
MADE_AT = "2026-01-01T00:00:00Z"
CAUSES = st.sampled_from([Cause(n, MADE_AT) for n in (1, 2)])
SIZES = st.integers(1, 4)


class Made(NamedTuple):
    """What the model knows of a volume."""

    cause: Cause
    size_gib: int
    data: bytes = bytes(4)


class Taken(NamedTuple):
    """What the model knows of a snapshot."""

    volume: UUID
    cause: Cause
    size_gib: int
    data: bytes


class Agents(RuleBasedStateMachine):
    """One agent after another on the same storage, which a subclass provides."""

    def __init__(self) -> None:
        super().__init__()
        self.there: dict[UUID, Made] = {}
        self.taken: dict[UUID, Taken] = {}  # the oldest first
        self.open: dict[UUID, Any] = {}
        self.reversions = count(3)  # positions of the events that asked for them
        self.restart()

    def fresh(self) -> Driver:
        """Return a driver that has been set up."""
        raise NotImplementedError

    def killed(self, step: int) -> AbstractContextManager[Any]:
        """Die at the nth step, if there are so many."""
        return nullcontext()

    def teardown(self) -> None:
        for file in self.open.values():
            file.close()

    @rule()
    def restart(self) -> None:
        self.driver = self.fresh()

    @rule(volume=VOLUMES, cause=CAUSES, size=SIZES, step=st.integers(0, 16))
    def create(self, volume: UUID, cause: Cause, size: int, step: int) -> None:
        made = self.there.get(volume)
        # An event asks for one size; what has grown since keeps what it has.
        event = asked(min(size, made.size_gib) if made else size, volume)
        if made and made.cause != cause:
            with pytest.raises(DriverFailed, match="not for this one"):
                self.driver.create(event, cause)
            return
        with self.killed(step):
            self.driver.create(event, cause)
        self.driver.create(event, cause)
        self.there.setdefault(volume, Made(cause, size))

    @rule(volume=VOLUMES, size=SIZES, step=st.integers(0, 4))
    def extend(self, volume: UUID, size: int, step: int) -> None:
        if volume not in self.there:
            with pytest.raises(DriverFailed, match="is gone"):
                self.driver.extend(volume, size)
            return
        with self.killed(step):
            self.driver.extend(volume, size)
        self.driver.extend(volume, size)
        made = self.there[volume]
        self.there[volume] = made._replace(size_gib=max(size, made.size_gib))

    @rule(volume=VOLUMES, step=st.integers(0, 10))
    def delete(self, volume: UUID, step: int) -> None:
        if any(taken.volume == volume for taken in self.taken.values()):
            return  # nobody is told to
        if volume in self.open:
            with pytest.raises(VolumeIsBusy):
                self.driver.delete(volume, MADE_AT)
            return
        with self.killed(step):
            self.driver.delete(volume, MADE_AT)
        self.driver.delete(volume, MADE_AT)
        self.there.pop(volume, None)

    @precondition(lambda self: self.there)
    @rule(data=st.data(), snapshot=SNAPSHOTS, cause=CAUSES, step=st.integers(0, 16))
    def take_snapshot(
        self, data: st.DataObject, snapshot: UUID, cause: Cause, step: int
    ) -> None:
        volume = data.draw(st.sampled_from(sorted(self.there)))
        if snapshot in self.taken:
            volume, cause, *_ = self.taken[snapshot]
        made = self.there[volume]
        event = wanted(volume, snapshot, made.size_gib)
        with self.killed(step):
            self.driver.take_snapshot(event, cause)
        self.driver.take_snapshot(event, cause)
        kept = Taken(volume, cause, made.size_gib, made.data)
        self.taken.setdefault(snapshot, kept)

    @rule(snapshot=SNAPSHOTS, step=st.integers(0, 10))
    def delete_snapshot(self, snapshot: UUID, step: int) -> None:
        with self.killed(step):
            self.driver.delete_snapshot(snapshot, MADE_AT)
        self.driver.delete_snapshot(snapshot, MADE_AT)
        self.taken.pop(snapshot, None)

    @precondition(lambda self: self.taken)
    @rule(data=st.data(), volume=VOLUMES, cause=CAUSES, step=st.integers(0, 16))
    def copy(self, data: st.DataObject, volume: UUID, cause: Cause, step: int) -> None:
        snapshot = data.draw(st.sampled_from(sorted(self.taken)))
        if volume in self.there:
            return
        taken = self.taken[snapshot]
        event = replace(
            copy_of(snapshot, size_gib=taken.size_gib), originator_id=volume
        )
        with self.killed(step):
            self.driver.create(event, cause)
        self.driver.create(event, cause)
        self.there[volume] = Made(cause, taken.size_gib, taken.data)

    @precondition(lambda self: self.taken)
    @rule(written=st.binary(min_size=4, max_size=4), step=st.integers(0, 16))
    def revert(self, written: bytes, step: int) -> None:
        snapshot, taken = list(self.taken.items())[-1]
        made = self.there[taken.volume]
        if taken.volume in self.open or made.size_gib != taken.size_gib:
            return
        write(device(self.driver, taken.volume), 4096, written)
        event = reversion(taken.volume, snapshot, taken.cause)
        cause = Cause(next(self.reversions), MADE_AT)
        with self.killed(step):
            self.driver.revert(event, cause)
        self.driver.revert(event, cause)
        self.there[taken.volume] = made._replace(data=taken.data)

    @precondition(lambda self: self.there)
    @rule(data=st.data(), written=st.binary(min_size=4, max_size=4))
    def write(self, data: st.DataObject, written: bytes) -> None:
        volume = data.draw(st.sampled_from(sorted(self.there)))
        write(device(self.driver, volume), 4096, written)
        self.there[volume] = self.there[volume]._replace(data=written)

    @precondition(lambda self: self.there.keys() - self.open)
    @rule(data=st.data())
    def use(self, data: st.DataObject) -> None:
        volume = data.draw(st.sampled_from(sorted(self.there.keys() - self.open)))
        self.open[volume] = device(self.driver, volume).open("rb")

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def let_go(self, data: st.DataObject) -> None:
        self.open.pop(data.draw(st.sampled_from(sorted(self.open)))).close()

    @invariant()
    def there_is_what_was_asked_for_and_nothing_else(self) -> None:
        promised = sum(made.size_gib for made in self.there.values())
        promised += sum(taken.size_gib for taken in self.taken.values())
        assert counted(self.driver) == (len(self.there), promised)

    @invariant()
    def every_volume_is_as_it_was_left(self) -> None:
        for volume, made in self.there.items():
            path = device(self.driver, volume, NODE_1)
            assert size(path) == made.size_gib * GIB
            assert read(path, 4096, 4) == made.data
            assert self.driver.has_session(volume, None) == (volume in self.open)
