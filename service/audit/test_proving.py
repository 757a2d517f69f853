"""What is proven to auditors, and what `docs/audit.md` tells them to run themselves."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from pymerkle import InvalidProof

from adapters.postgres.batch import Batch
from adapters.postgres.mapper import LogMapper
from adapters.postgres.reading import verified
from adapters.postgres.recorder import LogRecorder
from domain.chain import Broken
from domain.checkpoint import Checkpoint
from domain.note import Signer
from domain.tree import GRAIN, head_of, is_consistent, leaf
from domain.volume import Volume
from service.audit.proving import Proving
from service.connecting import connect
from service.deciding.command import Unavailable
from service.deciding.log import Log
from service.manager import VolumeManager
from service.settings import load

PAGE = Path(__file__).parents[2] / "docs" / "audit.md"
WHOLE_LOG, ONE_EVENT = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
SIGNER = Signer("holdfast/test", bytes(32))
END = 2 * GRAIN + 100
CHANGED = "UPDATE {log} SET topic = 'volume.deleted' WHERE notification_id = %s"


@pytest.fixture
def recorder(manager: VolumeManager) -> LogRecorder:
    """A log of some thousand events."""
    volumes = [Volume.create(uuid4(), size_gib=1, backend="f") for _ in range(END)]
    events = [event for volume in volumes for event in volume.collect_events()]
    manager.recorder.append(Batch(list(map(LogMapper().to_stored_event, events)), {}))
    return manager.recorder


def note(recorder: LogRecorder, size: int) -> str:
    """Return what would have been signed when the log was so long."""
    rows = list(verified(recorder, 1, size))
    root = head_of(leaf(row.hashed) for row in rows)
    now = datetime.now(UTC)
    return Checkpoint(SIGNER.name, size, root, rows[-1].chain, now).signed(SIGNER)


def change(recorder: LogRecorder, position: int) -> None:
    with recorder.datastore.cursor() as cursor:
        cursor.execute(recorder.sql(CHANGED), (position,))


def asked(recorder: LogRecorder, nats_url: str, *questions: Any) -> list[Any]:
    """Return what one replica proves."""

    async def scenario() -> list[Any]:
        client = await connect(nats_url, "test")
        try:
            async with Log(recorder).running() as log:
                proving = Proving(log, client, load(None, {}))
                return [await question(proving) for question in questions]
        finally:
            await client.close()

    return asyncio.run(scenario())


def conninfo(settings: dict[str, str]) -> str:
    return (
        f"host={settings['POSTGRES_HOST']} port={settings['POSTGRES_PORT']} "
        f"user={settings['POSTGRES_USER']} dbname={settings['POSTGRES_DBNAME']} "
        f"options='-c search_path={settings['POSTGRES_SCHEMA']}'"
    )


def test_the_whole_log_is_checked_against_notes(
    recorder: LogRecorder, settings: dict[str, str]
) -> None:
    notes = [note(recorder, size) for size in (1, 1000, END)]
    run = {"DATABASE": conninfo(settings), "NOTES": notes}

    exec(WHOLE_LOG, dict(run))
    change(recorder, 1001)
    with pytest.raises(AssertionError, match=f"not the {END} events"):
        exec(WHOLE_LOG, dict(run))


@pytest.mark.parametrize("position", [1, GRAIN, GRAIN + 1, END])
def test_one_event_is_checked_against_a_note(
    recorder: LogRecorder, nats_url: str, position: int
) -> None:
    signed = note(recorder, END)
    [proof] = asked(recorder, nats_url, lambda it: it.inclusion(position, END))
    run = {"NOTE": signed, "PROOF": proof}

    exec(ONE_EVENT, dict(run))
    proof["row"] = proof["row"][:-2] + "00"
    with pytest.raises(InvalidProof):
        exec(ONE_EVENT, dict(run))


def test_a_log_is_proven_to_have_grown_between_any_two_sizes(
    recorder: LogRecorder, nats_url: str
) -> None:
    sizes = [1, 2, GRAIN - 1, GRAIN, GRAIN + 1, 2 * GRAIN, END - 1, END]
    pairs = [(one, two) for one in sizes for two in sizes if one <= two]

    told = asked(
        recorder,
        nats_url,
        *(lambda it, pair=pair: it.consistency(*pair) for pair in pairs),
    )

    leaves = [leaf(row.hashed) for row in verified(recorder)]
    for (one, two), proof in zip(pairs, told, strict=True):
        roots = head_of(leaves[:one]), head_of(leaves[:two])
        assert (proof["from_root"], proof["to_root"]) == tuple(r.hex() for r in roots)
        path = [bytes.fromhex(step["hash"]) for step in proof["path"]]
        assert is_consistent(one, two, path, *roots)


def test_proofs_that_are_asked_for_at_once_are_all_right(
    recorder: LogRecorder, nats_url: str
) -> None:
    sizes = [9, GRAIN + 7, END, 10, END - 1]

    async def at_once(it: Proving) -> list[Any]:
        proofs: list[Any] = await asyncio.gather(
            *(it.inclusion(7, size) for size in sizes)
        )
        return proofs

    [told] = asked(recorder, nats_url, at_once)

    leaves = [leaf(row.hashed) for row in verified(recorder)]
    roots = [head_of(leaves[:size]).hex() for size in sizes]
    assert [proof["root"] for proof in told] == roots


def test_of_a_log_that_was_changed_nothing_is_proven(
    recorder: LogRecorder, nats_url: str
) -> None:
    change(recorder, 7)

    with pytest.raises(Broken, match="at position 7"):
        asked(recorder, nats_url, lambda it: it.consistency(5, END))


def test_a_row_that_was_changed_since_is_not_proven(
    recorder: LogRecorder, nats_url: str
) -> None:
    async def first(it: Proving) -> None:
        await it.consistency(5, END)
        change(recorder, 7)

    with pytest.raises(Broken, match="at position 7"):
        asked(recorder, nats_url, first, lambda it: it.inclusion(7, END))


def test_without_a_key_there_is_no_checkpoint(
    recorder: LogRecorder, nats_url: str
) -> None:
    with pytest.raises(Unavailable, match="no checkpoint_key is set"):
        asked(
            recorder,
            nats_url,
            lambda it: it.consistency(1, 1),
            lambda it: it.checkpoint(),
        )
