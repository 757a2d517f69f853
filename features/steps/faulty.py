"""A file driver that can be told to misbehave, and that remembers who reaches what.

Files in its folder steer it, so that a test in another process can:

    fail-<operation>    it fails
    busy-<operation>    it finds the volume in use
    hold-<operation>    it does not answer until the file is gone

    ways/<volume>/<host>    a way that it has opened and not closed
    done                    a line for each operation on a volume
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec

from adapters.file.driver import FileDriver
from domain.attachment import reached_from
from domain.capabilities import Capabilities
from domain.group_snapshot import GroupSnapshot
from domain.ports import (
    Adopted,
    Cause,
    DriverFailed,
    Manageable,
    Progress,
    Survey,
    VolumeIsBusy,
    unheard,
)
from domain.snapshot import Snapshot
from domain.volume import Volume


class FaultyDriver(FileDriver):
    """Sparse files; with `holds_gib` a storage that claims to hold so much."""

    def __init__(
        self,
        folder: Path,
        *,
        name: str = "faulty",
        reserved_percentage: int = 0,
        max_over_subscription_ratio: float = 20.0,
        holds_gib: float = 0.0,
    ) -> None:
        super().__init__(
            folder,
            name=name,
            reserved_percentage=reserved_percentage,
            max_over_subscription_ratio=max_over_subscription_ratio,
        )
        self._steering = folder.absolute()
        self._holds_gib = holds_gib

    def set_up(self) -> None:
        """Set up, unless told to fail."""
        self._steering.mkdir(parents=True, exist_ok=True)
        self._obey("set_up", None)
        super().set_up()

    def survey(self) -> Survey:
        """Survey, but for what steers it and what it remembers."""
        found = super().survey()
        named = tuple(each for each in found.objects if each.id)
        return msgspec.structs.replace(found, objects=named)

    def capabilities(self) -> Capabilities:
        """Measure; a storage with a size of its own is empty but for its volumes."""
        found = super().capabilities()
        if not self._holds_gib:
            return found
        return Capabilities(
            **{name: getattr(found, name) for name in found.__struct_fields__}
            | {
                "total_capacity_gb": self._holds_gib,
                "free_capacity_gb": self._holds_gib,
                "consistent_group_snapshot_enabled": False,
            }
        )

    def create(
        self, asked: Volume.Created, cause: Cause, progress: Progress = unheard
    ) -> str:
        """Make the file, unless told otherwise."""
        self._obey("create", asked.originator_id)
        return super().create(asked, cause, progress)

    def delete(self, *asked: Any) -> None:
        """Remove the file, unless told otherwise."""
        self._obey("delete", asked[0])
        super().delete(*asked)

    def take_snapshot(self, asked: Snapshot.Created, *more: Any) -> str:
        """Keep what a file holds, unless told otherwise."""
        self._obey("take_snapshot", asked.originator_id)
        return super().take_snapshot(asked, *more)

    def delete_snapshot(self, *asked: Any) -> None:
        """Remove what was kept, unless told otherwise."""
        self._obey("delete_snapshot", asked[0])
        super().delete_snapshot(*asked)

    def revert(self, asked: Volume.ReversionStarted, *more: Any) -> None:
        """Bring back what was kept, unless told otherwise."""
        self._obey("revert", asked.originator_id)
        super().revert(asked, *more)

    def take_group_snapshot(self, asked: GroupSnapshot.Created, cause: Cause) -> bool:
        """Keep what the files of a group hold, unless told otherwise."""
        self._obey("take_group_snapshot", asked.originator_id)
        return super().take_group_snapshot(asked, cause)

    def manageable(self) -> list[Manageable]:
        """List what is there, unless told otherwise."""
        self._obey("manageable", None)
        return super().manageable()

    def adopt(self, asked: Volume.ManagingStarted, cause: Cause) -> Adopted:
        """Take a file over, unless told otherwise."""
        self._obey("adopt", asked.originator_id)
        return super().adopt(asked, cause)

    def unmanage(self, volume_id: UUID, made_at: str | None) -> dict[str, str] | None:
        """Let go of the file, unless told otherwise."""
        self._obey("unmanage", volume_id)
        return super().unmanage(volume_id, made_at)

    def extend(self, *asked: Any) -> None:
        """Grow the file, unless told otherwise."""
        self._obey("extend", asked[0])
        super().extend(*asked)

    def connect(self, volume_id: UUID, connector: dict[str, Any]) -> dict[str, Any]:
        """Open a way, then fail if told so: half a way is left behind."""
        told = super().connect(volume_id, connector)
        way = self._ways(volume_id) / reached_from(connector)
        way.parent.mkdir(parents=True, exist_ok=True)
        way.touch()
        self._obey("connect", volume_id)
        return told

    def disconnect(self, volume_id: UUID, connector: dict[str, Any]) -> None:
        """Close a way, unless told otherwise."""
        self._obey("disconnect", volume_id)
        (self._ways(volume_id) / reached_from(connector)).unlink(missing_ok=True)

    def remove_export(self, volume_id: UUID) -> None:
        """Close every way, unless told otherwise."""
        self._obey("remove_export", volume_id)
        if self._ways(volume_id).exists():
            for way in self._ways(volume_id).iterdir():
                way.unlink()

    def has_session(self, volume_id: UUID, connector: dict[str, Any] | None) -> bool:
        """Look who has the file open, unless told otherwise."""
        self._obey("has_session", volume_id)
        return super().has_session(volume_id, connector)

    def _ways(self, volume_id: UUID) -> Path:
        return self._steering / "ways" / str(volume_id)

    def _obey(self, operation: str, volume_id: UUID | None) -> None:
        with (self._steering / "done").open("a") as done:
            done.write(f"{operation} {volume_id}\n")
        while (self._steering / f"hold-{operation}").exists():
            time.sleep(0.01)
        if (self._steering / f"fail-{operation}").exists():
            raise DriverFailed("the storage does not answer; see its cabling")
        if (self._steering / f"busy-{operation}").exists():
            raise VolumeIsBusy("somebody still uses the volume")

    def _make_room(self, more_bytes: int) -> None:
        if not self._holds_gib:
            super()._make_room(more_bytes)
