"""A log leaves its database, and comes to the same wherever it goes."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from adapters.archive.reading import opened
from adapters.postgres.exporting import Stored, of_recorder, stored
from adapters.postgres.reading import rebuilt
from adapters.postgres.recorder import LogRecorder
from domain.checkpoint import Checkpoint
from projections.digest import digest
from projections.replaying import Cut, NotALog
from service.audit import replaying
from service.audit.exporting import export
from service.audit.replaying import SPAWNED, replay
from service.audit.test_past import busy
from service.manager import VolumeManager


@pytest.fixture
def recorder(manager: VolumeManager) -> LogRecorder:
    busy(manager.recorder, random.Random(6))
    return manager.recorder


@pytest.fixture
def log(recorder: LogRecorder, settings: dict[str, str]) -> Stored:
    return stored(settings, VolumeManager.name)


def exported(log: Stored, path: Path) -> dict[str, Any]:
    return export(log, path / "log.jsonl.zst", lambda _: None)


def test_a_file_comes_to_what_the_log_does(
    recorder: LogRecorder, log: Stored, tmp_path: Path
) -> None:
    told = exported(log, tmp_path)

    came = replay(opened(tmp_path / "log.jsonl.zst"))

    assert came == replay(log)
    assert came.digest == digest(rebuilt(recorder).values())
    assert came.events == told["events"] == recorder.max_notification_id()
    assert came.link == told["chain"]


def test_processes_that_begin_anew_come_to_the_same(log: Stored) -> None:
    assert replay(log, how=SPAWNED) == replay(log)


def test_more_shares_than_processes_come_to_the_same(
    log: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = replay(log)
    monkeypatch.setattr(replaying, "AT_ONCE", log.events // 10)

    assert replay(log) == whole


def test_it_comes_to_what_it_was_at_a_position(recorder: LogRecorder) -> None:
    then = replay(of_recorder(recorder, 100))

    assert then.events == 100
    assert then.digest != replay(of_recorder(recorder, None)).digest


def test_how_far_it_is_is_told(
    log: Stored, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replaying, "TOLD_EVERY", 100)
    heard: list[float] = []

    export(log, tmp_path / "log", heard.append)
    replay(opened(tmp_path / "log"), heard.append)

    assert 1.0 in heard
    assert all(0 < share <= 1 for share in heard)


def tamper(recorder: LogRecorder, statement: str) -> None:
    with recorder.datastore.transaction(commit=True) as cursor:
        cursor.execute(recorder.sql(statement))


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE {log} SET state = state || ' ' WHERE notification_id = 50",
        "UPDATE {log} SET topic = 'volume.sung' WHERE notification_id = 50",
        "UPDATE {log} SET chain = decode('00', 'hex') WHERE notification_id = 50",
        "UPDATE {log} SET state = state || '\n' WHERE notification_id = 50",
        "UPDATE {log} SET originator_version = 99 WHERE notification_id = 50",
        "UPDATE {log} SET state = '\\xff' WHERE notification_id = 50",
    ],
)
def test_a_row_that_was_changed_shows_elsewhere(
    recorder: LogRecorder, log: Stored, tmp_path: Path, statement: str
) -> None:
    tamper(recorder, statement)
    exported(log, tmp_path)

    with pytest.raises(NotALog) as found:
        replay(opened(tmp_path / "log.jsonl.zst"))

    assert found.value.position == 50


def test_a_log_that_is_shorter_than_what_was_signed_is_not_exported(
    log: Stored, tmp_path: Path
) -> None:
    time = datetime(2026, 1, 1, tzinfo=UTC)
    longer = Checkpoint("holdfast/1", log.events + 1, bytes(32), bytes(32), time)
    note = f"{longer}\n— holdfast/1 none\n"

    with pytest.raises(Cut, match="its end is lost"):
        export(log, tmp_path / "log", lambda _: None, [note])

    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_sent_is_no_log(
    recorder: LogRecorder, log: Stored, tmp_path: Path
) -> None:
    tamper(recorder, "DELETE FROM {log} WHERE notification_id = 50")

    with pytest.raises(Cut):
        exported(log, tmp_path)

    assert list(tmp_path.iterdir()) == []
    with pytest.raises(NotALog):
        replay(log)
