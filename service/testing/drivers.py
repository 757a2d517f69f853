"""Drivers that die, or have little room."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from signal import SIGKILL
from uuid import UUID

import msgspec

from adapters.file.driver import FileDriver
from domain.capabilities import Capabilities
from domain.ports import Cause, Progress, unheard
from domain.volume import Volume


class Mortal(FileDriver):
    """A file driver that keeps a diary, and dies where a file beside it says so."""

    def create(
        self, asked: Volume.Created, cause: Cause, progress: Progress = unheard
    ) -> str:
        with self._telling("create", asked.originator_id):
            return super().create(asked, cause, progress)

    def extend(self, volume_id: UUID, size_gib: int) -> None:
        with self._telling("extend", volume_id):
            super().extend(volume_id, size_gib)

    @contextmanager
    def _telling(self, verb: str, volume_id: UUID) -> Iterator[None]:
        self._die(f"before {verb}")
        with (self._folder.parent / "diary").open("a") as diary:
            diary.write(f"{verb} {volume_id}\n")
        yield
        self._die(f"after {verb}")

    def _die(self, when: str) -> None:
        sentence = self._folder.parent / f"die {when}"
        if sentence.exists():
            sentence.unlink()
            os.kill(os.getpid(), SIGKILL)


class Small(FileDriver):
    """A file driver with room for 10 GiB, or for 20 where they are promised twice."""

    def capabilities(self) -> Capabilities:
        told = super().capabilities()
        sizes = {"total_capacity_gb": 10.0, "free_capacity_gb": 10.0}
        return msgspec.structs.replace(told, provisioned_capacity_gb=0.0, **sizes)


class Solid(Small):
    """A small one that has room once, whatever may be promised twice elsewhere."""

    def capabilities(self) -> Capabilities:
        told = super().capabilities()
        kind = {"thin_provisioning_support": False, "thick_provisioning_support": True}
        return msgspec.structs.replace(told, **kind)
