"""The language of the log: every topic there is, and how its events are written.

The list of topics is closed. A log from elsewhere can name anything, and what
it names is never imported, only looked up here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any
from uuid import UUID

import msgspec

from domain.aggregate import Aggregate, Event, Intent
from domain.backend import Backend
from domain.group import Group
from domain.group_snapshot import GroupSnapshot
from domain.snapshot import Snapshot
from domain.volume import Volume

AGGREGATES: dict[str, type[Aggregate]] = {
    "volume": Volume,
    "snapshot": Snapshot,
    "group": Group,
    "group_snapshot": GroupSnapshot,
    "backend": Backend,
}

EVENTS: dict[str, type[Event]] = {
    event.TOPIC: event
    for aggregate in AGGREGATES.values()
    for event in aggregate.events()
}
KINDS = {topic: AGGREGATES[topic.partition(".")[0]] for topic in EVENTS}
INTENTS = tuple(topic for topic, event in EVENTS.items() if issubclass(event, Intent))


Row = tuple[str, bytes, int]  # topic, state, position


class UnknownTopic(Exception):
    """The log names an event that this version does not know."""


class _Decoders(dict[str, Callable[[bytes], Event]]):
    """What reads each topic, made when first met: all take 0.1 s."""

    def __missing__(self, topic: str) -> Callable[[bytes], Event]:
        if topic not in EVENTS:
            raise UnknownTopic(topic)
        decoder = self[topic] = decoder_of(EVENTS[topic])
        return decoder


class _Versioned(msgspec.Struct):
    event_version: int = 1


def encode(event: Event) -> bytes:
    """Return the event as the JSON that the log keeps, fields in a fixed order."""
    return _encode(event)


def decode(topic: str, state: bytes) -> Event:
    """Return the event that `encode` wrote, by this version or an earlier one.

    Raises `UnknownTopic`, or `msgspec.DecodeError` if a field is wrong, or all of it.
    """
    try:
        return DECODERS[topic](state)
    except UnicodeDecodeError as wrong:
        raise msgspec.DecodeError("it is no UTF-8") from wrong


def decoded(history: Iterable[Row]) -> Iterator[tuple[Event, int]]:
    """Yield events with their positions."""
    for topic, state, position in history:
        yield decode(topic, state), position


def replayed(history: Iterable[Row]) -> dict[UUID, tuple[Aggregate, int]]:
    """Return the aggregates that events make, each with the position of its last."""
    found: dict[UUID, tuple[Aggregate, int]] = {}
    for event, position in decoded(history):
        before, _ = found.get(event.originator_id, (None, 0))
        found[event.originator_id] = event.mutate(before), position
    return found


def decoder_of(event: type[Event]) -> Callable[[bytes], Event]:
    """Return what reads one kind of event; only old versions pay for upcasting."""
    plain = msgspec.json.Decoder(event).decode
    return _lifting(event, plain) if event.UPCASTS else plain


def _lifting(
    event: type[Event], plain: Callable[[bytes], Event]
) -> Callable[[bytes], Event]:
    version_of = msgspec.json.Decoder(_Versioned).decode
    current = len(event.UPCASTS) + 1

    def lift(state: bytes) -> Event:
        version = version_of(state).event_version
        if version == current:
            return plain(state)
        if not 0 < version < current:
            raise msgspec.ValidationError(f"there is no version {version} of it")
        fields: dict[str, Any] = msgspec.json.decode(state)
        for upcast in event.UPCASTS[version - 1 :]:
            upcast(fields)
        return msgspec.convert(fields | {"event_version": current}, event)

    return lift


_encode = msgspec.json.Encoder().encode
DECODERS = _Decoders()
