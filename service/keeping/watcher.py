"""Nothing stays in between: what is overdue is given up, released, or looked after.

Every transitional status has its deadline. Work that a backend has not settled
by then failed, and says so; a promise that nobody used is released; a host that
has neither attached nor detached is looked for. Each is decided like any other
command, on the newest state, so several watchers do no harm.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from logging import getLogger
from time import monotonic
from typing import Any
from uuid import UUID

from adapters.postgres.read_models import Found, PostgresReadModels
from domain.aggregate import NotDone
from domain.attachment import AttachStatus
from domain.log import AGGREGATES
from domain.provenance import Moment, Provenance
from domain.volume import Volume
from projections.attachment_status import ATTACHMENTS
from projections.in_flight import IN_FLIGHT
from projections.reading import ReadModel
from service.deciding.command import Command, Decision, Reply, Unavailable
from service.deciding.log import Log
from service.deciding.reactions import follow
from service.messages.problems import problem_of
from service.settings import Deadlines

EVERY = 1.0  # seconds
FAULT_AGAIN = 60.0  # seconds until what nobody can decide is decided again
FAULT = 500

logger = getLogger(__name__)

# How long each kind of work may take.
WORK: dict[str, Callable[[Deadlines], float]] = {
    "volume.created": lambda deadlines: deadlines.creating,
    "volume.rescheduled": lambda deadlines: deadlines.creating,
    "volume.extension_started": lambda deadlines: deadlines.extending,
    "volume.deletion_started": lambda deadlines: deadlines.deleting,
    "volume.cascade_started": lambda deadlines: deadlines.deleting,
    "volume.reversion_started": lambda deadlines: deadlines.reverting,
    "volume.managing_started": lambda deadlines: deadlines.managing,
    "volume.unmanaging_started": lambda deadlines: deadlines.unmanaging,
    "volume.connection_started": lambda deadlines: deadlines.attaching,
    "volume.export_started": lambda deadlines: deadlines.attaching,
    "volume.disconnection_started": lambda deadlines: deadlines.detaching,
    "volume.export_removal_started": lambda deadlines: deadlines.detaching,
    "volume.session_looked_for": lambda deadlines: deadlines.detaching,
    "snapshot.created": lambda deadlines: deadlines.creating,
    "snapshot.deletion_started": lambda deadlines: deadlines.deleting,
    "snapshot.managing_started": lambda deadlines: deadlines.managing,
    "snapshot.unmanaging_started": lambda deadlines: deadlines.unmanaging,
    "group_snapshot.created": lambda deadlines: deadlines.creating,
    "group.deletion_started": lambda deadlines: deadlines.deleting,
    "backend.initialization_started": lambda deadlines: deadlines.creating,
    "backend.repair_started": lambda deadlines: deadlines.deleting,
}


def look(volume: Volume, attachment_id: UUID) -> None:
    """Look after a host, unless a backend is still at work for it."""
    if not volume.work_for(attachment_id):
        volume.look_for_session(attachment_id)


HOLDS: dict[AttachStatus, Callable[[Volume, UUID], None]] = {
    AttachStatus.RESERVED: Volume.expire,
    AttachStatus.ATTACHING: look,
    AttachStatus.DETACHING: look,
}


class Watcher:
    """Looks for what is overdue, again and again."""

    def __init__(
        self, log: Log, tables: PostgresReadModels, deadlines: Deadlines
    ) -> None:
        self._log = log
        self._tables = tables
        self._deadlines = deadlines
        self._later: dict[int, float] = {}  # by what began it

    async def run(self) -> None:
        """Watch for ever; while the log is away, nothing is overdue."""
        while True:
            await asyncio.sleep(EVERY)
            try:
                await self.look()
            except Unavailable:
                logger.debug("the log is away")

    async def look(self) -> None:
        """Decide about everything that is overdue now."""
        work = {topic: of(self._deadlines) for topic, of in WORK.items()}
        for row in await self._overdue(IN_FLIGHT, work):
            seconds = work[row.filters["topic"]]
            self._submit(row.created, self._give_up(row, seconds))
        holds = {str(s): getattr(self._deadlines, s) for s in HOLDS}
        for row in await self._overdue(ATTACHMENTS, holds):
            status = AttachStatus(row.filters["status"])
            about = self._about(row, status, HOLDS[status], holds[status])
            self._submit(row.created, about)  # what began it

    async def _overdue(
        self, model: ReadModel, seconds: Mapping[str, float]
    ) -> list[Found]:
        """Return rows that have stayed with one of these values for too long."""
        now = datetime.now(UTC)
        before = {
            value: (now - timedelta(seconds=allowed)).isoformat()
            for value, allowed in seconds.items()
        }
        return await self._log.read(self._tables.overdue, model.name, before)

    def _give_up(self, row: Found, seconds: float) -> Callable[[Decision], None]:
        """Return the decision that work which was not settled in time has failed."""
        aggregate_id, _, version = row.key.partition("/")
        backend = row.filters["backend"]
        since = row.filters["since"]  # unless it has gone on meanwhile
        said = (
            f"the agent of backend {backend} has not done it within {seconds:g} s; "
            f"see what `holdfast backend is-working {backend}` says, then ask again"
        )

        def decide(log: Decision) -> None:
            kinds = AGGREGATES.values()
            found = (log.find(kind, UUID(aggregate_id)) for kind in kinds)
            aggregate: Any = next(kind for kind in found if kind)
            intent = aggregate.in_flight.get(int(version))
            if intent and aggregate.waited_for(intent).isoformat() == since:
                aggregate.report(int(version), NotDone("deadline", said))

        return decide

    def _about(
        self,
        row: Found,
        status: AttachStatus,
        decided: Callable[[Volume, UUID], None],
        seconds: float,
    ) -> Callable[[Decision], None]:
        """Return the decision about an attachment that stayed as it was too long."""
        attachment_id = UUID(row.key)

        def decide(log: Decision) -> None:
            volume = log.whole(Volume, attachment_id, "attachment")
            attachment = volume.attachments.get(attachment_id)
            since = datetime.now(UTC) - timedelta(seconds=seconds)
            if attachment and attachment.status is status and attachment.since < since:
                decided(volume, attachment_id)

        return decide

    def _submit(self, cause: int, decide: Callable[[Decision], None]) -> None:
        if monotonic() < self._later.get(cause, 0.0):
            return

        def decided(log: Decision) -> Reply:
            try:
                decide(log)
                follow(log)
            except Exception as problem:  # noqa: BLE001 - said in the log, not here
                reply = problem_of(problem)
                if reply.code == FAULT:  # what cannot be read stays so for a while
                    self._later[cause] = monotonic() + FAULT_AGAIN
                return reply
            return Reply(b"{}")

        provenance = Provenance(
            actor="holdfast",
            reason="its deadline has passed",
            causation_id=str(cause),
            recorded_by="watcher",
        )
        moment = Moment(datetime.now(UTC), provenance)
        self._log.submit(Command(decided, lambda *_: Reply(b"{}"), moment, b""))
