"""What is asked of snapshots, copies and groups, with data on them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

from adapters.contracts.initiator import Initiator
from campaign.disk import PLACES, put
from campaign.witness import Witness
from service.testing import BACKEND

HALF = 0.5
TRANSIENT = {"creating", "deleting", "reverting", "restoring"}

Ask = Callable[..., Awaitable[Any]]


async def remember(asker: Witness, dice: random.Random, name: str) -> None:
    """Take a snapshot, write on, and go back to it or make another volume of it."""
    ask, where = asking(asker, name), dice.choice(PLACES)
    volume, taken = str(an_id(dice)), str(an_id(dice))
    early, late = f"{name} before", f"{name} after"

    await ask("volume.create", id=volume, size_gib=1)
    await rested(asker, "volume", volume)
    if not await written(asker, ask, volume, name, where, early):
        return
    await ask("snapshot.create", volume_id=volume, id=taken)
    await rested(asker, "snapshot", taken)
    if not await written(asker, ask, volume, f"{name} again", where, late):
        return
    holds = late
    if dice.random() < HALF:
        told = await ask("volume.revert", id=volume, snapshot_id=taken)
        holds = early if "id" in told else late
        await rested(asker, "volume", volume)
    asker.diary.wrote(volume, where, holds)
    copy = str(an_id(dice))
    source = dice.choice([{"snapshot": taken}, {"volume": volume}])
    told = await ask("volume.create", id=copy, source=source, size_gib=2)
    if "id" in told:
        asker.diary.wrote(copy, where, early if "snapshot" in source else holds)
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
    about = {"backend": dice.choice(await backends(asker))}

    consistent = dice.random() < HALF
    await ask("group.create", id=group, consistent=consistent, **about)
    for each in members:
        await ask("volume.create", id=each, size_gib=1, group_id=group)
        await rested(asker, "volume", each)
    together = str(an_id(dice))
    await ask("group_snapshot.create", group_id=group, id=together)
    await rested(asker, "group_snapshot", together)
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


async def backends(asker: Witness) -> list[str]:
    """Return the names of those that work."""
    found = await asker.all("backend.list")
    return [each["name"] for each in found if each["working"]] or [BACKEND]


async def rested(asker: Witness, noun: str, key: str) -> None:
    """Return once nothing is done to it."""

    def so(seen: Any) -> bool:
        return seen.get("status") not in TRANSIENT

    await asker.until(f"{noun}.show", so, id=key)


async def written(
    asker: Witness, ask: Ask, volume: str, host: str, where: int, what: str
) -> bool:
    """Write a text on a volume, durably; tells whether that was possible."""
    async with held(ask, volume, host) as disk:
        if disk:
            await asyncio.to_thread(put, disk, where, what)
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
