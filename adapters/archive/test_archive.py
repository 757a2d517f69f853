"""A log in a file: what is written is read, and nothing else is."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from datetime import UTC, datetime
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path
from typing import Any

import pytest

from adapters.archive.compression import ZstdFile
from adapters.archive.lines import End, Head, Vouched
from adapters.archive.reading import opened
from adapters.archive.writing import lines, write
from domain.checkpoint import Checkpoint, Contradicted
from domain.note import Signer
from domain.provenance import MOMENT, Moment, Provenance
from domain.tree import head_of, leaf
from projections.replaying import LINK, NotALog, Share, row_in
from projections.test_replaying import small
from projections.testing import lines_of, text_of

SIGNER = Signer("holdfast/here", bytes(range(32)))
OTHER = Signer("holdfast/here", bytes(32))
MOMENT.set(Moment(datetime.now(UTC), Provenance(actor="test")))
EVENTS = lines_of(small()[0])


def replay(path: Path, signer: Signer | None = None) -> str:
    log = opened(path, signer.verifier if signer else None)
    return log.came(Share(0, 1)).link


def written(path: Path) -> None:
    write(path, len(EVENTS), [text_of(EVENTS[:2]), text_of(EVENTS[2:])])


def note(
    link: bytes,
    size: int,
    moment: Moment,
    signer: Signer = SIGNER,
    root: bytes = bytes(32),
) -> str:
    at = moment.timestamp
    return Checkpoint(signer.name, size, root, link, at).signed(signer)


def kept_of(
    size: int, moment: Moment, *, of: int | None = None, root: bytes = bytes(32)
) -> Checkpoint:
    """Return what was kept of a log of that size, with the link of a position."""
    link = of_position(of or size)
    return Checkpoint(SIGNER.name, size, root, link, moment.timestamp)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.jsonl.zst"


def test_a_file_that_cannot_be_written_is_named_as_it_was_said(path: Path) -> None:
    nowhere = path.parent / "nowhere" / "log.jsonl.zst"

    with pytest.raises(FileNotFoundError) as said:
        written(nowhere)

    assert said.value.filename == str(nowhere)


def test_a_file_that_the_disk_does_not_take_is_named(path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
    try:
        with pytest.raises(OSError, match="too large") as said:
            written(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert said.value.filename == str(path)
    assert list(path.parent.iterdir()) == []


def test_what_is_written_is_read(path: Path) -> None:
    written(path)

    assert replay(path) == EVENTS[-1][LINK].decode()
    assert list(path.parent.iterdir()) == [path]


def test_an_empty_log_is_a_log(path: Path) -> None:
    write(path, 0, [])

    assert replay(path) == "00" * 32


def test_a_file_that_is_there_stays(path: Path) -> None:
    path.write_text("evidence")

    with pytest.raises(FileExistsError):
        written(path)

    assert path.read_text() == "evidence"


def test_what_is_written_has_its_name_on_the_disk(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync, on_disk = os.fsync, list[int]()

    def noted(file: int) -> None:
        fsync(file)
        if path.exists():
            on_disk.append(os.fstat(file).st_ino)

    monkeypatch.setattr(os, "fsync", noted)
    written(path)

    assert on_disk == [path.parent.stat().st_ino]


def test_what_is_interrupted_leaves_nothing(path: Path) -> None:
    def cut() -> Any:
        yield text_of(EVENTS)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(path, 6, cut())

    assert list(path.parent.iterdir()) == []


def test_what_a_killed_one_has_left_is_in_no_ones_way(path: Path) -> None:
    path.with_name(f".{path.name}.{os.getpid()}").write_bytes(b"half of it")

    written(path)

    assert replay(path) == EVENTS[-1][LINK].decode()
    assert [*path.parent.iterdir()] == [path]


def test_what_killed_ones_have_left_goes_with_the_next_to_that_name(path: Path) -> None:
    leftover, under_way, other = (
        path.with_name(name)
        for name in (f".{path.name}.1", f".{path.name}.2", ".other.zst.3")
    )
    for each in (leftover, under_way, other):
        each.write_bytes(b"half of it")
    with under_way.open("rb") as held:
        flock(held, LOCK_EX)

        written(path)

    assert {*path.parent.iterdir()} == {path, under_way, other}


def test_a_file_that_is_being_written_is_left_by_the_next(path: Path) -> None:
    first = path.with_name(f".{path.name}.{os.getpid()}")

    def pieces() -> Any:
        yield text_of(EVENTS)
        with pytest.raises(BlockingIOError), first.open("rb") as file:
            flock(file, LOCK_EX | LOCK_NB)

    write(path, len(EVENTS), pieces())

    assert replay(path) == EVENTS[-1][LINK].decode()


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99, -1])
def test_a_file_that_was_cut_is_refused(path: Path, share: float) -> None:
    written(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] if share < 0 else whole[: int(len(whole) * share)])

    with pytest.raises(NotALog, match="the file ends before"):
        replay(path)


def test_every_flipped_bit_is_found_that_means_anything(path: Path) -> None:
    written(path)
    whole, link, idle = path.read_bytes(), EVENTS[-1][LINK].decode(), 0

    for number in range(0, len(whole) * 8, 7):
        flipped = bytearray(whole)
        flipped[number // 8] ^= 1 << number % 8
        path.write_bytes(flipped)
        try:
            assert replay(path) == link
            idle += 1  # a bit of zstd's own, as how much it may remember
        except NotALog:
            pass

    assert idle < 8


@pytest.mark.parametrize("more", [b"\0", b"(\xb5/\xfd", b"P*M\x18\x04\0\0\0abcd"])
def test_what_follows_is_refused(path: Path, more: bytes) -> None:
    written(path)
    path.write_bytes(path.read_bytes() + more)

    with pytest.raises(NotALog, match="something behind the end"):
        replay(path)


def text(*parts: Any) -> bytes:
    return b"".join(p if isinstance(p, bytes) else lines(p) for p in parts)


def end(events: list[bytes]) -> End:
    return End(len(events), events[-1][LINK].decode() if events else "00" * 32)


FOREIGN: dict[str, tuple[Callable[[list[bytes]], bytes], str]] = {
    "nothing": (lambda e: b"", "line 1: there is no such line"),
    "another JSON": (lambda e: b'{"a":1}\n', "line 1: "),
    "no JSON": (lambda e: b"hello\n", "line 1: "),
    "a deep head": (lambda e: b"[" * 10**6 + b"\n", "line 1: "),
    "a newer one": (lambda e: text(Head(2, "9", 0), End(0, "")), "a newer holdfast"),
    "fewer events": (lambda e: text(Head(1, "0", 9), text_of(e), end(e)), "line 8"),
    "more events": (lambda e: text(Head(1, "0", 5), text_of(e), end(e)), "line 7"),
    "no end": (lambda e: text(Head(1, "0", 6), text_of(e)), "line 8: there is no"),
    "another end": (lambda e: text(Head(1, "0", 6), text_of(e), End(6, "")), "line 8"),
    "two ends": (lambda e: text(Head(1, "0", 6), text_of(e), end(e), end(e)), "line 9"),
    "no checkpoint": (lambda e: text(Head(1, "0", 6, 1), text_of(e), end(e)), "line 2"),
    "a false one": (lambda e: text(Head(1, "0", 0, 1), Vouched("")), "line 2"),
    "countless ones": (lambda e: text(Head(1, "0", 0, 10**9)), "line 1"),
    "countless events": (lambda e: text(Head(1, "0", 10**30)), "line 1"),
}  # fmt: skip


@pytest.mark.parametrize("what", FOREIGN)
def test_a_foreign_file_is_refused_with_the_line(path: Path, what: str) -> None:
    made, said = FOREIGN[what]
    with ZstdFile(path, "wb") as file:
        file.write(made(EVENTS))

    with pytest.raises(NotALog) as refused:
        replay(path)

    assert said in str(refused.value)


def test_a_bomb_is_refused_before_it_goes_off(path: Path) -> None:
    with ZstdFile(path, "wb") as file:
        file.write(lines(Head(1, "0", 1)))
        for _ in range(512):
            file.write(bytes(2**20).replace(b"\0", b" "))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    with pytest.raises(NotALog, match="line 2: it is longer"):
        replay(path)

    assert path.stat().st_size < 2**17
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024


# Checkpoints


def of_position(number: int) -> bytes:
    """Return the link of an event of a small log, which is another each time."""
    return bytes.fromhex(EVENTS[number - 1][LINK].decode())


def signed(path: Path, *notes: str) -> None:
    write(path, len(EVENTS), [text_of(EVENTS)], notes)


def test_what_was_signed_holds(path: Path, moment: Moment) -> None:
    signed(path, note(of_position(2), 2, moment), note(of_position(4), 4, moment))

    assert replay(path) == replay(path, SIGNER) == EVENTS[-1][LINK].decode()


def test_another_signed_it(path: Path, moment: Moment) -> None:
    signed(path, note(of_position(2), 2, moment, OTHER))

    with pytest.raises(NotALog, match="line 2: that was not signed with the key"):
        replay(path, SIGNER)


def test_nobody_signed_it(path: Path) -> None:
    signed(path)

    with pytest.raises(NotALog, match="nobody vouches for it"):
        replay(path, SIGNER)


def test_another_log_was_signed(path: Path, moment: Moment) -> None:
    signed(path, note(of_position(2), 3, moment))

    with pytest.raises(NotALog, match="position 3: a checkpoint says otherwise"):
        replay(path)


def test_a_checkpoint_is_held_to_its_root_hash(path: Path, moment: Moment) -> None:
    right = head_of(leaf(row_in(line)) for line in EVENTS[:4])
    two, four = of_position(2), of_position(4)
    signed(path, note(four, 4, moment, root=right))
    opened(path, SIGNER.verifier).check_roots()
    path.unlink()
    signed(path, note(four, 4, moment, root=right), note(two, 2, moment))

    with pytest.raises(NotALog, match=r"line 5, position 2: .* another root hash"):
        opened(path, SIGNER.verifier).check_roots()


def test_more_was_signed_than_there_is(path: Path, moment: Moment) -> None:
    signed(path, note(of_position(2), 8, moment))

    with pytest.raises(NotALog, match="line 2: the log had 8 events then"):
        replay(path)


def test_two_logs_were_signed(path: Path, moment: Moment) -> None:
    signed(path, note(of_position(2), 2, moment), note(of_position(3), 2, moment))

    with pytest.raises(NotALog, match="line 3: it contradicts another one"):
        replay(path)


def test_a_file_is_held_to_what_was_kept_elsewhere(path: Path, moment: Moment) -> None:
    right = head_of(leaf(row_in(line)) for line in EVENTS[:4])
    signed(path)
    kept = [kept_of(4, moment, root=right)]

    log = opened(path, SIGNER.verifier, kept)

    assert log.came(Share(0, 1)).link == EVENTS[-1][LINK].decode()
    log.check_roots()


def test_a_log_that_was_made_anew_with_the_key_is_found_by_what_was_kept(
    path: Path, moment: Moment
) -> None:
    signed(path, note(of_position(4), 4, moment))
    log = opened(path, SIGNER.verifier, [kept_of(3, moment, of=2)])

    with pytest.raises(NotALog, match="position 3: a checkpoint says otherwise"):
        log.came(Share(0, 1))


def test_what_was_kept_is_held_to_its_root_hash(path: Path, moment: Moment) -> None:
    signed(path)

    with pytest.raises(NotALog, match=r"position 2: .* another root hash"):
        opened(path, SIGNER.verifier, [kept_of(2, moment)]).check_roots()


@pytest.mark.parametrize(
    ("size", "of", "why"),
    [(8, 2, r"to position 8 at .*: the file has 6"), (2, 3, "one in the file says")],
)
def test_what_was_kept_contradicts_the_file(
    path: Path, moment: Moment, size: int, of: int, why: str
) -> None:
    signed(path, note(of_position(2), 2, moment))

    with pytest.raises(Contradicted, match=why):
        opened(path, SIGNER.verifier, [kept_of(size, moment, of=of)])
