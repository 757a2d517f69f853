"""`just demo-lvm`, told in a guest."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = [pytest.mark.lvm(lio=True, seconds=300), pytest.mark.slow]


def test_the_story_comes_out_right() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "bed.demo"],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.count("Equal: the volume outlived its instance.") == 2
    assert "node-1 still has its mount, and cannot write any more." in ended.stdout
