"""Signed notes: read by others, forged by nobody."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.note import NotAKey, NotANote, NotSigned, Signer, Verifier, base64

# From the specification, https://c2sp.org/signed-note.
THEIR_KEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
THEIR_NOTE = (
    "This is an example message.\n\n— example.com/foo "
    "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1"
    "Yu72IneyaQM=\n"
)
SIGNER = Signer("holdfast/test", bytes(range(32)))
OTHER = Signer("holdfast/test", bytes(32))
NOTE = SIGNER.signed("one\ntwo\n")


def test_a_note_of_the_specification_is_read() -> None:
    verifier = Verifier.read(THEIR_KEY)

    assert verifier.opened(THEIR_NOTE) == "This is an example message.\n"
    assert str(verifier) == THEIR_KEY


def test_a_signed_text_is_had_back() -> None:
    assert SIGNER.verifier.opened(NOTE) == "one\ntwo\n"


def test_keys_are_written_and_read() -> None:
    assert Signer.read(f"{SIGNER}\n") == SIGNER
    assert Verifier.read(str(SIGNER.verifier)) == SIGNER.verifier


def test_a_secret_is_not_shown_by_accident() -> None:
    assert base64(SIGNER.secret)[:8] not in repr(SIGNER)


def test_who_else_signs_does_not_matter() -> None:
    signed_twice = NOTE + OTHER.signed("one\ntwo\n").rpartition("\n\n")[2]

    assert SIGNER.verifier.opened(signed_twice) == "one\ntwo\n"
    assert OTHER.verifier.opened(signed_twice) == "one\ntwo\n"


def test_another_key_of_the_same_name_has_not_signed() -> None:
    with pytest.raises(NotSigned, match="the key of holdfast/test"):
        OTHER.verifier.opened(NOTE)


def test_a_wrong_signature_is_not_made_good_by_a_right_one() -> None:
    text, _, right = NOTE.rpartition("\n\n")
    wrong = SIGNER.signed("three\n").rpartition("\n\n")[2]

    with pytest.raises(NotSigned):
        SIGNER.verifier.opened(f"{text}\n\n{wrong}{right}")


@given(st.integers(0, len(NOTE.encode()) * 8 - 1))
def test_no_bit_of_a_note_can_be_changed(bit: int) -> None:
    changed = bytearray(NOTE.encode())
    changed[bit // 8] ^= 1 << bit % 8

    with pytest.raises((NotANote, NotSigned, UnicodeDecodeError)):
        SIGNER.verifier.opened(changed.decode())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "one\n",
        "one\n\n",
        NOTE[:-1],
        NOTE + "\n",
        NOTE.replace("—", "-"),
        NOTE.replace("\n", "\r\n"),
        NOTE.replace("=\n", "\n"),
        "\x1b" + NOTE,
        NOTE + "— another name AAAA\n",
        NOTE + "— a AAAA\n" * 100,
    ],
)
def test_what_is_no_note_is_refused(text: str) -> None:
    with pytest.raises((NotANote, NotSigned)):
        SIGNER.verifier.opened(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "name",
        "name+00000000+AAAA",
        str(SIGNER),
        str(SIGNER.verifier)[:-4],
        str(SIGNER.verifier).replace("test", "Test"),
        str(SIGNER.verifier).replace("+A", "+B", 1),
    ],
)
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(NotAKey, match="no key of a signed note"):
        Verifier.read(text)


@pytest.mark.parametrize("text", ["", str(SIGNER.verifier), str(SIGNER)[:-4]])
def test_what_cannot_sign_is_refused(text: str) -> None:
    with pytest.raises(NotAKey):
        Signer.read(text)
