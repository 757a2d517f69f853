"""Running tests in a guest, and telling each report the moment it is made.

    python -m bed.inside [pytest's arguments]

writes a line of JSON for each to standard output, and an empty one when a test begins;
all that anybody else says there goes to standard error.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
import termios
import time
from typing import IO

import pytest

PAUSE = 0.001  # seconds


class Telling:
    """A plugin that tells what pytest would have shown."""

    def __init__(self, told: IO[str]) -> None:
        self._told = told

    @pytest.hookimpl
    def pytest_configure(self, config: pytest.Config) -> None:
        """Keep what serializes."""
        self._config = config

    @pytest.hookimpl
    def pytest_runtest_logstart(self) -> None:
        """Tell that a test begins, once what was told before it is on its way.

        A test may be the guest's end, and that is no other's fault.
        """
        while is_full(self._told):
            time.sleep(PAUSE)
        print(file=self._told, flush=True)

    @pytest.hookimpl
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Tell it."""
        data = self._config.hook.pytest_report_to_serializable(
            config=self._config, report=report
        )
        print(json.dumps(data, default=str), file=self._told, flush=True)


def is_full(pipe: IO[str]) -> bool:
    """Tell whether something is in a pipe that nobody has taken out."""
    said = fcntl.ioctl(pipe.fileno(), termios.FIONREAD, bytes(4))
    return bool(int.from_bytes(said, sys.byteorder))


def main() -> int:
    """Run them, and return pytest's exit code."""
    os.environ.pop("PYTHONMALLOC", None)  # of bed.run; they rather run quickly
    told = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return pytest.main(sys.argv[1:], plugins=[Telling(told)])


if __name__ == "__main__":
    sys.exit(main())
