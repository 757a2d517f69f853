"""The language of the log: what was written stays readable."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest

from domain import log
from domain.aggregate import Done, Event
from domain.provenance import MOMENT, Moment, Provenance
from domain.volume import Volume

# A volume's life up to an export, as the log kept it before that said its mode.
BEFORE = Path(__file__).with_name("exported_without_a_mode.jsonl")
NODE = {"host": "node-1", "initiator": "iqn.2026-01.example:node-1"}


def written() -> tuple[Event, bytes]:
    [event] = Volume.create(uuid4(), size_gib=1, backend="files").collect_events()
    return event, log.encode(event)


def test_what_is_written_is_read() -> None:
    event, state = written()

    assert log.decode(event.TOPIC, state) == event


@pytest.mark.parametrize("topic", ["os:system", "volume.unheard_of", ""])
def test_an_unknown_topic_is_not_resolved(topic: str) -> None:
    with pytest.raises(log.UnknownTopic):
        log.decode(topic, b"{}")


def test_a_field_of_the_wrong_type_is_refused() -> None:
    event, state = written()

    with pytest.raises(msgspec.ValidationError):
        log.decode(event.TOPIC, state.replace(b'"size_gib":1', b'"size_gib":"1"'))


def before() -> list[tuple[str, bytes]]:
    lines = BEFORE.read_bytes().splitlines()
    return [
        (str(topic), state.encode()) for topic, state in map(msgspec.json.decode, lines)
    ]


def replayed(life: Iterable[tuple[str, bytes]]) -> Volume:
    volume: Any = None
    for topic, state in life:
        volume = log.decode(topic, state).mutate(volume)
    return volume  # type: ignore[no-any-return]


def test_a_state_written_by_an_earlier_version_is_read_as_one_of_today() -> None:
    topic, state = before()[-1]

    lifted = log.decode(topic, state)

    assert isinstance(lifted, Volume.ExportStarted)
    assert (lifted.mode, lifted.event_version) == ("rw", 2)
    assert log.decode(topic, log.encode(lifted)) == lifted


@pytest.mark.parametrize(
    ("said", "asked", "mode"),
    [
        ({"mode": "ro"}, {}, "ro"),
        ({"mode": None}, {"mode": "ro"}, "ro"),
        ({}, {"mode": "ro"}, "ro"),
        ({}, {}, "rw"),
    ],
)
def test_what_it_did_not_say_is_what_was_done(
    said: dict[str, Any], asked: dict[str, Any], mode: str
) -> None:
    topic, state = before()[-1]
    told = msgspec.json.decode(state) | {"connector": NODE | asked} | said

    lifted = log.decode(topic, msgspec.json.encode(told))

    assert lifted.mode == mode  # type: ignore[attr-defined]


def test_an_old_life_is_replayed_to_what_it_is_when_it_is_lived_today() -> None:
    MOMENT.set(Moment(datetime(2026, 11, 20, 12, tzinfo=UTC), Provenance(actor="ops")))
    today = Volume.create(UUID(int=7), size_gib=1, backend="fast")
    today.report(1, Done(location="/dev/fast/7"))
    today.export(NODE)
    written = [(event.TOPIC, log.encode(event)) for event in today.collect_events()]

    then = replayed(before())

    assert [topic for topic, _ in before()] == [topic for topic, _ in written]
    assert vars(then) == vars(replayed(written)) == vars(today)


@pytest.mark.parametrize("event", log.EVENTS.values(), ids=log.EVENTS)
def test_every_version_before_is_lifted(event: type[Event]) -> None:
    told = {field.name: field for field in msgspec.structs.fields(event)}

    assert told["event_version"].default == len(event.UPCASTS) + 1
