"""The units for systemd are ones that it takes, and leave little exposed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

UNITS = Path(__file__).parents[2] / "deploy" / "systemd"
ANALYZE = shutil.which("systemd-analyze")
EXPOSED = 25  # of 100, by systemd's own measure

pytestmark = pytest.mark.skipif(ANALYZE is None, reason="needs systemd-analyze")


def analyze(*arguments: object) -> str:
    """Return what systemd says, or fail with it."""
    told = [str(ANALYZE), *map(str, arguments)]
    done = subprocess.run(told, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stderr


def test_systemd_takes_every_unit(tmp_path: Path) -> None:
    for unit in UNITS.iterdir():
        # Where the command is differs from machine to machine.
        here = unit.read_text().replace("/usr/bin/holdfast", shutil.which("true") or "")
        (tmp_path / unit.name.replace("@", "@1")).write_text(here)

    assert analyze("verify", "--man=no", *tmp_path.iterdir()) == ""


@pytest.mark.parametrize("unit", sorted(UNITS.iterdir()), ids=lambda unit: unit.name)
def test_a_unit_leaves_little_exposed(unit: Path) -> None:
    analyze("security", "--offline=true", f"--threshold={EXPOSED}", unit)
