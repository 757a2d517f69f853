"""The agent alone, killed at each step of each operation on real LVM."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path

import pytest

from adapters.tasks import ended
from campaign.armed import SAID
from campaign.bed import Bed
from campaign.forked import Forked
from campaign.points import STEPS, Point
from campaign.rounds import come_to_rest, compared
from campaign.storage import VolumeGroups
from campaign.witness import Diary, Witness
from service.testing import callers, eventually, has_room, settled

pytestmark = [
    pytest.mark.campaign,
    pytest.mark.lvm(lio=True, memory="1500M", disks=("512G", "512G"), seconds=600),
]

KINDS = {"thin": "/dev/ubda", "thick": "/dev/ubdb"}
# Thick or thin, for only what LVM is told differs, and clearing: first all of one, for
# they share a service.
DEATHS = [
    (kind, step, call)
    for parity, kind in enumerate(("thick", "thin"))
    for step in STEPS
    for call in range(parity, step.calls, 2)
]


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
            sentence = self.bed.folder / step.name
            sentence.write_text(str(call))
            mending = asyncio.ensure_future(self._mend())
            try:
                async for _ in live(witness, name):
                    if step.at_start:
                        await self._begin_anew(sentence)
                await come_to_rest(witness, self.group)
            finally:
                await ended(mending)
            self.streamed, found = await compared(self.bed, witness, self.streamed)
            if sentence.exists():
                sentence.unlink()
                found.append("it was never reached")
            return found

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

    async def ask(subject: str, **message: object) -> str:
        # There is no room on a backend whose agent is just beginning.
        key = f"{name}, {subject}"
        answer = await asker.until(subject, lambda it: "id" in it, key=key, **message)
        return str(answer["id"])

    volume = await ask("volume.create", size_gib=1)
    await settled(asker, volume)
    held = await ask("attachment.create", volume_id=volume, host="node-1")
    connector = {"host": "node-1", "initiator": "iqn.2026-01.example:node-1"}
    await ask("attachment.update", id=held, connector=connector)
    await ask("attachment.complete", id=held)
    yield
    await ask("volume.extend", id=volume, size_gib=2)
    await settled(asker, volume)
    await ask("attachment.delete", id=held)
    await ask("volume.delete", id=volume)


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


@pytest.mark.parametrize(
    ("kind", "step", "call"),
    DEATHS,
    ids=[f"{kind}, {step.name} {call}" for kind, step, call in DEATHS],
)
def test_all_accounts_agree_when_the_agent_has_died(
    lives: Callable[[str], Living], kind: str, step: Point, call: int
) -> None:
    living = lives(kind)
    try:
        assert asyncio.run(living.found(step, call)) == []
    finally:
        print((living.bed.folder / SAID).read_text())
