"""A piece of work that the log has in flight, as an agent takes it in."""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

from adapters.jetstream.admission import Kind
from adapters.jetstream.work import WORK
from domain.aggregate import Intent
from domain.backend import Backend
from domain.snapshot import Snapshot
from domain.volume import Volume


class Key(NamedTuple):
    """What tells one piece of work from another."""

    lease: int
    aggregate_id: UUID
    version: int


class Piece(NamedTuple):
    """A piece of work as it was taken in."""

    topic: str
    intent: Intent
    position: int
    lease: int
    kind: Kind

    @property
    def key(self) -> Key:
        """What tells it from others."""
        about = self.intent.originator_id, self.intent.originator_version
        return Key(self.lease, *about)

    @property
    def name(self) -> str:
        """What a driver does for it."""
        return WORK[self.topic].__name__

    @property
    def removes(self) -> bool:
        """Whether whatever else is done to the same is moot."""
        going = Volume.DeletionStarted | Snapshot.DeletionStarted
        return isinstance(self.intent, going)

    @property
    def sets_up(self) -> bool:
        """Whether it is about the storage as a whole."""
        return self.topic == Backend.InitializationStarted.TOPIC
