"""Two agents of one backend: one works, and what the other tells counts no more."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, suppress
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP, SIGTERM
from subprocess import Popen
from typing import Any
from uuid import UUID

import pytest
from eventsourcing.persistence import StoredEvent
from nats.aio.msg import Msg

from adapters.embedded.nats_server import nats_server
from adapters.file.driver import FileDriver
from adapters.jetstream.reporting import Report
from adapters.jetstream.telling import Fault, Refusal, Service
from adapters.postgres.leases import MARGIN, TERM, Leases
from domain.aggregate import Done
from domain.backend import id_of
from domain.ports import Cause, Progress, unheard
from domain.volume import Volume
from service.deciding.command import Reply
from service.endpoints.agents import from_agent, reporting, take_over
from service.endpoints.volumes import create, show
from service.manager import VolumeManager
from service.settings import FILE_DRIVER, load
from service.test_agents import created, served, settled
from service.testing.callers import Caller, caller, eventually
from service.testing.deciding import ask, live
from service.testing.loads import has_room
from service.testing.programs import AGENT, BACKEND, SERVE, configuration, program

ELSEWHERE = """
import os
folder = {folder!r}
os.makedirs(folder)
os.environ["RUNTIME_DIRECTORY"] = folder
os.dup2(os.open(folder + "/said", os.O_CREAT | os.O_WRONLY), 2)
"""


class Diarist(FileDriver):
    """A driver that writes down which process makes a volume, and waits if told so."""

    def create(
        self, asked: Volume.Created, cause: Cause, progress: Progress = unheard
    ) -> str:
        beside, process = self._folder.parent, os.getpid()
        with (beside / "diary").open("a") as diary:
            diary.write(f"{process} {asked.originator_id}\n")
        while (beside / f"hold {process}").exists():
            time.sleep(0.01)
        return super().create(asked, cause, progress)


# Processes, each as if on a host of its own


@pytest.fixture
def path(tmp_path: Path, settings: dict[str, str]) -> Iterator[Path]:
    """The settings of a service with a broker of its own."""
    driver = f"{__name__}.{Diarist.__name__}"
    with nats_server(tmp_path / "nats") as url:
        yield configuration(tmp_path, url, settings, driver=driver)


def agent_on(host: str, path: Path) -> AbstractContextManager[Popen[str]]:
    folder = str(path.with_name(host))
    return program(ELSEWHERE.format(folder=folder) + AGENT, path)


@asynccontextmanager
async def asking(path: Path) -> AsyncIterator[Caller]:
    async with asyncio.timeout(100), caller(load(path, {}).nats_url) as asker:
        await has_room(asker)
        yield asker


def made_by(path: Path, agent: Popen[str]) -> list[str]:
    """Return the volumes that an agent has begun to make."""
    diary = path.with_name("diary").read_text().splitlines()
    told = (line.split() for line in diary)
    return [volume_id for process, volume_id in told if int(process) == agent.pid]


async def says(path: Path, host: str, words: str) -> None:
    """Return once the agent on a host has said so."""

    async def so() -> bool:
        return words in path.with_name(host).joinpath("said").read_text()

    await eventually(so)


async def leases(asker: Caller) -> list[int]:
    history = await asker.insist("backend.history", name=BACKEND)
    taken = [i for i in history["items"] if i["event"] == "backend.lease_taken"]
    return [item["data"]["number"] for item in taken]


async def make(asker: Caller) -> str:
    volume_id = await created(asker)
    assert (await settled(asker, volume_id))["status"] == "available"
    return volume_id


def test_an_agent_with_another_key_says_so_once(path: Path) -> None:
    key, other = "0123456789abcdef" * 2, "a key that nobody else has"
    wrong = path.with_name("wrong.toml")
    wrong.write_text(path.read_text().replace(key, other))
    words = "waiting: what answers for the service has another agent_key"

    asked = 0

    async def count(_: Msg) -> None:
        nonlocal asked
        asked += 1

    async def often() -> bool:
        return asked > 3

    async def scenario() -> None:
        async with caller(load(path, {}).nats_url) as asker:
            await asker.client.subscribe("holdfast.v1.agent.take_lease", cb=count)
            await says(path, "node-1", words)
            await eventually(often)

    with program(SERVE, path), agent_on("node-1", wrong):
        asyncio.run(scenario())

    said = path.with_name("node-1").joinpath("said").read_text()
    assert said.count(words) == said.count("\n") == 1
    assert other not in said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("end", "within"),
    [(SIGTERM, TERM - 4), (SIGKILL, TERM + MARGIN + 10)],
    ids=["that stops", "that dies"],
)
def test_a_second_agent_works_only_after_the_first(
    path: Path, end: int, within: float
) -> None:
    async def scenario(first: Popen[str], second: Popen[str]) -> None:
        async with asking(path) as asker:
            await says(path, "node-2", "waiting: backend files is served")
            own = [await make(asker) for _ in range(3)]
            assert made_by(path, second) == []

            first.send_signal(end)
            began = time.monotonic()
            later = await make(asker)

            assert time.monotonic() - began < within
            assert (made_by(path, first), made_by(path, second)) == (own, [later])
            assert await leases(asker) == [1, 2]

    with program(SERVE, path), agent_on("node-1", path) as first:
        asyncio.run(until_served(path))
        with agent_on("node-2", path) as second:
            asyncio.run(scenario(first, second))


async def until_served(path: Path) -> None:
    async with asking(path):
        pass


@pytest.mark.slow
def test_an_agent_that_was_away_touches_nothing_and_is_not_believed(path: Path) -> None:
    async def scenario(first: Popen[str], second: Popen[str]) -> None:
        hold = path.with_name(f"hold {first.pid}")
        async with asking(path) as asker:
            hold.touch()
            under_way = await created(asker)

            async def is_under_way() -> bool:
                with suppress(FileNotFoundError):
                    return made_by(path, first) == [under_way]
                return False

            await eventually(is_under_way)
            first.send_signal(SIGSTOP)
            own = [under_way, await created(asker), await created(asker)]
            for volume_id in own:
                assert (await settled(asker, volume_id))["status"] == "available"

            hold.unlink()
            first.send_signal(SIGCONT)
            await says(path, "node-1", "a report is refused: lease 1")
            await says(path, "node-1", "waiting: backend files is served")
            own.append(await make(asker))

            assert made_by(path, first) == [under_way]
            # The first three were made side by side.
            assert sorted(made_by(path, second)) == sorted(own)
            second.send_signal(SIGTERM)
            later = await make(asker)
            assert made_by(path, first) == [under_way, later]
            assert await leases(asker) == [1, 2, 3]

    with program(SERVE, path), agent_on("node-1", path) as first:
        asyncio.run(until_served(path))
        with agent_on("node-2", path) as second:
            asyncio.run(scenario(first, second))


def test_a_killed_agent_s_successor_on_its_host_does_not_wait(path: Path) -> None:
    async def first_volume() -> None:
        async with asking(path) as asker:
            await make(asker)

    async def next_volume() -> list[int]:
        async with asking(path) as asker:
            await make(asker)
            return await leases(asker)

    with program(SERVE, path):
        with program(AGENT, path):
            asyncio.run(first_volume())
        began = time.monotonic()
        with program(AGENT, path):
            assert asyncio.run(next_volume()) == [1, 2]

    assert time.monotonic() - began < TERM - 2


# At the subject


Scenario = Callable[[Caller, Service], Any]


@pytest.fixture
def run(path: Path) -> Callable[[Scenario], Any]:
    """Run a scenario with a service, and a way to speak as an agent."""

    async def lived(scenario: Scenario) -> Any:
        async with asyncio.timeout(60), served(path) as asker:
            return await scenario(asker, Service(asker.client, load(path, {}).key))

    path.write_text(path.read_text().replace(f"{__name__}.Diarist", FILE_DRIVER))
    return lambda scenario: asyncio.run(lived(scenario))


async def taken(agent: Service, holder: str) -> int:
    about = {"name": BACKEND, "holder": holder, "host": f"host of {holder}"}
    number: int = (await agent.tell("agent.take_lease", about))["lease"]
    return number


@pytest.mark.parametrize(
    ("subject", "more"),
    [
        ("agent.renew_lease", {}),
        ("agent.in_flight", {"after": 0}),
        (
            "agent.announce",
            {"host": "node-1", "driver": "Shelf", "storage_protocol": "local"},
        ),
    ],
)
def test_an_old_lease_is_refused(
    run: Callable[[Scenario], Any], subject: str, more: dict[str, Any]
) -> None:
    async def scenario(_: Caller, agent: Service) -> None:
        old, new = await taken(agent, "one"), await taken(agent, "one")
        with pytest.raises(Refusal):
            await agent.tell(subject, {"name": BACKEND, "lease": old} | more)
        await agent.tell(subject, {"name": BACKEND, "lease": new} | more)

    run(scenario)


def test_a_second_holder_is_told_who_has_it(run: Callable[[Scenario], Any]) -> None:
    async def scenario(_: Caller, agent: Service) -> None:
        await taken(agent, "one")
        with pytest.raises(Refusal, match=r"agent on host of one \(lease 1\)"):
            await taken(agent, "two")

    run(scenario)


def test_no_lease_is_given_where_the_log_cannot_be_read(
    run: Callable[[Scenario], Any], manager: VolumeManager
) -> None:
    async def scenario(_: Caller, agent: Service) -> None:
        newer = StoredEvent(id_of(BACKEND), 1, "backend.unheard_of", b"{}")
        manager.recorder.insert_events([newer])
        with pytest.raises(Fault):
            await taken(agent, "one")

    run(scenario)

    assert Leases(manager.recorder.datastore).last_heard_of(BACKEND) is None


def test_a_report_under_an_old_lease_changes_nothing(manager: VolumeManager) -> None:
    async def scenario() -> None:
        async with live(manager.recorder) as one, live(manager.recorder) as two:
            made = await ask(one, create, size_gib=1)
            told = Report("volume", UUID(made["id"]), 1, "2", done=Done("/volumes/x"))

            # What `one` has in memory still says that the lease is 1.
            over = BACKEND, 2, "another", "node-2"
            await two.submit(from_agent(BACKEND, lambda log: take_over(log, *over)))
            refused = await one.submit(reporting(BACKEND, 1, told))

            assert (refused.code, detail(refused)) == (
                409,
                "lease 1 of backend files is not 2",
            )
            assert (await ask(one, show, id=made["id"]))["status"] == "creating"
            assert (await one.submit(reporting(BACKEND, 2, told))).code == 0
            assert (await ask(two, show, id=made["id"]))["status"] == "available"

    asyncio.run(scenario())


def detail(reply: Reply) -> str:
    told: str = json.loads(reply.body)["detail"]
    return told


def test_reports_in_one_message_are_decided_each_by_itself(
    run: Callable[[Scenario], Any],
) -> None:
    async def scenario(asker: Caller, agent: Service) -> Any:
        about = {"name": BACKEND, "lease": await taken(agent, "one")}
        nobody = str(UUID(int=7))
        reports = [
            {"noun": "volume", "id": nobody, "intent": 1, "causation_id": "1"},
            {"noun": "backend", "id": nobody, "intent": 1, "causation_id": "1"},
        ]
        told = await agent.tell("agent.report", about | {"reports": reports})
        return [(refused["report"], refused["code"]) for refused in told["refused"]]

    assert run(scenario) == [(0, 404), (1, 404)]


def test_a_measurement_under_an_old_lease_is_left_aside(
    run: Callable[[Scenario], Any],
) -> None:
    async def scenario(asker: Caller, agent: Service) -> Any:
        measured = {"name": BACKEND, "working": False, "capabilities": None}

        async def tell(lease: int, reason: str, at: str) -> None:
            about = {"lease": lease, "reason": reason, "reported_at": at}
            await agent.publish(f"agents.{BACKEND}.measured", measured | about)

        old, new = await taken(agent, "one"), await taken(agent, "one")
        await tell(new, "the new one's", "2999-01-01T00:00:00Z")
        await tell(old, "the old one's, whose clock is ahead", "3000-01-01T00:00:00Z")
        await tell(new, "the new one's again", "2999-01-01T00:00:01Z")

        def so(backend: Any) -> bool:
            reasons.append(backend.get("reason"))
            return bool(reasons[-1] == "the new one's again")

        reasons: list[str] = []
        await asker.until("backend.is_working", so, name=BACKEND)
        return [reason for reason in reasons if reason and "old" in reason]

    assert run(scenario) == []
