"""A file of notes that grows for years."""

from __future__ import annotations

from pathlib import Path

from adapters.checkpoint_file import TAIL, append, last_notes

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
