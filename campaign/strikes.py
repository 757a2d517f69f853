"""What befalls the service in a round: a new one is a line."""

from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import Awaitable, Callable
from contextlib import suppress

from campaign.bed import Bed, frozen, send
from campaign.points import AGENT, KEEPER, POINTS, SERVE
from service.testing.callers import eventually

REACHED_IN = 2.0  # seconds that a point has to be reached
FROZEN_FOR = 0.2, 1.2  # seconds

Strike = Callable[[Bed, random.Random], Awaitable[None]]


async def a_replica(bed: Bed, dice: random.Random) -> None:
    dice.choice(bed.replicas).kill()


async def both_replicas(bed: Bed, dice: random.Random) -> None:
    for replica in bed.replicas:
        replica.kill()


async def the_keepers(bed: Bed, dice: random.Random) -> None:
    for keeper in bed.keepers():
        send(keeper)


async def the_agent(bed: Bed, dice: random.Random) -> None:
    bed.agent.kill()


async def the_database(bed: Bed, dice: random.Random) -> None:
    bed.database.kill()


async def the_broker(bed: Bed, dice: random.Random) -> None:
    bed.broker.kill()


async def the_broker_and_all_it_knew(bed: Bed, dice: random.Random) -> None:
    bed.broker.kill()
    shutil.rmtree(bed.broker.folder)


async def a_program_is_asked_to_end(bed: Bed, dice: random.Random) -> None:
    await asyncio.to_thread(dice.choice(bed.programs).stop)


async def both_servers(bed: Bed, dice: random.Random) -> None:
    bed.broker.kill()
    bed.database.kill()


async def everything(bed: Bed, dice: random.Random) -> None:
    await both_servers(bed, dice)
    for each in bed.programs:
        each.kill()


async def a_program_stands_still(bed: Bed, dice: random.Random) -> None:
    """Let one be away for a while, and find out later what happened meanwhile."""
    running = [each.pid for each in bed.programs if each.pid] + bed.keepers()
    if running:
        with frozen([dice.choice(running)]):
            await asyncio.sleep(dice.uniform(*FROZEN_FOR))


STRIKES: dict[str, tuple[Strike, int]] = {
    "a replica": (a_replica, 3),
    "both replicas": (both_replicas, 1),
    "the keepers": (the_keepers, 2),
    "the agent": (the_agent, 3),
    "the database": (the_database, 3),
    "the broker": (the_broker, 2),
    "the broker and all it knew": (the_broker_and_all_it_knew, 1),
    "both servers": (both_servers, 1),
    "everything": (everything, 1),
    "a program is asked to end": (a_program_is_asked_to_end, 2),
    "a program stands still": (a_program_stands_still, 2),
}


async def at_a_point(bed: Bed, dice: random.Random) -> str:
    """Let whoever reaches a point die there, and tell at which, and whether it did."""
    chosen = dice.choice([SERVE, KEEPER, AGENT])
    point = dice.choice([point for point in POINTS if point.program == chosen])
    sentence = bed.folder / point.name
    fresh = sentence.with_suffix(".new")
    fresh.write_text(str(0 if point.at_start else dice.choice([0, 0, 1, 3, 10])))
    fresh.rename(sentence)

    async def is_carried_out() -> bool:
        # Whoever removes it may live on for a moment; a keeper is its replica's care.
        dead = chosen == KEEPER or any(each.pid is None for each in bed.programs)
        return dead and not sentence.exists()

    if point.at_start:
        await BEGINNING_ANEW[chosen](bed, dice)
    with suppress(TimeoutError):
        await eventually(is_carried_out, REACHED_IN)
        return point.name
    return f"({point.name})"


async def a_new_agent(bed: Bed, dice: random.Random) -> None:
    bed.agent.kill()
    await asyncio.to_thread(bed.agent.start)


BEGINNING_ANEW: dict[str, Strike] = {KEEPER: the_keepers, AGENT: a_new_agent}


async def strike(bed: Bed, dice: random.Random) -> str:
    """Let something happen, and tell what."""
    if dice.random() < 0.6:  # noqa: PLR2004 - most are at points
        return await at_a_point(bed, dice)
    names = list(STRIKES)
    [name] = dice.choices(names, [weight for _, weight in STRIKES.values()])
    await STRIKES[name][0](bed, dice)
    return name
