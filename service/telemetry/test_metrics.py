"""What Prometheus is told of a replica, of its keeper and of an agent."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from adapters.embedded.nats_server import NatsServer
from adapters.jetstream.signing import SIGNATURE, signature
from domain.drift import Drift, Surveyed
from service.audit.checkpointing import make_key
from service.deciding.room import Measured, Room
from service.keeping.projecting import REACHED, Reached
from service.settings import load
from service.telemetry import metrics
from service.telemetry.testing import free_address, page, shows, told
from service.testing.callers import caller
from service.testing.loads import has_room
from service.testing.programs import AGENT, SERVE, program

UNKNOWN = "4f7df3c0-239b-42d1-ad25-42fbe3a3a96f"


def test_every_answer_and_every_operation_is_counted(
    broker: NatsServer, config: Path
) -> None:
    serving, working = free_address(), free_address()

    async def scenario() -> None:
        async with asyncio.timeout(60), caller(broker.url) as asker:
            await has_room(asker)
            made = await asker.insist("volume.create", size_gib=1)
            await asker.until(
                "volume.show", lambda v: v["status"] == "available", id=made["id"]
            )
            await asker.ask("volume.delete", id=UNKNOWN)
            created = 'subject="volume.create",waited="no"'
            await shows(
                serving,
                f"holdfast_command_seconds_count{{{created}}} 1.0",
                'holdfast_refusals_total{subject="volume.delete",type="not-found"} 1.0',
                'holdfast_backend_up{backend="files"} 1.0',
                "holdfast_commands_waiting 0.0",
            )
            done = 'backend="files",operation="create",outcome="done"'
            await shows(
                working,
                f"holdfast_agent_operation_seconds_count{{{done}}} 1.0",
                'holdfast_backend_up{backend="files"} 1.0',
            )

    with (
        program(SERVE, told(config, "serve", metrics_listen=serving)),
        program(AGENT, told(config, "agent", metrics_listen=working)),
    ):
        asyncio.run(scenario())
        _, text = page(serving, "/metrics")

    for name in ("holdfast_batch_commands_count", "holdfast_commit_seconds_count"):
        assert float(re.search(rf"^{name} (.+)$", text, re.MULTILINE)[1]) >= 2  # type: ignore[index]
    assert re.search("^process_resident_memory_bytes", text, re.MULTILINE)
    assert re.search("^holdfast_live_aggregates [1-9]", text, re.MULTILINE)


def test_what_the_keeper_tells_is_told_on(broker: NatsServer, config: Path) -> None:
    address = free_address()
    key = config.with_name("key")
    make_key(key, "holdfast/test")
    listens = told(config, "serve", metrics_listen=address, checkpoint_key=str(key))
    lags, behind = {"volumes": 1.5, "stream": 2.5}, {"volumes": 3, "stream": 4}
    word = Reached(0, [], lags, behind, {"creating": 60.0}, {}, 7, "it was rewritten")
    body = msgspec.json.encode(word)

    async def scenario() -> None:
        async with asyncio.timeout(60), caller(broker.url) as asker:
            signed = {SIGNATURE: signature(load(config, {}).key, REACHED, body)}

            async def repeat() -> None:
                while True:  # the keeper itself says other things meanwhile
                    await asker.client.publish(REACHED, body, headers=signed)
                    await asyncio.sleep(0.001)

            repeating = asyncio.ensure_future(repeat())
            await shows(
                address,
                'holdfast_projection_lag_seconds{model="volumes"} 1.5',
                'holdfast_projection_behind_events{model="volumes"} 3.0',
                "holdfast_publisher_lag_seconds 2.5",
                "holdfast_publisher_behind_events 4.0",
                'holdfast_transitional_oldest_seconds{status="creating"} 60.0',
                "holdfast_checkpoint_position 7.0",
                "holdfast_log_contradicted 1.0",
            )
            repeating.cancel()

    with program(SERVE, listens):
        asyncio.run(scenario())


def test_it_is_told_how_much_of_what_differs_and_since_when_that_is_known() -> None:
    room, now = Room(), datetime.now(UTC)
    surveyed = Surveyed(now - timedelta(seconds=90), {"size": 2})
    room.know("files", Measured(None, True, None, now, 1, surveyed))  # noqa: FBT003
    room.know("new", Measured(None, True, None, now))  # noqa: FBT003

    findings, ages = metrics.of_surveys(room)

    told = {tuple(each.labels.values()): each.value for each in findings.samples}
    assert (told["files", "size"], told["files", "origin"]) == (2, 0)
    assert len(told) == len(Drift)
    assert [(each.labels["backend"], int(each.value)) for each in ages.samples] == [
        ("files", 90)
    ]


def test_operators_can_read_what_every_metric_means() -> None:
    named = re.compile(r"\bholdfast_[a-z_]+?(?=_total\b|\b)")
    table = Path(metrics.__file__).read_text()
    page = Path(metrics.__file__).parents[2] / "docs" / "operations.md"

    assert set(named.findall(page.read_text())) == set(named.findall(table))


@pytest.mark.parametrize("path", ["/", "/metrics/x"])
def test_there_is_nothing_else(config: Path, path: str) -> None:
    address = free_address()

    with program(SERVE, told(config, "serve", metrics_listen=address)):
        status, _ = page(address, path)

    assert status == 404
