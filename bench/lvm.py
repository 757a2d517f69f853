"""What LVM costs behind the service, beside the bare command in the same guest.

    just bench-lvm

prints a table and writes `bench/results-lvm.json`, a name and a number each. The whole
service runs in the guest, on its one processor.
"""

from __future__ import annotations

import asyncio
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any
from uuid import uuid4

import msgspec
import nats
from nats.errors import Error
from rich.console import Console

from adapters.contracts.drivers import GIB
from adapters.lvm import volumes
from adapters.lvm.driver import RUN, LvmDriver
from adapters.lvm.report import Lv
from adapters.lvm.settings import environment, write_system_dir
from adapters.lvm.shell import Shell
from adapters.lvm.testing import fill
from adapters.lvm.worker import Worker
from adapters.targets.choosing import target_of
from bench import load
from bench.bed import KEY, Bed, backend, bed
from bench.telling import tell
from domain.ports import Target
from domain.provenance import MOMENT, Moment, Provenance
from service.manager import VolumeManager
from service.settings import LVM_DRIVER
from service.testing.at_work import (
    HOST,
    SETTLED,
    Written,
    available,
    carry_out,
    made,
    managing,
    write,
)
from service.testing.callers import caller

DISKS = {"thin": "/dev/ubda", "thick": "/dev/ubdb"}
FEW, MANY = 10, 1000  # logical volumes
# Operations, one at a time and 32 at a time; so many that a survey is no half of them.
ALONE, TOGETHER = 36, 48
IN_FLIGHT = 32
WAIT = "Holdfast-Wait: 60"
# An agent that has died since had begun what is in flight.
BEFORE = timedelta(minutes=5)
AGAIN = 0.05  # seconds until what has no answer yet is asked again

LOOK_EVERY = 0.5  # seconds; looking is work for the same processor

FLOORS = {
    "create_ratio_sequential_32": "3",
    "create_ratio_bare_1": "1 at most",
    "connect_ms": "20 at most",
    "start_seconds_1000": "2 at most",
}


@dataclass(frozen=True)
class Storage:
    """A volume group of either kind, and LVM without us."""

    kind: str

    @property
    def group(self) -> str:
        return f"bench-{self.kind}"

    @property
    def settings(self) -> str:
        return backend(self.kind, volume_driver=LVM_DRIVER, **self.options)

    @property
    def options(self) -> dict[str, str]:
        """Return the driver's own; what is cleared would measure the disk."""
        sort = "thin" if self.kind == "thin" else "default"
        return {"volume_group": self.group, "lvm_type": sort, "volume_clear": "none"}

    @property
    def pool(self) -> list[list[str]]:
        """Return how its pool is made; most others in the group are thick."""
        kind = ["--type", "thin-pool", "-L", "64G", "-Zy", "-n", f"{self.group}-pool"]
        made = ["lvcreate", "-qq", "-y", *kind, self.group]
        return [made] if self.kind == "thin" else []

    @cached_property
    def target(self) -> Target:
        return target_of(owner=self.kind, key=KEY.encode())

    @cached_property
    def shell(self) -> Worker:
        """Return a shell like the driver's, which looks at the group's disk alone."""
        folder = RUN / "bare" / self.group
        write_system_dir(folder, ())
        shell = Shell(environment(folder))
        shell.look_at([DISKS[self.kind]])
        return Worker(self.group, shell)

    def driver(self) -> LvmDriver:
        """Return the driver, set up."""
        options: Any = self.options
        made = LvmDriver(self.target, name=self.kind, **options)
        made.set_up()
        return made

    def lvcreate(self, name: str) -> list[str]:
        """Return how a volume is made, as the driver says it."""
        words = ["-V", "1g", "--thinpool", f"{self.group}-pool"]
        if self.kind == "thick":
            words = ["-L", "1g", "-Wn", "-Zy"]
        tags = [
            "--addtag",
            f"holdfast.volume={uuid4()}",
            "--addtag",
            "holdfast.made-by=1/x",
        ]
        return ["lvcreate", "-qq", "-y", *words, "-n", name, *tags, self.group]


def prepare(storage: Storage) -> None:
    """Make the volume group; its metadata has room for many."""
    disk = DISKS[storage.kind]
    for words in (
        ["pvcreate", "-qq", "--metadatasize", "64M", disk],
        ["vgcreate", "-qq", storage.group, disk],
        *storage.pool,
    ):
        subprocess.run(words, check=True)
    storage.driver()


def measured(
    on: Bed, storages: list[Storage], tell: Callable[[str], None]
) -> Iterator[tuple[str, float]]:
    """Yield what it costs beside few logical volumes, then beside many."""
    found: dict[str, float] = {}
    for number in (FEW, MANY):
        for storage in storages:
            for name, figure in beside(on, storage, number, tell):
                found[name] = figure
                yield name, figure
    yield from worst(found)


