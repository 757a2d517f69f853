"""A machine whose power is cut: a whole service on real LVM, in a guest.

    python -m campaign.machine FOLDER NAME AMID BROKEN

begins where the cut before has left it: what nobody knows the end of is asked again,
and once nothing is in flight all accounts are compared. Then it says what was found,
as a line of JSON, and works until the power is cut: on everything, or on what is asked
to be cut amid.
"""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path

from eventsourcing.persistence import PersistenceError

from adapters.postgres.reading import rebuilt
from adapters.tasks import together, until
from campaign.armed import arm
from campaign.checks import astray, exported
from campaign.load import AMID, LIVES, TOGETHER, WRITING, ask_on
from campaign.points import AGENT, SERVE
from campaign.rounds import come_to_rest, compared
from campaign.seen import busy
from campaign.storage import Storage, VolumeGroups, reachable, take_time
from campaign.witness import Diary, Witness
from domain.chain import Broken
from service.manager import VolumeManager
from service.settings import Settings, load
from service.testing.callers import callers
from service.testing.loads import has_room
from service.testing.programs import database_of
from service.up import Running, as_service, up

DATA = Path("/run/machine")
DISK = "/dev/ubda"
GROUPS = {"thin": "/dev/ubdb", "thick": "/dev/ubdc"}
TOLD, STREAMED = "told", "streamed"
LOADS = [LIVES, WRITING, TOGETHER, TOGETHER]
FEW = 2  # callers who ask for one thing alone
REST = 200.0  # seconds until it is known what became of all that was asked
SWEPT = 100.0  # seconds until a second sweep has left no export as it should not be
BREATH = 5.0  # seconds: looking takes the one processor that agents need
HASTE = """
[deadlines]
reserved = 3
"""


class Machine:
    """Where everything is."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.groups = VolumeGroups(*GROUPS)
        self.storage: Storage = self.groups
        self.failed: list[str] = []

    @property
    def settings(self) -> dict[str, str]:
        """Return the way to the database."""
        return database_of(DATA)

    def boot(self) -> list[str]:
        """Have the disks, made the first time; return what is wrong with them."""
        DATA.mkdir()
        new = b"ext4" not in run("blkid", "-p", DISK, check=False)
        if new:
            run("mkfs.ext4", "-q", DISK)
            self.groups.make(*GROUPS.values())
        run("mount", DISK, str(DATA))
        return [] if new else list(self.groups.check())

    def configuration(self) -> Path:
        """Return the settings of `up`."""
        file = self.folder / "holdfast.toml"
        file.write_text(HASTE + self.groups.settings())
        return file


def run(*command: str, check: bool = True) -> bytes:
    """Return what a command says."""
    return subprocess.run(command, check=check, stdout=subprocess.PIPE).stdout


async def live(machine: Machine, name: str, amid: str, findings: list[str]) -> None:
    """Come to rest, tell what was found, and work for ever."""
    dice, diary = random.Random(name), Diary(machine.folder / TOLD)
    loads = [{AMID[amid]: 1}] * FEW if amid else LOADS
    async with AsyncExitStack() as stack:
        running = await started(stack, load(machine.configuration(), {}))
        url = as_service(DATA, running.url)
        *askers, other = await stack.enter_async_context(callers(url, len(loads) + 1))
        witnesses = [
            Witness(asker.client, diary, random.Random(dice.random()), other.client)
            for asker in askers
        ]
        await tell(machine, witnesses[0], findings)
        never = asyncio.Event()
        asking = (
            ask_on(asker, dice, f"{name}-{number}", never, deeds)
            for number, (asker, deeds) in enumerate(zip(witnesses, loads, strict=True))
        )
        await together(until(running.work), *asking)


async def tell(machine: Machine, asker: Witness, findings: list[str]) -> None:
    """Say, once all has come to rest or has had the time to, what does not agree."""
    await has_room(asker, *GROUPS)
    try:
        async with asyncio.timeout(REST):
            await come_to_rest(asker, *GROUPS)
    except TimeoutError:
        findings.append(f"it has not come to rest within {REST:g} s")
        findings += [*busy(machine), *map(str, asker.diary.unsure())]
    streamed = machine.folder / STREAMED
    after = int(streamed.read_text()) if streamed.exists() else 0
    events, found = await swept(machine, asker, after)
    streamed.write_text(str(events))
    told = {"events": events, "requests": len(asker.diary.asked)}
    print(json.dumps(told | {"findings": findings + found}), flush=True)


async def swept(
    machine: Machine, asker: Witness, streamed: int
) -> tuple[int, list[str]]:
    """Return what does not agree, once exports had the time to converge.

    A deadline that passes meanwhile takes a host's way, and leaves a sweep to do.
    """
    ends = time.monotonic() + SWEPT
    while True:
        if time.monotonic() > ends or not await asyncio.to_thread(converging, machine):
            events, found = await compared(machine, asker, streamed)
            exports = [each for each in found if each.startswith(exported.__name__)]
            if exports != found or not exports or time.monotonic() > ends:
                return events, found
        await asyncio.sleep(BREATH)


def converging(machine: Machine) -> bool:
    """Tell whether exports are not yet as the log wants them, as far as can be seen."""
    try:
        with VolumeManager(machine.settings) as manager:
            return any(astray(rebuilt(manager.recorder), reachable()))
    except PersistenceError:
        return True  # a busy machine may be slow to connect
    except Broken:
        return False  # which comparing tells


async def started(stack: AsyncExitStack, settings: Settings) -> Running:
    """Start the service, again if need be, as the unit for systemd does."""
    while True:
        try:
            return await stack.enter_async_context(up(DATA, settings, 0))
        except PersistenceError as slow:
            print(f"it is started again: {slow}", file=sys.stderr)


def main() -> None:
    """Live."""
    folder, name, amid, broken = Path(sys.argv[1]), *sys.argv[2:]
    for program in (SERVE, AGENT):
        arm(program, str(folder), broken)
    take_time()
    machine = Machine(folder)
    asyncio.run(live(machine, name, amid, machine.boot()))


if __name__ == "__main__":
    main()
