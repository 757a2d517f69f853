"""What the domain needs from the outside world, said in its own words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

import msgspec

from domain.volume import Volume


class Capabilities(msgspec.Struct, frozen=True):
    """What a backend can do and how full it is, in GiB; Cinder's names."""

    volume_backend_name: str
    vendor_name: str
    driver_version: str
    storage_protocol: str
    total_capacity_gb: float
    free_capacity_gb: float
    provisioned_capacity_gb: float
    total_volumes: int
    thin_provisioning_support: bool
    thick_provisioning_support: bool
    reserved_percentage: int
    max_over_subscription_ratio: float
    multiattach: bool = True
    QoS_support: bool = False


@dataclass(frozen=True)
class Cause:
    """The event that a driver acts for: its position in the log, and when it was."""

    position: int
    at: str


class DriverFailed(Exception):
    """The driver could not do what was asked, and trying again will not help.

    `code` is one word for programs; the message is a sentence an operator can
    act on.
    """

    code = "driver_failed"


class VolumeIsBusy(DriverFailed):
    """Something still uses the volume; nothing was changed."""

    code = "busy"


class Driver(Protocol):
    """Storage that can hold volumes.

    Every operation looks before it changes: asked for twice, it does the work
    once and answers twice the same. It may be killed at any point and is then
    asked again. Calls for different volumes may come from several threads at
    once, those for one volume come one after another. All but `set_up` raise
    `DriverFailed` where the storage cannot do what is asked.
    """

    def set_up(self) -> None:
        """Look whether the storage is usable, and remove what crashes left behind.

        Raises `DriverFailed` where the storage is not usable.
        """

    def capabilities(self) -> Capabilities:
        """Measure."""

    def create(self, asked: Volume.Created, cause: Cause) -> str:
        """Make the storage, `asked.size_gib` GiB that read as zeros.

        Returns where it is. Something of that name that was made for another
        cause is never adopted: `DriverFailed`.
        """

    def delete(self, volume_id: UUID, made_at: str) -> None:
        """Remove the storage that was made at that time, its cause's `at`.

        What is absent counts as removed; what was made at another time is not the
        volume's, and stays.

        Raises `VolumeIsBusy` while something uses it.
        """

    def extend(self, volume_id: UUID, size_gib: int) -> None:
        """Grow the storage to at least `size_gib` GiB; what is there stays."""

    def connect(self, volume_id: UUID, connector: dict[str, Any]) -> dict[str, Any]:
        """Let the connector's host reach the volume.

        Returns Cinder's connection_info, `{"driver_volume_type", "data"}`.
        """

    def disconnect(self, volume_id: UUID, connector: dict[str, Any]) -> None:
        """Take the volume away from the connector's host, if it has it."""

    def remove_export(self, volume_id: UUID) -> None:
        """Take the volume away from every host."""

    def has_session(self, volume_id: UUID, connector: dict[str, Any] | None) -> bool:
        """Tell whether the connector's host (None: any host) uses the volume now."""
