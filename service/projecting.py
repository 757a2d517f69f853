"""Keeping the read models in step with the log."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from uuid import UUID

import msgspec
from eventsourcing.persistence import Notification

from adapters.jetstream.agent import PREFIX
from adapters.postgres.follower import Follower
from adapters.postgres.read_models import PostgresReadModels
from adapters.postgres.recorder import LogRecorder
from domain import log as language
from domain.aggregate import Aggregate, Event, Outcome
from domain.volume import Volume
from projections.attachment_status import ATTACHMENTS
from projections.capabilities import BACKENDS
from projections.in_flight import IN_FLIGHT
from projections.reading import Fold
from projections.volumes import VOLUMES
from service.log import replayed

MODELS = (VOLUMES, ATTACHMENTS, BACKENDS, IN_FLIGHT)
REACHED = f"{PREFIX}keeper.reached"
PACE = 0.02  # seconds between two pages
SETTLES = (Outcome, Volume.DeletionStarted)


class Reached(msgspec.Struct, frozen=True):
    """How far the read models have come, and whose work was settled on the way."""

    position: int
    settled: list[UUID]


class Projecting:
    """Follows the log and stores what it comes to; `tell` is called in its thread."""

    def __init__(self, recorder: LogRecorder, tell: Callable[[Reached], None]) -> None:
        self._recorder = recorder
        self._tell = tell
        self._tables = tables(recorder)
        self._fold = Fold(self._load)

    def start(self) -> None:
        """Begin to follow, from where anybody has stopped."""
        self._tables.create_tables()
        reached = self._tables.reached()
        self._follower = Follower(self._recorder, self._handle, reached, PACE)
        self._follower.start()

    def stop(self) -> None:
        """End following, after the page that is being stored."""
        self._follower.stop()

    @property
    def reached(self) -> int:
        """Return the position up to which the read models are."""
        return self._follower.reached

    @property
    def failure(self) -> BaseException | None:
        """Why following has ended, if it has."""
        return self._follower.failure

    def _handle(self, page: Sequence[Notification]) -> None:
        events: list[tuple[Event, int]] = [
            (language.decode(seen.topic, seen.state), int(seen.id)) for seen in page
        ]
        position = events[-1][1]
        try:
            self._tables.store(self._fold.page(events), position)
        except Exception:
            # The page will come again, and must not meet what it has left.
            self._fold = Fold(self._load)
            raise
        settled = {e.originator_id for e, _ in events if isinstance(e, SETTLES)}
        self._tell(Reached(position, list(settled)))

    def _load(self, ids: list[UUID], until: int) -> dict[UUID, Aggregate]:
        written = self._recorder.histories(ids)
        before = [event for event in written if event.position <= until]
        return {key: aggregate for key, (aggregate, _) in replayed(before).items()}


def tables(recorder: LogRecorder) -> PostgresReadModels:
    """Return where the read models are kept."""
    return PostgresReadModels(recorder.datastore, MODELS)
