"""A whole service in a process of its own, asked over the wire as any caller would."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from adapters.embedded.kernel import Preparation
from adapters.jetstream.signing import SIGNATURE, signature
from service.up import as_service, kept_secret

ROOT = Path(__file__).parents[2]
RUN = """
import sys
from pathlib import Path
from service.up import run_up
from service.settings import load
data, config = map(Path, sys.argv[1:])
run_up(data, load(config), 0, lambda url: print(url, flush=True))
"""
STREAM = "HOLDFAST_EVENTS"
NEWS = 8000  # characters of a log that are shown where it did not answer
PATIENCE = 30.0  # seconds for an answer; a stuck service must not hang the suite

T = TypeVar("T")


@dataclass(frozen=True)
class Published:
    """What others were told."""

    subject: str
    headers: dict[str, str]
    data: dict[str, Any]

    @property
    def position(self) -> int:
        """Its place in the log."""
        return int(self.headers["ce-id"])

    @property
    def topic(self) -> str:
        """What has happened."""
        return self.headers["ce-type"].removeprefix("holdfast.")


# A subject, a message, and what is said beside it.
Asked = tuple[str, dict[str, Any]] | tuple[str, dict[str, Any], dict[str, str]]


class Service:
    """Starts, asks, kills; what it keeps is in one folder."""

    def __init__(self, folder: Path, settings: str) -> None:
        self.folder = folder
        self.runner = asyncio.Runner()
        self._client: Client | None = None
        self._process: subprocess.Popen[str] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "holdfast.toml").write_text(settings)

    def start(self) -> None:
        """Start it; returns when it answers."""
        with (self.folder / "log.txt").open("a") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", RUN, self.folder / "data", self._config],
                cwd=ROOT,
                env=os.environ | {"PYTHONPATH": str(ROOT)},
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                # Nobody would end it where the tests were ended before it.
                preexec_fn=Preparation(None, signal.SIGTERM, 0),  # noqa: PLW1509
            )
        assert self._process.stdout
        url = self._process.stdout.readline().strip()
        assert url, (self.folder / "log.txt").read_text()
        self._url = url
        self._client = self.run(nats.connect(url))

    def kill(self) -> None:
        """End it as a power cut would: it hears of nothing."""
        self._end(signal.SIGKILL)

    def interrupt(self) -> None:
        """Ask it to end."""
        self._end(signal.SIGTERM)

    def stop(self) -> None:
        """Ask it to end, and let go of everything."""
        for held in self.folder.glob("*/hold-*"):
            held.unlink()
        if self._process:
            self._end(signal.SIGTERM)
        self.runner.close()

    def ask(
        self, command: str, headers: dict[str, str] | None, body: bytes
    ) -> dict[str, Any]:
        """Ask once."""
        return answered(self.run(self._asked(command, headers, body)))

    def tell(self, subject: str, told: dict[str, Any]) -> dict[str, Any]:
        """Tell it something as an agent does."""

        async def tell() -> Msg:
            data, subject_ = self.folder / "data", f"holdfast.v1.{subject}"
            body = json.dumps(told).encode()
            key = kept_secret(data / "agent.key").encode()
            signed = {SIGNATURE: signature(key, subject_, body)}
            agent = await nats.connect(as_service(data, self._url))
            async with agent:
                return await agent.request(subject_, body, PATIENCE, headers=signed)

        return answered(self.run(tell()))

    def ask_at_once(self, *asked: Asked) -> list[dict[str, Any]]:
        """Ask for all of it in the same moment, each over a connection of its own."""
        return self.run(self._race(asked))

    def ping(self) -> dict[str, Any]:
        """Ask whether it is there, as any NATS micro service is asked."""
        answer = self.run(self.client.request("$SRV.PING.holdfast", timeout=PATIENCE))
        told: dict[str, Any] = json.loads(answer.data)
        return told

    def published(self) -> list[Published]:
        """Return everything that others were told, in order."""
        return self.run(self._published())

    def publish_again(self, told: Published) -> None:
        """Tell it once more, as a publisher does that was cut short."""

        async def publish() -> None:
            body = json.dumps(told.data).encode()
            headers = {"Nats-Msg-Id": told.headers["Nats-Msg-Id"]}
            publisher = await nats.connect(as_service(self.folder / "data", self._url))
            await publisher.jetstream().publish(told.subject, body, headers=headers)
            await publisher.close()

        self.run(publish())

    @property
    def client(self) -> Client:
        """The connection."""
        assert self._client, "the service does not run"
        return self._client

    def run(self, what: Awaitable[T]) -> T:
        """Return what an awaitable gives; where nobody answers, say what is known."""
        try:
            return self.runner.run(awaited(what))
        except (NatsError, OSError) as error:
            error.add_note(self._news())
            raise

    def _news(self) -> str:
        """Return whether it runs, and its last lines."""
        ended = self._process and self._process.poll()
        told = (self.folder / "log.txt").read_text()[-NEWS:]
        return f"the service has ended with {ended}; it said:\n{told}"

    @property
    def _config(self) -> Path:
        return self.folder / "holdfast.toml"

    def _asked(
        self, command: str, headers: dict[str, str] | None, body: bytes
    ) -> Awaitable[Msg]:
        return self.client.request(
            f"holdfast.v1.{command}", body, timeout=PATIENCE, headers=headers
        )

    async def _race(self, asked: tuple[Asked, ...]) -> list[dict[str, Any]]:
        url = self.client.connected_url
        assert url
        racers = [await nats.connect(url.geturl()) for _ in asked]
        try:
            answers = await asyncio.gather(
                *(
                    racer.request(
                        f"holdfast.v1.{command}",
                        json.dumps(message).encode(),
                        timeout=PATIENCE,
                        headers=headers[0] if headers else None,
                    )
                    for racer, (command, message, *headers) in zip(
                        racers, asked, strict=True
                    )
                )
            )
        finally:
            await asyncio.gather(*(racer.close() for racer in racers))
        return [answered(answer) for answer in answers]

    async def _published(self) -> list[Published]:
        stream = self.client.jetstream()
        last = (await stream.stream_info(STREAM)).state.messages
        reader = await stream.subscribe("holdfast.v1.events.>", ordered_consumer=True)
        try:
            told = [await reader.next_msg(PATIENCE) for _ in range(last)]
        finally:
            await reader.unsubscribe()
        return [
            Published(m.subject, dict(m.headers or {}), json.loads(m.data))
            for m in told
        ]

    def _end(self, number: signal.Signals) -> None:
        assert self._process
        assert self._process.stdout
        if self._client:
            with suppress(NatsError, OSError):  # its broker may have gone
                self.run(self._client.close())
            self._client = None
        self._process.send_signal(number)
        self._process.wait(30)
        self._process.stdout.close()
        self._process = None


def answered(message: Msg) -> dict[str, Any]:
    """Return what an answer says; it says in two places whether it is a problem."""
    answer: dict[str, Any] = json.loads(message.data)
    code = (message.headers or {}).get("Nats-Service-Error-Code")
    assert code == (str(answer["status"]) if "title" in answer else None), answer
    return answer


async def awaited(what: Awaitable[T]) -> T:
    """Return what an awaitable gives; a runner takes only coroutines."""
    return await what
