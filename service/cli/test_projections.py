"""What `holdfast projections rebuild` says, whatever becomes of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from service.cli import projections
from service.cli.client import Ended, Left
from service.cli.projections import rebuild

OLD = {"name": "volumes", "generation": 1, "progress": 0.5, "error": None}
NEW = OLD | {"generation": 2, "progress": None}
POISON = {"position": 7, "topic": "volume.created", "message": "KeyError: 'size'"}


class Rebuilding:
    """A service that makes a read model anew."""

    def __init__(self, *found: dict[str, Any] | Callable[[], Any]) -> None:
        self._found = iter(found)

    def ask(self, _: str, **__: Any) -> dict[str, Any]:
        return {"name": "volumes", "generation": 2}

    def look(self, _: str) -> dict[str, Any]:
        found = next(self._found)
        return {"items": [found() if callable(found) else found]}


def rebuilt(*found: Any) -> dict[str, Any]:
    service: Any = Rebuilding(*found)
    return rebuild(service, "volumes")


def interrupt() -> None:
    raise KeyboardInterrupt


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projections, "LOOK_EVERY", 0)


def test_it_ends_when_the_new_one_is_read() -> None:
    assert rebuilt(OLD, OLD, NEW) == NEW


def test_who_will_not_wait_is_told_that_it_goes_on() -> None:
    with pytest.raises(Left, match="volumes goes on being rebuilt"):
        rebuilt(OLD, interrupt)


def test_a_rebuild_that_stops_says_on_what() -> None:
    stopped = OLD | {"progress": None, "error": POISON}

    with pytest.raises(Ended, match=r"KeyError: 'size' \(position 7, volume.created\)"):
        rebuilt(OLD, stopped)
