"""Where a new volume goes, and why not elsewhere."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from domain.placement import (
    Candidate,
    NoCapacity,
    limit_gib,
    passed_over,
    roomiest,
    virtual_free_gib,
)
from domain.ports import Capabilities

THIN = Capabilities(
    volume_backend_name="files",
    vendor_name="Holdfast",
    driver_version="1.0.0",
    storage_protocol="local",
    total_capacity_gb=100.0,
    free_capacity_gb=50.0,
    provisioned_capacity_gb=0.0,
    total_volumes=0,
    thin_provisioning_support=True,
    thick_provisioning_support=False,
    reserved_percentage=0,
    max_over_subscription_ratio=2.0,
)
THICK = msgspec.structs.replace(
    THIN, thin_provisioning_support=False, thick_provisioning_support=True
)


def candidate(name: str = "files", **but: Any) -> Candidate:
    told: dict[str, Any] = {
        "enabled": True,
        "disabled_reason": None,
        "up": True,
        "working": True,
        "reason": None,
        "capabilities": THIN,
        "allocated_gib": 0,
    }
    return Candidate(name, **told | but)


def test_thin_storage_may_be_promised_more_than_once() -> None:
    assert (limit_gib(THIN), limit_gib(THICK)) == (200, 100)


def test_what_is_reserved_is_not_promised() -> None:
    reserving = msgspec.structs.replace(THICK, reserved_percentage=10)

    assert limit_gib(reserving) == 90


def test_what_the_log_has_promised_is_not_free() -> None:
    assert virtual_free_gib(THIN, 180) == 20


def test_what_others_have_put_there_is_not_free() -> None:
    filled = msgspec.structs.replace(THIN, provisioned_capacity_gb=190.0)

    assert virtual_free_gib(filled, 0) == 10


def test_a_full_disk_takes_nothing_whatever_may_be_promised() -> None:
    full = msgspec.structs.replace(THIN, free_capacity_gb=0.0)

    assert virtual_free_gib(full, 0) == 0


def test_the_roomiest_takes_the_volume() -> None:
    found = roomiest([candidate("a", allocated_gib=150), candidate("b")], 10)

    assert found == "b"


@pytest.mark.parametrize(
    ("but", "why"),
    [
        ({"enabled": False, "disabled_reason": "old"}, "is disabled: old"),
        ({"up": False}, "its agent does not report"),
        ({"working": False, "reason": "no disk"}, "does not work: no disk"),
        ({"allocated_gib": 195}, "has room for 5 GiB"),
    ],
)
def test_each_that_is_passed_over_is_said_why(but: dict[str, Any], why: str) -> None:
    with pytest.raises(NoCapacity) as refusal:
        roomiest([candidate(**but)], 10)

    assert refusal.value.considered == {"files": why}


def test_a_disabled_backend_lets_its_volumes_grow() -> None:
    disabled = candidate(enabled=False, disabled_reason="old")

    assert passed_over(disabled, 10, growing=True) is None
