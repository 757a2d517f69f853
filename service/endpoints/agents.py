"""Subjects under `agent`: what a backend's agent tells, signed with the agents' key.

All but the first two name the lease under which the agent serves the backend; an
old one is refused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
from marshmallow import fields, validate

from adapters.jetstream.reporting import Report
from adapters.postgres.leases import TERM
from domain.backend import Backend, id_of
from domain.drift import Drift, Facts, Subject
from domain.log import AGGREGATES
from domain.provenance import Moment, Provenance, Ran
from projections import resources
from service.audit import drifting, overdue
from service.audit.drifting import KINDS
from service.deciding import placing
from service.deciding.command import Command, Decision, Reply, asking
from service.deciding.reactions import follow
from service.endpoints.endpoint import endpoint, query
from service.messages.problems import problem_of
from service.messages.schema import BACKEND, WORD, Message, StrictInteger, StrictUUID

if TYPE_CHECKING:
    from service.replica import Replica


class TakeLease(Message):
    name = fields.String(required=True, validate=BACKEND)
    holder = fields.String(required=True, validate=WORD)
    host = fields.String(required=True, validate=WORD)


@query("agent.take_lease", takes=TakeLease(), signed=True, by_agents=True)
async def take_lease(
    replica: Replica, name: str, holder: str, host: str
) -> dict[str, Any] | Reply:
    """Let an agent serve a backend, unless another one does.

    It is told when the one before was last heard of: what was asked of the backend
    since then, nobody has begun. And whether any has found the storage usable.
    """
    last, protocol = 0, ""

    def look(log: Decision) -> None:
        nonlocal last, protocol
        if known := log.find(Backend, id_of(name)):
            last, protocol = known.lease, known.storage_protocol

    reply = await replica.log.submit(asking(answered(look)))
    if reply.code:
        return reply
    heard_of = await replica.log.lease(replica.leases.last_heard_of, name)
    # A number that comes to nothing is never given again.
    number = await replica.log.lease(replica.leases.take, name, holder, host, last)
    taking = from_agent(name, lambda log: take_over(log, name, number, holder, host))
    reply = await replica.log.submit(taking)
    if reply.code:
        return reply
    granted = {"lease": number, "term": TERM, "unserved_since": heard_of}
    return granted | {"set_up_before": bool(protocol)}


def take_over(log: Decision, name: str, number: int, holder: str, host: str) -> None:
    """Record a lease, of a backend that may be new."""
    known = log.find(Backend, id_of(name))
    if known is None:
        log.add(Backend.taken_over(name, number, holder, host))
    else:
        known.take_lease(number, holder, host)


class Leased(Message):
    name = fields.String(required=True, validate=BACKEND)
    lease = StrictInteger(required=True, validate=validate.Range(min=1))


@query("agent.renew_lease", takes=Leased(), signed=True, by_agents=True)
async def renew_lease(replica: Replica, name: str, lease: int) -> dict[str, Any]:
    """Let an agent serve its backend for another term."""
    await replica.log.lease(replica.leases.renew, name, lease)
    return {"lease": lease, "term": TERM}


@query("agent.release_lease", takes=Leased(), signed=True, by_agents=True)
async def release_lease(replica: Replica, name: str, lease: int) -> dict[str, Any]:
    """Let the next agent serve a backend at once."""
    await replica.log.lease(replica.leases.release, name, lease)
    return {}


class Announce(Leased):
    host = fields.String(required=True, validate=WORD)
    driver = fields.String(required=True, validate=WORD)
    # None until the storage has told it.
    storage_protocol = fields.String(load_default=None, allow_none=True, validate=WORD)


@endpoint("agent.announce", takes=Announce(), gives=resources.backend, signed=True)
def announce(log: Decision, name: str, lease: int, **about: str) -> Backend:
    """Note what a backend is, and where it is served from."""
    backend = leased(log, name, lease)
    backend.announce(about["host"], about["driver"], about["storage_protocol"])
    return backend


class Pool(Leased):
    percents = fields.Dict(
        fields.String(validate=validate.OneOf(["data", "metadata"])),
        fields.Float(validate=validate.Range(min=0, max=100)),
        required=True,
    )


@query("agent.pool", takes=Pool(), signed=True, by_agents=True)
async def pool(
    replica: Replica, name: str, lease: int, percents: dict[str, float]
) -> dict[str, Any] | Reply:
    """Note how full a backend's pool is; tells the thresholds that it has passed."""
    noted: dict[str, int] = {}

    def decide(log: Decision) -> None:
        nonlocal noted
        backend = leased(log, name, lease)
        backend.measure_pool(percents)
        noted = dict(backend.pool)

    reply = await replica.log.submit(from_agent(name, decide))
    if reply.code:
        return reply
    return {"passed": {part: noted.get(part, 0) for part in percents}}