def beside(
    on: Bed, storage: Storage, number: int, tell: Callable[[str], None]
) -> Iterator[tuple[str, float]]:
    """Yield what it costs beside so many logical volumes."""
    where = f"{storage.kind}_{number}"
    tell(f"{where}: filling")
    populate(on, storage, number)
    tell(f"{where}: starting")
    with started(on, storage.kind) as took:
        if number == MANY:
            yield f"start_seconds_{where}", took
            began = time.perf_counter()
            asyncio.run(settled(on, storage.kind))
            yield f"settled_seconds_{where}", took + time.perf_counter() - began
        on.quiet()
        for part in (processes, alone, together, connections):
            tell(f"{where}: {part.__name__}")
            for name, figure in part(on, storage):
                yield f"{name}_{where}", figure


def populate(on: Bed, storage: Storage, number: int) -> None:
    """Have so many volumes; of many, half are at work, in every way."""
    kinds = [kind for kind in SETTLED if kind is not managing]
    busy = number // 2 if number == MANY else 0
    MOMENT.set(Moment(datetime.now(UTC) - BEFORE, Provenance(actor="bench")))
    begun = [kinds[n % len(kinds)](storage.kind) for n in range(busy)]
    begun += [available(storage.kind) for _ in range(number - busy)]
    with VolumeManager(on.database) as manager:
        written = write(manager.recorder, begun)
    fill(storage.group, lvs_of(written))
    carry_out(storage.driver(), written)


def lvs_of(written: Written) -> Iterator[Lv]:
    """Yield the logical volumes of volumes that were made."""
    for volume_id, cause in made(written):
        yield Lv(volumes.name(volume_id), GIB, tags=volumes.tags(volume_id, cause))


@contextmanager
def started(on: Bed, name: str) -> Iterator[float]:
    """Run an agent; yields how many seconds after its start it had done new work."""
    began = time.perf_counter()
    with on.agent(name):
        asyncio.run(done(on, name))
        yield time.perf_counter() - began


async def done(on: Bed, name: str) -> None:
    """Return once a volume was made that was asked for from now on."""
    client = await nats.connect(on.url)
    asked = msgspec.json.encode({"size_gib": 1, "backend": name})
    headers = {"Holdfast-Wait": "60"}
    while True:
        try:
            answer = await client.request(
                "holdfast.v1.volume.create", asked, timeout=60, headers=headers
            )
        except Error:
            answer = None
        if answer and "Nats-Service-Error" not in (answer.headers or {}):
            break
        await asyncio.sleep(AGAIN)
    await client.close()


async def settled(on: Bed, name: str) -> None:
    """Return once nothing is in flight that was before the agent's start."""
    async with caller(on.url) as asker:
        reason = "unknown"
        while reason:
            await asyncio.sleep(LOOK_EVERY)
            working = await asker.insist("backend.is_working", name=name)
            reason = working["reason"]


def processes(_: Bed, storage: Storage) -> Iterator[tuple[str, float]]:
    """Yield what one process after another takes to create as many."""
    names = [f"bare-{n}" for n in range(TOGETHER)]
    script = "".join(f"{shlex.join(storage.lvcreate(name))}\n" for name in names)
    [took] = timed(
        lambda said: subprocess.run(["sh", "-ec", said], check=True), [script]
    )
    storage.shell.run("lvremove", "-f", *(f"{storage.group}/{n}" for n in names))
    yield "process_create_ms", 1e3 * took / len(names)


def timed(what: Callable[[Any], Any], each: list[Any]) -> list[float]:
    """Return the seconds that each took."""
    found = []
    for one in each:
        began = time.perf_counter()
        what(one)
        found.append(time.perf_counter() - began)
    return found


def alone(on: Bed, storage: Storage) -> Iterator[tuple[str, float]]:
    """Yield what operations take one at a time, by the shell and by the service."""
    names = [f"bare-{n}" for n in range(ALONE)]
    whole = [f"{storage.group}/{name}" for name in names]
    commands = {
        "create": [storage.lvcreate(name) for name in names],
        "extend": [["lvextend", "-L", "2g", name] for name in whole],
        "delete": [["lvremove", "-f", "-y", name] for name in whole],
    }
    for verb, each in commands.items():
        took = timed(lambda words: storage.shell.run(*words), each)
        yield f"bare_{verb}_ms", load.quantile(sorted(took), 0.5)
    new = {"size_gib": 1, "backend": storage.kind}
    yield "create_ms", asked(on, "volume.create", [new] * ALONE).p50
    ids = newest(on, ALONE)
    larger = [{"id": each, "size_gib": 2} for each in ids]
    yield "extend_ms", asked(on, "volume.extend", larger).p50
    yield "delete_ms", asked(on, "volume.delete", [{"id": each} for each in ids]).p50


