"""Agents of one backend on one host: one has the file locked, and its name."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from service import holding
from service.holding import held, lock_of
from service.settings import load


def test_a_successor_has_the_name_of_the_one_before(tmp_path: Path) -> None:
    async def name() -> str:
        async with held(tmp_path / "lock") as holder:
            return holder

    assert asyncio.run(name()) == asyncio.run(name())


def test_another_file_has_another_name(tmp_path: Path) -> None:
    async def names() -> set[str]:
        async with held(tmp_path / "one") as one, held(tmp_path / "two") as two:
            return {one, two}

    assert len(asyncio.run(names())) == 2


def test_a_file_that_was_removed_and_made_anew_has_another_name(tmp_path: Path) -> None:
    async def names() -> set[str]:
        async with held(tmp_path / "lock") as one:
            (tmp_path / "lock").unlink()
            async with held(tmp_path / "lock") as two:
                return {one, two}

    assert len(asyncio.run(names())) == 2


def test_a_second_agent_waits_and_says_for_whom(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> bool:
        async def second() -> str:
            async with held(tmp_path / "lock") as holder:
                return holder

        async with held(tmp_path / "lock") as first:
            waiting = asyncio.create_task(second())
            while not caplog.messages:  # noqa: ASYNC110 - the log has no event
                await asyncio.sleep(0.01)
        return await waiting == first

    assert asyncio.run(scenario())
    assert "another agent of this backend runs here, process " in caplog.text


def test_each_broker_and_backend_has_a_file_of_its_own(tmp_path: Path) -> None:
    here = load(None, {})
    there = load(None, {"HOLDFAST_NATS_URL": "nats://elsewhere:4222"})
    env = {"RUNTIME_DIRECTORY": str(tmp_path)}

    files = {lock_of(s, name, env) for s in (here, there) for name in ("a", "b/../c")}

    assert len(files) == 4
    assert {file.parent for file in files} == {tmp_path}


def test_the_file_is_in_one_of_the_folders_that_systemd_has_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holding, "RUN", tmp_path / "read only" / "run")
    env = {"RUNTIME_DIRECTORY": f"{tmp_path}:/run/lock/another"}

    assert lock_of(load(None, {}), "a", env).parent == tmp_path


def test_the_file_stays_the_same_when_a_driver_has_made_a_folder_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holding, "RUN", tmp_path / "run")
    before = lock_of(load(None, {}), "a", {})
    (tmp_path / "run" / "lvm").mkdir(parents=True, exist_ok=True)

    after = lock_of(load(None, {}), "a", {})

    assert before == after
