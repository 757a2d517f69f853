"""What the steps share: a service on the wire, and names for what it made."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from subprocess import Popen
from typing import IO, Any
from uuid import uuid4

import pytest

from domain.volume_status import UNDER_WAY
from features.steps.host import Host
from features.steps.service import Service
from features.steps.storages import STORAGES, Storage, VolumeGroup

HURRIED = """
[deadlines]
creating = 5
extending = 5
reverting = 5
deleting = 5
reserved = 5
attaching = 5
detaching = 5
managing = 5
unmanaging = 5
"""
MAKES = (".create", ".manage", ".create_from_source")
PASSING = {*UNDER_WAY, "restoring"}
# What each noun alone has.
OWN = {
    "attach_status": "volume",
    "progress": "snapshot",
    "consistent": "group",
    "consistency": "group_snapshot",
}
# What agents do whatever is asked meanwhile: they look at their storage, and take their
# lease again when a busy machine had them renew it too late.
UNASKED = {"backend.drift_found", "backend.drift_cleared", "backend.lease_taken"}
SOON = 30.0  # seconds within which what was promised has to be seen
LONGEST_PAUSE = 0.1  # between two looks at what is promised soon


class Services:
    """The services of a test session, each started when it is first asked for."""

    def __init__(self, folder: Path, storage: Storage) -> None:
        self.storage = storage
        self._folder = folder
        self._running: dict[str, Service] = {}

    def get(self, name: str, more: str = "") -> Service:
        """Return a service that runs."""
        if name not in self._running:
            folder = self._folder / name
            service = Service(folder, more + self.storage.settings(folder))
            service.start()
            self._running[name] = service
        return self._running[name]

    def stop(self) -> None:
        """Stop them all."""
        for service in self._running.values():
            service.stop()


class World:
    """Asks the service as any caller would, over the wire."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._service: Service | None = None
        self._hosts: dict[str, Host] = {}
        self._opened: list[IO[Any]] = []
        self._token = uuid4().hex
        self._told: list[dict[str, Any]] = []
        self._mended: set[str] = set()
        self.volumes: dict[str, str] = {}
        self.snapshots: dict[str, str] = {}
        self.groups: dict[str, str] = {}  # and their snapshots
        self.attachments: dict[tuple[str, str], str] = {}
        self.connections: dict[tuple[str, str], dict[str, Any]] = {}
        self.homes: dict[str, str] = {}
        self.instances: dict[str, Popen[str]] = {}
        self.refusal = ""
        self.headers: dict[str, str] = {}
        self.answer: dict[str, Any] = {}
        self.earlier: dict[str, Any] = {}
        self.answers: list[dict[str, Any]] = []
        self.pages: list[int] = []
        self.last: tuple[str, bytes] = ("", b"")
        self.ended_at = 0

    # The service

    @property
    def service(self) -> Service:
        """The service that this scenario asks: an ordinary one, if nothing is said."""
        if self._service is None:
            self._service = self._services.get("ordinary")
            self.soon(partial(self.works, self.home), expected=True)
        return self._service

    def use(self, name: str, more: str = "") -> None:
        """Ask another service from now on."""
        self._service = self._services.get(name, more)

    # Asking

    def ask(self, command: str, **message: Any) -> dict[str, Any]:
        """Run a command; what it is refused is for a Then step to judge."""
        self.ended_at = self.end_of_log()
        return self.say(command, json.dumps(message).encode())

    def say(self, command: str, body: bytes, **headers: str) -> dict[str, Any]:
        """Send anything at all."""
        said = self.headers | headers
        self.last = command, body
        self.answer = self.service.ask(command, said or None, body)
        if command.endswith(MAKES):
            self._told.append(self.answer)
        return self.answer

    def tell(self, subject: str, **message: Any) -> dict[str, Any]:
        """Say something as an agent."""
        self.ended_at = self.end_of_log()
        self.answer = self.service.tell(subject, message)
        return self.answer

    def do(self, command: str, **message: Any) -> dict[str, Any]:
        """Run a command that has to succeed."""
        answer = self.look(command, **message)
        assert "title" not in answer, answer
        if command.endswith(MAKES):
            self._told.append(answer)
        return answer

    def look(self, command: str, **message: Any) -> dict[str, Any]:
        """Ask beside the story: with no headers, and with no trace in the world."""
        return self.service.ask(command, None, json.dumps(message).encode())

    def soon(self, seen: Callable[[], Any], expected: Any) -> None:
        """Assert that what is seen is what is expected, now or soon."""
        until, pause = time.monotonic() + SOON, 0.01
        found = seen()
        while found != expected and time.monotonic() < until:
            time.sleep(pause)
            # Each look is work for the processor that the service waits for.
            pause = min(1.2 * pause, LONGEST_PAUSE)
            found = seen()
        assert found == expected

    # Names

    def own(self, name: str) -> str:
        """Return a name that no other scenario uses."""
        return f"{name} {self._token}"

    def backend(self, name: str) -> str:
        """Return the name of a backend; "nowhere" was never heard of before."""
        return self.own(name) if name == "nowhere" else name

    def volume(self, name: str) -> dict[str, Any]:
        """Return the volume of that name."""
        return self.volume_of(self.volumes[name])

    def volume_of(self, volume_id: str) -> dict[str, Any]:
        """Return the volume of that id."""
        return self.do("volume.show", id=volume_id)

    def attachment(self, holder: str, name: str) -> dict[str, Any]:
        """Return the attachment that a holder last had of a volume."""
        return self.do("attachment.show", id=self.attachment_id(holder, name))

    def attachment_id(self, holder: str, name: str) -> str:
        """Return the id of a holder's attachment, looked up if it was made for it."""
        if (holder, name) not in self.attachments:
            for attachment_id in self.volume(name)["attachments"]:
                seen = self.do("attachment.show", id=attachment_id)
                who = seen["instance"] or seen["host"]
                self.attachments[who, name] = attachment_id
        return self.attachments[holder, name]

    def history(self, name: str) -> list[dict[str, Any]]:
        """Return everything that happened to a volume."""
        answer = self.do("volume.history", id=self.volumes[name], limit=1000)
        items: list[dict[str, Any]] = answer["items"]
        return items

    def log(self, name: str) -> list[str]:
        """Return the events of a volume."""
        return [item["event"] for item in self.history(name)]

    def end_of_log(self) -> int:
        """Return the last position of the log."""
        seen = self.look("audit.verify", **{"from": max(self.ended_at, 1)})
        return int(seen["to"])

    def recorded(self, after: int, end: int) -> list[str]:
        """Return what was asked for and recorded behind one position, up to another."""
        told = self.service.published
        self.soon(lambda: told()[-1].position >= end, expected=True)
        return [
            each.topic
            for each in told()
            if after < each.position <= end and each.topic not in UNASKED
        ]

    def lose_power(self) -> None:
        """Kill the service, have the storage's machine lose its power, start again."""
        assert isinstance(self._storage, VolumeGroup)
        self.service.kill()
        self._storage.lose_power()
        self.service.start()
        self.soon(partial(self.works, self.home), expected=True)

    # The storage

    def folder(self, backend: str) -> Path:
        """Return where a backend keeps its volumes."""
        return self.service.folder / backend

    def storage(self, name: str) -> Path:
        """Return where a volume's data is."""
        return self._storage.device(*self._place(name))

    def has_traces(self, name: str) -> bool:
        """Tell whether the storage has anything of a volume."""
        return self._storage.has_traces(*self._place(name))

    def leads_to(self, name: str, connection: dict[str, Any]) -> bool:
        """Tell whether a host that was told this reaches the volume."""
        return self._storage.leads_to(connection, self.storage(name))

    def connector(self, host: str, **more: str) -> dict[str, Any]:
        """Return what a host says of itself."""
        return self._storage.connector(host) | more

    @property
    def home(self) -> str:
        """The backend of a volume of which nothing else is said."""
        return self._storage.home

    def host(self, name: str) -> Host:
        """Return a host, which has what it was told to connect."""
        return self._hosts.setdefault(name, Host(name))

    def steer(self, backend: str, mood: str, operation: str) -> None:
        """Tell a backend how to behave from now on."""
        (self.folder(backend) / f"{mood}-{operation}").touch()

    def calm(self, backend: str) -> None:
        """Let a backend behave again."""
        for told in self.folder(backend).glob("*-*"):
            if told.name.partition("-")[0] in ("fail", "busy", "hold"):
                told.unlink()

    def done(self, backend: str) -> list[str]:
        """Return what a backend was asked to do, in order: each with its volume."""
        return (self.folder(backend) / "done").read_text().splitlines()

    def open(self, name: str) -> None:
        """Use a volume, as a host does that has it attached."""
        self.open_file(self.storage(name))

    def open_file(self, path: Path, mode: str = "rb") -> None:
        """Use a file until nothing is used any more."""
        self._opened.append(path.open(mode))

    def close(self) -> None:
        """Use no volume any more."""
        while self._opened:
            self._opened.pop().close()

    def mend(self, backend: str) -> None:
        """Remember to enable and set up a backend in the end, for others need it."""
        self._mended.add(backend)

    def leave(self) -> None:
        """Leave the service as it was found: quiet, mended, the small backend empty."""
        self.close()
        for host in self._hosts.values():
            host.leave()
        if not self._service:
            return
        for backend in ("faulty", "small", "roomy", "spare"):
            self.calm(backend)
        for backend in self._mended:
            self.do("backend.enable", name=backend)
            self.do("backend.initialize", name=backend)
            self.soon(partial(self.works, backend), expected=True)
        for made in [*self._told, *self.answers]:
            for noun in noun_of(made):
                if noun == "volume" and made["backend"] == "small":
                    self._empty(made["id"])
                self.soon(partial(self._is_passing, noun, made["id"]), expected=False)

    def _empty(self, volume_id: str) -> None:
        """Have a volume go, with its snapshots."""
        self.do("volume.delete", id=volume_id, force=True, cascade=True)

    def works(self, backend: str) -> bool:
        """Tell whether a backend can do its work."""
        return bool(self.do("backend.is_working", name=backend)["working"])

    @property
    def _storage(self) -> Storage:
        return self._services.storage

    def _place(self, name: str) -> tuple[Path, str, str]:
        volume_id = self.volumes[name]
        return self.service.folder, self.volume(name)["backend"], volume_id

    def _is_passing(self, noun: str, key: str) -> bool:
        """Tell whether a backend works on it: what it reports ends up elsewhere."""
        return self.do(f"{noun}.show", id=key)["status"] in PASSING


def noun_of(told: dict[str, Any]) -> list[str]:
    """Return what an answer shows, if it is something that backends work on."""
    return [noun for field, noun in OWN.items() if field in told]


@pytest.fixture(scope="session")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Services]]:
    """The services by the door that leads to them."""
    services = {
        door: Services(tmp_path_factory.mktemp("services"), storage())
        for door, storage in STORAGES.items()
    }
    yield services
    for each in services.values():
        each.stop()


@pytest.fixture
def world(services: dict[str, Services], door: str) -> Iterator[World]:
    world = World(services[door])
    yield world
    world.leave()
