"""Checkpoints: one after another, whoever signs, and never against each other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client
from nats.js.errors import APIError

from adapters.embedded.nats_server import NatsServer
from adapters.jetstream import checkpoints
from adapters.postgres.reading import verified
from adapters.postgres.recorder import LogRecorder
from adapters.tasks import ended
from domain.checkpoint import Checkpoint, all_opened
from domain.tree import head_of, leaf
from service.audit.checkpointing import Checkpointing, make_key, signer_in
from service.connecting import connect
from service.endpoints.volumes import create
from service.manager import VolumeManager
from service.settings import Settings, Unusable, load
from service.testing.callers import eventually
from service.testing.deciding import ask, live

Told = Callable[[], Awaitable[bool]]
CHANGED = """
    UPDATE {log} SET chain = set_byte(chain, 0, get_byte(chain, 0) # 1)
    WHERE notification_id = %s
"""
CUT_OFF = "DELETE FROM {log} WHERE notification_id > %s"


@pytest.fixture
def signs(tmp_path: Path, broker: NatsServer) -> Settings:
    """Settings with which each event is signed at once."""
    make_key(tmp_path / "key", "holdfast/test")
    return replace(
        load(None, {}),
        nats_url=broker.url,
        checkpoint_key=str(tmp_path / "key"),
        checkpoint_file=str(tmp_path / "checkpoints"),
        checkpoint_events=1,
    )


@asynccontextmanager
async def keeper(
    recorder: LogRecorder, settings: Settings
) -> AsyncIterator[Checkpointing]:
    """Sign as a keeper does, until left."""
    client = await connect(settings.nats_url, "keeper")
    checkpointing = Checkpointing(client, recorder, settings)
    working = asyncio.ensure_future(checkpointing.run())
    try:
        yield checkpointing
    finally:
        await ended(working)
        await client.close()


def grow(recorder: LogRecorder, events: int) -> None:
    asyncio.run(grow_now(recorder, events))


async def grow_now(recorder: LogRecorder, events: int) -> None:
    async with live(recorder) as log:
        for _ in range(events):
            await ask(log, create, size_gib=1)


async def signed(keeping: Checkpointing, recorder: LogRecorder) -> None:
    """Return once all of the log is signed."""

    async def is_so() -> bool:
        return keeping.signed == (recorder.max_notification_id(), "")

    await eventually(is_so)


def sign(recorder: LogRecorder, settings: Settings) -> None:
    """Have a keeper come, sign the whole log, and go."""

    async def scenario() -> None:
        async with keeper(recorder, settings) as keeping:
            await signed(keeping, recorder)

    asyncio.run(scenario())


def refused(recorder: LogRecorder, settings: Settings) -> str:
    """Return why a keeper signs nothing."""

    async def scenario() -> str:
        async with keeper(recorder, settings) as keeping:

            async def is_so() -> bool:
                return bool(keeping.signed.wrong)

            await eventually(is_so)
            return keeping.signed.wrong

    return asyncio.run(scenario())


def over_nats(settings: Settings, do: Callable[[Client], Awaitable[Any]]) -> Any:
    async def scenario() -> Any:
        client = await connect(settings.nats_url, "test")
        try:
            return await do(client)
        finally:
            await client.close()

    return asyncio.run(scenario())


async def messages(client: Client) -> list[str]:
    last = await checkpoints.last_sequence(client)
    stream = client.jetstream()
    found = [await stream.get_msg(checkpoints.STREAM, n + 1) for n in range(last)]
    return [(each.data or b"").decode() for each in found]


def carried(settings: Settings) -> list[Checkpoint]:
    """Return what is in the file."""
    verifier = signer_in(Path(settings.checkpoint_key)).verifier
    return all_opened(Path(settings.checkpoint_file).read_text(), verifier)


def right(recorder: LogRecorder, checkpoint: Checkpoint) -> bool:
    """Tell whether a checkpoint says what the log was."""
    rows = list(verified(recorder))[: checkpoint.size]
    root = head_of(leaf(row.hashed) for row in rows)
    return (root, rows[-1].chain) == (checkpoint.root, checkpoint.link)


def do(recorder: LogRecorder, statement: str, position: int) -> None:
    with recorder.datastore.cursor() as cursor:
        cursor.execute(recorder.sql(statement), (position,))


def test_what_is_signed_is_in_the_stream_and_in_the_file(
    manager: VolumeManager, signs: Settings
) -> None:
    grow(manager.recorder, 3)
    sign(manager.recorder, signs)
    grow(manager.recorder, 2)
    sign(manager.recorder, signs)

    first, second = carried(signs)
    assert first.size < second.size == manager.recorder.max_notification_id()
    assert right(manager.recorder, first)
    assert right(manager.recorder, second)
    assert "\n".join(over_nats(signs, messages)) + "\n" == (
        Path(signs.checkpoint_file).read_text()
    )


def test_a_quiet_log_is_signed_when_time_is_up(
    manager: VolumeManager, signs: Settings
) -> None:
    grow(manager.recorder, 1)

    sign(manager.recorder, replace(signs, checkpoint_events=1000, checkpoint_seconds=1))

    assert len(carried(signs)) == 1


def test_the_next_keeper_does_not_read_what_is_signed(
    manager: VolumeManager, signs: Settings
) -> None:
    grow(manager.recorder, 3)
    sign(manager.recorder, signs)
    grow(manager.recorder, 1)
    do(manager.recorder, CHANGED, 2)  # whoever read it would notice

    sign(manager.recorder, signs)


@pytest.mark.parametrize("lost", ["the stream", "the file", "both"])
def test_checkpoints_go_on_though_some_are_lost(
    manager: VolumeManager, signs: Settings, lost: str
) -> None:
    grow(manager.recorder, 3)
    sign(manager.recorder, signs)
    if lost != "the file":
        over_nats(signs, lambda c: c.jetstream().delete_stream(checkpoints.STREAM))
    if lost != "the stream":
        Path(signs.checkpoint_file).unlink()
    grow(manager.recorder, 1)

    sign(manager.recorder, signs)

    assert all(right(manager.recorder, each) for each in carried(signs))
    assert carried(signs)[-1].size == manager.recorder.max_notification_id()


def test_of_two_keepers_at_once_no_two_sign_one_message(
    manager: VolumeManager, signs: Settings
) -> None:
    other = replace(signs, checkpoint_file=f"{signs.checkpoint_file}-other")

    async def scenario() -> None:
        async with (
            live(manager.recorder) as log,
            keeper(manager.recorder, signs) as one,
            keeper(manager.recorder, other) as two,
        ):
            for _ in range(5):
                await ask(log, create, size_gib=1)
                await signed(one, manager.recorder)
                await signed(two, manager.recorder)

    asyncio.run(scenario())

    verifier = signer_in(Path(signs.checkpoint_key)).verifier
    told = all_opened("\n".join(over_nats(signs, messages)), verifier)
    assert [each.size for each in told] == sorted({each.size for each in told})
    assert all(right(manager.recorder, each) for each in told)


@pytest.mark.parametrize("known_by", ["stream and file", "the stream", "the file"])
def test_a_log_without_its_end_is_not_signed(
    manager: VolumeManager,
    signs: Settings,
    known_by: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    grow(manager.recorder, 5)
    sign(manager.recorder, signs)
    if known_by == "the stream":
        Path(signs.checkpoint_file).unlink()
    if known_by == "the file":
        over_nats(signs, lambda c: c.jetstream().delete_stream(checkpoints.STREAM))
    last = manager.recorder.max_notification_id()
    do(manager.recorder, CUT_OFF, 3)

    wrong = refused(manager.recorder, signs)

    assert f"it has no position {last}" in wrong
    assert [each.levelname for each in caplog.records if wrong in each.message] == [
        "ERROR"
    ]
    grow(manager.recorder, 9)  # nor when it has grown beyond that
    assert "it was rewritten" in refused(manager.recorder, signs)


@pytest.mark.parametrize(("every", "signs_it"), [(1, True), (1000, False)])
def test_an_end_that_is_cut_off_under_a_keeper_is_never_signed_over(
    manager: VolumeManager,
    signs: Settings,
    every: int,
    signs_it: bool,  # noqa: FBT001 - of a table
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario() -> tuple[int, int]:
        settings = replace(signs, checkpoint_events=every)
        await grow_now(manager.recorder, 1)
        async with keeper(manager.recorder, settings) as keeping:
            await signed(keeping, manager.recorder)
            before = keeping.signed.size
            await grow_now(manager.recorder, 2)
            last = manager.recorder.max_notification_id() or 0
            signed_to = last if signs_it else before

            async def has_come() -> bool:
                return (keeping.seen.position, keeping.signed.size) == (last, signed_to)

            async def is_wrong() -> bool:
                return bool(keeping.signed.wrong)

            await eventually(has_come)
            do(manager.recorder, CUT_OFF, before)
            await grow_now(manager.recorder, 9)
            await eventually(is_wrong)
            return last, signed_to

    last, signed_to = asyncio.run(scenario())

    assert f"the log has lost what it had at position {last}" in caplog.text
    assert carried(signs)[-1].size == signed_to


def test_a_log_that_was_changed_after_it_was_signed_is_not_signed(
    manager: VolumeManager, signs: Settings
) -> None:
    grow(manager.recorder, 3)
    sign(manager.recorder, signs)
    last = manager.recorder.max_notification_id() or 0
    grow(manager.recorder, 1)
    do(manager.recorder, CHANGED, last + 1)

    assert f"at position {last + 1}" in refused(manager.recorder, signs)


def test_once_the_log_is_what_it_was_it_is_signed_again(
    manager: VolumeManager, signs: Settings
) -> None:
    grow(manager.recorder, 3)
    sign(manager.recorder, signs)
    last = manager.recorder.max_notification_id() or 0

    async def scenario() -> None:
        async with keeper(manager.recorder, signs) as keeping:

            async def is_wrong() -> bool:
                return bool(keeping.signed.wrong)

            await eventually(is_wrong)
            do(manager.recorder, CHANGED, last)
            await signed(keeping, manager.recorder)

    do(manager.recorder, CHANGED, last)
    asyncio.run(scenario())


def test_what_others_put_into_the_stream_is_passed_over(
    manager: VolumeManager, signs: Settings
) -> None:
    grow(manager.recorder, 3)
    sign(manager.recorder, signs)

    async def litter(client: Client) -> None:
        for body in (b"nonsense", b"\xff"):
            await client.jetstream().publish(checkpoints.SUBJECT, body)

    over_nats(signs, litter)
    grow(manager.recorder, 1)
    do(manager.recorder, CHANGED, 2)  # it is not begun anew for that

    sign(manager.recorder, signs)


def test_nobody_takes_a_checkpoint_out_of_the_stream(
    manager: VolumeManager, signs: Settings
) -> None:
    grow(manager.recorder, 1)
    sign(manager.recorder, signs)

    for attempt in ("delete_msg", "purge_stream"):
        given = (checkpoints.STREAM, 1) if attempt == "delete_msg" else ()
        stream = given or (checkpoints.STREAM,)

        async def remove(client: Client) -> None:
            await getattr(client.jetstream(), attempt)(*stream)  # noqa: B023

        with pytest.raises(APIError):
            over_nats(signs, remove)


def test_half_a_note_in_the_file_is_overwritten(
    manager: VolumeManager, signs: Settings
) -> None:
    grow(manager.recorder, 1)
    sign(manager.recorder, signs)
    with Path(signs.checkpoint_file).open("a") as file:
        file.write("holdfast/test\n12\nAAA")
    grow(manager.recorder, 1)

    sign(manager.recorder, signs)

    assert len(carried(signs)) == 2


def test_a_file_that_is_something_else_stays_as_it_is(
    manager: VolumeManager, signs: Settings
) -> None:
    Path(signs.checkpoint_file).write_text("a diary\n")
    grow(manager.recorder, 1)

    assert "has no checkpoints" in refused(manager.recorder, signs)
    assert Path(signs.checkpoint_file).read_text() == "a diary\n"


def test_what_the_file_could_not_take_is_not_told_as_signed(
    manager: VolumeManager, signs: Settings, tmp_path: Path
) -> None:
    signs = replace(signs, checkpoint_file=str(tmp_path / "away" / "checkpoints"))
    grow(manager.recorder, 1)
    for _ in range(2):
        assert refused(manager.recorder, signs) == (
            f"{signs.checkpoint_file} cannot be written: No such file or directory"
        )
    (tmp_path / "away").mkdir()

    sign(manager.recorder, signs)

    assert len(carried(signs)) == len(over_nats(signs, messages)) == 1


def test_a_key_that_others_can_read_is_not_used(tmp_path: Path) -> None:
    make_key(tmp_path / "key", "holdfast/test")
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    (tmp_path / "key").chmod(0o644)

    with pytest.raises(Unusable, match="can be read by others"):
        signer_in(tmp_path / "key")


def test_a_key_is_never_replaced(tmp_path: Path) -> None:
    signer = make_key(tmp_path / "key", "holdfast/test")

    with pytest.raises(FileExistsError):
        make_key(tmp_path / "key", "holdfast/test")
    assert signer_in(tmp_path / "key") == signer
    assert list(tmp_path.iterdir()) == [tmp_path / "key"]


@pytest.mark.parametrize("text", ["", "PRIVATE+KEY+a+b+c\n"])
def test_what_is_no_key_is_not_used(tmp_path: Path, text: str) -> None:
    (tmp_path / "key").touch(mode=0o600)
    (tmp_path / "key").write_text(text)

    with pytest.raises(Unusable, match="has no key to sign with"):
        signer_in(tmp_path / "key")
