"""A file of notes that grows for years."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from adapters.checkpoint_file import TAIL, append, last_notes
from adapters.durable_file import make

NOTES = [f"log\n{n}\n\n— log {n:0200}\n" for n in range(2 * TAIL // 200)]


def test_of_a_long_file_only_whole_notes_at_its_end_are_read(tmp_path: Path) -> None:
    path = tmp_path / "checkpoints"
    path.write_text("".join(f"{note}\n" for note in NOTES[:-1]))

    append(path, NOTES[-1])

    found = last_notes(path)
    assert 100 < len(found) < len(NOTES)
    assert found == NOTES[-len(found) :]
    assert path.read_text() == "".join(f"{note}\n" for note in NOTES)


def test_a_file_begins_with_a_note_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "checkpoints"
    assert last_notes(path) == []

    append(path, NOTES[0])

    assert path.read_text() == f"{NOTES[0]}\n"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("what", ["fifo", "device", "folder"])
def test_what_is_no_regular_file_is_refused_and_not_waited_for(
    tmp_path: Path, what: str
) -> None:
    path = tmp_path / "checkpoints"
    put: dict[str, Callable[[], object]] = {
        "fifo": lambda: os.mkfifo(path),
        "device": lambda: path.symlink_to(os.devnull),
        "folder": path.mkdir,
    }
    put[what]()

    for touch in (lambda: last_notes(path), lambda: append(path, NOTES[0])):
        with pytest.raises(OSError, match="is no regular file") as said:
            touch()
        assert said.value.filename == str(path)


@contextmanager
def full(most: int) -> Iterator[None]:
    """Have no file grow beyond so many bytes: it takes a part of what is written."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_file_of_which_the_disk_takes_a_part_does_not_make(tmp_path: Path) -> None:
    with full(10), pytest.raises(OSError, match="too large"):
        make(tmp_path / "checkpoints", NOTES[0])

    assert list(tmp_path.iterdir()) == []


def test_a_note_of_which_the_disk_takes_a_part_is_none(tmp_path: Path) -> None:
    path = tmp_path / "checkpoints"
    append(path, NOTES[0])

    with full(path.stat().st_size + 10), pytest.raises(OSError, match="too large"):
        append(path, NOTES[1])
    append(path, NOTES[2])

    assert last_notes(path) == [NOTES[0], NOTES[2]]
