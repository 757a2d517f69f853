"""What a volume type asks of a backend, and whether a backend has it."""

from __future__ import annotations

import operator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.volume_type import OPERATORS, SPELLINGS, Unclear, VolumeType

HAS: dict[str, Any] = {
    "volume_backend_name": "fast-1",
    "vendor_name": "Open Source",
    "storage_protocol": "iSCSI",
    "free_capacity_gb": 50.0,
    "total_volumes": 3,
    "thin_provisioning_support": True,
    "QoS_support": False,
    "multiattach": True,
    "levels": ["gold", "silver"],
    "disk": {"kind": {"name": "nvme"}, "speed": 7},
    "nothing": None,
}


def meets(key: str, said: str) -> bool:
    return VolumeType("gold", {key: said}).unmet(HAS) is None


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("volume_backend_name", "fast-1"),
        ("vendor_name", "Open Source"),
        ("thin_provisioning_support", "True"),
        ("QoS_support", "no"),
        ("free_capacity_gb", "50"),
        ("free_capacity_gb", "= 40"),
        ("free_capacity_gb", ">= 50"),
        ("free_capacity_gb", "<= 50"),
        ("free_capacity_gb", "!= 40"),
        ("total_volumes", "== 3.0"),
        ("volume_backend_name", "s== fast-1"),
        ("vendor_name", "s== Open Source"),
        ("volume_backend_name", "s!= fast-2"),
        ("volume_backend_name", "s< fast-2"),
        ("volume_backend_name", "s<= fast-1"),
        ("volume_backend_name", "s> fast"),
        ("volume_backend_name", "s>= fast-1"),
        ("thin_provisioning_support", "<is> True"),
        ("QoS_support", "<is> False"),
        ("volume_backend_name", "<in> ast"),
        ("volume_backend_name", "<or> slow-1 <or> fast-1"),
        ("vendor_name", "<or> LVM <or> Open Source"),
        ("levels", "silver"),
        ("levels", "<or> bronze <or> gold"),
        ("capabilities:disk:kind:name", "nvme"),
        ("capabilities:disk:speed", ">= 7"),
        ("capabilities:QoS_support", "<is> False"),
    ],
)
def test_a_spec_that_is_met(key: str, said: str) -> None:
    assert meets(key, said)


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("volume_backend_name", "FAST-1"),
        ("thin_provisioning_support", "False"),
        ("thin_provisioning_support", "perhaps"),
        ("free_capacity_gb", "= 50.1"),
        ("free_capacity_gb", "40"),
        ("volume_backend_name", ">= 1"),
        ("volume_backend_name", "s== fast"),
        ("QoS_support", "<is> True"),
        ("vendor_name", "<is> True"),
        ("volume_backend_name", "<in> slow"),
        ("volume_backend_name", "<or> fast <or> slow-1"),
        ("levels", "bronze"),
        ("compression", "<is> False"),
        ("nothing", "None"),
        ("disk", ">= 1"),
        ("capabilities:disk:size", "7"),
        ("capabilities:QoS_support:really", "<is> False"),
        ("capabilities:compression", "<is> True"),
    ],
)
def test_a_spec_that_is_not(key: str, said: str) -> None:
    assert not meets(key, said)


@pytest.mark.parametrize("key", ["hp3par:snap_cpg", "filter:x", "RESKEY:zones"])
def test_other_scopes_are_for_others(key: str) -> None:
    assert meets(key, "<is> True")
    assert meets(key, "<all-in> whatever")


@pytest.mark.parametrize("spelling", [s for all_of in SPELLINGS for s in all_of])
def test_a_protocol_has_several_spellings(spelling: str) -> None:
    [alike] = [each for each in SPELLINGS if spelling in each]

    for wanted in alike:
        kind = VolumeType("gold", {"storage_protocol": wanted})
        assert kind.unmet({"storage_protocol": spelling}) is None
    assert VolumeType("gold", {"storage_protocol": "local"}).unmet(
        {"storage_protocol": spelling}
    )


