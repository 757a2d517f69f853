"""Asking LVM: a process that stays, or one for each command.

`lvm` without arguments reads commands until its input ends. It prints no prompt to
a pipe; the end of a command is the end of its one JSON document on a descriptor of
its own. That takes 2 to 4 ms a command, where a process takes 12.
"""

from __future__ import annotations

import os
import re
import select
import shlex
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from weakref import finalize

from adapters.lvm.report import Reply, reply_of
from adapters.lvm.settings import CONF_NAME, SYSTEM_DIR, Links, write_narrow_dir

# All that ever has to be said to LVM; nothing in it means anything to its shell.
WORD = re.compile(r"[\w+.:/=!@,%-]+", re.ASCII)
GRACE = 1.0  # seconds in which a process that was killed should end
SIGNALLED = 128  # and the number of a signal are the status of what that has ended


class TimedOut(Exception):
    """There was no answer in time; the process was killed."""


@dataclass(eq=False)
class Ended(Exception):
    """The process ended before it had answered."""

    status: int

    def __str__(self) -> str:
        return f"lvm ended with status {self.status}"


class Process:
    """One `lvm`, in a process group of its own, and what it reports.

    It ends with whoever would have asked it.
    """

    def __init__(self, environment: Mapping[str, str], *command: str) -> None:
        self._reports, theirs = os.pipe()
        try:
            self._process = subprocess.Popen(
                ["lvm", *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={**environment, "LVM_REPORT_FD": str(theirs)},
                pass_fds=[theirs],
                start_new_session=True,
            )
        except OSError:
            os.close(self._reports)
            raise
        finally:
            os.close(theirs)
        # By no `__del__`: of what goes at once, that of `Popen` may be first.
        self._end = finalize(self, ended, self._process, self._reports)
        self._end.atexit = False  # it ends with its input

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """Whether it is there no more, with or without an answer.

        Its id stays its own until it is ended here, for its group is killed by that.
        """
        ended = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self.pid, ended) is not None

    def say(self, words: Sequence[str]) -> None:
        """Give it a command; raise `Ended` if it does not listen."""
        assert self._process.stdin
        try:
            self._process.stdin.write(f"{shlex.join(words)}\n".encode())
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise Ended(self.end()) from error

    def answer(self, seconds: float) -> Reply:
        """Return its next answer, or raise `TimedOut` or `Ended`, and end it."""
        until, document = time.monotonic() + seconds, b""
        reports = select.poll()  # `select.select` takes no descriptor above 1,023
        reports.register(self._reports, select.POLLIN)
        while (reply := reply_of(document)) is None:
            left = until - time.monotonic()
            if not reports.poll(max(left, 0) * 1000):
                self.end()
                raise TimedOut
            part = os.read(self._reports, 1 << 16)
            if not part:
                raise Ended(self.end())
            document += part
        return reply

    def end(self) -> int:
        """Kill it, and what it has started; return its status."""
        status: int | None = self._end()
        assert status is not None  # it had not ended before
        return status


def ended(process: subprocess.Popen[bytes], reports: int) -> int:
    """Kill a process and its group, close what it reports by, return its status.

    One that a device holds in the kernel cannot be waited for.
    """
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        Thread(target=process.wait, name="lvm's end", daemon=True).start()
    with suppress(OSError):
        assert process.stdin
        process.stdin.close()
    os.close(reports)
    status = process.returncode or 0
    return SIGNALLED - status if status < 0 else status


class Shell:
    """LVM as a function: words in, a reply out; from one thread at a time."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._everywhere = self._environment = environment
        self.disks: Links = {}  # that LVM is shown; without any it looks everywhere
        self._process: Process | None = None
        self.stays = True  # or each command takes a process of its own

    @property
    def settings(self) -> Path:
        """The folder of the settings that it is run with."""
        return Path(self._environment[SYSTEM_DIR])

    def look_at(self, disks: Sequence[str]) -> None:
        """Look at nothing but these from now on; everywhere, if there are none.

        LVM looks at every device before each command: beside 1,000 logical volumes
        that takes five times as long as all the rest.
        """
        self._environment, self.disks = self._everywhere, {}
        if disks:
            system_dir = Path(self._everywhere[SYSTEM_DIR])
            narrow, self.disks = write_narrow_dir(system_dir, disks)
            self._environment = {**self._everywhere, SYSTEM_DIR: str(narrow)}
        self._end()

    def run(self, words: Sequence[str], seconds: float) -> Reply:
        """Return what LVM answers, or raise `TimedOut` or `Ended`."""
        if wrong := [word for word in words if not WORD.fullmatch(word)]:
            raise ValueError(f"that is nothing to say to LVM: {wrong}")
        reply = self._ask(words, seconds)
        said = reply.said
        for link, disk in self.disks.items():
            said = said.replace(link, disk)
        return reply._replace(said=said)

    def _ask(self, words: Sequence[str], seconds: float) -> Reply:
        if not self.stays:
            return self._alone(words, seconds)
        process, self._process = self._process, None  # back when it has answered
        if process and process.has_ended:  # while it had nothing to do
            process.end()
            process = None
        fresh = process is None
        try:
            process = process or self._begun()
            process.say(words)
            reply = process.answer(seconds)
        except Ended as ended:
            if not fresh or ended.status > SIGNALLED:
                raise
            # It left without a word: an lvm that was built without a shell.
            reply = self._alone(words, seconds)
            self.stays = False
            return reply
        self._process = process
        return reply

    def _end(self) -> None:
        process, self._process = self._process, None
        if process:
            process.end()

    def _begun(self, *words: str) -> Process:
        """Start an `lvm`; settings that somebody has removed are written anew."""
        if not (self.settings / CONF_NAME).exists():
            self.look_at(list(self.disks.values()))
        return Process(self._environment, *words)

    def _alone(self, words: Sequence[str], seconds: float) -> Reply:
        process = self._begun(*words)
        reply = process.answer(seconds)
        process.end()
        return reply