class InFlight(Message):
    name = fields.String(required=True, validate=BACKEND)
    lease = StrictInteger(load_default=None, allow_none=True)
    after = StrictInteger(required=True, validate=validate.Range(min=0))


@query("agent.in_flight", takes=InFlight(), signed=True)
async def in_flight(
    replica: Replica, name: str, lease: int | None, after: int
) -> dict[str, Any] | Reply:
    """List what is asked of a backend and not settled, in the order of the log.

    Whoever only looks needs no lease.
    """
    if lease is not None and (refusal := await unleased(replica, name, lease)):
        return refusal
    return await replica.reading.in_flight(name, after)


async def unleased(replica: Replica, name: str, lease: int) -> Reply | None:
    """Return the refusal of an agent that does not serve the backend."""
    looking = asking(answered(lambda log: leased(log, name, lease)))
    reply = await replica.log.submit(looking)
    return reply if reply.code else None


class Exports(Leased):
    after = StrictInteger(required=True, validate=validate.Range(min=0))


@query("agent.exports", takes=Exports(), signed=True, by_agents=True)
async def exports(
    replica: Replica, name: str, lease: int, after: int
) -> dict[str, Any] | Reply:
    """List which hosts are to reach which volumes of a backend."""
    refusal = await unleased(replica, name, lease)
    return refusal or await replica.reading.exports(name, after)


class Told(fields.Field[list[Any]]):
    """What agents tell; its shape is the agent's own, so it needs no schema here."""

    default_error_messages = {"invalid": "Not a list of those."}  # noqa: RUF012

    def __init__(self, kind: type, **more: Any) -> None:
        super().__init__(**more)
        self._kind = kind

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> list[Any]:
        try:
            return msgspec.convert(value, list[self._kind])  # type: ignore[name-defined]
        except msgspec.ValidationError as error:
            raise self.make_error("invalid") from error


class Expected(Leased):
    noun = fields.String(required=True, validate=validate.OneOf([*KINDS]))
    after = StrictInteger(required=True, validate=validate.Range(min=0))


@query("agent.expected", takes=Expected(), signed=True, by_agents=True)
async def expected(
    replica: Replica, name: str, lease: int, noun: str, after: int
) -> dict[str, Any] | Reply:
    """List the volumes or snapshots that a backend is to have, and what drift stands.

    What stands is known before the rest is read.
    """
    standing: list[Subject] = []

    def look(log: Decision) -> None:
        standing[:] = drifting.standing(leased(log, name, lease))

    reply = await replica.log.submit(asking(answered(look)))
    if reply.code:
        return reply
    page = await replica.reading.expected(name, noun, after)
    return page | {"standing": [] if after else standing}


class Surveyed(Leased):
    position = StrictInteger(required=True, validate=validate.Range(min=0))
    facts = Told(Facts, required=True)


@query("agent.surveyed", takes=Surveyed(), signed=True, by_agents=True)
async def surveyed(
    replica: Replica, name: str, lease: int, position: int, facts: list[Facts]
) -> Reply:
    """Compare what a storage has with the log, and record what differs.

    The log was at the position before the storage was looked at.
    """
    last = await drifting.explanations(replica.log, facts)

    def decide(log: Decision) -> None:
        drifting.compare(log, leased(log, name, lease), position, facts, last)

    return await replica.log.submit(from_agent(name, decide))


