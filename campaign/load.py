"""What is asked meanwhile: whole lives, repeats, out of turn, and what is wrong."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from uuid import UUID

from adapters.contracts.initiator import Initiator
from campaign.disk import PLACES, put, text_in
from campaign.together import gather, remember
from campaign.witness import Witness
from service.keeping.projecting import MODELS
from service.testing.loads import live_a_life, settled

HALF = 0.5
NOUNS = "volume", "snapshot", "group", "attachment", "backend"

Deed = Callable[[Any, random.Random, str], Awaitable[None]]


async def out_of_turn(asker: Witness, dice: random.Random, name: str) -> None:
    """Ask for a volume and for what is done with it all at once, in any order."""
    volume = str(UUID(int=dice.getrandbits(128), version=4))
    hold = str(UUID(int=dice.getrandbits(128), version=4))
    asks = [
        asker.insist("volume.create", f"{name}-create", id=volume, size_gib=1),
        asker.insist("volume.extend", f"{name}-extend", id=volume, size_gib=2),
        asker.insist(
            "attachment.create", f"{name}-hold", id=hold, volume_id=volume, host=name
        ),
        asker.insist("volume.delete", f"{name}-delete", id=volume),
        asker.once("volume.update", f"{name}-rename", id=volume, name=name),
        asker.once("volume.delete", f"{name}-delete once", id=volume),
    ]
    if dice.random() < HALF:  # what is forgotten is given up after its deadline
        asks.append(asker.insist("attachment.delete", f"{name}-let go", id=hold))
    dice.shuffle(asks)
    await asyncio.gather(*asks)


async def repeat(asker: Witness, dice: random.Random, name: str) -> None:
    """Ask for what was done long ago, on several connections, and for it otherwise."""
    known = asker.diary.done()
    for key in dice.sample(known, min(4, len(known))):
        asked = asker.diary.asked[key]
        await asyncio.gather(
            asker.insist(asked.subject, key, **asked.message),
            asker.insist(asked.subject, key, **asked.message),
            asker.forge(key, "volume.create", size_gib=7, name=name),
        )


async def be_wrong(asker: Witness, dice: random.Random, name: str) -> None:
    """Ask for what cannot be."""
    nobody = str(UUID(int=dice.getrandbits(128), version=4))
    nameless = {"volume_id": nobody, "host": name}
    await asyncio.gather(
        asker.once("volume.create", f"{name}-small", "invalid", size_gib=0),
        asker.once("volume.create", f"{name}-odd", "invalid", size_gib=1, colour="red"),
        asker.once("volume.delete", f"{name}-none", "not-found", id=nobody),
        asker.once("attachment.create", f"{name}-no", "not-found", **nameless),
    )


async def look(asker: Witness, dice: random.Random, name: str) -> None:
    """Ask for lists, which nobody holds up."""
    await asyncio.gather(*(asker.insist(f"{noun}.list", limit=10) for noun in NOUNS))


async def rebuild(asker: Witness, dice: random.Random, name: str) -> None:
    """Have a read model made anew, or go on being made."""
    await asker.insist("projection.rebuild", name=dice.choice(MODELS).name)


async def write(asker: Witness, dice: random.Random, name: str) -> None:
    """Write on a volume's disk, by iSCSI, and leave it in any state."""
    host, volume = Initiator(name), str(UUID(int=dice.getrandbits(128), version=4))

    async def ask(subject: str, **message: Any) -> Any:
        return await asker.insist(subject, f"{name}-{subject}", **message)

    await ask("volume.create", id=volume, size_gib=1)
    await settled(asker, volume)
    held = await ask("attachment.create", volume_id=volume, host=name)
    if "id" not in held:
        return
    told = await ask("attachment.update", id=held["id"], connector=host.connector)
    if not told.get("connection"):
        return  # it was given up before
    connection = told["connection"]
    disk = await asyncio.to_thread(host.login, connection)
    for before in filter(None, [text_in(disk, where) for where in PLACES]):
        asker.diary.soiled(f"volume {volume} is new, and has {before!r}")
    for where in dice.sample(PLACES, 3):
        what = f"{name} at {where}"
        await asyncio.to_thread(put, disk, where, what)
        asker.diary.wrote(volume, where, what)
    await ask("attachment.complete", id=held["id"])
    await asyncio.to_thread(host.logout, connection)
    if dice.random() < HALF:
        await ask("attachment.delete", id=held["id"])
        if dice.random() < HALF:
            await ask("volume.delete", id=volume)


LIVES: dict[Deed, int] = {
    live_a_life: 6,
    out_of_turn: 2,
    repeat: 2,
    be_wrong: 1,
    look: 1,
    rebuild: 1,
}
WRITING: dict[Deed, int] = {write: 1}
TOGETHER: dict[Deed, int] = {remember: 3, gather: 1}
DEEDS = LIVES | TOGETHER
# What a cut can come amid, and what is done alone then, or it seldom would.
AMID: dict[str, Deed] = {
    "volume.delete": write,
    "snapshot.create": remember,
    "volume.revert": remember,
    "group_snapshot.create": gather,
    "group.create_from_source": gather,
}


async def ask_on(
    asker: Witness,
    dice: random.Random,
    name: str,
    stopped: asyncio.Event,
    deeds: Mapping[Deed, int] = DEEDS,
) -> None:
    """Do one thing after the other until stopped."""
    number = 0
    while not stopped.is_set():
        number += 1
        [deed] = dice.choices(list(deeds), list(deeds.values()))
        await deed(asker, dice, f"{name}-{number}")
