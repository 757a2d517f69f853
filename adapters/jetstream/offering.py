"""Offering: what a backend has that could be taken over is told when asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

import msgspec
from nats.aio.client import Client
from nats.errors import Error

from adapters.jetstream.access import Access
from adapters.jetstream.lease import Lapsed
from adapters.jetstream.operation import in_words
from adapters.jetstream.telling import PREFIX, Service
from domain.ports import Manageable

OTHERWISE = "its agent is of another version, which is asked that otherwise"


class Asked(msgspec.Struct, frozen=True):
    """Which page of what could be managed: so many, behind a place."""

    after: str
    limit: int
    snapshots: bool = False


class Told(msgspec.Struct, frozen=True):
    """Such a page, and whether there is more; or why there is none."""

    items: Sequence[Manageable] = ()
    more: bool = False
    failure: str | None = None


class Offering:
    """Answers for a backend; `failure` tells why its storage is not usable, if so."""

    def __init__(
        self,
        service: Service,
        name: str,
        access: Access,
        failure: Callable[[], str | None],
    ) -> None:
        self._service = service
        self._subject = f"agents.{name}.manageable"
        self._access = access
        self._failure = failure

    async def run(self, client: Client) -> None:
        """Answer for ever, where the backend's lease is ours."""
        subscription = await client.subscribe(PREFIX + self._subject)
        async for message in subscription.messages:
            if self._service.has_asked(self._subject, message):
                asked = self._service.asked(self._subject, message, Asked)
                with suppress(Error, Lapsed):
                    told = await self._page(asked)
                    await self._service.answer(self._subject, message, told)

    async def _page(self, asked: Asked | None) -> Told:
        """Return a page of what is or could be managed; raise `Lapsed`."""
        lease, driver = self._access.lease.number, self._access.driver
        self._access.check(lease)  # whoever has it answers
        if asked is None:
            return Told(failure=OTHERWISE)
        if failure := self._failure():
            return Told(failure=failure)
        try:
            look = driver.manageable_snapshots if asked.snapshots else driver.manageable
            found = await self._access.beside_others(lease, look)
        except Lapsed:
            raise
        except Exception as failed:  # noqa: BLE001 - told, and asked again
            return Told(failure=in_words(failed))
        later = [each for each in found if each.place > asked.after]
        return Told(later[: asked.limit], more=len(later) > asked.limit)
