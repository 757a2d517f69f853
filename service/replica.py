"""One replica of the service: what every subject works with."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from logging import getLogger
from typing import Any

import msgspec
from marshmallow import ValidationError
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error
from nats.micro.service import Service

from adapters.jetstream.direct import Direct
from adapters.jetstream.measuring import Measurement
from adapters.jetstream.signing import is_signed
from adapters.jetstream.taking import Request, subscribe
from adapters.jetstream.telling import PREFIX
from adapters.jetstream.telling import Service as Agents
from adapters.postgres.leases import Leases
from adapters.postgres.writable import try_writing
from domain.backend import Backend, id_of
from domain.ports import Manageable, ManageableSnapshot
from projections import resources
from projections.resources import BackendSeen
from service.audit import history
from service.audit.proving import Proving
from service.deciding.command import Decision, Reply, Unavailable, asking
from service.deciding.log import Log
from service.deciding.room import Measured
from service.keeping.projecting import REACHED, Reached
from service.reading import Reading
from service.settings import Settings

SILENT = 5.0  # seconds after which the next keeper should have been heard
FALLS, FALLING = 3, 60.0  # keepers of ours that end within so many seconds: too many
PATIENCE = 5.0  # seconds that an agent has to measure

logger = getLogger(__name__)


@dataclass(frozen=True)
class Replica:
    """The live log, the read models, and the way to the agents."""

    log: Log
    direct: Direct
    reading: Reading
    client: Client
    settings: Settings
    leases: Leases
    proving: Proving
    services: list[Service] = field(default_factory=list)
    # When our last keepers have ended.
    _fell: deque[float] = field(default_factory=lambda: deque(maxlen=FALLS))

    @property
    def silence(self) -> float:
        """How many seconds no keeper has been heard of, 0 while none is missed."""
        silent = time.monotonic() - self.reading.heard
        return silent if silent > SILENT else 0.0

    def unheard(self) -> bool:
        """Tell whether no keeper is heard of, with broker and database there."""
        there = self.client.is_connected and not self.log.age
        return there and self.silence > 0

    def fell(self) -> None:
        """Note that our keeper has ended."""
        self._fell.append(time.monotonic())

    @property
    def falls(self) -> bool:
        """Whether our keepers end one after another."""
        often = len(self._fell) == FALLS
        return often and time.monotonic() - self._fell[0] < FALLING

    def try_database(self) -> None:
        """Read the log and write beside it; raise what gets in the way."""
        self.log.recorder.max_notification_id()
        try_writing(self.log.recorder.datastore)

    @property
    def key(self) -> bytes:
        """What agents and replicas sign with."""
        return self.settings.key

    def key_if(self, signed: bool) -> bytes:  # noqa: FBT001 - it is the question
        """Return the key for an answer that is to be signed."""
        return self.key if signed else b""

    async def backend(self, name: str, *, anew: bool = False) -> BackendSeen:
        """Return a backend as callers see it, measured `anew` or as it last was.

        Raises `NotFound`, and `Unavailable` where its agent does not answer.
        """

        def look(decision: Decision) -> Reply:
            seen = decision.get(Backend, id_of(name), name)
            return Reply(msgspec.json.encode(resources.backend(seen)))

        reply = await self.log.submit(asking(look))
        if anew:
            await self._measure(name)
        seen = msgspec.json.decode(reply.body, type=BackendSeen)
        return self.log.room.with_measured(seen)

    async def manageable(
        self, name: str, limit: int, cursor: str | None, *, snapshots: bool = False
    ) -> dict[str, Any]:
        """Return a page of what a backend's agent finds that is or could be managed.

        That is volumes, or `snapshots`.

        Raises `NotFound`, `ValidationError` for a cursor that none of ours is, and
        `Unavailable` where its agent does not answer.
        """
        after = history.uncovered(cursor) if cursor else ""
        if cursor and not after:
            raise ValidationError("Must be the `next` of an earlier answer.", "cursor")
        await self.backend(name)
        asked = {"after": after, "limit": limit, "snapshots": snapshots}
        try:
            told = await Agents(self.client, self.key).tell(
                f"agents.{name}.manageable", asked, PATIENCE
            )
        except (Error, TimeoutError):
            raise no_answer(name) from None
        if failure := told["failure"]:
            raise Unavailable(f"backend {name}: {failure}")
        items = told["items"]
        if not told["more"]:
            return {"items": items, "next": None}
        kind = ManageableSnapshot if snapshots else Manageable
        last = msgspec.convert(items[-1], kind)
        return {"items": items, "next": history.covered(last.place)}

    async def listen(self) -> None:
        """Take in what agents and the keeper tell, and told before we started."""
        await self.reading.begin()
        await self.log.read(self.leases.create_table)
        await subscribe(self.client, REACHED, self._reached)
        for name, body in (await self.log.read(self.reading.tables.measured)).items():
            self.log.room.measured[name] = measured(body)
        await self.client.subscribe(f"{PREFIX}agents.*.measured", cb=self._measured)

    def _reached(self, message: Request) -> None:
        if is_signed(self.key, message.subject, message.data, message.headers):
            told = msgspec.json.decode(message.data, type=Reached)
            self.reading.arrived(told)
            self.log.tell(told.settled)
            self.direct.reached(told.published)

    async def _measured(self, message: Msg) -> None:
        if not is_signed(self.key, message.subject, message.data, message.headers):
            logger.warning("a measurement that no agent signed was left aside")
            return
        name, told = message.subject.split(".")[-2], measured(message.data)
        known = self.log.room.measured.get(name)
        if known and told.order <= known.order:
            return  # an old one, or of an agent that serves the backend no more
        self.log.room.know(name, told)
        try:
            await self.log.read(self.reading.tables.measure, name, message.data)
        except Unavailable:
            logger.debug("the measurement of %s is kept in memory alone", name)

    async def _measure(self, name: str) -> None:
        subject = f"{PREFIX}agents.{name}.measure"
        away, before = no_answer(name), self.log.room.measured.get(name)
        try:
            answer = await self.client.request(subject, timeout=PATIENCE)
        except (Error, TimeoutError):
            raise away from None
        if not is_signed(self.key, subject, answer.data, answer.headers):
            raise away
        told, known = measured(answer.data), self.log.room.measured.get(name)
        if known is None or told.order > known.order:
            self.log.room.know(name, told)
        elif known is before:
            raise away  # somebody has sent an old one again


def no_answer(name: str) -> Unavailable:
    """Return what callers are told of an agent that says nothing."""
    return Unavailable(
        f"the agent of backend {name} does not answer; is it up, and do its disks "
        f"answer (`holdfast backend is-working {name}`)?"
    )


def measured(body: bytes) -> Measured:
    """Return what an agent told."""
    told = msgspec.json.decode(body, type=Measurement)
    return Measured(
        told.capabilities,
        told.working,
        told.reason,
        told.reported_at,
        told.lease,
        told.surveyed,
        told.number,
    )
