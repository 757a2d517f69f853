"""Who changes names in a directory, and whose fsync makes them durable."""

from __future__ import annotations

from pathlib import Path
from threading import Thread
from time import sleep

import pytest

from adapters.file import durable
from adapters.file.durable import Names


def test_what_is_asked_for_amid_an_fsync_needs_the_next_one_and_shares_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = Names(tmp_path)
    others = [Thread(target=names.sync) for _ in range(3)]
    made: list[int] = []

    def sync(_: Path) -> None:
        made.append(names._newest)
        if len(made) == 1:
            for other in others:
                before = names._newest
                other.start()
                while names._newest == before:
                    sleep(0.001)

    monkeypatch.setattr(durable, "sync", sync)

    names.sync()
    for other in others:
        other.join(20)

    assert made == [1, 4]
