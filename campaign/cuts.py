"""Power cuts: a machine works, is cut off at any moment, and is booted again.

What outlives a cut are its disks, and the notes of what it was asked and has
answered, which lie on this side.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import select
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any

from bed.guest import LOOK_SECONDS, Guest, Needs, roomy
from campaign.armed import SAID
from campaign.load import AMID
from campaign.machine import TOLD
from campaign.rounds import Round

# In GiB; what is not written takes no room. With as much of it in either volume group,
# volumes go to both in turn.
SIZES = {"data": 8, "thin": 512, "thick": 486}
GIB = 1024**3
PATIENCE = 500.0  # seconds until a machine has come to rest; its processor is slow
HALF = 0.5
NOTES = 20, 300  # what is noted between that and the cut
NOTES_OF_ONE = 1, 8  # likewise, of what is cut amid
LINGERING = 0.3  # seconds at most from the last note to the cut
AGAIN = 0.2  # of all machines are cut off once more while they recover
STARTING = 1.0, 12.0  # seconds
LAST_LINES = 12  # which have the error that a program ended with


class Machine:
    """Disks and notes, and a guest that comes and goes."""

    amid = ""  # what it does alone and is cut amid; or it does everything

    def __init__(self, folder: Path, broken: str, amid: str) -> None:
        self._broken = broken
        self._always = amid
        self._disks = tuple(folder / name for name in SIZES)
        for disk, size in zip(self._disks, SIZES.values(), strict=True):
            disk.touch()
            os.truncate(disk, size * GIB)
        self.notes = folder / "notes"
        self.notes.mkdir()
        self._power = ExitStack()

    def boot(self, name: str) -> None:
        """Boot it, under a name that it has not had, which decides what it does."""
        dice = random.Random(name)
        sometimes = dice.choice(list(AMID)) if dice.random() < HALF else ""
        self.amid = self._always or sometimes
        program = [sys.executable, "-m", "campaign.machine", str(self.notes), name]
        needs = Needs("1500M", self._disks, (self.notes,), lio=True)
        self._guest = self._power.enter_context(
            Guest([*program, self.amid, self._broken], needs, stdout=subprocess.PIPE)
        )

    def cut(self) -> None:
        """Cut the power, if it is on."""
        self._power.close()

    @property
    def last(self) -> str:
        """Return what can be said of its end, or of what it does now."""
        status, said = self._guest.status, self._guest.last_words
        ended = not self._guest.running
        how = f"ended with {status}" if ended else "running"
        return f"{how}; its kernel has said: {said}"

    async def heard(self, seconds: float = PATIENCE) -> dict[str, Any]:
        """Return what it tells once it has come to rest, or that it has not."""
        ends, told = time.monotonic() + seconds, b""
        while time.monotonic() < ends and not told:
            self._guest.end_if_panicked()
            if select.select([self._guest.stdout], [], [], 0)[0]:
                told = self._guest.stdout.readline()
                if not told:
                    break
            await asyncio.sleep(LOOK_SECONDS)
        said = f"it has not come to rest: {self.last}"
        answer: dict[str, Any] = json.loads(told or json.dumps({"findings": [said]}))
        return answer

    def said(self, seed: str) -> Iterator[str]:
        """Keep what the programs said, if one has begun; yield where, and its end."""
        with suppress(FileNotFoundError):
            about = "-".join(filter(None, (seed, self.amid, self._broken)))
            kept = Path(gettempdir(), f"holdfast-cuts-{about.replace(' ', '-')}.log")
            shutil.copy(self.notes / SAID, kept)
            last = kept.read_text(errors="replace").splitlines()[-LAST_LINES:]
            yield "\n".join([f"what the programs said is in {kept}; its end:", *last])

    async def work(self, notes: int) -> bool:
        """Let it work until so much more is noted of it; tells whether it did."""
        of, ends = self.amid.encode(), time.monotonic() + PATIENCE
        with (self.notes / TOLD).open("rb") as file:
            file.seek(0, os.SEEK_END)
            while notes > 0:
                self._guest.end_if_panicked()
                if not self._guest.running or time.monotonic() > ends:
                    return False
                await asyncio.sleep(0.01)
                notes -= sum(of in line for line in file)
        return True


async def strike(
    machine: Machine, dice: random.Random, name: str, struck: list[str]
) -> dict[str, Any]:
    """Cut the power at any moment, perhaps again amid recovery; return what is told."""
    amid = machine.amid
    notes = dice.randint(*(NOTES_OF_ONE if amid else NOTES))
    lingering = dice.uniform(0, LINGERING)
    if not await machine.work(notes):
        return {"findings": [f"it works no more: {machine.last}"]}
    await asyncio.sleep(lingering)
    machine.cut()
    struck.append(f"the power, after {notes} notes of {amid or 'everything'}")
    while dice.random() < AGAIN:
        seconds = dice.uniform(*STARTING)
        machine.boot(f"{name}.{len(struck)}")
        await machine.heard(seconds)
        machine.cut()
        struck.append(f"again after {seconds:.1f} s")
    machine.boot(name)
    return await machine.heard()


async def cuts(
    seed: str, number: int, broken: str = "", amid: str = ""
) -> AsyncGenerator[Round, None]:
    """Yield each of so many cuts of one machine, the last at the first finding.

    All of them come amid one thing, if that is said.
    """
    with TemporaryDirectory(dir=roomy(Needs("4G")), prefix="holdfast-cuts-") as folder:
        machine = Machine(Path(folder), broken, amid)
        try:
            machine.boot(f"{seed}.0")
            told = await machine.heard()
            for each in range(1, number + 1):
                began, dice = time.monotonic(), random.Random(f"{seed} {each}")
                struck: list[str] = []
                if not told["findings"]:
                    told = await strike(machine, dice, f"{seed}.{each}", struck)
                if told["findings"]:
                    told["findings"] += machine.said(seed)
                counted = told.get("events", 0), told.get("requests", 0)
                seconds = time.monotonic() - began
                yield Round(each, seed, struck, *counted, seconds, told["findings"])
                if told["findings"]:
                    return
        finally:
            machine.cut()
