"""Checkpoints: what was signed, and nothing that only looks like it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from domain.checkpoint import Checkpoint, NotACheckpoint, all_opened, opened, read
from domain.note import NotANote, NotSigned, Signer

SIGNER = Signer("holdfast/test", bytes(range(32)))
CHECKPOINT = Checkpoint(
    "holdfast/test",
    1250,
    bytes(32),
    b"\xff" * 32,
    datetime(2026, 1, 31, 12, tzinfo=UTC),
)
TEXT = str(CHECKPOINT)


def test_a_signed_checkpoint_is_had_back() -> None:
    assert opened(CHECKPOINT.signed(SIGNER), SIGNER.verifier) == CHECKPOINT


def test_a_checkpoint_is_read_with_the_eyes() -> None:
    assert TEXT.splitlines() == [
        "holdfast/test",
        "1250",
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        "chain //////////////////////////////////////////8=",
        "time 2026-01-31T12:00:00.000000Z",
    ]


@pytest.mark.parametrize("between", ["\n", "", "\n\n\n"])
def test_many_stand_one_after_another(between: str) -> None:
    later = CHECKPOINT._replace(size=1300)
    notes = f"{CHECKPOINT.signed(SIGNER)}{between}{later.signed(SIGNER)}{between}"

    assert all_opened(notes, SIGNER.verifier) == [CHECKPOINT, later]


def test_half_a_note_among_many_is_refused() -> None:
    with pytest.raises(NotANote):
        all_opened(CHECKPOINT.signed(SIGNER) + "\nholdfast/test\n", SIGNER.verifier)


def test_a_checkpoint_of_another_log_is_refused() -> None:
    theirs = CHECKPOINT._replace(origin="holdfast/other").signed(SIGNER)

    with pytest.raises(NotACheckpoint, match="no checkpoint of a log"):
        opened(theirs, SIGNER.verifier)


def test_a_checkpoint_that_another_key_has_signed_is_refused() -> None:
    with pytest.raises(NotSigned):
        opened(CHECKPOINT.signed(Signer("holdfast/test", bytes(32))), SIGNER.verifier)


@pytest.mark.parametrize(
    "text",
    [
        "",
        TEXT + "more\n",
        TEXT[:-1],
        TEXT.replace("1250", "01250"),
        TEXT.replace("1250", "+1250"),
        TEXT.replace("1250", "\u0661"),
        TEXT.replace("1250", "9" * 20),
        TEXT.replace("AAA=", "AAB="),
        TEXT.replace("AAAA=", "="),
        TEXT.replace("chain ", "chain  "),
        TEXT.replace("Z", "+00:00"),
        TEXT.replace(".000000", ".0"),
        TEXT.replace("-31", "-32"),
    ],
)
def test_what_is_written_otherwise_is_refused(text: str) -> None:
    with pytest.raises(NotACheckpoint):
        read(text)
