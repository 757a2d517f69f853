"""What is measured on: real servers, and each program a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import nats
import psycopg

from adapters.embedded.nats_server import nats_server
from adapters.embedded.postgres import postgres
from adapters.jetstream.measuring import Measurement
from adapters.jetstream.signing import SIGNATURE, signature
from adapters.jetstream.stream import STREAM
from adapters.jetstream.telling import PREFIX
from domain.capabilities import Capabilities

KEY = "0123456789abcdef0123456789abcdef"
MUTE = "mute"  # a backend with room for everything, which never does its work
FILES = "files"
MEMORY = "memory"  # files as well, on a filesystem that costs next to nothing
ENDLESS = 1_000_000  # GiB for GiB: the benchmark's volumes are empty
DESCRIBED = {"name": "vol-0001", "size_gib": 1, "project": "p" * 32}
HOLDFAST = str(Path(sys.executable).with_name("holdfast"))


@dataclass(frozen=True)
class Bed:
    """Where the servers are, and how to run and to ask what is measured."""

    folder: Path
    url: str
    database: dict[str, str]
    backends: str  # as the settings have them

    @contextmanager
    def serving(self) -> Iterator[subprocess.Popen[str]]:
        """Run a replica that knows the mute backend."""
        with self.replica() as process, program("-m", "bench.mute", self.url):
            yield process

    @contextmanager
    def replica(self) -> Iterator[subprocess.Popen[str]]:
        """Run a replica."""
        config = str(self.configured())
        with program(HOLDFAST, "serve", "--config", config) as process:
            yield process

    @contextmanager
    def echoing(self) -> Iterator[None]:
        """Run the service that everything is compared with."""
        with program("-m", "bench.echo", self.url):
            yield

    @contextmanager
    def working(self, backend: str) -> Iterator[None]:
        """Run the agent of a backend."""
        with self.agent(backend):
            self._until_known(backend)
            yield

    @contextmanager
    def agent(self, backend: str) -> Iterator[subprocess.Popen[str]]:
        """Begin to run the agent of a backend."""
        config = str(self.configured())
        with program(HOLDFAST, "agent", backend, "--config", config) as process:
            yield process

    def load(
        self, subject: str, in_flight: int, seconds: float, backend: str, *said: str
    ) -> dict[str, Any]:
        """Return what a load of `volume.create`, or of an echo of it, measured."""
        address = self.url.removeprefix("nats://")
        body = json.dumps(DESCRIBED | {"backend": backend})
        argv = [address, subject, str(in_flight), str(seconds), body, *said]
        printed = subprocess.check_output([sys.executable, "-m", "bench.load", *argv])
        found: dict[str, Any] = json.loads(printed)
        return found

    def last(self) -> tuple[int]:
        """Return the log's last position."""
        with self.connect() as database:
            row = database.execute(LAST).fetchone()
            return (int(row[0]) if row else 0,)

    def _until_known(self, backend: str) -> None:
        """Return once a backend was measured."""
        with self.connect() as database:
            while not database.execute(MEASURED, (backend,)).fetchone():
                time.sleep(LOOK_EVERY)

    def connect(self) -> psycopg.Connection[Any]:
        """Return a connection to the database."""
        return psycopg.connect(
            host=self.database["POSTGRES_HOST"],
            port=self.database["POSTGRES_PORT"],
            user=self.database["POSTGRES_USER"],
            dbname=self.database["POSTGRES_DBNAME"],
            autocommit=True,
        )

    def quiet(self, seconds: float = 300) -> None:
        """Return once the read models and the stream have come to the log's end."""

        async def until_quiet() -> None:
            client = await nats.connect(self.url)
            stream = client.jetstream()
            with self.connect() as database:
                async with asyncio.timeout(seconds):
                    while True:
                        last = database.execute(LAST).fetchone()
                        read = database.execute(READ).fetchone()
                        sent = (await stream.stream_info(STREAM)).state.last_seq
                        if last and last == read and last[0] == sent:
                            break
                        await asyncio.sleep(LOOK_EVERY)
            await client.close()

        asyncio.run(until_quiet())

    def configured(self) -> Path:
        """Write the settings, and return where they are."""
        path = self.folder / "holdfast.toml"
        told = {
            name: self.database.get(f"POSTGRES_{name.upper()}", "public")
            for name in ("dbname", "host", "user", "password", "schema")
        }
        path.write_text(
            f"nats_url = {json.dumps(self.url)}\nagent_key = {json.dumps(KEY)}\n"
            "[database]\n"
            + "".join(f"{name} = {json.dumps(value)}\n" for name, value in told.items())
            + f"port = {self.database['POSTGRES_PORT']}\n"
            f"{self.backends}"
        )
        return path


