"""`holdfast demo`, told twice."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HOLDFAST = str(Path(sys.executable).parent / "holdfast")


def told(*arguments: str) -> str:
    ended = subprocess.run(
        [HOLDFAST, "demo", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stderr == ""
    return ended.stdout


def test_the_story_comes_out_right_twice_in_the_same_folder(tmp_path: Path) -> None:
    first, second = (told("--data", str(tmp_path / "data")) for _ in range(2))

    for story in (first, second):
        assert "Equal: the volume outlived its instance." in story
        assert "volume.disconnection_finished" in story
        assert "volume.reversion_finished" in story
        assert story.count("Equal: ") == 2
        assert f"holdfast up --data {tmp_path / 'data'}" in story
    assert '"db"' in first
    assert '"db-2"' in second
