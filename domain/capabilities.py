"""What a backend has told of itself: what it can do, and how full it is."""

from __future__ import annotations

import msgspec


class Capabilities(msgspec.Struct, frozen=True):
    """Sizes are in GiB; the names are Cinder's."""

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
    consistent_group_snapshot_enabled: bool = False
    QoS_support: bool = False
    # How full a thin pool is, in percent; None where there is none.
    data_percent: float | None = None
    metadata_percent: float | None = None
