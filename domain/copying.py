"""What is copied stays until its copy is made, and says who is made from it."""

from __future__ import annotations

from uuid import UUID

from domain import aggregate
from domain.aggregate import Aggregate


class CopyBegun(aggregate.Event, frozen=True, kw_only=True):
    """A volume is being made from it."""

    copy_id: UUID

    def apply(self, source: Copied) -> None:
        source.copies = source.copies | {self.copy_id}


class CopyEnded(aggregate.Event, frozen=True, kw_only=True):
    """The volume that was made from it needs it no more."""

    copy_id: UUID

    def apply(self, source: Copied) -> None:
        source.copies = source.copies - {self.copy_id}


class Copied(Aggregate):
    """Something that volumes can be made from."""

    CopyBegun: type[CopyBegun]
    CopyEnded: type[CopyEnded]
    copies: frozenset[UUID] = frozenset()

    def end_copy(self, copy_id: UUID) -> None:
        """Note that a volume needs it no more; one that never did changes nothing."""
        if copy_id in self.copies:
            self.record(self.CopyEnded, status=self.status, copy_id=copy_id)

    @property
    def copied_to(self) -> list[str]:
        """What keeps it from changing or going, in words: one for each copy."""
        return [f"without volume {each}, which is made from it" for each in self.copies]
