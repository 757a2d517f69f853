"""A load, and what must be true of it afterwards."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import Any

import msgspec
from nats.aio.client import Client
from nats.errors import Error

from adapters.jetstream.stream import STREAM, SUBJECTS
from domain.aggregate import Event
from domain.volume import Volume
from domain.volume_status import UNDER_WAY
from projections import resources
from service.testing.callers import Caller, eventually
from service.testing.programs import BACKEND


async def live_a_life(asker: Caller, dice: random.Random, name: str) -> None:
    """Create, extend, attach, detach and delete, as far as it comes."""
    steps = iter(range(1_000_000))

    async def ask(subject: str, **message: Any) -> Any:
        return await asker.insist(subject, f"{name}-{next(steps)}", **message)

    created: dict[str, Any] = {"key": f"{name}-created", "size_gib": 1, "name": name}
    # A replica that has just begun may not know a backend yet.
    made = await asker.until("volume.create", lambda told: "id" in told, **created)
    volume_id = made["id"]
    await settled(asker, volume_id)
    size = 1
    for deed in dice.choices(
        ["extend", "hold", "keep"], [5, 4, 1], k=dice.randint(0, 6)
    ):
        if deed == "extend":
            size += 1
            await ask("volume.extend", id=volume_id, size_gib=size)
            await settled(asker, volume_id)
            continue
        held = await ask("attachment.create", volume_id=volume_id, host=name)
        if "id" not in held:
            return
        connector = {"host": name, "initiator": f"iqn.2026-01.example:{name}"}
        await ask("attachment.update", id=held["id"], connector=connector)
        await ask("attachment.complete", id=held["id"])
        if deed == "keep":
            return
        await ask("attachment.delete", id=held["id"])
    if dice.choice([True, True, False]):
        await ask("volume.delete", id=volume_id)


async def settled(asker: Caller, volume_id: str) -> None:
    def so(volume: Any) -> bool:
        return volume["status"] not in UNDER_WAY

    await asker.until("volume.show", so, id=volume_id)


async def load(
    asker: Caller, dice: random.Random, name: str, stopped: asyncio.Event
) -> None:
    for life in range(1_000_000):
        if stopped.is_set():
            return
        await live_a_life(asker, dice, f"{name}-{life}")


async def has_room(asker: Caller, *backends: str) -> None:
    """Return once the service knows backends that work."""

    def so(backend: Any) -> bool:
        return bool(backend.get("working"))

    for name in backends or (BACKEND,):
        await asker.until("backend.is_working", so, name=name)


async def nothing_is_in_flight(asker: Caller, *backends: str) -> None:
    def so(answer: Any) -> bool:
        return not answer["items"]

    for name in backends or (BACKEND,):
        await asker.until("agent.in_flight", so, name=name, after=0)


async def lists_tell(asker: Caller, volumes: Collection[Volume]) -> None:
    """The lists are what the log comes to."""
    assert await listed(asker, "volume") == {
        str(volume.id): as_json(resources.volume(volume)) for volume in volumes
    }
    assert await listed(asker, "attachment") == {
        str(key): as_json(resources.attachment(volume, key))
        for volume in volumes
        for key in volume.attachments | volume.gone
    }


async def listed(asker: Caller, noun: str, **asked: Any) -> dict[str, Any]:
    """Return all there is of a noun by its id, what is gone as well."""
    gone = "deleted" if noun == "volume" else "detached"
    items = await asker.all(f"{noun}.list", **asked)
    items += await asker.all(f"{noun}.list", status=gone, **asked)
    return {item["id"]: item for item in items}


def as_json(shown: Any) -> Any:
    return msgspec.json.decode(msgspec.json.encode(shown))


def happened_once(log: Sequence[Event], askers: Sequence[Caller]) -> None:
    """Every request is in the log once, and where its answer says."""
    own = {
        position: event.provenance.request_id
        for position, event in enumerate(log, start=1)
        if event.provenance.request_id and not event.provenance.recorded_by
    }
    assert set(Counter(own.values()).values()) <= {1}
    answers = [item for asker in askers for item in asker.acknowledged.items()]
    assert {key for key, _ in answers} <= set(own.values())
    for key, answer in answers:
        assert log[answer["position"] - 1].provenance.request_id == key


async def published(client: Client, last: int) -> list[int]:
    """Return the positions on the stream once there are so many, as others get them."""
    stream = client.jetstream()
    found: list[int] = []

    async def is_there() -> bool:
        with suppress(Error, TimeoutError):
            return (await stream.stream_info(STREAM)).state.last_seq >= last
        return False

    await eventually(is_there)
    messages = await stream.subscribe(f"{SUBJECTS}.>", ordered_consumer=True)
    while len(found) < last or messages.pending_msgs:
        message = await messages.next_msg(timeout=30)
        found.append(int((message.headers or {})["ce-id"]))
    await messages.unsubscribe()
    return found
