"""What is asked of snapshots, copies and groups, with data on them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any
from uuid import UUID

from adapters.contracts.initiator import Initiator
from campaign.disk import BEAT, PLACES, put
from campaign.witness import Witness
from service.testing.programs import BACKEND

HALF = 0.5
SELDOM, OFTEN = 1, 8  # all of it takes long where a copy is no clone
LOOK_SECONDS = 0.05
TRANSIENT = {"creating", "extending", "deleting", "reverting", "restoring"}

Ask = Callable[..., Awaitable[Any]]


async def remember(asker: Witness, dice: random.Random, name: str) -> None:
    """Take a snapshot, write on, and go back to it or make another volume of it."""
    ask, where = asking(asker, name), dice.choice(PLACES)
    volume, taken, copy = (str(an_id(dice)) for _ in range(3))

    backend = await a_backend(asker, dice)
    await ask("volume.create", id=volume, size_gib=1, backend=backend)
    await rested(asker, "volume", volume)
    if not await written(asker, ask, volume, where, name):
        return
    asker.diary.wrote(taken, where, name)
    await ask("snapshot.create", volume_id=volume, id=taken)
    await rested(asker, "snapshot", taken)
    if not await written(asker, ask, volume, where, f"{name}-again"):
        return
    if dice.random() < HALF:
        await ask("volume.revert", id=volume, snapshot_id=taken)
        await rested(asker, "volume", volume)
    source = dice.choice([{"snapshot": taken}, {"volume": volume}])
    await ask("volume.create", id=copy, source=source, size_gib=dice.choice([1, 2]))
    await part(ask, dice, volume, taken, copy)


async def part(
    ask: Ask, dice: random.Random, volume: str, taken: str, copy: str
) -> None:
    """Remove one of the three, perhaps with what stands on it or before it is made."""
    ends: list[tuple[str, dict[str, Any]]] = [
        ("snapshot.delete", {"id": taken}),
        ("volume.delete", {"id": volume, "cascade": True}),
        ("volume.delete", {"id": copy, "force": True}),
    ]
    subject, asked = dice.choice(ends)
    await ask(subject, **asked)


async def gather(asker: Witness, dice: random.Random, name: str) -> None:
    """Make a group, take snapshots of it, make another of it, and let some go."""
    ask = asking(asker, name)
    group, members = str(an_id(dice)), [str(an_id(dice)) for _ in range(2)]
    about = {"backend": await a_backend(asker, dice)}

    await ask("group.create", id=group, consistent=dice.random() < HALF, **about)
    for each in members:
        await ask("volume.create", id=each, size_gib=1, group_id=group)
        await rested(asker, "volume", each)
    together = str(an_id(dice))
    await take(asker, ask, group, members, together)
    if dice.random() < HALF:
        await copy_and_drop(asker, ask, together, str(an_id(dice)))
    if dice.random() < HALF:
        await ask("group_snapshot.delete", id=together)
        await rested(asker, "group_snapshot", together)
        ends: list[tuple[str, dict[str, Any]]] = [
            ("group.update", {"remove_volumes": members[:1]}),
            ("group.delete", {"delete_volumes": True}),
        ]
        subject, more = dice.choice(ends)
        await ask(subject, id=group, **more)


async def take(
    asker: Witness, ask: Ask, group: str, members: list[str], together: str
) -> None:
    """Take a snapshot of a group while hosts write to its volumes."""

    async def taken() -> None:
        await ask("group_snapshot.create", group_id=group, id=together)
        await rested(asker, "group_snapshot", together)

    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        disks = [await enter(held(ask, each, f"of-{each}")) for each in members]
        taking = asyncio.ensure_future(taken())
        try:
            await write_in_turn(asker, members, disks, taking)
        finally:
            await taking


async def write_in_turn(
    asker: Witness,
    volumes: Sequence[str],
    disks: Sequence[Path | None],
    taking: asyncio.Future[None],
) -> None:
    """Write the next number on the next volume, until a snapshot of all is taken.

    Files are not copied while somebody has them open.
    """
    those = [disk for disk in disks if disk and disk.is_block_device()]
    if len(those) < len(volumes):
        return
    for each in volumes:
        asker.diary.wrote(each, BEAT, None)
    for number in count(1):
        await asyncio.to_thread(put, those[number % len(those)], BEAT, str(number))
        if taking.done():
            return


async def copy_and_drop(asker: Witness, ask: Ask, together: str, other: str) -> None:
    """Make a group of the snapshots of another, and delete it with its volumes."""
    await ask("group.create_from_source", id=other, group_snapshot_id=together)
    await rested(asker, "group", other)
    await ask("group.delete", id=other, delete_volumes=True)


def an_id(dice: random.Random) -> UUID:
    return UUID(int=dice.getrandbits(128), version=4)


def asking(asker: Witness, name: str) -> Ask:
    """Return what asks, each subject of a name once and never for nothing."""
    number = 0

    async def ask(subject: str, **message: Any) -> Any:
        nonlocal number
        number += 1
        return await asker.insist(subject, f"{name}-{number}-{subject}", **message)

    return ask


async def a_backend(asker: Witness, dice: random.Random) -> str:
    """Return the name of one that works."""
    found = await asker.all("backend.list")
    working: dict[str, int] = {
        each["name"]: OFTEN if told["thin_provisioning_support"] else SELDOM
        for each in found
        if each["working"] and (told := each["capabilities"])
    } or {BACKEND: OFTEN}
    [chosen] = dice.choices(list(working), list(working.values()))
    return chosen


async def rested(asker: Witness, noun: str, key: str) -> None:
    """Return once nothing is done to it, however long that takes."""
    while True:
        seen = await asker.insist(f"{noun}.show", id=key)
        if seen.get("status") not in TRANSIENT:
            return
        await asyncio.sleep(LOOK_SECONDS)


async def written(asker: Witness, ask: Ask, volume: str, where: int, host: str) -> bool:
    """Let a host write its name durably; tells whether that was possible."""
    async with held(ask, volume, host) as disk:
        if disk:
            asker.diary.wrote(volume, where, None)
            await asyncio.to_thread(put, disk, where, host)
            asker.diary.wrote(volume, where, host)
    await rested(asker, "volume", volume)
    return disk is not None


@asynccontextmanager
async def held(ask: Ask, volume: str, host: str) -> AsyncIterator[Path | None]:
    """Have a volume's disk for a while, as a host."""
    way = Initiator(host)
    hold = await ask("attachment.create", volume_id=volume, host=host)
    told = {}
    if "id" in hold:
        about = {"id": hold["id"], "connector": way.connector}
        told = await ask("attachment.update", **about)
    connection = told.get("connection")
    if not connection:
        yield None
        return
    if connection["driver_volume_type"] == "local":
        yield Path(connection["data"]["device_path"])
    else:
        yield await asyncio.to_thread(way.login, connection)
        await asyncio.to_thread(way.logout, connection)
    await ask("attachment.delete", id=hold["id"])
