"""A server's life as our child: started with its log, waited for, stopped, killed."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL, SIGSTOP, Signals
from typing import NoReturn

from adapters.embedded.kernel import Account, Preparation
from adapters.embedded.table import children_of, process

POLL_SECONDS = 0.01
GRACE_SECONDS = 0.5
LEFTOVER_SECONDS = 10

# How initdb, PostgreSQL and NATS mark the line that says why they give up.
FAILURE = re.compile(r"error: |FATAL: |PANIC: |\[FTL\] ")


@dataclass(eq=False)
class ServerFailed(Exception):
    """A private server did not start, or not stop; `reason` is one line for people."""

    server: str
    reason: str

    def __str__(self) -> str:
        return f"{self.server}: {self.reason}"


class Child:
    """One run of a program, as a child that dies with us; its output goes to `log`.

    Start it from the main thread: it dies with the *thread* that started it.
    Raises `ServerFailed` if the program or the log cannot be opened.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        log: Path,
        farewell: Signals,
        account: Account | None = None,
        environment: Mapping[str, str] | None = None,
        slack_ns: int = 0,
    ) -> None:
        self.name = Path(command[0]).name
        self.log = log
        try:
            with log.open("ab") as output:
                self.log_start = output.tell()
                self.process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env={**os.environ, **(environment or {})},
                    cwd="/",
                    # Ctrl-C is for us alone: we stop our servers in order.
                    start_new_session=True,
                    # Whoever inherits the descriptor of a lock holds the lock.
                    close_fds=True,
                    preexec_fn=Preparation(account, farewell, slack_ns),  # noqa: PLW1509
                )
        except (OSError, subprocess.SubprocessError) as error:
            reason = f"cannot be started ({words(error)})"
            raise ServerFailed(self.name, reason) from error

    @property
    def pid(self) -> int:
        """Return its process, which may have ended."""
        return self.process.pid

    @property
    def running(self) -> bool:
        """Tell whether it has not ended yet."""
        return self.process.poll() is None

    def said(self) -> str:
        """Return what this run has logged so far, nothing if somebody removed it."""
        with suppress(FileNotFoundError), self.log.open("rb") as log:
            log.seek(self.log_start)
            return log.read().decode(errors="replace")
        return ""

    def last_words(self) -> str:
        """Return the last line this run logged, or the failure before its farewells."""
        lines = [line for line in self.said().splitlines() if line.strip()]
        failures = [line for line in lines if FAILURE.search(line)]
        return (failures or lines or ["it logged nothing"])[-1].strip()

    def wait_until(self, ready: Callable[[], bool], seconds: float) -> None:
        """Return once it is ready; else kill it and raise `ServerFailed`."""
        in_time = self._wait(lambda: ready() or not self.running, seconds)
        if not (in_time and self.running):
            self._fail("ended while starting" if in_time else "did not get ready")

    def finish(self, seconds: float) -> None:
        """Return once it has done its work; else kill it and raise `ServerFailed`."""
        in_time = self._wait(lambda: not self.running, seconds)
        if not (in_time and self.process.returncode == 0):
            self._fail("failed" if in_time else "took too long")

    def stop(self, *signals: Signals, seconds: float) -> None:
        """Ask it to end, by one signal after the other, then kill it."""
        for signal in signals:
            if self.running:
                self.process.send_signal(signal)
                with suppress(subprocess.TimeoutExpired):
                    self.process.wait(seconds)
        self.kill()

    def kill(self) -> None:
        """End it and its children with SIGKILL, and return when they are gone."""
        if not self.running:
            return
        # Stopped first, so that it does not fork while its children are counted.
        self.process.send_signal(SIGSTOP)
        children = children_of(self.pid)
        for pid in children:  # PostgreSQL's have left its group.
            with suppress(ProcessLookupError):
                os.kill(pid, SIGKILL)
        os.killpg(self.pid, SIGKILL)
        self.process.wait()
        wait_until(lambda: not any(process(pid) for pid in children), LEFTOVER_SECONDS)

    def _wait(self, condition: Callable[[], bool], seconds: float) -> bool:
        try:
            return wait_until(condition, seconds)
        except BaseException:  # Ctrl-C: nobody knows of this child yet.
            self.kill()
            raise

    def _fail(self, reason: str) -> NoReturn:
        self.kill()
        raise ServerFailed(self.name, f"{reason}: {self.last_words()}")


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Return true as soon as the condition holds, false if it has not in that time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def port_in_use(port: int) -> bool:
    """Tell whether somebody listens on the TCP port of 127.0.0.1."""
    with socket.socket() as probe:
        # As servers do, or the connections of the last run would count as a listener.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except PermissionError:  # A port below 1024: its server will say so.
            return False
        except OSError:
            return True
        return False


def private_folder(folder: Path) -> Path:
    """Make the folder, or make it 0700 if it is there; return it resolved."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        return folder.resolve()
    except OSError as error:
        reason = f"cannot be a data folder ({words(error)})"
        raise ServerFailed(str(folder), reason) from error


def end_leftover(name: str, pid_file: Path, mark: str, farewell: Signals) -> None:
    """End the server that the file names, if it has the mark in its command line."""
    lines = lines_of(pid_file)
    pid = int(lines[0]) if lines and lines[0].strip().isdigit() else 0

    def gone() -> bool:
        found = process(pid)
        return found is None or mark not in found.command

    # Where the kernel told it that its parent died, it is already about to end.
    if wait_until(gone, GRACE_SECONDS):
        return
    with suppress(ProcessLookupError):
        os.kill(pid, farewell)
    if not wait_until(gone, LEFTOVER_SECONDS):
        raise ServerFailed(name, f"another one (process {pid}) still runs with{mark}")


def lines_of(file: Path) -> list[str]:
    """Return the lines of the file, none if it is not there."""
    with suppress(FileNotFoundError):
        return file.read_text().splitlines()
    return []


def words(error: BaseException) -> str:
    """Return what the system said, without its number."""
    return getattr(error, "strerror", None) or str(error)
