"""The tests that share a guest: asked for one by one, reported as they are done."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from tempfile import TemporaryFile
from typing import Literal

import pytest

from bed.guest import LOOK_SECONDS, Guest, Needs

# What the command line selected is selected, whatever pyproject.toml leaves out.
PYTEST = ["-m", "", "-p", "no:cacheprovider", "-p", "no:xdist"]
# To start a program, a guest's kernel copies the map of whoever starts it, a piece of
# memory after the other: 0.1 s for a pytest. Of memory that the C library gives it
# there are half as many pieces. `inside` keeps this from the programs.
FEW_PIECES = {"PYTHONMALLOC": "malloc"}
START_SECONDS = 120.0  # of the guest, and of a pytest that imports
CHUNK = 65536


class GuestEnded(Exception):
    """The guest has ended, or was ended, before it had told of every test."""


class Run:
    """Some tests of a module, in a guest that starts when the first is asked for.

    A guest that ends too soon takes the test that it was running with it; the next
    test gets a new one.
    """

    def __init__(self, needs: Needs, config: pytest.Config) -> None:
        self.left: dict[str, pytest.Item] = {}
        self._needs = needs
        self._config = config
        self._guest: Guest | None = None
        self._lines: deque[bytes] = deque()
        self._rest = b""
        self._patience = START_SECONDS

    def reports(self, node_id: str) -> Iterator[pytest.TestReport]:
        """Run it and yield what came of it, with a failure if the guest ended."""
        item = self.left[node_id]
        when: Literal["call", "teardown"] = "call"
        try:
            self._guest = self._guest or self._start()
            for report in self._told():
                if report.nodeid == node_id:
                    report.nodeid = item.nodeid
                    yield report
                    if report.when == "teardown":
                        break
                    if report.when == "call":
                        when = "teardown"
        except GuestEnded as ended:
            self.end()
            yield made(item, "failed", str(ended), when)
        del self.left[node_id]

    def end(self) -> None:
        """End the guest, if there is one."""
        if self._guest:
            self._guest.__exit__()
            self._said.close()
        self._guest = None

    def _start(self) -> Guest:
        self._said = TemporaryFile()  # noqa: SIM115 - closed with the guest
        self._lines.clear()
        self._rest = b""
        self._patience = START_SECONDS
        style = f"--tb={self._config.getoption('tbstyle')}"
        return Guest(
            [sys.executable, "-m", "bed.inside", *PYTEST, style, *self.left],
            self._needs,
            folder=self._config.rootpath,
            environment=FEW_PIECES
            | {
                name: value
                for name, value in os.environ.items()
                if not name.startswith("PYTEST_")
            },
            stdout=subprocess.PIPE,
            stderr=self._said,
        )

    def _told(self) -> Iterator[pytest.TestReport]:
        while True:
            while not self._lines:
                self._read()
            line = self._lines.popleft()
            self._patience = self._needs.seconds
            if not line:
                continue
            report = self._config.hook.pytest_report_from_serializable(
                config=self._config, data=json.loads(line)
            )
            if isinstance(report.longrepr, list):  # JSON has no tuples
                report.longrepr = tuple(report.longrepr)
            yield report

    def _read(self) -> None:
        assert self._guest
        seconds = self._patience
        ends = time.monotonic() + seconds
        while not select.select([self._guest.stdout], [], [], LOOK_SECONDS)[0]:
            self._guest.end_if_panicked()
            if time.monotonic() > ends:
                raise GuestEnded(
                    f"Nothing was said for {seconds:g} s, so the guest was ended. "
                    f"Its kernel's last words:\n{self._guest.last_words}"
                )
        chunk = os.read(self._guest.stdout.fileno(), CHUNK)
        if not chunk:
            raise GuestEnded(self._epitaph(self._guest))
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        self._lines.extend(lines)

    def _epitaph(self, guest: Guest) -> str:
        status = guest.wait(START_SECONDS)
        if guest.status is None:
            return f"The guest died. Its kernel's last words:\n{guest.last_words}"
        self._said.seek(0)
        said = self._said.read().decode(errors="replace")
        return f"pytest in the guest ended with {status}:\n{said}"


def made(
    item: pytest.Item,
    outcome: Literal["failed", "skipped"],
    reason: str,
    when: Literal["setup", "call", "teardown"],
) -> pytest.TestReport:
    """Return a report that no test has made."""
    file, line, _ = item.location
    return pytest.TestReport(
        nodeid=item.nodeid,
        location=item.location,
        keywords=dict.fromkeys(item.keywords, 1),
        outcome=outcome,
        longrepr=(file, line or 0, reason) if outcome == "skipped" else reason,
        when=when,
    )
