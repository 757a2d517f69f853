"""What snapshots, copies and group snapshots on LVM cost, beside the bare commands.

    just bench-snapshots

prints a table and writes `bench/results-snapshots.json`. The whole service runs in the
guest, as in `bench.lvm`; figures are of thin and of thick volumes, beside 1, 100 and
1,000 snapshots: of one volume, but for 1,000 thick ones, of which each volume has ten.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from threading import Event, Thread
from uuid import UUID, uuid4

from adapters.lvm import fronts
from bench import load
from bench.bed import Bed
from bench.lvm import DISKS, IN_FLIGHT, Storage, asked, measure, newest, started, timed
from service.testing.at_work import HOST

TIMES = 8  # operations, one at a time
TAKEN = 7  # group snapshots, and as often ten bare ones
MEMBERS = 10  # of a group
SMALL, LARGE = 1, 100  # GiB
NUMBERS = 1, 100, 1000
OF_ONE = {"thin": 1000, "thick": 100}  # each thick one is written to with its volume
OF_OTHERS = 10
FLOORS = {
    "group_snapshot_ratio_10": "1.5 at most",
    "held_up_ms_10": "1000 at most",
    "clone_size_ratio_thin": "1",
}


def measured(
    on: Bed, storages: list[Storage], status: Callable[[str], None]
) -> Iterator[tuple[str, float]]:
    """Yield what it costs on each storage, then what is to be reached."""
    found: dict[str, float] = {}
    for storage in storages:
        with started(on, storage.kind):
            on.quiet()
            for part in (group_snapshots, clones, chain):
                status(f"{storage.kind}: {part.__name__}")
                for name, figure in part(on, storage):
                    found[name] = figure
                    yield name, figure
    yield (
        "group_snapshot_ratio_10",
        max(
            found[f"group_snapshot_ms_{kind}"] / found[f"bare_ten_snapshots_ms_{kind}"]
            for kind in DISKS
        ),
    )
    yield "held_up_ms_10", max(found[f"held_up_ms_{kind}"] for kind in DISKS)
    small, large = (found[f"clone_ms_thin_{size}_gib"] for size in (SMALL, LARGE))
    yield "clone_size_ratio_thin", large / small


def group_snapshots(on: Bed, storage: Storage) -> Iterator[tuple[str, float]]:
    """Yield what a snapshot of ten volumes that hosts reach takes, and ten bare ones.

    And how long a host that writes all the time is held up for it.
    """
    group = str(uuid4())
    about = {"backend": storage.kind, "consistent": True}
    asked(on, "group.create", [{"id": group} | about])
    member = {"size_gib": SMALL, "group_id": group}
    asked(on, "volume.create", [member] * MEMBERS)
    ids = newest(on, MEMBERS)
    reached = [{"id": each, "connector": HOST} for each in ids]
    asked(on, "volume.initialize_connection", reached)
    # In turn, for the machine is not as fast at one moment as at another.
    both = [(bare_ones(storage, ids), group_snapshot(on, group)) for _ in range(TAKEN)]
    bare, ours = map(median, zip(*both, strict=True))
    yield f"bare_ten_snapshots_ms_{storage.kind}", bare
    yield f"group_snapshot_ms_{storage.kind}", ours
    with writing(fronts.FOLDER / fronts.name(UUID(ids[0]))) as took:
        group_snapshot(on, group)
    yield f"held_up_ms_{storage.kind}", 1e3 * max(took)
    asked(on, "volume.terminate_connection", reached)
    asked(on, "group.delete", [{"id": group, "delete_volumes": True}])


def group_snapshot(on: Bed, group: str) -> float:
    """Return the milliseconds that one takes; it goes then, as bare ones do."""
    taken = {"id": str(uuid4()), "group_id": group}
    took = asked(on, "group_snapshot.create", [taken]).p50
    asked(on, "group_snapshot.delete", [{"id": taken["id"]}])
    return took


def bare_ones(storage: Storage, ids: list[str]) -> float:
    """Return the milliseconds that a bare snapshot of each takes together."""
    names = [f"bare-{each}" for each in ids]
    whole = [f"{storage.group}/{name}" for name in names]
    began = time.perf_counter()
    for each, name in zip(ids, names, strict=True):
        storage.shell.run(*lvcreate(storage, f"volume-{each}", name))
    took = 1e3 * (time.perf_counter() - began)
    storage.shell.run("lvremove", "-f", "-y", *whole)
    return took


@contextmanager
def writing(device: Path) -> Iterator[list[float]]:
    """Write to a device all the time; yields the seconds that each write took."""
    took, over = [0.0], Event()

    def write() -> None:
        file = os.open(device, os.O_WRONLY | os.O_DSYNC)
        while not over.is_set():
            began = time.perf_counter()
            os.pwrite(file, bytes(4096), 0)
            took.append(time.perf_counter() - began)
        os.close(file)

    writer = Thread(target=write)
    writer.start()
    try:
        yield took
    finally:
        over.set()
        writer.join()


def clones(on: Bed, storage: Storage) -> Iterator[tuple[str, float]]:
    """Yield what a copy of a volume takes, and the bare snapshot that a thin one is."""
    for size_gib in (SMALL, LARGE) if storage.kind == "thin" else (SMALL,):
        [of] = volumes(on, storage, 1, size_gib)
        copies = [{"source": {"volume": of}} for _ in range(TIMES)]
        took = asked(on, "volume.create", copies).p50
        yield f"clone_ms_{storage.kind}_{size_gib}_gib", took
        remove(on, "volume", [*newest(on, TIMES), of])


def chain(on: Bed, storage: Storage) -> Iterator[tuple[str, float]]:
    """Yield what snapshots of one volume take beside ever more of them."""
    [of], there = volumes(on, storage, 1), 0
    for number in NUMBERS:
        more = number - there
        wanted = [{"volume_id": of}] * more
        if number > OF_ONE[storage.kind]:
            others = volumes(on, storage, more // OF_OTHERS)
            of, wanted = others[0], [{"volume_id": i} for i in others] * OF_OTHERS
        asked(on, "snapshot.create", wanted, IN_FLIGHT)
        there = number
        where = f"{storage.kind}_{number}"
        names = [f"bare-{n}" for n in range(TIMES)]
        each = [lvcreate(storage, f"volume-{of}", name) for name in names]
        took = timed(lambda words: storage.shell.run(*words), each)
        yield f"bare_snapshot_ms_{where}", load.quantile(sorted(took), 0.5)
        whole = [f"{storage.group}/{name}" for name in names]
        storage.shell.run("lvremove", "-f", "-y", *whole)
        ids = [str(uuid4()) for _ in range(TIMES)]
        taken = [{"id": each, "volume_id": of} for each in ids]
        yield f"snapshot_ms_{where}", asked(on, "snapshot.create", taken).p50
        gone = [{"id": each} for each in ids]
        yield f"snapshot_delete_ms_{where}", asked(on, "snapshot.delete", gone).p50


def lvcreate(storage: Storage, origin: str, name: str) -> list[str]:
    """Return how a snapshot is made, as the driver says it."""
    size = [] if storage.kind == "thin" else ["-L", f"{SMALL}g"]
    where = f"{storage.group}/{origin}"
    tag = ["--addtag", f"holdfast.snapshot={uuid4()}"]
    return ["lvcreate", "-qq", "-y", "-s", *size, "-n", name, *tag, where]


def volumes(on: Bed, storage: Storage, number: int, gib: int = SMALL) -> list[str]:
    """Return the ids of new volumes."""
    new = {"size_gib": gib, "backend": storage.kind}
    asked(on, "volume.create", [new] * number, IN_FLIGHT)
    return newest(on, number)


def remove(on: Bed, noun: str, ids: list[str]) -> None:
    """Delete all of them, one after another."""
    asked(on, f"{noun}.delete", [{"id": each} for each in ids])


if __name__ == "__main__":
    measure(measured, FLOORS, "results-snapshots.json")
