"""A round: a load, something that befalls the service, and then a comparison."""

from __future__ import annotations

import asyncio
import random
import shutil
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

from adapters.tasks import ended, together
from campaign.armed import SAID
from campaign.bed import Bed
from campaign.checks import CHECKS
from campaign.load import ask_on
from campaign.seen import Place, Seen, busy, look
from campaign.strikes import strike
from campaign.witness import Diary, Witness
from domain.chain import Broken
from service.testing.callers import callers
from service.testing.loads import has_room, nothing_is_in_flight

CLIENTS = 6
PATIENCE = 60.0  # seconds until all that was asked has been answered, and settled
MOST_TOLD = 5  # findings of a check


@dataclass(frozen=True)
class Round:
    """What a round was like, and what it has found."""

    number: int
    seed: str
    struck: list[str]
    events: int
    requests: int
    seconds: float
    findings: list[str]

    def __str__(self) -> str:
        found = self.findings[0] if self.findings else "nothing"
        return (
            f"round {self.number} of seed {self.seed}: {', '.join(self.struck)}; "
            f"{self.requests} requests and {self.events} events in all, "
            f"{self.seconds:.1f} s; found {found}"
        )


class Campaign:
    """Rounds on one bed: what one has left there, the next one finds."""

    def __init__(
        self, bed: Bed, seed: str, askers: list[Witness], diary: Diary
    ) -> None:
        self._bed = bed
        self._seed = seed
        self._askers = askers
        self._diary = diary
        self._streamed = 0
        self._number = 0

    async def round(self) -> Round:
        """Let something happen, and look what came of it."""
        began, self._number = time.monotonic(), self._number + 1
        dice = random.Random(f"{self._seed} {self._number}")
        struck: list[str] = []
        events, findings = 0, []
        happening = asyncio.ensure_future(self._happen(dice, struck))
        await asyncio.wait([happening], timeout=PATIENCE)
        if not happening.done():
            findings.append(f"it has not come to rest within {PATIENCE:g} s")
            findings += [*busy(self._bed), *map(str, self._diary.unanswered())]
        elif failure := happening.exception():
            findings.append(f"what was asked led nowhere: {failure!r}")
        else:
            events, findings = await self._compared(struck)
        await ended(happening)
        if findings:
            kept = Path(gettempdir(), f"holdfast-campaign-{self._seed}.log")
            shutil.copy(self._bed.folder / SAID, kept)
            findings.append(f"what the programs said is in {kept}")
        return Round(
            self._number,
            self._seed,
            struck,
            events,
            len(self._diary.asked),
            time.monotonic() - began,
            findings,
        )

    async def _happen(self, dice: random.Random, struck: list[str]) -> None:
        """Ask and strike meanwhile; return once it is known what became of it all."""
        stopped = asyncio.Event()
        lives = [
            ask_on(asker, random.Random(dice.random()), f"{self._number}-{n}", stopped)
            for n, asker in enumerate(self._askers)
        ]
        asking = asyncio.ensure_future(together(*lives))
        try:
            for _ in range(dice.choice([1, 1, 2])):
                await asyncio.sleep(dice.uniform(0.1, 0.4))
                struck.append(await strike(self._bed, dice))
                await asyncio.sleep(dice.uniform(0, 0.3))
                await self._bed.mend()
            stopped.set()
            await asking
        finally:
            await ended(asking)
        await come_to_rest(self._askers[0])

    async def _compared(self, struck: list[str]) -> tuple[int, list[str]]:
        if any("all it knew" in what for what in struck):
            self._streamed = 0
        self._streamed, findings = await compared(
            self._bed, self._askers[0], self._streamed
        )
        return self._streamed, findings


async def come_to_rest(asker: Witness, *backends: str) -> None:
    """Return once it is known what became of all that was asked."""
    for key, asked in list(asker.diary.unsure()):
        await asker.insist(asked.subject, key, **asked.message)
    await nothing_is_in_flight(asker, *backends)


async def compared(
    place: Place, asker: Witness, streamed: int
) -> tuple[int, list[str]]:
    """Return how many events there are, and what does not agree."""
    try:
        seen = await look(place, asker, asker.diary, streamed)
    except Broken as broken:
        return 0, [str(broken)]
    return len(seen.rows), await asyncio.to_thread(findings, seen)


def findings(seen: Seen) -> list[str]:
    """Return what does not agree, of each check so much."""
    return [
        f"{check.__name__}: {finding}"
        for check in CHECKS
        for finding in list(check(seen))[:MOST_TOLD]
    ]


@asynccontextmanager
async def campaign(seed: str, broken: str = "") -> AsyncIterator[Campaign]:
    """Run a service that is to be struck."""
    dice, diary = random.Random(seed), Diary()
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(TemporaryDirectory(prefix="holdfast-campaign-"))
        bed = Bed(Path(folder), broken)
        stack.enter_context(bed.running())
        connected = await stack.enter_async_context(
            callers(bed.broker.url, CLIENTS + 1)
        )
        *ours, other = [each.client for each in connected]
        askers = [
            Witness(client, diary, random.Random(dice.random()), other)
            for client in ours
        ]
        await has_room(askers[0])
        yield Campaign(bed, seed, askers, diary)


async def rounds(
    seed: str, number: int, broken: str = ""
) -> AsyncGenerator[Round, None]:
    """Yield each of so many rounds on one service, the last at the first finding."""
    async with campaign(seed, broken) as running:
        for _ in range(number):
            happened = await running.round()
            yield happened
            if happened.findings:
                return
