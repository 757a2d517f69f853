"""Asking an agent to measure now, while it tells all replicas as well."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from adapters.jetstream.measuring import Measurement
from adapters.jetstream.signing import SIGNATURE, signature
from service.deciding.command import Unavailable
from service.deciding.room import Measured, Room
from service.replica import Replica, measured

KEY = b"key"
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def told(seconds: int, number: int = 0) -> bytes:
    at = NOON + timedelta(seconds=seconds)
    return msgspec.json.encode(
        Measurement(
            "files",
            working=True,
            reason=None,
            capabilities=None,
            reported_at=at,
            number=number,
        )
    )


def asked(room: Room, answer: bytes, meanwhile: bytes | None) -> None:
    """Have a replica ask; it is answered, and hears something else before that."""

    async def request(subject: str, **_: Any) -> Any:
        if meanwhile:
            room.know("files", measured(meanwhile))
        signed = {SIGNATURE: signature(KEY, subject, answer)}
        return SimpleNamespace(subject=subject, data=answer, headers=signed)

    replica: Any = SimpleNamespace(
        client=SimpleNamespace(request=request), key=KEY, log=SimpleNamespace(room=room)
    )
    asyncio.run(Replica._measure(replica, "files"))


def test_something_newer_that_was_told_meanwhile_is_an_answer() -> None:
    room = Room()
    room.know("files", measured(told(0)))

    asked(room, told(1), meanwhile=told(2))

    assert room.measured["files"] == measured(told(2))


def test_an_old_answer_that_is_sent_again_is_none() -> None:
    room = Room()
    room.know("files", measured(told(1)))

    with pytest.raises(Unavailable):
        asked(room, told(1), meanwhile=None)


def test_what_is_told_next_is_newer_though_the_clock_was_set_back() -> None:
    room = Room()
    room.know("files", measured(told(0, number=1)))

    asked(room, told(-3600, number=2), meanwhile=None)

    assert room.measured["files"] == measured(told(-3600, number=2))


@pytest.mark.parametrize("number", [1, 2])
def test_a_number_that_was_told_is_never_new(number: int) -> None:
    room = Room()
    room.know("files", measured(told(-3600, number=2)))

    with pytest.raises(Unavailable):
        asked(room, told(-3600 if number == 2 else 0, number), meanwhile=None)


@pytest.mark.parametrize("ahead", [-3600, 0, 3600])
def test_who_reports_is_up_whatever_its_clock_says(ahead: int) -> None:
    room = Room(down_after=0.1)
    told_at = datetime.now(UTC) + timedelta(seconds=ahead)
    room.know("files", Measured(None, True, None, told_at))  # noqa: FBT003
    assert room.is_up("files")

    time.sleep(0.2)

    assert not room.is_up("files")


@pytest.mark.parametrize(("ahead", "up"), [(-3600, False), (0, True), (3600, False)])
def test_what_another_replica_has_heard_counts_while_it_is_new(
    ahead: int,
    up: bool,  # noqa: FBT001 - it is what is so then
) -> None:
    room = Room()
    told_at = datetime.now(UTC) + timedelta(seconds=ahead)
    room.measured["files"] = Measured(None, True, None, told_at)  # noqa: FBT003

    assert room.is_up("files") is up