@query("agent.overdue", takes=Leased(), signed=True, by_agents=True)
async def find_overdue(
    replica: Replica, name: str, lease: int
) -> dict[str, Any] | Reply:
    """Compare what is asked of a backend with its deadlines, and record what is late.

    Deadlines pass by themselves; this finds out where they have not. It is the last
    step of a survey, and tells how many findings of each kind stand after it.
    """
    asked = await overdue.candidates(replica, name)
    standing = Counter[Drift]()

    def decide(log: Decision) -> None:
        nonlocal standing
        backend = leased(log, name, lease)
        overdue.compare(log, backend, asked)
        standing = Counter(key.drift for key in backend.drift)

    reply = await replica.log.submit(from_agent(name, decide))
    return reply if reply.code else {"findings": standing}


class Reports(Leased):
    reports = Told(Report, required=True)


@query("agent.report", takes=Reports(), signed=True, by_agents=True)
async def report(
    replica: Replica, name: str, lease: int, reports: list[Report]
) -> dict[str, Any]:
    """Accept what came of intents, each by itself, and say which are refused."""
    answers = [replica.log.submit(reporting(name, lease, told)) for told in reports]
    replies = [await answer for answer in answers]
    return {
        "refused": [
            {"report": number} | refusal(reply)
            for number, reply in enumerate(replies)
            if reply.code
        ]
    }


def refusal(reply: Reply) -> dict[str, Any]:
    """Return what an agent is told of a report that is refused."""
    problem = msgspec.json.decode(reply.body)
    return {"code": reply.code, "type": problem["type"], "detail": problem["detail"]}


class Progressed(Leased):
    noun = fields.String(required=True, validate=validate.OneOf([*AGGREGATES]))
    aggregate_id = StrictUUID(required=True, data_key="id")
    intent = StrictInteger(required=True, validate=validate.Range(min=1))
    causation_id = fields.String(required=True, validate=WORD)
    percent = StrictInteger(required=True, validate=validate.Range(min=0, max=100))


@query("agent.progress", takes=Progressed(), signed=True, by_agents=True)
async def progress(
    replica: Replica, name: str, lease: int, causation_id: str, **told: Any
) -> Reply:
    """Note how far work is that takes its time."""

    def decide(log: Decision) -> None:
        leased(log, name, lease)
        working: Any = log.get(AGGREGATES[told["noun"]], told["aggregate_id"])
        working.progress(told["intent"], told["percent"])

    cause = {"causation_id": causation_id}
    return await replica.log.submit(from_agent(name, decide, **cause))


def reporting(name: str, lease: int, told: Report) -> Command:
    """Return the command that settles an intent."""

    def decide(log: Decision) -> None:
        leased(log, name, lease)
        reported: Any = log.get(AGGREGATES[told.noun], told.id)
        if not placing.rescheduled(log, reported, told.intent, told.result):
            reported.report(told.intent, told.result)

    cause = {"causation_id": told.causation_id, "traceparent": told.traceparent}
    return from_agent(name, decide, told.ran, **cause)


def leased(log: Decision, name: str, lease: int) -> Backend:
    """Return a backend as its agent may change it, or raise `LeaseLost`."""
    backend = log.get(Backend, id_of(name), name)
    backend.check_lease(lease)
    return backend


def from_agent(
    name: str,
    decide: Callable[[Decision], Any],
    ran: tuple[Ran, ...] = (),
    /,
    **cause: str,
) -> Command:
    """Return a command of a backend's agent."""
    who = f"agent {name}"
    told_by = Provenance(actor=who, recorded_by=who, **cause)
    return Command(
        answered(decide),
        lambda *_: Reply(b"{}"),
        Moment(datetime.now(UTC), told_by, ran),
        b"",
    )


def answered(decide: Callable[[Decision], Any]) -> Callable[[Decision], Reply]:
    """Return the decision with what there is to answer: nothing, or why not."""

    def answer(log: Decision) -> Reply:
        try:
            decide(log)
            follow(log)
        except Exception as problem:  # noqa: BLE001 - a refusal is an answer too
            return problem_of(problem)
        return Reply(b"{}")

    return answer


ENDPOINTS = (
    take_lease,
    renew_lease,
    release_lease,
    announce,
    pool,
    in_flight,
    exports,
    expected,
    surveyed,
    find_overdue,
    report,
    progress,
)
