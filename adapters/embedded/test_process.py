"""A child's life: what it inherits, what it leaves, what is said when it fails."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from signal import SIGKILL, SIGTERM

import pytest

from adapters.embedded.process import Child, ServerFailed, private_folder
from adapters.embedded.table import process


def test_a_child_holds_no_lock_of_ours(tmp_path: Path) -> None:
    lock = (tmp_path / "lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    lock_descriptor = lock.fileno()
    os.set_inheritable(lock_descriptor, True)  # noqa: FBT003
    child = Child(["sleep", "60"], log=tmp_path / "log", farewell=SIGKILL)

    lock.close()

    with (tmp_path / "lock").open("w") as again:
        fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB)
    child.kill()


def test_the_terminals_interrupt_does_not_reach_a_child(tmp_path: Path) -> None:
    child = Child(["sleep", "60"], log=tmp_path / "log", farewell=SIGKILL)

    session = os.getsid(child.pid)

    assert session == child.pid
    child.kill()


def test_a_killed_child_takes_its_children_along(tmp_path: Path) -> None:
    shell = ["sh", "-c", "sleep 60 & echo $!; wait"]
    child = Child(shell, log=tmp_path / "log", farewell=SIGKILL)
    child.wait_until(lambda: "\n" in child.said(), seconds=5)
    grandchild = int(child.said())

    child.kill()

    assert process(child.pid) is None
    assert process(grandchild) is None


def test_a_child_that_ignores_the_request_is_killed(tmp_path: Path) -> None:
    deaf = ["sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 0.01; done"]
    child = Child(deaf, log=tmp_path / "log", farewell=SIGKILL)
    child.wait_until(lambda: "deaf" in child.said(), seconds=5)

    child.stop(SIGTERM, seconds=0.1)

    assert not child.running


def test_a_failure_is_told_in_its_own_last_words(tmp_path: Path) -> None:
    dying = ["sh", "-c", "echo FATAL: no disk; echo bye; exit 1"]
    child = Child(dying, log=tmp_path / "log", farewell=SIGKILL)

    with pytest.raises(ServerFailed) as failure:
        child.wait_until(lambda: False, seconds=5)

    assert str(failure.value) == "sh: ended while starting: FATAL: no disk"


def test_words_of_an_earlier_run_are_not_repeated(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("FATAL: yesterday\n")
    child = Child(["false"], log=tmp_path / "log", farewell=SIGKILL)

    with pytest.raises(ServerFailed, match="it logged nothing"):
        child.finish(seconds=5)


def test_a_program_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ServerFailed) as failure:
        Child([tmp_path / "gone"], log=tmp_path / "log", farewell=SIGKILL)

    assert str(failure.value) == "gone: cannot be started (No such file or directory)"


def test_a_file_is_no_data_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(ServerFailed, match="cannot be a data folder"):
        private_folder(tmp_path / "file")
