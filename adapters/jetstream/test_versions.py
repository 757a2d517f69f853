"""An agent and a service of versions that differ, as in a rolling upgrade."""

from __future__ import annotations

import asyncio
import logging
from asyncio import FIRST_COMPLETED
from collections.abc import AsyncIterator, Callable, Coroutine
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import msgspec
import pytest
from nats.errors import NoServersError

from adapters.jetstream import lease, measuring, sweeping
from adapters.jetstream.agent import Agent
from adapters.jetstream.offering import OTHERWISE
from adapters.jetstream.reporting import Report
from adapters.jetstream.signing import NONCE, SIGNATURE, answering, signature
from adapters.jetstream.telling import PREFIX
from adapters.tasks import ended
from domain.aggregate import Done
from domain.capabilities import Capabilities
from domain.ports import Manageable, Survey
from service.testing.deciding import capabilities

KEY = b"key"
MANAGEABLE = f"{PREFIX}agents.files.manageable"
GRANTED = {"lease": 1, "term": 30.0}
USUAL: dict[str, Any] = {
    "agent.take_lease": GRANTED,
    "agent.renew_lease": GRANTED,
    "agent.release_lease": {},
    "agent.announce": {"position": 7},
    "agent.in_flight": {"items": [], "more": False, "position": 7},
    "agent.pool": {"passed": {"data": 80}},
    "agent.report": {"refused": []},
    "agent.progress": {},
    "agent.exports": {"items": [], "more": False, "position": 7},
    "agent.expected": {"items": [], "more": False, "position": 7, "standing": []},
    "agent.surveyed": {},
    "agent.overdue": {},
}
UNKNOWN = {"type": "teapot", "detail": "this is one", "status": 418}


class Shelf:
    """A driver that has nothing yet, in a pool that is rather full."""

    def recognize(self) -> None:
        pass

    def set_up(self) -> None:
        pass

    def capabilities(self) -> Capabilities:
        full = {"data_percent": 85.0}
        return msgspec.structs.replace(capabilities(10), **full)

    def exports(self) -> set[UUID]:
        return set()

    def survey(self) -> Survey:
        return Survey()

    def manageable(self) -> list[Manageable]:
        return []


class Broker:
    """Brings what a service answers, and what it asks, to an agent."""

    is_closed = False
    code = ""

    def __init__(self, **other: bytes) -> None:
        usual = {name: msgspec.json.encode(told) for name, told in USUAL.items()}
        self.answers = usual | {f"agent.{name}": told for name, told in other.items()}
        self.asked = asyncio.Queue[Any]()
        self.heard: list[str] = []
        self.told: list[Any] = []

    async def request(
        self, subject: str, _: bytes, headers: dict[str, str], **__: Any
    ) -> Any:
        name = subject.removeprefix(PREFIX)
        self.heard.append(name)
        body = self.answers[name]
        signed = signature(KEY, answering(subject, headers), body)
        code = "418" if body == msgspec.json.encode(UNKNOWN) else ""
        told = {SIGNATURE: signed, "Nats-Service-Error-Code": code}
        return SimpleNamespace(data=body, headers=told)

    async def publish(self, subject: str, body: bytes, **_: Any) -> None:
        if subject == "reply":
            self.told.append(msgspec.json.decode(body))

    def jetstream(self) -> Any:
        raise NoServersError

    async def subscribe(self, subject: str) -> Any:
        async def messages() -> AsyncIterator[Any]:
            while subject == MANAGEABLE:
                yield await self.asked.get()
            await asyncio.Event().wait()

        return SimpleNamespace(messages=messages())

    def ask(self, body: bytes) -> None:
        """Ask the agent for what it has that could be managed."""
        headers = {NONCE: "1", SIGNATURE: signature(KEY, MANAGEABLE, body)}
        self.asked.put_nowait(
            SimpleNamespace(data=body, headers=headers, reply="reply")
        )


@pytest.fixture(autouse=True)
def _warned(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "adapters.jetstream")


