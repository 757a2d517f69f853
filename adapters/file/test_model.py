"""The file driver against a dictionary, killed now and then."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import settings
from hypothesis.stateful import invariant

from adapters.contracts.model import Agents
from adapters.file.driver import FileDriver
from adapters.file.testing import kept_in
from adapters.file.volumes import SNAPSHOT

STEPS = ["mkdir", "link", "open", "ftruncate", "fsync", "rename", "unlink", "rmdir"]


class Killed(BaseException):
    """Stands for SIGKILL: nothing but `finally` runs after it."""


@contextmanager
def killed(step: int) -> Iterator[None]:
    """Die at the nth call to the operating system, if there are so many."""
    calls = itertools.count(1)

    def dying(call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            if next(calls) == step:
                raise Killed
            return call(*args, **kwargs)

        return counted

    with pytest.MonkeyPatch.context() as patch, suppress(Killed):
        for name in STEPS:
            patch.setattr(os, name, dying(getattr(os, name)))
        yield


class FileAgents(Agents):
    """One agent after another on the same folder."""

    def __init__(self) -> None:
        self._temporary = TemporaryDirectory()
        self.folder = Path(self._temporary.name)
        super().__init__()

    def fresh(self) -> FileDriver:
        driver = FileDriver(self.folder, max_over_subscription_ratio=1e6)
        driver.set_up()
        return driver

    def killed(self, step: int) -> AbstractContextManager[Any]:
        return killed(step)

    def teardown(self) -> None:
        super().teardown()
        self._temporary.cleanup()

    @invariant()
    def the_folder_holds_nothing_else(self) -> None:
        volumes = {str(volume) for volume in self.there}
        snapshots = {f"{SNAPSHOT}{snapshot}" for snapshot in self.taken}
        assert kept_in(self.folder) == volumes | snapshots


TestModel = FileAgents.TestCase
TestModel.settings = settings(max_examples=25, stateful_step_count=25, database=None)
