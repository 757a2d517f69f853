"""Where a new volume goes, and why not elsewhere."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from domain.capabilities import Capabilities
from domain.placement import (
    Basis,
    Candidate,
    NoCapacity,
    Storage,
    check_growth,
    chosen,
    roomiest,
    unfit,
)
from domain.volume_type import VolumeType

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


PLAIN = VolumeType(None, {})
THICK_TYPE = VolumeType("solid", {"provisioning:type": "thick"})


def but(capabilities: Capabilities, **changes: Any) -> Storage:
    return Storage(msgspec.structs.replace(capabilities, **changes))


def candidate(name: str = "files", **but: Any) -> Candidate:
    told: dict[str, Any] = {
        "enabled": True,
        "disabled_reason": None,
        "up": True,
        "working": True,
        "reason": None,
        "storage": Storage(THIN),
        "allocated_gib": 0,
    }
    return Candidate(name, **told | but)


def test_thin_storage_may_be_promised_more_than_once() -> None:
    assert Storage(THIN).limit_gib(thin=True) == 200


@pytest.mark.parametrize(("storage", "thin"), [(THICK, True), (THIN, False)])
def test_thick_storage_and_thick_volumes_are_promised_once(
    storage: Capabilities, *, thin: bool
) -> None:
    assert Storage(storage).limit_gib(thin=thin) == 100


@pytest.mark.parametrize(
    ("storage", "limit", "free"), [(THIN, 180, 80), (THICK, 90, 40)]
)
def test_what_is_reserved_is_not_promised(
    storage: Capabilities, limit: int, free: int
) -> None:
    reserving = but(storage, reserved_percentage=10)

    assert reserving.limit_gib(thin=True) == limit
    assert reserving.virtual_free_gib(0) == free


@pytest.mark.parametrize(
    ("has", "limit"),
    [
        ({"total_capacity_gb": 15.7, "reserved_percentage": 10}, 29),
        ({"total_capacity_gb": 15.7, "max_over_subscription_ratio": 1.5}, 23),
        ({"max_over_subscription_ratio": 0.5}, 100),
        ({"reserved_percentage": 100}, 0),
    ],
)
def test_whole_gib_of_what_is_there_are_promised(has: Any, limit: int) -> None:
    assert repr(but(THIN, **has).limit_gib(thin=True)) == str(limit)


def test_what_the_log_has_promised_is_not_free() -> None:
    assert Storage(THIN).virtual_free_gib(180) == 20
    assert Storage(THIN).virtual_free_gib(220) == 0


def test_what_others_have_put_there_is_not_free() -> None:
    assert but(THIN, provisioned_capacity_gb=190.0).virtual_free_gib(0) == 10


def test_a_full_disk_takes_nothing_whatever_may_be_promised() -> None:
    assert but(THIN, free_capacity_gb=0.0).virtual_free_gib(0) == 0


@pytest.mark.parametrize(
    ("allocated", "best"), [((150, 0), "b"), ((0, 150), "a"), ((0, 0), "a")]
)
def test_the_roomiest_takes_the_volume(allocated: Any, best: str) -> None:
    two = [
        candidate(name, allocated_gib=gib)
        for name, gib in zip("ab", allocated, strict=True)
    ]

    assert roomiest(two, 10, PLAIN)[0].name == best
    assert roomiest(reversed(two), 10, PLAIN)[0].name == best
    assert chosen((basis(each, PLAIN) for each in reversed(two)), 10) == best


@pytest.mark.parametrize(
    ("but", "why"),
    [
        ({"enabled": False, "disabled_reason": "old"}, "is disabled: old"),
        ({"up": False}, "its agent does not report"),
        ({"working": False, "reason": "no disk"}, "does not work: no disk"),
        ({"storage": None, "reason": "no group"}, "does not work: no group"),
        (
            {"storage": but(THIN, data_percent=95.0)},
            "has a pool whose data is 95 % full",
        ),
        (
            {"storage": but(THIN, metadata_percent=96.5)},
            "has a pool whose metadata is 96.5 % full",
        ),
        ({"allocated_gib": 195}, "has room for 5 GiB"),
        (
            {"storage": Storage(THICK)},
            "lacks thin_provisioning_support <is> True (it has False)",
        ),
    ],
)
def test_each_that_is_passed_over_is_said_why(but: dict[str, Any], why: str) -> None:
    thin = VolumeType("thin", {"thin_provisioning_support": "<is> True"})

    with pytest.raises(NoCapacity) as refusal:
        roomiest([candidate(**but)], 10, thin)

    assert refusal.value.considered == {"files": why}


def test_a_thick_volume_is_counted_once_on_thin_storage() -> None:
    used = candidate(allocated_gib=95)

    assert roomiest([used], 10, PLAIN)[0] is used
    with pytest.raises(NoCapacity, match="has room for 5 GiB"):
        roomiest([used], 10, THICK_TYPE)


def test_a_volume_grows_where_no_other_may_go() -> None:
    full = but(THIN, data_percent=99.0)
    disabled = candidate(enabled=False, disabled_reason="old", storage=full)

    check_growth(disabled, 10, VolumeType("fast", {"QoS_support": "<is> True"}))


def test_a_pool_that_is_less_full_takes_volumes() -> None:
    nearly = candidate(storage=but(THIN, data_percent=94.9, metadata_percent=0.0))

    assert roomiest([nearly], 10, PLAIN)[0] is nearly


@pytest.mark.parametrize(
    ("but", "why"),
    [
        ({"up": False}, "its agent does not report"),
        ({"storage": None, "reason": "no group"}, "does not work: no group"),
        ({"allocated_gib": 195}, "has room for 5 GiB"),
    ],
)
def test_a_volume_grows_only_where_there_is_room(but: Any, why: str) -> None:
    with pytest.raises(NoCapacity) as refusal:
        check_growth(candidate(**but), 10, PLAIN)

    assert refusal.value.considered == {"files": why}


DOWN, FULL = candidate("b", up=False), candidate("a", allocated_gib=195)


@pytest.mark.parametrize(
    ("backends", "said"),
    [
        ([], "no backend fits (none is known)"),
        ([DOWN], "no backend fits (b: its agent does not report)"),
        ([FULL], "no backend has room for 10 GiB more (a: has room for 5 GiB)"),
        (
            [DOWN, FULL],
            (
                "no backend has room for 10 GiB more "
                "(a: has room for 5 GiB; b: its agent does not report)"
            ),
        ),
    ],
)
def test_room_is_said_to_be_missing_only_where_it_is(
    backends: list[Candidate], said: str
) -> None:
    with pytest.raises(NoCapacity) as refusal:
        roomiest(backends, 10, PLAIN)

    assert str(refusal.value) == said


def test_a_volume_that_cannot_grow_says_whether_room_is_missing() -> None:
    with pytest.raises(NoCapacity, match=r"^no backend fits"):
        check_growth(DOWN, 10, PLAIN)
    with pytest.raises(NoCapacity, match=r"^no backend has room for 10 GiB more"):
        check_growth(FULL, 10, PLAIN)


# Any backends, any volume

GIB = st.integers(0, 50).map(float)
MOSTLY = st.sampled_from([True, True, True, True, False])
STORAGES = st.builds(
    msgspec.structs.replace,
    st.sampled_from([THIN, THICK]),
    total_capacity_gb=GIB.map(lambda gib: gib + 10),
    free_capacity_gb=GIB,
    provisioned_capacity_gb=GIB,
    reserved_percentage=st.sampled_from([0, 0, 10, 33, 100]),
    max_over_subscription_ratio=st.sampled_from([0.5, 1.0, 1.5, 20.0]),
    QoS_support=MOSTLY,
)
CANDIDATES = st.lists(
    st.builds(
        candidate,
        st.sampled_from("abcdef"),
        enabled=MOSTLY,
        up=MOSTLY,
        working=MOSTLY,
        storage=STORAGES.map(Storage),
        allocated_gib=st.integers(0, 60),
    ),
    max_size=6,
    unique_by=lambda each: each.name,
)
TYPES = st.sampled_from(
    [PLAIN, THICK_TYPE, VolumeType("fast", {"QoS_support": "<is> True"})]
)
SIZES = st.integers(1, 20)


def room_for(each: Candidate, kind: VolumeType) -> float:
    """Return how much more of the type can go there, 0 where none may."""
    if not (each.enabled and each.up and each.working and each.storage):
        return 0
    if each.storage.unmet(kind):
        return 0
    return each.storage.virtual_free_gib(each.allocated_gib, thin=kind.thin)


@given(CANDIDATES, SIZES, TYPES)
def test_where_one_fits_the_roomiest_is_chosen(
    backends: list[Candidate], size_gib: int, kind: VolumeType
) -> None:
    most = max((room_for(each, kind) for each in backends), default=0)
    assume(most >= size_gib)

    best, fit = roomiest(backends, size_gib, kind)

    assert best.name == min(e.name for e in backends if room_for(e, kind) == most)
    assert chosen((basis(each, kind) for each in fit), size_gib) == best.name


@given(CANDIDATES, SIZES, TYPES)
def test_what_is_told_of_those_that_fit_says_where_none_has_room(
    backends: list[Candidate], size_gib: int, kind: VolumeType
) -> None:
    fit = [each for each in backends if not unfit(each, kind)]
    assume(all(room_for(each, kind) < size_gib for each in fit))

    assert chosen((basis(each, kind) for each in fit), size_gib) is None


def basis(each: Candidate, kind: VolumeType) -> Basis:
    """Return what is told of one that fits."""
    assert each.storage
    return each.storage.basis(each.name, each.allocated_gib, thin=kind.thin)


@given(CANDIDATES, SIZES, TYPES)
def test_where_none_fits_each_has_its_reason(
    backends: list[Candidate], size_gib: int, kind: VolumeType
) -> None:
    assume(all(room_for(each, kind) < size_gib for each in backends))

    with pytest.raises(NoCapacity) as refusal:
        roomiest(backends, size_gib, kind)

    assert list(refusal.value.considered) == sorted(each.name for each in backends)
    assert all(refusal.value.considered.values())


@given(told=STORAGES, allocated=st.integers(0, 60), size_gib=SIZES, thin=st.booleans())
def test_what_fits_stays_within_the_limit(
    told: Capabilities, allocated: int, size_gib: int, *, thin: bool
) -> None:
    storage = Storage(told)

    if storage.virtual_free_gib(allocated, thin=thin) >= size_gib:
        assert allocated + size_gib <= storage.limit_gib(thin=thin)
        # Cinder's capacity filter, of Newton.
        promised = told.provisioned_capacity_gb + size_gib
        ratio = max(1, told.max_over_subscription_ratio)
        assert promised / told.total_capacity_gb <= ratio
        if not (thin and told.thin_provisioning_support):
            assert size_gib <= told.free_capacity_gb
