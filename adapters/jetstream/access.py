"""Access to a storage: under the backend's lease, in a thread, beside others or alone.

Nothing touches the storage without the lease. What was begun under one that is over
is left: who has the next finds it in flight.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from typing import Any, TypeVar

from adapters.hands import Hands
from adapters.jetstream.admission import AT_ONCE, Admission, Kind
from adapters.jetstream.lease import Lapsed, Lease
from domain.ports import Driver

T = TypeVar("T")


class Access:
    """Lets one driver do what is asked of it; nothing more once we are `leaving`."""

    leaving = False

    def __init__(self, driver: Driver, lease: Lease, name: str) -> None:
        self.admission = Admission()
        self.driver = driver
        self.lease = lease
        self._hands = Hands(AT_ONCE, f"agent-{name}")

    async def end(self) -> None:
        """Begin nothing more, and return when what is under way has ended."""
        await asyncio.to_thread(self._hands.end)

    def check(self, lease: int) -> None:
        """Raise `Lapsed` unless the storage may be touched; in any thread."""
        if not self.lease.is_good(lease):
            raise Lapsed

    async def beside_others(
        self,
        lease: int,
        what: Callable[..., Any],
        *args: Any,
        kind: Kind = Kind.NEW,
    ) -> Any:
        """Do something beside other work, or raise `Lapsed`."""
        if self.leaving:
            raise Lapsed
        async with self.admission.beside_others(kind):
            return await self.in_thread(lease, what, *args)

    async def patiently(self, lease: int, *what: Any, kind: Kind = Kind.NEW) -> Any:
        """Do it likewise, under a lease that may be renewed late."""
        once = partial(self.beside_others, lease, *what, kind=kind)
        return await self.while_ours(lease, once)

    async def while_ours(self, lease: int, once: Callable[[], Awaitable[T]]) -> T:
        """Do it, again where the lease lapses; raise `Lapsed` where it is over.

        One that was not renewed in time may still be ours when it is.
        """
        while await self.lease.held() == lease and not self.leaving:
            with suppress(Lapsed):
                return await once()
        raise Lapsed

    async def in_thread(self, lease: int, what: Callable[..., Any], *args: Any) -> Any:
        """Do something under a lease, or raise `Lapsed`."""

        def under_lease() -> Any:
            # Asked again, as late as can be: it may have waited for a thread.
            self.check(lease)
            return what(*args)

        self.check(lease)
        run = copy_context().run  # what is traced goes on in the thread
        return await self._hands.do(partial(run, under_lease))
