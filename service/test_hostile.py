"""What hostile and clumsy callers are told, and that nothing comes of it."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nats
import pytest
from nats.aio.client import Client

from adapters.jetstream.telling import PREFIX
from service import settings as settings_of
from service.audit.history import covered
from service.deciding.log import TOO_MANY, Log
from service.endpoints import ENDPOINTS, FOR_AGENTS
from service.endpoints.endpoint import MOST_QUERIES, Endpoint
from service.reading import PATIENCE
from service.up import as_service, up

ID = "00000000-0000-4000-8000-000000000000"
BODIES: list[tuple[bytes, str]] = [
    (b"\xff\xfe{", "malformed"),
    (b"{", "malformed"),
    (b"[]", "malformed"),
    (b"null", "malformed"),
    (b'"{}"', "malformed"),
    (b"[" * 60_000, "malformed"),
    (b'{"a":' * 10_000, "malformed"),
    (b'{"name": "\xed\xa0\x80"}', "malformed"),
    (b'{"unheard_of": 1}', "invalid"),
    (b'{"id": {"$ne": 1}}', "invalid"),
    (b'{"name": "%s"}' % (b"x" * 65_536), "too-large"),
]
NAMES = ["a\0b", "a\nb", "\x1b[31m", "x" * 256, "\u2028", "\x7f"]
WORDS = ["../../etc/passwd", "--force", "'; DROP TABLE x; --", "$(reboot)", "ü€😀"]
ENDLESS = b'{"min_position": 4000000000000000000}'
SIZES: list[Any] = [0, -1, 1.5, 2.0, 65_537, 10**30, "1", "abc", True, [], {}, None]
HEADERS = [
    ("Holdfast-Actor", "x" * 256),
    ("Holdfast-Reason", "x" * 1025),
    ("Holdfast-Request-Id", "x" * 129),
    ("Holdfast-Wait", "301"),
    ("Holdfast-Wait", "-1"),
    ("Holdfast-Wait", "nan"),
    ("Holdfast-Wait", "soon"),
    ("Holdfast-Actor", "a\x07b"),
]

Ask = Callable[..., Awaitable[dict[str, Any]]]


@pytest.fixture(scope="module")
def run() -> Iterator[Callable[[Callable[[Ask], Awaitable[None]]], None]]:
    """Run a scenario against a service of this module's own."""
    with TemporaryDirectory() as folder, asyncio.Runner() as runner:
        service = up(Path(folder), settings_of.load(None, {}), 0)
        running = runner.run(entered(service))
        url = as_service(Path(folder), running.url)  # callers may not even ask for all
        client: Client = runner.run(entered_client(url))

        async def ask(
            subject: str, body: bytes = b"", headers: dict[str, str] | None = None
        ) -> dict[str, Any]:
            answer = await client.request(
                f"{PREFIX}{subject}", body, timeout=10, headers=headers
            )
            found: dict[str, Any] = json.loads(answer.data)
            if code := (answer.headers or {}).get("Nats-Service-Error-Code"):
                assert code == str(found["status"])
            return found

        def scenario(what: Callable[[Ask], Awaitable[None]]) -> None:
            async def held() -> None:
                before = (await ask("audit.verify"))["events"]
                await what(ask)
                after = await ask("audit.verify")
                assert (after["events"], after["intact"]) == (before, True)

            runner.run(held())

        yield scenario
        runner.run(client.close())
        runner.run(left(service))


async def entered(service: Any) -> Any:
    return await service.__aenter__()


async def left(service: Any) -> None:
    await service.__aexit__(None, None, None)


async def entered_client(url: str) -> Client:
    return await nats.connect(url)


@pytest.mark.parametrize("endpoint", [*ENDPOINTS, *FOR_AGENTS], ids=lambda e: e.subject)
def test_no_body_brings_a_subject_down(run: Any, endpoint: Any) -> None:
    async def scenario(ask: Ask) -> None:
        subject = endpoint.subject.removeprefix(PREFIX)
        asks = isinstance(endpoint, Endpoint)
        agents_only = endpoint.signed if asks else endpoint.by_agents
        for body, kind in BODIES:
            answer = await ask(subject, body)
            assert answer["type"] == ("forbidden" if agents_only else kind), body[:40]

    run(scenario)


