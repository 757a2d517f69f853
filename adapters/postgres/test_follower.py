"""Following the log: what waits for what, and what is known without asking."""

from __future__ import annotations

from threading import Event as Flag
from time import monotonic
from typing import Any
from uuid import UUID, uuid4

import pytest
from eventsourcing.persistence import ProgrammingError, StoredEvent

from adapters.postgres import follower as module
from adapters.postgres.batch import NO_WORK, PUBLISHED_BY, WORK, Batch
from adapters.postgres.follower import Follower, until_written, words
from service.manager import VolumeManager

INTENT = "volume.created"
HERE, ELSEWHERE = f"{PUBLISHED_BY}one", f"{PUBLISHED_BY}another"


def event(topic: str, version: int = 1, key: UUID | None = None) -> StoredEvent:
    return StoredEvent(key or uuid4(), version, topic, b"{}")


@pytest.mark.parametrize("word", [WORK, NO_WORK, HERE, None])
def test_a_commit_says_what_it_is_told_to(
    manager: VolumeManager, word: str | None
) -> None:
    recorder = manager.recorder
    with recorder.datastore.get_connection() as connection:
        connection.execute(f'LISTEN "{recorder.channel_name}"')

        recorder.append(Batch([event(INTENT)], word=word))
        recorder.append(Batch([event(INTENT)], word="later"))

        heard: list[str] = []
        while "later" not in heard:
            heard += words(connection, 10)
    assert heard == [word, "later"] if word is not None else ["later"]


SOON, LATER, NEVER = module.PACE, module.LEISURE, 600.0


@pytest.mark.parametrize(
    ("said", "waited"),
    [
        ([[WORK]], NEVER / 2),
        ([[]], NEVER),
        ([[NO_WORK], [NO_WORK, NO_WORK], [NO_WORK, WORK]], NEVER / 2),
        ([[NO_WORK], []], NEVER / 2 + SOON),
        ([[HERE], [HERE], []], NEVER / 2 + LATER),
        ([[HERE], [NO_WORK], []], NEVER / 2 + SOON),
        ([[HERE], [HERE, ELSEWHERE]], NEVER / 2),
        ([[HERE], [WORK]], NEVER / 2),
    ],
    ids=[
        "asked for work",
        "nothing",
        "told, then asked",
        "told, then nothing",
        "published by one",
        "published by one, and told",
        "published by several",
        "published, then asked",
    ],
)
def test_a_page_waits_as_long_as_nobody_waits_for_it(
    monkeypatch: pytest.MonkeyPatch, said: list[list[str]], waited: float
) -> None:
    now = 0.0

    def heard(_: Any, seconds: float) -> list[str]:
        nonlocal now
        found = said.pop(0)
        if not found:
            now += seconds
        elif seconds == NEVER:
            now += seconds / 2
        return found

    monkeypatch.setattr(module, "words", heard)
    monkeypatch.setattr(module, "monotonic", lambda: now)
    connection: Any = None

    until_written(connection, NEVER)

    assert now == pytest.approx(waited)
    assert said == []


def test_what_is_no_longer_in_memory_is_known_to_be_in_the_database(
    manager: VolumeManager,
) -> None:
    recorder, moved = manager.recorder, Flag()
    recorder.append(Batch([event(INTENT) for _ in range(3)]))
    follower = Follower(recorder, 3)
    follower.start()
    try:
        with follower.telling(moved.set):
            recorder.append(Batch([event(INTENT) for _ in range(2)]))
            assert moved.wait(10)
        known = [follower.remembers(position) for position in range(6)]
        pages = [follower.after(position, 0) for position in range(6)]
    finally:
        follower.stop()

    assert known == [False, False, False, True, True, True]
    assert [len(page) for page in pages] == [5, 4, 3, 2, 1, 0]


def test_what_follows_is_the_same_from_memory_and_from_the_database(
    manager: VolumeManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAGE", 2)
    monkeypatch.setattr(module, "KEPT", 4)
    follower = Follower(manager.recorder, 0)
    follower.start()
    try:
        for last in range(1, 8):
            manager.recorder.append(Batch([event(INTENT)]))
            assert follower.after(last - 1, 10)
        pages = [follower.after(position, 0) for position in range(8)]
    finally:
        follower.stop()

    found = [[each.position for each in page] for page in pages]
    assert found[:3] == [[1, 2], [2, 3], [3, 4]]
    assert found[3:] == [[4, 5, 6, 7], [5, 6, 7], [6, 7], [7], []]


def test_one_that_ends_says_why_at_once(manager: VolumeManager) -> None:
    recorder = manager.recorder
    with recorder.datastore.transaction(commit=True) as cursor:
        cursor.execute(recorder.sql("DROP TABLE {log}"))
    follower, began = Follower(recorder, 0), monotonic()
    follower.start()

    with pytest.raises(ProgrammingError):
        follower.after(0, 10)
    assert monotonic() - began < 5


def test_a_listener_that_is_gone_keeps_nobody_from_following(
    manager: VolumeManager,
) -> None:
    def gone() -> None:
        raise RuntimeError("Event loop is closed")

    follower = Follower(manager.recorder, 0)
    follower.start()
    try:
        with follower.telling(gone):
            for position in range(2):
                manager.recorder.append(Batch([event(INTENT)]))
                assert follower.after(position, 10)
    finally:
        follower.stop()
