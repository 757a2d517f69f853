"""Backends, given what happened before."""

from __future__ import annotations

from functools import reduce
from typing import Any

import pytest

from domain.aggregate import Done, NotDone, NotInFlight
from domain.backend import Administration, Backend, id_of


def announced() -> Backend:
    return Backend.announced("files", "node-1", "FileDriver", "local")


def test_a_new_backend_is_enabled() -> None:
    assert announced().status == Administration.ENABLED


def test_announcing_what_is_known_adds_nothing() -> None:
    backend = announced()

    backend.announce("node-1", "FileDriver", "local")

    assert backend.version == 1


def test_a_backend_that_moved_says_so() -> None:
    backend = announced()

    backend.announce("node-2", "FileDriver", "local")

    assert (backend.version, backend.host) == (2, "node-2")


def test_disabling_twice_for_one_reason_adds_nothing() -> None:
    backend = announced()
    backend.disable("a disk is being replaced")
    version = backend.version

    backend.disable("a disk is being replaced")

    assert backend.version == version


def test_enabling_clears_the_reason() -> None:
    backend = announced()
    backend.disable("a disk is being replaced")

    backend.enable()

    assert (backend.status, backend.disabled_reason) == (Administration.ENABLED, None)


@pytest.mark.parametrize("result", [Done(), NotDone("out_of_sight", "no disk")])
def test_initializing_is_settled_once(result: Done | NotDone) -> None:
    backend = announced()
    backend.initialize()
    backend.report(2, result)

    with pytest.raises(NotInFlight):
        backend.report(2, result)


def test_replaying_the_log_gives_the_same_backend() -> None:
    backend = announced()
    backend.disable("a disk is being replaced")
    backend.initialize()
    backend.report(3, NotDone("out_of_sight", "no disk"))

    history = backend.collect_events()
    replayed: Any = reduce(lambda before, event: event.mutate(before), history, None)

    assert vars(replayed) == vars(backend)


def test_a_name_has_one_id() -> None:
    assert id_of("files") == id_of("files") != id_of("lvm")
