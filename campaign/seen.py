"""What every part of the service has, once all is quiet."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from eventsourcing.persistence import PersistenceError
from nats.aio.client import Client
from nats.errors import Error
from nats.js.api import ConsumerConfig, DeliverPolicy
from nats.js.client import JetStreamContext

from adapters.jetstream.stream import STREAM, SUBJECTS
from adapters.postgres.batch import Kept
from adapters.postgres.reading import Row, rebuilt, verified
from campaign.armed import DIARY, SAID
from campaign.storage import OnDisk, Storage
from campaign.witness import Diary
from domain import log as language
from domain.aggregate import Event
from domain.group_snapshot import GroupSnapshot
from domain.volume import Volume
from service.manager import VolumeManager
from service.testing.callers import Caller

KEYS = """
    SELECT request_id, fingerprint, aggregate_id, version, part_id, position FROM {keys}
"""
# What is gone of each noun that is listed.
GONE = (
    ("volume", "deleted"),
    ("attachment", "detached"),
    ("snapshot", "deleted"),
    ("group", "deleted"),
    ("group_snapshot", "deleted"),
)
STANDS_STILL = 10.0  # seconds after which no more is expected of the stream


class Published(NamedTuple):
    """A message of the stream: where it is, and what it says."""

    sequence: int
    position: int
    topic: str
    state: bytes


class Logged(NamedTuple):
    """What the database has: rows, events, what follows of them, and what is kept."""

    rows: Sequence[Row]
    log: Sequence[Event]
    fold: Mapping[UUID, Any]
    keys: Mapping[str, Kept]
    allocated: Mapping[str, int]


class Place(Protocol):
    """Where everything is that can be looked at."""

    folder: Path
    storage: Storage
    failed: list[str]

    @property
    def settings(self) -> dict[str, str]:
        """The way to the database."""


@dataclass(frozen=True)
class Seen:
    """All accounts of what has happened."""

    diary: Diary
    rows: Sequence[Row]
    log: Sequence[Event]
    fold: Mapping[UUID, Any]
    keys: Mapping[str, Kept]
    allocated: Mapping[str, int]
    stream: Sequence[Published]
    listed: Mapping[str, Mapping[str, Any]]
    disk: Mapping[str, OnDisk]
    snapshots: Mapping[str, OnDisk]
    leftovers: set[str]
    exports: Mapping[str, set[str]] | None
    texts: Mapping[str, Mapping[int, str | None]]
    blocks: Mapping[tuple[str, int], str]
    deeds: Sequence[tuple[UUID, int]]
    failed: Sequence[str]


async def look(place: Place, asker: Caller, diary: Diary, after: int) -> Seen:
    """Look everywhere; in the stream only behind a position that was seen before.

    Raises `Broken` where the log is not what was written.
    """
    while True:
        # A busy machine may be slow to connect, or to read.
        with suppress(PersistenceError):
            seen = await look_once(place, asker, diary, after)
            with VolumeManager(place.settings) as manager:
                # A deadline may have passed meanwhile.
                if manager.recorder.max_notification_id() == len(seen.rows):
                    return seen


async def look_once(place: Place, asker: Caller, diary: Diary, after: int) -> Seen:
    """Look everywhere while the log may grow.

    In threads: what is looked at may run in our loop, and is not to stand still.
    """
    logged = await asyncio.to_thread(read, place)
    length, held = len(logged.rows), texts(diary, logged.log)
    found = await asyncio.to_thread(place.storage.found)
    there = held.keys() & (found.volumes.keys() | found.snapshots.keys())
    blocks = await asyncio.to_thread(
        place.storage.read, {key: held[key] for key in there}
    )
    return Seen(
        diary,
        *logged,
        await published(asker.client, after, length),
        {noun: await listed(asker, noun, gone, length) for noun, gone in GONE},
        found.volumes,
        found.snapshots,
        found.leftovers,
        found.exports,
        held,
        blocks,
        deeds(place.folder / DIARY),
        place.failed + failed_keepers(place.folder / SAID),
    )


def read(place: Place) -> Logged:
    """Read what the database has."""
    with VolumeManager(place.settings) as manager:
        recorder = manager.recorder
        rows = list(verified(recorder))
        allocated = recorder.allocated()
        with recorder.datastore.cursor() as cursor:
            cursor.execute(recorder.sql(KEYS))
            keys = {row["request_id"]: Kept(*row.values()) for row in cursor}
    log = [language.decode(row.topic, row.state) for row in rows]
    fold: dict[UUID, Any] = {}
    for event in log:
        fold[event.originator_id] = event.mutate(fold.get(event.originator_id))
    return Logged(rows, log, fold, keys, allocated)


def texts(diary: Diary, log: Sequence[Event]) -> dict[str, dict[int, str | None]]:
    """Return what is where in each volume and snapshot: what was written, and copied.

    What has been copied or gone back to is written no more.
    """
    held = {key: dict(written) for key, written in diary.written.items()}
    for event in log:
        match event:
            case Volume.Created(source=dict() as source):
                copied = [(event.originator_id, *source.values())]
            case Volume.ReversionStarted():
                copied = [(event.originator_id, event.snapshot_id)]
            case GroupSnapshot.Created():
                copied = [(m.snapshot_id, m.volume_id) for m in event.members]
            case _:
                continue
        held |= {str(copy): held.get(str(source), {}) for copy, source in copied}
    return held


def busy(place: Place) -> list[str]:
    """Return what the log has under way, or that it cannot be read."""
    try:
        with VolumeManager(place.settings) as manager:
            fold = rebuilt(manager.recorder)
    except PersistenceError as away:
        return [f"the log cannot be read: {away}"]
    return [
        f"{key} is {seen.status} since {seen.updated_at}, version {seen.version}"
        for key, seen in fold.items()
        if seen.unsettled
    ]


async def published(client: Client, after: int, last: int) -> list[Published]:
    """Return what the stream has behind a sequence, once it has what the log has."""
    stream = client.jetstream()

    await grown(stream, last)
    start = ConsumerConfig(
        deliver_policy=DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=after + 1
    )
    end = (await stream.stream_info(STREAM)).state.last_seq
    messages = await stream.subscribe(
        f"{SUBJECTS}.>", ordered_consumer=True, config=start
    )
    found: list[Published] = []
    while not found or found[-1].sequence < end:
        message = await messages.next_msg(timeout=30)
        headers = message.headers or {}
        found.append(
            Published(
                message.metadata.sequence.stream,
                int(headers["ce-id"]),
                headers["ce-type"].removeprefix("holdfast."),
                message.data,
            )
        )
    await messages.unsubscribe()
    return found


async def grown(stream: JetStreamContext, last: int) -> None:
    """Return once the stream is so long, or has not grown for a while."""
    length, moved = -1, time.monotonic()
    while length < last and time.monotonic() < moved + STANDS_STILL:
        with suppress(Error, TimeoutError):
            found = (await stream.stream_info(STREAM)).state.last_seq
            if found != length:
                length, moved = found, time.monotonic()
        await asyncio.sleep(0.02)


async def listed(asker: Caller, noun: str, gone: str, position: int) -> dict[str, Any]:
    """Return everything of a list, what is gone as well."""
    asked = {"min_position": position}
    items = await asker.all(f"{noun}.list", **asked)
    items += await asker.all(f"{noun}.list", status=gone, **asked)
    return {item["id"]: item for item in items}


def deeds(diary: Path) -> list[tuple[UUID, int]]:
    """Return what agents have begun, in that order."""
    lines = diary.read_text().splitlines() if diary.exists() else []
    return [(UUID(line[:36]), int(line[37:])) for line in lines]


def failed_keepers(said: Path) -> list[str]:
    """Return the keepers that have ended though nobody killed them."""
    told = said.read_text() if said.exists() else ""
    ends = re.findall(r"the keeper has ended \((-?\d+)\)", told)
    return [f"a keeper ({end})" for end in ends if int(end) != -SIGKILL]
