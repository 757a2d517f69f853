"""Following the log: what waits for what, and what is known without asking."""

from __future__ import annotations

from threading import Event as Flag
from typing import Any
from uuid import UUID, uuid4

import pytest
from eventsourcing.persistence import StoredEvent

from adapters.postgres import follower as module
from adapters.postgres.follower import Follower, until_written, words
from adapters.postgres.recorder import NO_WORK, Batch
from service.manager import VolumeManager

INTENT, OUTCOME = "volume.created", "volume.creation_finished"


def event(topic: str, version: int = 1, key: UUID | None = None) -> StoredEvent:
    return StoredEvent(key or uuid4(), version, topic, b"{}")


@pytest.mark.parametrize(
    ("topics", "word"),
    [([OUTCOME], NO_WORK), ([INTENT], ""), ([OUTCOME, INTENT, OUTCOME], "")],
    ids=["outcome", "intent", "both"],
)
def test_a_commit_says_whether_it_asks_for_work(
    manager: VolumeManager, topics: list[str], word: str
) -> None:
    recorder = manager.recorder
    with recorder.datastore.get_connection() as connection:
        connection.execute(f'LISTEN "{recorder.channel_name}"')

        recorder.append(Batch([event(topic) for topic in topics]))

        assert words(connection, 10) == [word]
        assert words(connection, 0) == []


@pytest.mark.parametrize(
    ("said", "left"),
    [
        ([[""], ["later"]], [["later"]]),
        ([[], ["later"]], [["later"]]),
        ([[NO_WORK], [NO_WORK, NO_WORK], [NO_WORK, ""], ["later"]], [["later"]]),
        ([[NO_WORK], [], ["later"]], [["later"]]),
    ],
    ids=["asked for work", "nothing", "told, then asked", "told, then nothing"],
)
def test_what_came_of_work_waits_for_what_is_asked_next(
    monkeypatch: pytest.MonkeyPatch, said: list[list[str]], left: list[list[str]]
) -> None:
    monkeypatch.setattr(module, "words", lambda *_: said.pop(0))
    monkeypatch.setattr(module, "PACE", 600.0)
    connection: Any = None

    until_written(connection)

    assert said == left


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