def test_all_that_is_not_met_is_said() -> None:
    specs = {"QoS_support": "<is> True", "levels": "gold", "compression": "<is> True"}

    assert VolumeType("gold", specs).unmet(HAS) == (
        "QoS_support <is> True (it has False), compression <is> True (it does not tell)"
    )


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("<all-in> a b", "<all-in> is no operator; there are = == "),
        ("> 5", "> is no operator"),
        (">=5", ">=5 is no operator"),
        ("s=", "s= is no operator"),
        (">= much", ">= is followed by a number"),
        ("==", "== is followed by a number"),
        ("<is> perhaps", "<is> is followed by True or False"),
        ("<in>", "<in> is followed by a text"),
        ("<or>", "<or> is followed by texts"),
        ("<or> a <or>", "<or> is followed by texts"),
    ],
)
def test_what_nobody_can_be_held_to_is_refused(said: str, why: str) -> None:
    with pytest.raises(Unclear) as refusal:
        VolumeType("gold", {"capabilities:disk": said})

    assert str(refusal.value).startswith(f"capabilities:disk: {why}")


@pytest.mark.parametrize(("said", "thin"), [("thin", True), ("thick", False)])
def test_a_type_says_how_room_is_counted(said: str, *, thin: bool) -> None:
    assert VolumeType("gold", {"provisioning:type": said}).thin is thin
    assert VolumeType("gold", {}).thin
    with pytest.raises(Unclear, match="must be thin or thick"):
        VolumeType("gold", {"provisioning:type": said.upper()})


@pytest.mark.parametrize(
    ("specs", "shared"),
    [
        ({"multiattach": "<is> True"}, True),
        ({"capabilities:multiattach": "<is> yes"}, True),
        ({"multiattach": "True"}, True),
        ({"multiattach": "<is> False"}, False),
        ({"multiattach": "<or> True <or> False"}, False),
        ({}, False),
    ],
)
def test_a_type_says_whether_its_volumes_are_shared(
    specs: dict[str, str], *, shared: bool
) -> None:
    assert VolumeType("gold", specs).multiattach is shared


def test_a_volume_that_is_to_be_shared_asks_for_more_than_its_type() -> None:
    kind = VolumeType("gold", {"QoS_support": "<is> False"})
    alone = HAS | {"multiattach": False}

    assert kind.unmet(alone) is None
    assert kind.shared.unmet(alone) == "multiattach <is> True (it has False)"
    assert kind.shared.multiattach
    assert kind.shared.unmet(HAS | {"QoS_support": True})


# Anything

TOLD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.lists(st.text() | st.booleans()),
    st.dictionaries(st.text(), st.integers()),
)
KEYS = st.sampled_from(
    ["QoS_support", "storage_protocol", "capabilities:a:b", "a", "other:scope", ""]
)
SAID = st.text() | st.tuples(
    st.sampled_from(list(OPERATORS)), st.text() | st.floats().map(str) | st.just("yes")
).map(" ".join)


@given(KEYS, SAID, st.dictionaries(KEYS, TOLD))
def test_what_can_be_read_always_has_an_answer(
    key: str, said: str, told: dict[str, Any]
) -> None:
    with suppress(Unclear):
        unmet = VolumeType("gold", {key: said}).unmet(told)

        assert unmet is None or unmet.startswith(f"{key} {said} (it ")


NUMBERS = st.floats(-1000, 1000)
COMPARED = {
    "=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
    ">=": operator.ge,
    "<=": operator.le,
}


@given(st.sampled_from(list(COMPARED)), NUMBERS, NUMBERS)
def test_numbers_compare_as_numbers(word: str, told: float, wanted: float) -> None:
    kind = VolumeType("gold", {"a": f"{word} {wanted!r}"})

    assert (kind.unmet({"a": told}) is None) == COMPARED[word](told, wanted)


WORDS = st.text("abcxyz-_", min_size=1)


@given(WORDS, st.lists(WORDS, min_size=1))
def test_one_of_several_is_enough(told: str, wanted: list[str]) -> None:
    kind = VolumeType("gold", {"a": "".join(f"<or> {each} " for each in wanted)})

    assert (kind.unmet({"a": told}) is None) == (told in wanted)
