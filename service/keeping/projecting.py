"""Keeping the read models in step with the log, each for itself.

Those that are at the same position share a lane: what they have in common is done
once. A lane that is behind (a read model that is being rebuilt, or that was held
up) is worked on between the pages of the one ahead, and joins it when it has come
as far. A lane that fails falls apart, until it is plain which event one read model
cannot take in; that one stops there, and the others go on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from logging import getLogger
from threading import Event as Flag
from threading import Thread
from time import monotonic
from uuid import UUID

import msgspec
from eventsourcing.persistence import (
    InterfaceError,
    OperationalError,
    PersistenceError,
)

from adapters.jetstream.telling import PREFIX
from adapters.postgres.follower import AGAIN, Follower
from adapters.postgres.read_models import Failure, Kept, PostgresReadModels
from adapters.postgres.recorder import LogRecorder, Written
from domain import log as language
from domain.aggregate import Aggregate, Outcome
from domain.group import Group
from domain.group_snapshot import GroupSnapshot
from domain.snapshot import Snapshot
from domain.volume import Volume
from projections.attachment_status import ATTACHMENTS
from projections.capabilities import BACKENDS
from projections.exports import EXPORTS
from projections.group_snapshots import GROUP_SNAPSHOTS
from projections.groups import GROUPS
from projections.in_flight import IN_FLIGHT
from projections.reading import Fold
from projections.snapshots import SNAPSHOTS
from projections.volumes import VOLUMES
from service.messages.text import said_by

MODELS = (
    VOLUMES,
    SNAPSHOTS,
    GROUPS,
    GROUP_SNAPSHOTS,
    ATTACHMENTS,
    BACKENDS,
    IN_FLIGHT,
    EXPORTS,
)
REACHED = f"{PREFIX}keeper.reached"
LOOK_EVERY = 0.5  # seconds between two looks at what is to be rebuilt
# What may end somebody's waiting: outcomes, what makes them moot, and what a process
# learns of others.
SETTLING = {
    topic
    for topic, event in language.EVENTS.items()
    if issubclass(event, Outcome | Volume.DeletionStarted | Snapshot.DeletionStarted)
} | {
    event.TOPIC
    for event in (
        Volume.DeletionCalledOff,
        Snapshot.TakenInGroup,
        Snapshot.NotTakenInGroup,
        Snapshot.RestorationEnded,
        Group.VolumeMade,
        Group.MakingFailed,
        Group.VolumeRemoved,
        Group.VolumeKept,
        GroupSnapshot.SnapshotRemoved,
        GroupSnapshot.SnapshotKept,
    )
}

# How far the read models have come, and whose work was settled on the way.
Tell = Callable[[int, list[UUID]], None]

logger = getLogger(__name__)


class Reached(msgspec.Struct, frozen=True):
    """How far the read models have come, and whose work was settled on the way.

    With it goes how things stood a moment ago: how many seconds and events each
    read model and the `stream` are behind the log, how many seconds the oldest has
    been in each transitional status, or waited for what an intent asks, which read
    models have stopped, up to where the log is signed, what is wrong with that, up to
    where it is published, and why the stream takes no more.
    """

    position: int
    settled: list[UUID]
    lags: dict[str, float] = {}
    behind: dict[str, int] = {}
    oldest: dict[str, float] = {}
    stopped: dict[str, Failure] = {}
    signed: int = 0
    unsigned: str = ""
    published: int = 0
    unpublished: str = ""


class Elsewhere(Exception):
    """Another keeper has stored, or the database has lost its last moments."""


class HeldUp(Exception):
    """A table that was built cannot take the place of the one before yet."""


@dataclass
class Lane:
    """Tables at one position, and the fold that they share."""

    fold: Fold
    position: int
    tables: list[Kept] = field(default_factory=list)
    most: int | None = None  # events at a time


class Projecting(Thread):
    """Follows the log and stores what it comes to; `tell` is called in its thread."""

    def __init__(
        self, follower: Follower, tables: PostgresReadModels, tell: Tell
    ) -> None:
        super().__init__(name="projecting", daemon=True)
        self._follower = follower
        self._recorder = follower.recorder
        self._tell = tell
        self._tables = tables
        self._stopping = Flag()
        self._ahead = Lane(self._new_fold(), 0)
        self._behind: list[Lane] = []
        self._looked = 0.0
        self._held_up: set[tuple[str, int]] = set()
        self.failure: BaseException | None = None

    def run(self) -> None:
        try:
            self._tables.create_tables()
            self._tables.renew()
            while not self._stopping.is_set():
                self._keep_while_there()
        except Exception as failure:  # noqa: BLE001 - kept for whoever watches
            self.failure = failure

    def stop(self) -> None:
        """End following, after the page that is being stored."""
        self._stopping.set()
        self.join()

    @property
    def reached(self) -> int:
        """Return the position up to which the read models are that go on."""
        return self._ahead.position

    def _keep_while_there(self) -> None:
        """Keep until stopped, or until the database is away for a moment."""
        try:
            self._begin()
            while not self._stopping.is_set():
                self._go_on()
        except (OperationalError, InterfaceError, Elsewhere, HeldUp):
            logger.debug("the read models are looked for again", exc_info=True)
            self._stopping.wait(AGAIN)

    def _begin(self) -> None:
        """Find out where each table is; those that had stopped are tried again."""
        lanes: dict[int, Lane] = {}
        building: list[Lane] = []
        read: set[str] = set()
        for table in self._tables.kept():
            lane = Lane(self._new_fold(), table.position)
            if table.name in read:  # it joins the others by taking one's place
                building.append(lane)
            else:
                lane = lanes.setdefault(table.position, lane)
                read.add(table.name)
            lane.tables.append(table)
        self._ahead = lanes.pop(max(lanes))
        self._behind = [*lanes.values(), *building]
        self._looked = monotonic()

    def _go_on(self) -> None:
        """Store a page of each lane, or wait for one."""
        self._look()
        patience = 0.0 if self._behind else 0.1
        if page := self._follower.after(self._ahead.position, patience):
            self._store(self._ahead, page)
            self._tell(self.reached, list(settled_in(page)))
        for lane in list(self._behind):
            to_go = max(0, self._ahead.position - lane.position)
            most = to_go if lane.most is None else min(lane.most, to_go)
            self._store(lane, self._follower.after(lane.position, 0)[:most])
            if not lane.tables:
                self._behind.remove(lane)
            elif lane.position == self._ahead.position:
                self._join(lane)

    def _look(self) -> None:
        """Take up what somebody wants to have rebuilt."""
        if monotonic() < self._looked + LOOK_EVERY:
            return
        self._looked = monotonic()
        known = {table[:2] for lane in self._lanes for table in lane.tables}
        for table in self._tables.kept():
            if table[:2] not in known and not table.failure:
                lane = Lane(self._new_fold(), table.position, [table])
                self._behind.append(lane)

    @property
    def _lanes(self) -> list[Lane]:
        return [self._ahead, *self._behind]

    def _store(self, lane: Lane, page: Sequence[Written]) -> None:
        try:
            if lane.tables and page:
                self._take_in(lane, page)
        except (OperationalError, InterfaceError, Elsewhere):
            raise
        except Exception as wrong:  # noqa: BLE001 - said where it can be looked up
            self._take_apart(lane, page, wrong)
        else:
            lane.position = page[-1].position if page else lane.position

    def _take_in(self, lane: Lane, page: Sequence[Written]) -> None:
        models = [self._tables.models[table.name] for table in lane.tables]
        nouns = frozenset[str]().union(*(model.nouns for model in models))
        of_them = [seen for seen in page if seen.topic.partition(".")[0] in nouns]
        events = list(language.decoded(of_them))
        touched = lane.fold.page(events) if events else []
        position = page[-1].position
        if not self._tables.store(lane.tables, touched, position):
            raise Elsewhere
        lane.tables = [table._replace(position=position) for table in lane.tables]

    def _take_apart(
        self, lane: Lane, page: Sequence[Written], wrong: Exception
    ) -> None:
        """Find out which read model fails, and on what: it stops there."""
        logger.debug("looking for what fails in %s", lane.tables, exc_info=wrong)
        lane.fold = self._new_fold()  # it must not meet what it has left
        if lane is self._ahead or len(lane.tables) > 1:
            apart = [Lane(self._new_fold(), lane.position, [t]) for t in lane.tables]
            self._behind += apart
            lane.tables, lane.position = [], page[-1].position
        elif len(page) > 1:
            lane.most = 1
        else:
            self._give_up(lane.tables.pop(), page[0], wrong)

    def _give_up(self, table: Kept, seen: Written, wrong: Exception) -> None:
        """Keep a read model no longer, until it is rebuilt or we are started anew."""
        message = f"{type(wrong).__name__}: {wrong}"
        failure = Failure(seen.position, seen.topic, message)
        logger.error(
            "read model %s stops before position %d (%s)",
            table.name,
            seen.position,
            seen.topic,
            exc_info=wrong,
        )
        self._tables.stop(table, failure)

    def _join(self, lane: Lane) -> None:
        """Have a lane that has caught up go on with the one ahead."""
        for table in lane.tables:
            self._swap(table)
        joined = {table.name for table in lane.tables}
        self._behind.remove(lane)
        for other in self._lanes:  # what a new table replaces is gone
            other.tables = [t for t in other.tables if t.name not in joined]
        self._ahead.tables += lane.tables
        self._ahead.fold = self._new_fold()  # it has not seen all nouns

    def _swap(self, table: Kept) -> None:
        """Have a table take the place of the one before; say once what is in the way.

        That is tried again: somebody who reads for long, or a view of somebody's.
        """
        try:
            self._tables.swap(table)
        except PersistenceError as failure:
            if table[:2] not in self._held_up:
                self._held_up.add(table[:2])
                said = "read model %s is made anew, and cannot take its place yet: %s"
                logger.warning(said, table.name, said_by(failure))
            raise HeldUp from failure

    def _new_fold(self) -> Fold:
        return Fold(self._load)

    def _load(self, ids: list[UUID], until: int) -> dict[UUID, Aggregate]:
        written = self._recorder.histories(ids)
        before = [event for event in written if event.position <= until]
        known = language.replayed(before)
        return {key: aggregate for key, (aggregate, _) in known.items()}


def tables(recorder: LogRecorder) -> PostgresReadModels:
    """Return where the read models are kept."""
    return PostgresReadModels(recorder.datastore, MODELS)


def settled_in(page: Iterable[Written]) -> set[UUID]:
    """Return whose work was settled, as far as that can be read."""
    settled = set()
    for seen in page:
        if seen.topic in SETTLING:
            with suppress(msgspec.DecodeError, UnicodeDecodeError):
                settled.add(_named(seen.state).originator_id)
    return settled


class _Named(msgspec.Struct):
    originator_id: UUID


_named = msgspec.json.Decoder(_Named).decode
