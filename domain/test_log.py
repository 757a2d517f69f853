"""The language of the log: what was written stays readable."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from domain import log
from domain.aggregate import Event
from domain.volume import Volume

# One line a topic: its fields, those of every event left out. Lines are only added.
RELEASED = Path(__file__).with_name("released_topics.txt")


def written() -> tuple[Event, bytes]:
    [event] = Volume.create(uuid4(), size_gib=1, backend="files").collect_events()
    return event, log.encode(event)


def fields_of(event: type[Event]) -> set[str]:
    return set(event.__struct_fields__) - set(Event.__struct_fields__)


def released() -> dict[str, set[str]]:
    lines = (line.split() for line in RELEASED.read_text().splitlines())
    return {topic.removesuffix(":"): set(fields) for topic, *fields in lines}


def test_what_is_written_is_read() -> None:
    event, state = written()

    assert log.decode(event.TOPIC, state) == event


@pytest.mark.parametrize("topic", released())
def test_a_released_topic_keeps_its_fields(topic: str) -> None:
    assert fields_of(log.EVENTS[topic]) >= released()[topic]


def test_every_topic_is_on_the_list_of_released_ones() -> None:
    assert released() == {topic: fields_of(e) for topic, e in log.EVENTS.items()}


@pytest.mark.parametrize("topic", ["os:system", "volume.unheard_of", ""])
def test_an_unknown_topic_is_not_resolved(topic: str) -> None:
    with pytest.raises(log.UnknownTopic):
        log.decode(topic, b"{}")


def test_a_field_of_the_wrong_type_is_refused() -> None:
    event, state = written()

    with pytest.raises(msgspec.ValidationError):
        log.decode(event.TOPIC, state.replace(b'"size_gib":1', b'"size_gib":"1"'))


def test_a_state_written_by_an_earlier_version_is_lifted() -> None:
    def into_gib(fields: dict[str, Any]) -> None:
        fields["size_gib"] = fields.pop("size_mib") // 1024

    class Created(Volume.Created, frozen=True, kw_only=True):
        UPCASTS = (into_gib,)
        event_version: int = 2

    _, state = written()
    old = state.replace(b'"size_gib":1', b'"size_mib":1024')

    lifted = log.decoder_of(Created)(old)

    assert isinstance(lifted, Created)
    assert (lifted.size_gib, lifted.event_version) == (1, 2)
    assert lifted.mutate(None).size_gib == 1
    assert log.decoder_of(Created)(log.encode(lifted)) == lifted
