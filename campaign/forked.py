"""An agent that is forked from a process that has imported everything already.

In a guest, to import costs seconds, and to fork hardly anything.
"""

from __future__ import annotations

from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from signal import SIGKILL

from campaign.armed import arm
from campaign.bed import Program
from campaign.points import AGENT
from campaign.storage import take_time
from service.agents import run_agent
from service.settings import load

FORKS = get_context("forkserver")
FORKS.set_forkserver_preload([__name__, "adapters.lvm.driver", "pytest"])


def serve(folder: Path, config: Path, ready: Connection) -> None:
    """Run the agent, armed; tell when it runs."""
    arm(AGENT, str(folder), "")
    take_time()
    run_agent(load(config, {}), None, ready.send)


class Forked(Program):
    """The agent of a bed's folder."""

    def __init__(self, folder: Path, config: Path) -> None:
        super().__init__("agent", "", config)
        self._folder = folder
        self._config = config
        self._fork: BaseProcess | None = None

    @property
    def pid(self) -> int | None:
        """Return its process, None while it does not run."""
        return self._fork.pid if self._fork and self._fork.is_alive() else None

    @property
    def failed(self) -> bool:
        """It has ended, and nobody has killed it."""
        ended = self._fork and self._fork.exitcode
        return ended not in (None, 0, -SIGKILL)

    def start(self) -> None:
        """Start it, and return when it is ready, or has died."""
        ours, theirs = FORKS.Pipe(duplex=False)
        about = self._folder, self._config, theirs
        self._fork = FORKS.Process(target=serve, args=about)
        self._fork.start()
        theirs.close()
        with suppress(EOFError):
            ours.recv()

    def kill(self) -> None:
        """End it with SIGKILL, and return when it is gone."""
        if self._fork:
            self._fork.kill()
            self._fork.join()