def together(on: Bed, storage: Storage) -> Iterator[tuple[str, float]]:
    """Yield what operations take, many at a time."""
    new = {"size_gib": 1, "backend": storage.kind}
    made = asked(on, "volume.create", [new] * TOGETHER, IN_FLIGHT)
    yield "create_ms_each_of_32", made.each
    gone = [{"id": each} for each in newest(on, TOGETHER)]
    yield "delete_ms_each_of_32", asked(on, "volume.delete", gone, IN_FLIGHT).each


def connections(on: Bed, storage: Storage) -> Iterator[tuple[str, float]]:
    """Yield how long after its request a connection is there, and configfs alone."""
    names = [f"bare-{n}" for n in range(ALONE)]
    for name in names:
        storage.shell.run(*storage.lvcreate(name))
    exports = [(uuid4(), f"/dev/{storage.group}/{name}") for name in names]
    took = timed(
        lambda export: storage.target.connect(export[0], export[1], HOST), exports
    )
    yield "configfs_connect_ms", load.quantile(sorted(took), 0.5)
    for export, _ in exports:
        storage.target.remove(export)
    storage.shell.run("lvremove", "-f", *(f"{storage.group}/{n}" for n in names))
    asked(on, "volume.create", [{"size_gib": 1, "backend": storage.kind}] * ALONE)
    ids = newest(on, ALONE)
    wanted = [{"id": each, "connector": HOST} for each in ids]
    yield "connect_ms", asked(on, "volume.initialize_connection", wanted).p50
    asked(on, "volume.terminate_connection", wanted)
    asked(on, "volume.delete", [{"id": each} for each in ids])


@dataclass(frozen=True)
class Took:
    """What requests took, in ms: half of them, and each where they came together."""

    p50: float
    each: float


def asked(on: Bed, subject: str, messages: list[Any], in_flight: int = 1) -> Took:
    """Ask it all, waiting for the backend; so many at a time."""
    address = on.url.removeprefix("nats://")
    bodies = list(map(msgspec.json.encode, messages))

    async def ask() -> Took:
        began = time.perf_counter()
        asking = await load.begun(
            address, f"holdfast.v1.{subject}", in_flight, bodies, [WAIT]
        )
        await asking.over.wait()
        took = time.perf_counter() - began
        asking.transport.abort()
        assert not asking.refused, asking.refused
        return Took(
            load.quantile(sorted(asking.latencies), 0.5), 1e3 * took / len(bodies)
        )

    return asyncio.run(ask())


def newest(on: Bed, number: int) -> list[str]:
    """Return the ids of the volumes that were asked for last."""
    with on.connect() as database:
        rows = database.execute(NEWEST, (number,)).fetchall()
    return [str(volume_id) for [volume_id] in rows]


NEWEST = """
    SELECT originator_id FROM holdfast_events WHERE topic = 'volume.created'
    ORDER BY notification_id DESC LIMIT %s
"""


def worst(found: Mapping[str, float]) -> Iterator[tuple[str, float]]:
    """Yield what is to be reached, of each the worst: thin or thick, few or many."""
    places = [f"{kind}_{number}" for number in (FEW, MANY) for kind in DISKS]

    def of(name: str) -> list[float]:
        return [found[f"{name}_{where}"] for where in places]

    sequential = zip(of("process_create_ms"), of("create_ms_each_of_32"), strict=True)
    yield "create_ratio_sequential_32", min(bare / ours for bare, ours in sequential)
    bare = zip(of("bare_create_ms"), of("create_ms"), strict=True)
    yield "create_ratio_bare_1", max(ours / (1.3 * bare + 10) for bare, ours in bare)
    yield "connect_ms", max(of("connect_ms"))
    starts = [found[f"start_seconds_{kind}_{MANY}"] for kind in DISKS]
    yield "start_seconds_1000", max(starts)


Measured = Callable[
    [Bed, list[Storage], Callable[[str], None]], Iterator[tuple[str, float]]
]


def measure(measured: Measured, floors: Mapping[str, str], results: str) -> None:
    """Measure on storage of each kind, tell it, and keep it."""
    storages = [Storage(kind) for kind in DISKS]
    console = Console()
    for storage in storages:
        prepare(storage)
    settings = "".join(storage.settings for storage in storages)
    with (
        console.status("starting the servers") as status,
        bed(settings) as on,
        on.replica(),
    ):
        tell(console, measured(on, storages, status.update), floors, results)


if __name__ == "__main__":
    measure(measured, FLOORS, "results-lvm.json")
