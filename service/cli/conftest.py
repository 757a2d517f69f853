"""The real command, and one `up` for every test that only asks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from service.cli.app import run

HOLDFAST = str(Path(sys.executable).parent / "holdfast")
UNSET = ("HOLDFAST_NATS_URL", "HOLDFAST_DATA")


@dataclass(frozen=True)
class Shell:
    """A user's shell, whose data folder is a certain one."""

    data: Path

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "HOLDFAST_DATA": str(self.data)}

    def run(
        self, *arguments: str, more: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command and return how it ended."""
        return subprocess.run(
            [HOLDFAST, *arguments],
            env=self.environment | dict(more or {}),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def told(self, *arguments: str) -> dict[str, Any]:
        """Do in this process what must succeed, which is quicker; return the answer."""
        out = StringIO()
        with redirect_stdout(out):
            code = run([*arguments, "--json", "--data", str(self.data)])
        assert code == 0
        answer: dict[str, Any] = json.loads(out.getvalue())
        return answer

    @contextmanager
    def up(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """Run `up` until left; entered, it has said that it is ready."""
        with subprocess.Popen(
            [HOLDFAST, "up", *arguments],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                assert process.stdout
                lines = iter(process.stdout.readline, "")
                assert any("is ready" in line for line in lines), process.communicate()
                yield process
            finally:
                process.terminate()
                process.communicate()


@pytest.fixture(scope="session", autouse=True)
def surroundings() -> None:
    """Leave out whose machine this is."""
    for name in UNSET:
        os.environ.pop(name, None)


@pytest.fixture(scope="session")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A shell beside which `up` runs."""
    shell = Shell(tmp_path_factory.mktemp("up") / "data")
    with shell.up("--nats-port", "0"):
        yield shell