STRANGE = [b"{}", b"[]", b"8", b"no JSON", b"\xff", msgspec.json.encode(UNKNOWN)]


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "FAULT_AGAIN", 0.01)
    monkeypatch.setattr(lease, "RENEW_EVERY", 0.01)
    monkeypatch.setattr(measuring, "AGAIN", 0.01)
    monkeypatch.setattr(sweeping, "AGAIN", 0.01)


@pytest.mark.parametrize("answer", STRANGE)
@pytest.mark.parametrize(
    "subject",
    [
        "take_lease",
        "renew_lease",
        "announce",
        "in_flight",
        "pool",
        "exports",
        "report",
    ],
)
def test_an_answer_of_another_version_ends_no_agent_and_is_told_of_once(
    subject: str, answer: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    asked = f"agent.{subject}"

    async def scenario(broker: Broker, agent: Agent) -> None:
        while broker.heard.count(asked) < 3:
            agent._measuring.changed()
            agent._sweeper.know(await agent._lease.held()) if agent.serves else None
            done = Report("volume", UUID(int=1), 1, "7", done=Done())
            reporting = asyncio.ensure_future(agent._reporter.report(1, done))
            await asyncio.wait([reporting], timeout=0.05)
            await ended(reporting)

    lived(Broker(**{subject: answer}), scenario)

    assert caplog.text.count(f"the service's answer to {asked}") == 1


def test_a_field_more_is_nothing_to_an_agent(caplog: pytest.LogCaptureFixture) -> None:
    more = {
        name.removeprefix("agent."): msgspec.json.encode(told | {"more_of_it": [8]})
        for name, told in USUAL.items()
    }

    async def scenario(broker: Broker, agent: Agent) -> None:
        await until(lambda: {"agent.in_flight", "agent.pool"} <= set(broker.heard))

    lived(Broker(**more), scenario)

    assert "the service's answer" not in caplog.text


@pytest.mark.parametrize("asked", [b"{}", b"8", b"no JSON", b"\xff"])
def test_what_is_asked_otherwise_is_said_to_be_so_and_what_comes_next_is_answered(
    asked: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(broker: Broker, agent: Agent) -> list[Any]:
        await until(lambda: not agent.failure)
        for body in (asked, asked, b'{"after": "", "limit": 3, "more_of_it": 8}'):
            broker.ask(body)
        await until(lambda: len(broker.told) == 3)
        return [told["failure"] for told in broker.told]

    assert lived(Broker(), scenario) == [OTHERWISE, OTHERWISE, None]
    assert caplog.text.count("agents.files.manageable is not asked as we know") == 1


@pytest.mark.parametrize("topic", ["volume.teleported", "volume.creation_finished"])
def test_work_of_a_topic_that_is_none_of_ours_is_told_of_once(
    topic: str, caplog: pytest.LogCaptureFixture
) -> None:
    work = {"position": 5, "topic": topic, "event": {"of": "another version"}}
    page = msgspec.json.encode(USUAL["agent.in_flight"] | {"items": [work]})

    async def scenario(broker: Broker, _: Agent) -> None:
        await until(lambda: broker.heard.count("agent.in_flight") > 2)

    lived(Broker(in_flight=page), scenario)

    assert caplog.text.count("what is asked at 5 cannot be read") == 1


async def until(so: Callable[[], bool]) -> None:
    while not so():  # noqa: ASYNC110 - what it looks at has no event for us
        await asyncio.sleep(0.01)


def lived(
    broker: Broker, scenario: Callable[[Broker, Agent], Coroutine[Any, Any, Any]]
) -> Any:
    """Return what comes of a scenario with an agent, which does not end before it."""

    async def live() -> Any:
        client: Any = broker
        agent = Agent(client, Shelf(), "files", KEY, "holder")  # type: ignore[arg-type]
        running = asyncio.ensure_future(agent.run())
        scene = asyncio.ensure_future(scenario(broker, agent))
        try:
            async with asyncio.timeout(20):
                await asyncio.wait([running, scene], return_when=FIRST_COMPLETED)
            if running.done():
                running.result()
            return await scene
        finally:
            await ended(running, scene)

    return asyncio.run(live())
