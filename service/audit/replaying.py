"""Replaying a whole log on all processors, in memory that is bounded.

The aggregates are dealt out in shares. Each process reads the log from its
beginning and takes its own share from it, then the next one, if there are more
shares than processes: so no process ever has more than one share in memory.
"""

from __future__ import annotations

import gc
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from multiprocessing import context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple, Protocol, TypeAlias, cast

from adapters.archive.reading import Archive
from projections.digest import BUCKETS, joined
from projections.replaying import WHOLE, Came, NotALog, Share
from projections.what_if import WhatIf

AT_ONCE = 500_000  # events of a share, about, and so aggregates at most
# How processes begin: at once, or without anything of a process that has threads.
FORKED, SPAWNED = context.ForkContext(), context.SpawnContext()
How = context.ForkContext | context.SpawnContext
TOLD_EVERY = 20_000  # lines
Told = Callable[[float], None]
Pipe: TypeAlias = "Connection[Any, Any]"


class Source(Protocol):
    """A log that can be read as often as is wanted."""

    @property
    def events(self) -> int:
        """How many there are."""

    def came(self, share: Share, told: Callable[[int], None], /) -> Came:
        """Verify and rebuild a share; `told` is how many events were passed.

        Raises `NotALog`.
        """


class Replayed(NamedTuple):
    """What a log has come to."""

    events: int
    link: str
    totals: Counter[tuple[str, str]]
    digest: str


def replay(source: Source, told: Told = lambda _: None, how: How = FORKED) -> Replayed:
    """Verify a log, rebuild every aggregate, and return what that comes to.

    `told` is how much of it is done, from 0 to 1. Raises the first `NotALog`.
    """
    came = list(gathered(source, told, how))
    return Replayed(
        source.events,
        came[0].link,
        sum((each.totals for each in came), Counter()),
        joined({key: hashed for each in came for key, hashed in each.buckets.items()}),
    )


def summary(found: Replayed) -> dict[str, Any]:
    """Return what callers are told."""
    totals: dict[str, dict[str, int]] = {}
    for (noun, status), number in sorted(found.totals.items()):
        totals.setdefault(noun, {})[status] = number
    return {
        "events": found.events,
        "chain": found.link,
        "digest": found.digest,
        "totals": totals,
    }


def what_if(source: Archive, changes: Mapping[str, Any], told: Told) -> WhatIf:
    """Take the decisions of a log again, under another policy.

    It needs all volumes at once, and so one process. Raises `NotALog`.
    """
    asked = WhatIf(changes)
    source.came(WHOLE, lambda read: told(read / source.events), asked.happened)
    return asked


def gathered(source: Source, told: Told, how: How) -> Iterator[Came]:
    """Yield what each share came to, from as many processes as there are processors."""
    running: dict[Pipe, BaseProcess] = {}
    hands = dealt(source.events, len(os.sched_getaffinity(0)))
    for hand in hands:
        heard, told_by = how.Pipe(duplex=False)
        process: BaseProcess = how.Process(
            target=work, args=(source, hand, told_by), daemon=True
        )
        process.start()
        told_by.close()
        running[heard] = process
    try:
        yield from outcomes(set(running), sum(map(len, hands)) * source.events, told)
    finally:
        for process in running.values():
            process.terminate()
            process.join()


def outcomes(pipes: set[Pipe], lines: int, told: Told) -> Iterator[Came]:
    """Yield what processes tell until all have ended; raise the first that is wrong."""
    wrong: list[NotALog] = []
    read = 0
    for message in messages(pipes):
        match message:
            case int():
                read += message
                told(read / lines)
            case NotALog():
                wrong.append(message)
            case Exception():
                raise message
            case Came():
                yield message
    if wrong:
        raise min(wrong, key=lambda found: found.line)


def messages(pipes: set[Pipe]) -> Iterator[int | Came | Exception]:
    """Yield what comes through pipes until each has told that it is done."""
    while pipes:
        for pipe in cast("list[Pipe]", wait(pipes)):
            try:
                message = pipe.recv()
            except EOFError as end:
                raise ChildProcessError("a process was ended from outside") from end
            if message is None:
                pipes -= {pipe}
            else:
                yield message


def dealt(events: int, processors: int) -> list[list[Share]]:
    """Return which shares each process takes, one after another."""
    processes = 1 << (processors.bit_length() - 1)
    of = processes
    while of < BUCKETS and events > of * AT_ONCE:
        of *= 2
    return [[Share(n, of) for n in range(k, of, processes)] for k in range(processes)]


def work(source: Source, hand: list[Share], tell: Pipe) -> None:
    """Take shares from the log, and tell what they come to, or what is wrong."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started us ends us
    gc.disable()  # nothing that is thrown away here has cycles
    try:
        for share in hand:
            tell.send(source.came(share, counted(tell)))
    except Exception as wrong:  # noqa: BLE001 - raised where somebody hears it
        tell.send(wrong)
    tell.send(None)


def counted(tell: Pipe) -> Callable[[int], None]:
    """Return what tells how many lines were read, now and then."""
    before = 0

    def count(read: int) -> None:
        nonlocal before
        if read - before >= TOLD_EVERY:
            tell.send(read - before)
            before = read

    return count
