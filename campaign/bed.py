"""What is killed: two replicas, an agent, PostgreSQL and NATS, each a process."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP

from adapters.embedded.nats_server import NatsServer
from adapters.embedded.postgres import PostgresServer
from adapters.embedded.table import children_of
from campaign.armed import armed
from campaign.points import AGENT, POINTS, SERVE
from campaign.storage import Files, Storage, VolumeGroups
from service.testing.programs import AGENT as AGENT_CODE
from service.testing.programs import SERVE as SERVE_CODE
from service.testing.programs import configuration, program

# Reserving without attaching is given up soon, so that a watcher has work.
RESERVED = 3.0  # seconds
LEAVING = 10.0  # seconds that a program may take to end when it is asked to
PLENTY = 1000.0  # GiB promised for each that there is: refusals are not the subject


class Program:
    """A program of ours that can be killed and started again."""

    def __init__(self, name: str, code: str, config: Path) -> None:
        self.name = name
        self._code = code
        self._config = config
        self._run = ExitStack()
        self._process: subprocess.Popen[str] | None = None

    @property
    def pid(self) -> int | None:
        """Return its process, None while it does not run."""
        running = self._process and self._process.poll() is None
        return self._process.pid if self._process and running else None

    @property
    def failed(self) -> bool:
        """It has ended, and nobody has killed it or asked it to."""
        ended = self._process and self._process.poll()
        return ended not in (None, 0, -SIGKILL)

    def start(self) -> None:
        """Start it, and return when it is ready."""
        self._run.close()
        self._process = self._run.enter_context(program(self._code, self._config))

    def stop(self) -> None:
        """Ask it to end, and return when it has, or raise `TimeoutExpired`."""
        if self._process:
            self._process.terminate()
            self._process.wait(LEAVING)

    def kill(self) -> None:
        """End it with SIGKILL, and return when it is gone."""
        self._run.close()


class Bed:
    """A whole service on servers of its own, in a folder of its own.

    Its storage is the folder's files, or the volume group of that name.
    """

    def __init__(
        self, folder: Path, broken: str = "", group: str = "", replicas: int = 2
    ) -> None:
        self.folder = folder
        self.broker = NatsServer(folder / "nats")
        self.database = PostgresServer(folder / "postgres")
        self.storage: Storage = Files(folder / "volumes")
        self._backend = ""
        if group:
            groups = VolumeGroups(group)
            self.storage, self._backend = groups, groups.settings()
        self._numbers = range(1, replicas + 1)
        self.failed: list[str] = []
        self._broken = broken
        self.replicas: list[Program] = []

    @property
    def settings(self) -> dict[str, str]:
        """Return the way to the database."""
        return self.database.settings

    @property
    def programs(self) -> list[Program]:
        """Return the replicas and the agent."""
        return [*self.replicas, self.agent]

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run it until left."""
        with ExitStack() as stack:
            for server in (self.broker, self.database):
                server.start()
                stack.callback(server.stop)
            config = configuration(
                self.folder,
                self.broker.url,
                self.database.settings,
                ratio=PLENTY,
                backend=self._backend,
                reserved=RESERVED,
            )
            serve = armed(SERVE_CODE, SERVE, self.folder, self._broken)
            agent = armed(AGENT_CODE, AGENT, self.folder, self._broken)
            self.replicas = [
                Program(f"serve {n}", serve, config) for n in self._numbers
            ]
            self.agent = Program("agent", agent, config)
            for each in self.programs:
                stack.callback(each.kill)
                each.start()
            yield

    def keepers(self) -> list[int]:
        """Return the replicas' keepers."""
        running = [replica.pid for replica in self.replicas if replica.pid]
        return [child for pid in running for child in children_of(pid)]

    async def mend(self) -> None:
        """Start what does not run; servers first, for the others wait for them."""
        for point in POINTS:
            (self.folder / point.name).unlink(missing_ok=True)
        for server in (self.broker, self.database):
            if server.pid is None:
                server.start()  # here, for a server ends with the thread that began it
        self.failed += [each.name for each in self.programs if each.failed]
        for each in self.programs:
            if each.pid is None:
                await asyncio.to_thread(each.start)


@contextmanager
def frozen(pids: list[int]) -> Iterator[None]:
    """Let processes stand still; some may end meanwhile."""
    for pid in pids:
        send(pid, SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            send(pid, SIGCONT)


def send(pid: int, signal: int = SIGKILL) -> None:
    """Send a signal to a process that may have ended."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal)
