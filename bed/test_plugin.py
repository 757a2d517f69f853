"""Tests in a guest: told as if they had been run here, one by one; skipped aloud."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from subprocess import PIPE

import pytest

from bed.machine import missing

ROOT = Path(__file__).parents[1]
SECONDS = 120


class Project:
    """A project with one module of tests, beside whatever else it has."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "conftest.py").write_text('pytest_plugins = ["bed.plugin"]\n')
        (folder / "pytest.ini").write_text("[pytest]\n")

    def holds(self, tests: str, marker: str = "lvm") -> None:
        """Write the module."""
        head = f"import os, time, pytest\npytestmark = pytest.mark.{marker}\n"
        (self.folder / "test_it.py").write_text(head + tests)

    def starts(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """Start a pytest on it."""
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("PYTEST_")
        }
        return subprocess.Popen(
            command,
            cwd=self.folder,
            stdout=PIPE,
            text=True,
            env={**inherited, "PYTHONPATH": str(ROOT), **environment},
        )

    def tells(self, *arguments: str, **environment: str) -> str:
        """Run pytest on it and return what that says."""
        with self.starts(*arguments, **environment) as process:
            return process.communicate(timeout=SECONDS)[0]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Return an empty one."""
    return Project(tmp_path)


@pytest.mark.lvm(outside=True)
def test_what_came_of_each_test_is_told_as_if_it_had_run_here(project: Project) -> None:
    project.holds("""
def test_in_the_guest(): assert os.path.exists("/dev/ubda")
def test_wrong():
    print("said before")
    assert 1 == 2
@pytest.mark.skip(reason="later")
def test_skipped(): pass
@pytest.mark.xfail
def test_expected(): assert 0
@pytest.fixture
def broken(): raise RuntimeError("no fixture")
def test_broken(broken): pass
""")

    told = project.tells("-v", "-rA")

    assert "test_it.py::test_in_the_guest PASSED" in told
    assert "test_it.py::test_wrong FAILED" in told
    assert "assert 1 == 2" in told
    assert "said before" in told
    assert "SKIPPED [1] test_it.py:8: later" in told
    assert "test_it.py::test_expected XFAIL" in told
    assert "ERROR test_it.py::test_broken - RuntimeError: no fixture" in told
    assert "1 failed, 1 passed, 1 skipped, 1 xfailed, 1 error" in told


@pytest.mark.lvm(outside=True)
def test_a_test_is_told_while_the_next_one_runs(project: Project) -> None:
    project.holds("""
def test_quick(): pass
def test_endless(): time.sleep(1000)
""")

    with project.starts("-v", PYTHONUNBUFFERED="1") as process:
        assert process.stdout
        told = next(line for line in process.stdout if "test_quick" in line)
        process.kill()

    assert "PASSED" in told


@pytest.mark.lvm(outside=True)
def test_a_module_stays_on_one_worker_and_shares_a_guest(project: Project) -> None:
    project.holds("""
def test_one(): open("/run/seen", "w").close()
def test_two(): assert os.path.exists("/run/seen")
def test_three(): assert os.path.exists("/run/seen")
""")

    told = project.tells("-n", "2", "--dist", "loadgroup")

    assert "3 passed" in told


@pytest.mark.lvm(outside=True)
def test_a_guest_that_dies_fails_its_test_and_no_other(project: Project) -> None:
    project.holds("""
def test_before(): pass
def test_deadly():
    with open("/proc/sysrq-trigger", "w") as file: file.write("c")
    time.sleep(1000)
def test_after(): assert os.path.exists("/dev/ubda")
""")

    told = project.tells()

    assert "Kernel panic - not syncing: sysrq triggered crash" in told
    assert "FAILED test_it.py::test_deadly - The guest died" in told
    assert "1 failed, 2 passed" in told


@pytest.mark.lvm(outside=True)
def test_a_guest_that_hangs_is_ended(project: Project) -> None:
    project.holds(
        "def test_hanging(): time.sleep(1000)\ndef test_after(): pass\n",
        marker="lvm(seconds=2)",
    )

    told = project.tells()

    assert "FAILED test_it.py::test_hanging - Nothing was said for 2 s" in told
    assert "1 failed, 1 passed" in told


@pytest.mark.lvm(outside=True)
def test_tests_that_are_not_marked_run_here(project: Project) -> None:
    project.holds("def test_in_the_guest(): assert os.path.exists('/run/bed')\n")
    (project.folder / "test_here.py").write_text(
        "import os\ndef test_here(): assert not os.path.exists('/run/bed')\n"
    )

    assert "2 passed" in project.tells()


def test_without_a_guest_they_are_skipped_aloud(project: Project) -> None:
    project.holds("def test_one(): pass\ndef test_two(): pass\n")

    told = project.tells(BED_KERNEL="/nowhere")

    assert "2 skipped" in told
    assert (
        "2 TESTS OF LVM WERE NOT RUN, FOR NO GUEST RUNS HERE: "
        "apt install --no-install-recommends user-mode-linux" in told
    )


@pytest.mark.skipif(bool(missing()), reason="what guests need is not installed")
def test_a_kernel_that_does_not_start_skips_them_too(project: Project) -> None:
    project.holds("def test_one(): pass\n")

    told = project.tells(BED_KERNEL="/bin/false")

    assert "1 skipped" in told
    assert "1 TESTS OF LVM WERE NOT RUN" in told
    assert "its kernel does not start" in told
