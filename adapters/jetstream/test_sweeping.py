"""What a sweep takes for wanted, however many pages that has."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import msgspec

from adapters.jetstream.sweeping import Sweeper
from adapters.jetstream.turns import Turns

PAGE = dict[str, Any]


class Service:
    """A service that has these pages, one after another, and keeps what it is asked."""

    def __init__(self, *pages: PAGE) -> None:
        self.pages: Iterator[PAGE] = iter(pages)
        self.asked: list[int] = []

    async def tell(self, _: str, body: PAGE, *, gives: Any) -> Any:
        self.asked.append(body["after"])
        return msgspec.convert(next(self.pages), gives)


def page(volume: int, after: int, *, more: bool, **told: Any) -> PAGE:
    item = {"volume_id": str(UUID(int=volume)), "connectors": [], "after": after}
    return {"items": [item], "more": more, "position": 9} | told


def wanted(service: Service) -> list[int]:
    told: Any = service
    storage: Any = SimpleNamespace(driver=None, patiently=None)
    sweeper = Sweeper(told, "files", storage, Turns(), lambda _: None)
    found, _ = asyncio.run(sweeper._wanted(1))
    return [export.volume_id.int for export in found]


def test_pages_of_one_table_go_on_with_one_another() -> None:
    service = Service(page(1, 5, more=True, table=1), page(2, 7, more=False, table=1))

    assert wanted(service) == [1, 2]
    assert service.asked == [0, 5]


def test_pages_are_asked_for_anew_where_their_table_is_another() -> None:
    service = Service(
        page(1, 5, more=True, table=1),
        page(3, 6, more=False, table=2),
        page(1, 1, more=True, table=2),
        page(2, 3, more=False, table=2),
    )

    assert wanted(service) == [1, 2]
    assert service.asked == [0, 5, 0, 1]


def test_a_service_of_an_earlier_version_tells_no_table() -> None:
    service = Service(page(1, 5, more=True, table=1), page(2, 7, more=False))

    assert wanted(service) == [1, 2]
