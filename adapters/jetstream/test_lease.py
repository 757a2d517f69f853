"""A lease, and a service that is slow to answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from adapters.jetstream import lease as module
from adapters.jetstream.lease import Lease
from adapters.jetstream.telling import Refusal
from adapters.tasks import ended

TERM = 0.5  # seconds
ENOUGH = 20  # answers, in several terms


class Granting:
    """A service that grants leases, and takes most of a term to renew one."""

    def __init__(self, *refused: int) -> None:
        self.refused = refused
        self.number = 0
        self.answers = 0
        self.enough = asyncio.Event()

    async def tell(self, subject: str, body: Any, seconds: float = 5.0) -> Any:
        if subject == "agent.take_lease":
            self.number += 1
            return {"lease": self.number, "term": TERM}
        async with asyncio.timeout(seconds):
            await asyncio.sleep(0.6 * TERM)
        self.answers += 1
        if self.answers > ENOUGH:
            self.enough.set()
        if body["lease"] in self.refused:
            raise Refusal("it is another's")
        return {"lease": body["lease"], "term": TERM}


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RENEW_EVERY", 0.05)
    monkeypatch.setattr(module, "TRY_EVERY", 0.01)


Scenario = Callable[[Lease, Granting], Awaitable[Any]]


def kept(scenario: Scenario, *refused: int) -> Any:
    """Return what comes of a scenario with a lease that is kept."""

    async def lived() -> Any:
        service: Any = Granting(*refused)
        lease = Lease(service, "files", "one", "node-1")
        keeping = asyncio.ensure_future(lease.keep())
        async with asyncio.timeout(30):
            await lease.held()
            result = await scenario(lease, service)
        await ended(keeping)
        return result

    return asyncio.run(lived())


def test_a_lease_whose_renewals_are_answered_late_stays_good() -> None:
    async def scenario(lease: Lease, service: Granting) -> bool:
        lapsed = asyncio.ensure_future(lease_lapses(lease))
        await service.enough.wait()
        await ended(lapsed)
        return lapsed.cancelled()

    assert kept(scenario)


async def lease_lapses(lease: Lease) -> None:
    while lease.is_good(1):  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0.005)


def test_a_late_refusal_of_one_lease_takes_nothing_from_the_next() -> None:
    async def scenario(lease: Lease, service: Granting) -> tuple[int, int]:
        await lease.other(1, 20)
        await service.enough.wait()
        return lease.number, service.number

    assert kept(scenario, 1) == (2, 2)
