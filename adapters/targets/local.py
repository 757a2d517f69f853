"""No target at all: the host that has the storage uses the device itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

from adapters.holders import is_held
from domain.ports import Export


class LocalTarget:
    """The device's own path, for whoever runs beside the storage."""

    storage_protocol = "local"

    def set_up(self) -> None:
        """Do nothing: a device needs nothing to be used."""

    def connect(
        self, volume_id: UUID, device: str, connector: dict[str, Any]
    ) -> dict[str, Any]:
        """Tell where the device is."""
        return {"driver_volume_type": "local", "data": {"device_path": device}}

    def disconnect(self, volume_id: UUID, connector: dict[str, Any]) -> None:
        """Do nothing: a device is not exported."""

    def remove(self, volume_id: UUID) -> None:
        """Do nothing: a device is not exported."""

    def resized(self, volume_id: UUID, device: str) -> None:
        """Do nothing: who has a device open sees it grow."""

    def has_session(
        self, volume_id: UUID, device: str, connector: dict[str, Any] | None
    ) -> bool:
        """Tell whether anything has the device open; hosts cannot be told apart."""
        return is_held(Path(device).resolve())

    def exports(self) -> set[UUID]:
        """Tell of none: a device is not exported."""
        return set()

    def initiators(self) -> dict[UUID, frozenset[str]]:
        """Tell of none: a device is not exported."""
        return {}

    def converge(self, wanted: Export, device: str) -> bool:
        """Do nothing: a device is not exported."""
        return False
