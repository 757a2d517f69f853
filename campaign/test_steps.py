"""The agent alone, killed at each step of each operation on real LVM."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from adapters.tasks import ended
from campaign.armed import SAID
from campaign.bed import Bed
from campaign.disk import PLACES
from campaign.forked import Forked
from campaign.points import AMID, STEPS, Point
from campaign.rounds import come_to_rest, compared
from campaign.seen import busy
from campaign.storage import VolumeGroups
from campaign.together import Ask, rested, written
from campaign.witness import Diary, Witness
from service.testing.callers import callers, eventually
from service.testing.loads import has_room, nothing_is_in_flight

pytestmark = [
    pytest.mark.campaign,
    pytest.mark.lvm(lio=True, memory="1500M", disks=("512G", "512G"), seconds=600),
]

KINDS = {"thin": "/dev/ubda", "thick": "/dev/ubdb"}
# Thick or thin, for only what LVM is told differs, and clearing: first all of one, for
# they share a service.
ALONE = [
    (kind, step, call)
    for parity, kind in enumerate(("thick", "thin"))
    for step in STEPS
    for call in range(parity, step.calls, 2)
]
THIN = [("thin", step, call) for step in AMID for call in range(step.calls)]
THICK = [("thick", step, call) for step in AMID for call in range(step.thick)]
FEW = THIN[::4]  # the others, and copies, take their time


class Living:
    """A service on one volume group, and all that was asked of it so far."""

    def __init__(self, bed: Bed, group: str) -> None:
        self.bed = bed
        self.group = group
        self.diary = Diary()
        self.streamed = 0

    async def found(self, step: Point, call: int) -> list[str]:
        """Live, with an agent that dies at the step, and return what was found."""
        name = f"{step.name} {call}"
        async with callers(self.bed.broker.url, 2) as (asker, other):
            dice = random.Random(name)
            witness = Witness(asker.client, self.diary, dice, other.client)
            await has_room(witness, self.group)
            await self._clear(witness)
            sentence = self.bed.folder / step.name
            sentence.write_text(str(call))
            mending = asyncio.ensure_future(self._mend())
            late: list[str] = []
            try:
                life = keep if step in AMID else live
                async for _ in life(witness, name):
                    if step.at_start:
                        await self._begin_anew(sentence)
                await come_to_rest(witness, self.group)
            except TimeoutError:
                late = ["something was not done in time", *busy(self.bed)]
            finally:
                await ended(mending)
            self.streamed, found = await compared(self.bed, witness, self.streamed)
            found += late
            if sentence.exists():
                sentence.unlink()
                found.append("it was never reached")
            return found

    async def _clear(self, asker: Witness) -> None:
        """Leave nothing for what comes next to look at."""
        for each in await asker.all("group.list"):
            about = {"id": each["id"], "delete_volumes": True}
            await asker.insist("group.delete", f"{each['id']} goes", **about)
        await nothing_is_in_flight(asker, self.group)

    async def _begin_anew(self, sentence: Path) -> None:
        """Have a new agent, which is asked for nothing until it has died."""
        self.bed.agent.kill()

        async def is_carried_out() -> bool:
            return not await asyncio.to_thread(sentence.exists)

        with suppress(TimeoutError):
            await eventually(is_carried_out)

    async def _mend(self) -> None:
        while True:
            if self.bed.agent.pid is None:
                await asyncio.to_thread(self.bed.agent.start)
            await asyncio.sleep(0.02)


async def live(asker: Witness, name: str) -> AsyncIterator[None]:
    """Make a volume; grow it while a host reaches it, from the yield on; delete it."""
    ask = asking(asker, name)
    volume = (await ask("volume.create", size_gib=1))["id"]
    await rested(asker, "volume", volume)
    held = await reach(ask, volume)
    yield
    await ask("volume.extend", id=volume, size_gib=2)
    await rested(asker, "volume", volume)
    await ask("attachment.delete", id=held)
    await ask("volume.delete", id=volume)


async def keep(asker: Witness, name: str) -> AsyncIterator[None]:
    """Keep what a volume holds, copy it and go back to it; keep both at one moment."""
    ask = asking(asker, name)
    volume = (await ask("volume.create", size_gib=1))["id"]
    await rested(asker, "volume", volume)
    await written(asker, ask, volume, PLACES[0], "early")
    taken = (await ask("snapshot.create", volume_id=volume))["id"]
    await rested(asker, "snapshot", taken)
    asker.diary.wrote(taken, PLACES[0], "early")
    await written(asker, ask, volume, PLACES[0], "late")
    copy = (await ask("volume.create", source={"snapshot": taken}))["id"]
    await rested(asker, "volume", copy)
    await ask("volume.revert", id=volume, snapshot_id=taken)
    await rested(asker, "volume", volume)
    await ask("snapshot.delete", id=taken)
    await rested(asker, "snapshot", taken)
    yield
    await keep_together(asker, ask, [volume, copy])


async def keep_together(asker: Witness, ask: Ask, volumes: list[str]) -> None:
    """Take a snapshot of volumes while hosts reach them, and delete it."""
    [backend] = await asker.all("backend.list")
    about = {"backend": backend["name"], "consistent": True}
    group = (await ask("group.create", **about))["id"]
    await ask("group.update", id=group, add_volumes=volumes)
    holds = [await reach(ask, each) for each in volumes]
    taken = (await ask("group_snapshot.create", group_id=group))["id"]
    await rested(asker, "group_snapshot", taken)
    for volume, hold in zip(volumes, holds, strict=True):
        await ask("attachment.delete", id=hold)
        await ask("volume.remove_export", id=volume)  # or a sweep does, a minute later
    await ask("group_snapshot.delete", id=taken)
    await rested(asker, "group_snapshot", taken)


async def reach(ask: Ask, volume: str) -> str:
    """Let a host reach a volume, and return how it holds it."""
    held = (await ask("attachment.create", volume_id=volume, host="node-1"))["id"]
    connector = {"host": "node-1", "initiator": "iqn.2026-01.example:node-1"}
    await ask("attachment.update", id=held, connector=connector)
    await ask("attachment.complete", id=held)
    return str(held)


def asking(asker: Witness, name: str) -> Ask:
    """Return what asks, each a name once, until it is done."""
    number = count()

    async def ask(subject: str, **message: object) -> dict[str, Any]:
        # There is no room on a backend whose agent is just beginning.
        key = f"{name}, {next(number)} {subject}"
        found: dict[str, Any] = await asker.until(
            subject, lambda it: "id" in it, key=key, **message
        )
        return found

    return ask


@pytest.fixture(scope="module")
def lives(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[[str], Living]]:
    """The services, each from when it is first asked for."""
    with ExitStack() as stack:

        @cache
        def on(group: str) -> Living:
            return stack.enter_context(living(group, tmp_path_factory.mktemp(group)))

        yield on


@contextmanager
def living(group: str, folder: Path) -> Iterator[Living]:
    """Run a service on a volume group, with an agent that is quick to start."""
    VolumeGroups(group).make(KINDS[group])
    bed = Bed(folder, group=group, replicas=1)
    with bed.running():
        bed.agent.stop()  # and so gives its lease back
        bed.agent = Forked(bed.folder, bed.folder / "holdfast.toml")
        bed.agent.start()
        yield Living(bed, group)
        bed.agent.kill()


def case(kind: str, step: Point, call: int, *marks: pytest.MarkDecorator) -> Any:
    """Return a death as pytest takes it."""
    return pytest.param(kind, step, call, marks=marks, id=f"{kind}, {step.name} {call}")


@pytest.mark.parametrize(
    ("kind", "step", "call"),
    [
        *(case(*death) for death in [*ALONE, *FEW]),
        *(
            case(*death, pytest.mark.slow)
            for death in [*THIN, *THICK]
            if death not in FEW
        ),
    ],
)
def test_all_accounts_agree_when_the_agent_has_died(
    lives: Callable[[str], Living], kind: str, step: Point, call: int
) -> None:
    living = lives(kind)
    try:
        assert asyncio.run(living.found(step, call)) == []
    finally:
        print((living.bed.folder / SAID).read_text())