WRONG_VALUES = {f"\x7f{n}": 0 for n in range(3_500)}
CROWDS: list[dict[str, Any]] = [
    {"size_gib": 1, "metadata": WRONG_VALUES},
    {f"unheard of {n}": 1 for n in range(2_500)},
    {"x" * 60_000: 1},
]


@pytest.mark.parametrize("body", CROWDS, ids=["values", "fields", "a name"])
def test_a_refusal_is_short_however_much_is_wrong(
    run: Any, body: dict[str, Any]
) -> None:
    async def scenario(ask: Ask) -> None:
        answer = await ask("volume.create", json.dumps(body).encode())
        assert answer["type"] == "invalid"
        assert len(answer["detail"]) <= 1_001
        assert len(json.dumps(answer)) < 20_000

    run(scenario)


def test_who_asks_beyond_the_end_of_the_log_takes_nobodys_place(run: Any) -> None:
    async def scenario(ask: Ask) -> None:
        asks = (ask("volume.list", ENDLESS) for _ in range(MOST_QUERIES // 2))
        async with asyncio.timeout(PATIENCE - 1):
            answers = await asyncio.gather(*asks)
        assert {answer["type"] for answer in answers} == {"unavailable"}

    run(scenario)


def test_more_queries_than_can_be_read_are_refused_at_once(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def far_ahead(_: Log) -> int:
        return 2**62

    async def scenario(ask: Ask) -> None:
        monkeypatch.setattr(Log, "newest", far_ahead)  # of the read models
        asks = (ask("volume.list", ENDLESS) for _ in range(2 * MOST_QUERIES))
        answers = await asyncio.gather(*asks)
        said = Counter(answer["detail"] for answer in answers)
        assert said[TOO_MANY] >= MOST_QUERIES - 10
        assert {answer["type"] for answer in answers} == {"unavailable"}

    run(scenario)


def test_one_verification_is_under_way_at_a_time(run: Any) -> None:
    async def scenario(ask: Ask) -> None:
        answers = await asyncio.gather(*(ask("audit.verify") for _ in range(20)))
        assert any(answer.get("intact") for answer in answers)
        refused = [a for a in answers if "intact" not in a]
        assert all("another verification" in answer["detail"] for answer in refused)

    run(scenario)


@pytest.mark.parametrize("size", SIZES, ids=repr)
def test_what_is_no_size_is_invalid(run: Any, size: Any) -> None:
    async def scenario(ask: Ask) -> None:
        body = json.dumps({"size_gib": size}).encode()
        answer = await ask("volume.create", body)
        assert (answer["type"], list(answer["errors"])) == ("invalid", ["size_gib"])

    run(scenario)


@pytest.mark.parametrize("field", ["name", "description", "project", "backend"])
@pytest.mark.parametrize("text", NAMES, ids=repr)
def test_unprintable_and_endless_text_is_invalid(
    run: Any, field: str, text: str
) -> None:
    long = text * 5 if field == "description" else text

    async def scenario(ask: Ask) -> None:
        body = json.dumps({"size_gib": 1, field: long}).encode()
        answer = await ask("volume.create", body)
        assert (answer["type"], list(answer["errors"])) == ("invalid", [field])

    run(scenario)


@pytest.mark.parametrize("word", WORDS)
def test_a_backend_is_only_ever_looked_up(run: Any, word: str) -> None:
    async def scenario(ask: Ask) -> None:
        named = json.dumps({"size_gib": 1, "backend": word}).encode()
        assert (await ask("volume.create", named))["type"] == "not-found"
        for subject in ("show", "capabilities", "is_working", "history"):
            body = json.dumps({"name": word}).encode()
            assert (await ask(f"backend.{subject}", body))["type"] == "not-found"

    run(scenario)


@pytest.mark.parametrize(
    "word", ["not-a-uuid", ID[:-1], f"{{{ID}}}", ID.replace("-", "")]
)
def test_what_is_no_id_is_invalid(run: Any, word: str) -> None:
    async def scenario(ask: Ask) -> None:
        body = json.dumps({"id": word}).encode()
        assert (await ask("volume.show", body))["type"] == "invalid"

    run(scenario)


@pytest.mark.parametrize(("name", "value"), HEADERS)
def test_a_header_out_of_bounds_is_invalid(run: Any, name: str, value: str) -> None:
    async def scenario(ask: Ask) -> None:
        answer = await ask("volume.create", b'{"size_gib": 1}', {name: value})
        assert (answer["type"], list(answer["errors"])) == ("invalid", [name])

    run(scenario)


@pytest.mark.parametrize(
    "name", ["Holdfast-RequestId", "holdfast_request_id", "Holdfast-Frontier"]
)
def test_a_header_that_is_none_of_ours_is_named(run: Any, name: str) -> None:
    """Or a request whose key is misspelt would be done once more when repeated."""

    async def scenario(ask: Ask) -> None:
        for subject in ("volume.create", "volume.list"):
            answer = await ask(subject, b'{"size_gib": 1}', {name: "one"})
            assert (answer["type"], list(answer["errors"])) == ("invalid", [name])
            assert "Holdfast-Request-Id" in answer["detail"]

    run(scenario)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Holdfast-Age", "0.5"),
        ("Holdfast-Signature", "0" * 64),
        ("holdfast-nonce", "x"),
        ("Holdfast-RequestId", ""),
        ("Nats-Msg-Id", "1"),
    ],
)
def test_what_answers_and_others_say_in_headers_is_let_pass(
    run: Any, name: str, value: str
) -> None:
    async def scenario(ask: Ask) -> None:
        assert "items" in await ask("volume.list", b"", {name: value})

    run(scenario)


CURSORS = ["x", "eA==", "-1", "LTE=", "\U0001f600", "OTk5" * 20]


@pytest.mark.parametrize("cursor", [*CURSORS, covered(f"snapshots 1 {ID}")])
def test_a_cursor_that_is_none_of_ours_is_invalid(run: Any, cursor: str) -> None:
    async def scenario(ask: Ask) -> None:
        body = json.dumps({"cursor": cursor}).encode()
        answer = await ask("volume.list", body)
        assert (answer["type"], list(answer["errors"])) == ("invalid", ["cursor"])

    run(scenario)


@pytest.mark.parametrize(
    "report",
    [
        ("agent.take_lease", {"name": "x", "holder": "h", "host": "h"}),
        ("agent.renew_lease", {"name": "x", "lease": 1}),
        ("agent.release_lease", {"name": "x", "lease": 1}),
        ("agent.announce", {"name": "x", "lease": 1, "host": "h", "driver": "d"}),
        ("agent.report", {"name": "x", "lease": 1, "reports": []}),
    ],
)
def test_only_an_agent_may_report(run: Any, report: tuple[str, dict[str, Any]]) -> None:
    async def scenario(ask: Ask) -> None:
        for headers in (None, {"Holdfast-Signature": "0" * 64}):
            answer = await ask(report[0], json.dumps(report[1]).encode(), headers)
            assert answer["type"] == "forbidden"

    run(scenario)


def test_a_moment_is_one_moment(run: Any) -> None:
    async def scenario(ask: Ask) -> None:
        for more in ({}, {"time": "2026-01-01T00:00:00Z", "position": 1}):
            body = json.dumps({"id": ID} | more).encode()
            assert (await ask("audit.state_at", body))["type"] == "invalid"
        for time in ("yesterday", "2026-01-01T00:00:00", 7):
            body = json.dumps({"id": ID, "time": time}).encode()
            assert (await ask("audit.state_at", body))["type"] == "invalid"

    run(scenario)
