"""A lease, and a service that is slow to answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from adapters.jetstream import lease as module
from adapters.jetstream.lease import Granted, Lease
from adapters.jetstream.telling import Fault, Refusal
from adapters.tasks import ended

TERM = 60  # seconds


class Granting:
    """A service that grants leases at once, and renews them when it is let."""

    def __init__(self) -> None:
        self.number = 0
        self.refuses = False
        self.asked = asyncio.Queue[tuple[int, asyncio.Future[Any]]]()

    async def tell(
        self, subject: str, body: Any, seconds: float = 5.0, **_: Any
    ) -> Any:
        if subject == "agent.take_lease":
            if self.refuses:
                raise Refusal
            self.number += 1
            return Granted(self.number, TERM)
        answer = asyncio.get_running_loop().create_future()
        self.asked.put_nowait((body["lease"], answer))
        async with asyncio.timeout(seconds):
            return await answer

    async def renewal(self, number: int) -> asyncio.Future[Any]:
        """Return what is to answer the next renewal of that lease."""
        while True:
            asked, answer = await self.asked.get()
            if asked == number:
                return answer


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RENEW_EVERY", 0.01)
    monkeypatch.setattr(module, "TRY_EVERY", 0.01)


Scenario = Callable[[Lease, Granting], Awaitable[Any]]


def kept(scenario: Scenario) -> Any:
    """Return what comes of a scenario with a lease that is kept."""

    async def lived() -> Any:
        service: Any = Granting()
        lease = Lease(service, "files", "one", "node-1")
        keeping = asyncio.ensure_future(lease.keep())
        async with asyncio.timeout(50):
            await lease.held()
            result = await scenario(lease, service)
        await ended(keeping)
        return result

    return asyncio.run(lived())


def test_a_renewal_waits_for_no_answer_to_the_one_before() -> None:
    async def scenario(_: Lease, service: Granting) -> bool:
        first = await service.renewal(1)
        await service.renewal(1)
        return first.done()

    assert kept(scenario) is False


def test_an_answer_that_comes_after_the_next_was_asked_for_counts() -> None:
    async def scenario(lease: Lease, service: Granting) -> bool:
        first = await service.renewal(1)
        await service.renewal(1)
        lease.drop()
        first.set_result(Granted(1, TERM))
        await lease.held()
        return lease.is_good(1)

    assert kept(scenario)


def test_a_late_refusal_of_one_lease_takes_nothing_from_the_next() -> None:
    async def scenario(lease: Lease, service: Granting) -> tuple[int, int]:
        first, second = await service.renewal(1), await service.renewal(1)
        first.set_exception(Refusal())
        await service.renewal(2)
        second.set_exception(Refusal())
        await service.renewal(2)
        return lease.number, service.number

    assert kept(scenario) == (2, 2)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What time it is, for leases."""
    time = [1000.0]
    monkeypatch.setattr(module, "now", lambda: time[0])
    return time


def test_a_lease_is_good_for_its_term_and_no_longer(clock: list[float]) -> None:
    async def scenario(lease: Lease, _: Granting) -> list[bool]:
        found = []
        for elapsed in (0.0, TERM - 0.1, TERM):
            clock[0] = 1000.0 + elapsed
            found.append(lease.is_good(1))
        return found

    assert kept(scenario) == [True, True, False]


def test_no_lease_is_good_but_the_one_that_is_held() -> None:
    async def scenario(lease: Lease, _: Granting) -> list[bool]:
        return [lease.is_good(number) for number in (0, 1, 2)]

    assert kept(scenario) == [False, True, False]


def test_a_lease_that_is_refused_is_good_no_more() -> None:
    async def scenario(lease: Lease, service: Granting) -> bool:
        service.refuses = True
        (await service.renewal(1)).set_exception(Refusal("it is over"))
        while not lease.waits_for:  # noqa: ASYNC110 - it has no event for us
            await asyncio.sleep(0.001)
        return lease.is_good(lease.number)

    assert kept(scenario) is False


def test_another_term_begins_when_its_renewal_is_asked_for(clock: list[float]) -> None:
    async def scenario(lease: Lease, service: Granting) -> list[bool]:
        answer = await service.renewal(1)
        clock[0] += TERM / 2  # so long is the answer under way
        answer.set_result(Granted(1, TERM))
        await asyncio.sleep(0.05)
        found = [lease.is_good(1)]
        clock[0] += TERM / 2
        return [*found, lease.is_good(1)]

    assert kept(scenario) == [True, False]


def test_a_term_begins_when_its_lease_is_asked_for(clock: list[float]) -> None:
    class Slow(Granting):
        async def tell(self, subject: str, body: Any, *_: Any, **__: Any) -> Any:
            answer = await super().tell(subject, body)
            clock[0] += TERM - 1
            return answer

    async def lived() -> list[bool]:
        service: Any = Slow()
        lease = Lease(service, "files", "one", "node-1")
        await lease._take()
        found = [lease.is_good(1)]
        clock[0] += 1
        return [*found, lease.is_good(1)]

    assert asyncio.run(lived()) == [True, False]


def test_a_fault_is_told_of_once_and_asked_about_less_often(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing(Granting):
        async def tell(self, subject: str, *_: Any, **__: Any) -> Any:
            self.number += 1
            if self.number < 3:
                raise Fault(subject)
            return Granted(1, TERM)

    async def asked(service: Any) -> float:
        lease = Lease(service, "files", "one", "node-1")
        began = asyncio.get_running_loop().time()
        keeping = asyncio.ensure_future(lease.keep())
        async with asyncio.timeout(50):
            await lease.held()
        await ended(keeping)
        return asyncio.get_running_loop().time() - began

    monkeypatch.setattr(module, "FAULT_AGAIN", 0.5)
    assert asyncio.run(asked(Failing())) > 1.0
    assert caplog.text.count("waiting: the service fails") == 1
