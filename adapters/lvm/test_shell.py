"""A shell of LVM that stays, and one that does not."""

from __future__ import annotations

import gc
import os
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from adapters.lvm.settings import CONF_NAME, environment
from adapters.lvm.shell import Shell, TimedOut

SECONDS = 10.0
# An LVM that answers with its process's number as the name of a volume.
LVM = f"""\
#!{sys.executable}
import os, sys
for _ in sys.stdin:
    answer = '{{"report":[{{"lv":[{{"lv_name":"%d"}}]}}],"log":[%s]}}'
    line = '{{"log_type":"status","log_message":"","log_ret_code":"1"}}'
    os.write(int(os.environ["LVM_REPORT_FD"]), (answer % (os.getpid(), line)).encode())
"""


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return answering(tmp_path)


def answering(tmp_path: Path) -> Shell:
    """Return a shell of that program."""
    program = tmp_path / "lvm"
    program.write_text(LVM)
    program.chmod(0o700)
    (tmp_path / CONF_NAME).touch()
    path = f"{tmp_path}:{os.environ['PATH']}"
    return Shell({**environment(tmp_path), "PATH": path})


@contextmanager
def many_files() -> Iterator[None]:
    """Have 1,024 files open more than there were: FD_SETSIZE."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    opened = [os.open(os.devnull, os.O_RDONLY) for _ in range(1024)]
    try:
        yield
    finally:
        for each in opened:
            os.close(each)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def pid_of(shell: Shell) -> int:
    """Return which process answers now."""
    return int(shell.run(["lvs"], SECONDS).rows[0]["lv_name"])


def test_one_that_was_killed_while_it_had_nothing_to_do_is_missed_by_nobody(
    shell: Shell,
) -> None:
    before = pid_of(shell)
    os.kill(before, 9)
    os.waitid(os.P_PID, before, os.WEXITED | os.WNOWAIT)

    assert pid_of(shell) not in (0, before)
    assert shell.stays


def test_the_group_of_one_that_has_ended_is_nobody_elses(shell: Shell) -> None:
    before = pid_of(shell)
    os.kill(before, 9)
    os.waitid(os.P_PID, before, os.WEXITED | os.WNOWAIT)

    assert shell._process
    assert shell._process.has_ended
    os.kill(before, 0)  # it is nobody else's
    shell._process.end()
    with pytest.raises(ProcessLookupError):
        os.kill(before, 0)


def test_an_agent_with_many_open_files_gets_its_answer(shell: Shell) -> None:
    with many_files():
        assert pid_of(shell)


class Owner:
    """Whoever has a shell, and is known to what it has."""

    def __init__(self, shell: Shell) -> None:
        self.shell, self.itself = shell, self


@pytest.mark.filterwarnings("error")
def test_it_ends_with_its_owner_in_whatever_order_that_goes(tmp_path: Path) -> None:
    owner = Owner(answering(tmp_path))
    pid = pid_of(owner.shell)
    assert owner.shell._process
    process = owner.shell._process._process
    gc.collect()  # what is held from here is before its owner from now on

    del process, owner
    gc.collect()

    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_one_that_says_nothing_is_given_up(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "lvm").write_text("#!/bin/sh\nsleep 60\n")

    with pytest.raises(TimedOut):
        shell.run(["lvs"], 0.1)
