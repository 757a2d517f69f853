"""Who may touch the storage now, and who lets whom pass."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from adapters.jetstream import admission
from adapters.jetstream.admission import Admission, Kind

SOON = 0.05  # seconds in which what may go on does


@pytest.mark.parametrize("old", [Kind.OLD, Kind.OLD | Kind.LONG])
def test_old_work_lets_new_work_pass(old: Kind) -> None:
    assert asyncio.run(admitted(Kind.NEW, old)) == [Kind.NEW]


def test_new_work_that_takes_long_comes_in_beside_what_does_not() -> None:
    kinds = [Kind.NEW, Kind.LONG, Kind.LONG, Kind.LONG, Kind.NEW]

    assert asyncio.run(admitted(*kinds)) == [*kinds[:3], Kind.NEW]


def test_old_work_that_takes_long_does_not_keep_other_old_work_out() -> None:
    kinds = [Kind.OLD | Kind.LONG] * 3 + [Kind.OLD]

    assert asyncio.run(admitted(*kinds)) == [*kinds[:2], Kind.OLD]


def test_new_work_does_not_wait_for_old_work() -> None:
    assert asyncio.run(admitted(Kind.OLD, Kind.NEW)) == [Kind.OLD, Kind.NEW]


def test_old_work_waits_for_its_time_and_no_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(admission, "POLITE", SOON / 5)

    assert asyncio.run(admitted(Kind.NEW, Kind.OLD)) == [Kind.NEW, Kind.OLD]


def test_new_work_that_came_later_is_first_where_all_had_to_wait() -> None:
    async def scenario() -> list[Kind]:
        admits, found = Admission(), list[Kind]()
        come = partial(pass_through, admits, found)

        async with asyncio.timeout(10), asyncio.TaskGroup() as coming:
            for kind in (Kind.OLD, Kind.OLD | Kind.LONG, Kind.NEW):
                coming.create_task(come(kind))
                await asyncio.sleep(SOON)
            admits.usable.set()
        return found

    assert asyncio.run(scenario())[0] is Kind.NEW


def test_new_work_that_comes_at_once_when_the_storage_is_usable_is_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(admission, "MOMENT", 10 * SOON)

    async def scenario() -> list[Kind]:
        admits, found = Admission(), list[Kind]()
        come = partial(pass_through, admits, found)

        async with asyncio.timeout(10), asyncio.TaskGroup() as coming:
            coming.create_task(come(Kind.OLD))
            await asyncio.sleep(SOON)
            admits.open()
            await asyncio.sleep(SOON)
            coming.create_task(come(Kind.NEW))
        return found

    assert asyncio.run(scenario()) == [Kind.NEW, Kind.OLD]


def test_old_work_goes_on_when_new_work_is_done() -> None:
    async def scenario() -> None:
        admits = usable()
        async with admits.beside_others(Kind.NEW):
            pass
        async with asyncio.timeout(10), admits.beside_others(Kind.OLD):
            pass

    asyncio.run(scenario())


def test_who_is_to_be_alone_waits_for_all_and_then_lets_nobody_in() -> None:
    async def scenario() -> list[str]:
        admits, found = usable(), list[str]()

        async def work(name: str, seconds: float) -> None:
            async with admits.beside_others():
                await asyncio.sleep(seconds)
                found.append(name)

        async def set_up() -> None:
            async with admits.alone():
                found.append("alone")
                await asyncio.sleep(SOON)
                found.append("alone still")
                admits.open()

        async with asyncio.timeout(10), asyncio.TaskGroup() as coming:
            for name, seconds in (("short", SOON), ("long", 3 * SOON)):
                coming.create_task(work(name, seconds))
            await asyncio.sleep(0)
            coming.create_task(set_up())
            await asyncio.sleep(0)
            coming.create_task(work("late", 0))
        return found

    assert asyncio.run(scenario()) == ["short", "long", "alone", "alone still", "late"]


async def pass_through(admits: Admission, found: list[Kind], kind: Kind) -> None:
    """Be let in, note that, and leave."""
    async with admits.beside_others(kind):
        found.append(kind)


async def admitted(*kinds: Kind) -> list[Kind]:
    """Return who is let in of those who come one after another, and stay."""
    admits, found = usable(), list[Kind]()

    async def come(kind: Kind) -> None:
        async with admits.beside_others(kind):
            found.append(kind)
            await asyncio.Event().wait()

    coming = []
    for kind in kinds:
        coming.append(asyncio.create_task(come(kind)))
        await asyncio.sleep(SOON)
    for each in coming:
        each.cancel()
    return found


def usable() -> Admission:
    admits = Admission()
    admits.usable.set()
    return admits