LAST = "SELECT coalesce(max(notification_id), 0) FROM holdfast_events"
READ = "SELECT min(position) FROM read_models"
MEASURED = "SELECT 1 FROM read_measured WHERE name = %s"
LOOK_EVERY = 0.05  # seconds
SHARED_MEMORY = "/dev/shm"  # a tmpfs, as Linux has it


@contextmanager
def bed(backends: str = "") -> Iterator[Bed]:
    """Start the servers in a folder that goes with them; by itself, with files."""
    with (
        TemporaryDirectory(prefix="holdfast-bench-") as folder,
        TemporaryDirectory(prefix="holdfast-bench-", dir=SHARED_MEMORY) as memory,
        nats_server(Path(folder) / "nats") as url,
        postgres(Path(folder) / "postgres") as database,
    ):
        folders = {FILES: Path(folder) / "volumes", MEMORY: Path(memory) / "volumes"}
        yield Bed(Path(folder), url, database, backends or of_files(folders))


def of_files(folders: dict[str, Path]) -> str:
    """Return the settings of backends of files, and of the mute one."""
    driver = "adapters.file.driver.FileDriver"
    return backend(MUTE) + "".join(
        backend(name, volume_driver=driver, folder=str(folder))
        for name, folder in folders.items()
    )


def backend(name: str, **options: str) -> str:
    """Return the settings of a backend, which promises as much as is asked of it."""
    told = {"name": name, **options}
    lines = [f"{key} = {json.dumps(value)}\n" for key, value in told.items()]
    endless = f"max_over_subscription_ratio = {ENDLESS}\n"
    return "".join(["[[backend]]\n", *lines, endless])


@contextmanager
def program(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run Python until it is no longer needed; it says a line when it is ready."""
    process = subprocess.Popen(
        [sys.executable, *arguments], stdout=subprocess.PIPE, text=True, env=os.environ
    )
    try:
        assert process.stdout
        assert process.stdout.readline(), f"{arguments[:2]} ended before it was ready"
        yield process
    finally:
        process.kill()
        process.communicate()


def endless() -> Measurement:
    """Return what the mute backend tells."""
    capabilities = Capabilities(
        volume_backend_name=MUTE,
        vendor_name="Holdfast",
        driver_version="1",
        storage_protocol="local",
        total_capacity_gb=ENDLESS,
        free_capacity_gb=ENDLESS,
        provisioned_capacity_gb=0,
        total_volumes=0,
        thin_provisioning_support=True,
        thick_provisioning_support=False,
        reserved_percentage=0,
        max_over_subscription_ratio=ENDLESS,
    )
    now = datetime.now(UTC)
    return Measurement(
        MUTE, working=True, reason=None, capabilities=capabilities, reported_at=now
    )


def signed(subject: str, body: Any) -> tuple[str, bytes, dict[str, str]]:
    """Return a message as an agent would send it."""
    encoded = msgspec.json.encode(body)
    signature_ = signature(KEY.encode(), PREFIX + subject, encoded)
    return PREFIX + subject, encoded, {SIGNATURE: signature_}
