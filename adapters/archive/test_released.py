"""Old logs replay for ever, and come to what they came to when they were written."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from adapters.archive.reading import opened
from adapters.archive.releasing import RELEASED
from domain.log import EVENTS
from projections.digest import joined
from projections.replaying import Share

# The digest of each log that was released. Lines are only added.
DIGESTS = {
    "0.2.0": "375dbb0625337aa8b3169709f6d5c474fa9adca18fc18dfd511f0b2d7e4dbb91",
}
# Events that are in no released log yet, because they are newer than all of these.
NOT_YET = {
    "backend.repair_progressed",
    "volume.creation_given_up",
    "volume.rescheduled",
}


def path_of(name: str) -> Path:
    return RELEASED / f"{name}.jsonl.zst"


def topics_in(name: str) -> set[str]:
    log = opened(path_of(name))
    found, read = set(), 0
    with log.lines() as lines:
        while read < log.events:
            page = lines.page(log.events - read)
            read += len(page)
            found |= {msgspec.json.decode(line)["topic"] for line in page}
    return found


def test_every_released_log_has_its_digest() -> None:
    assert {path.name for path in RELEASED.iterdir()} == {
        path_of(name).name for name in DIGESTS
    }


@pytest.mark.parametrize("name", DIGESTS)
def test_a_released_log_comes_to_what_it_did(name: str) -> None:
    came = opened(path_of(name)).came(Share(0, 1))

    assert joined(came.buckets) == DIGESTS[name]


def test_every_event_is_in_a_released_log_or_newer() -> None:
    released = {topic for name in DIGESTS for topic in topics_in(name)}

    assert released <= EVENTS.keys()
    assert EVENTS.keys() - released == NOT_YET, "see adapters.archive.releasing"
