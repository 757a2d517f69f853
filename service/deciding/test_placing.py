"""Choosing among the backends as a replica knows them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from domain.aggregate import NotDone
from domain.backend import Backend, id_of
from domain.capabilities import Capabilities
from domain.placement import NoCapacity
from domain.volume import Volume
from service.deciding.command import Decision, Live, NotFound
from service.deciding.placing import place, rescheduled
from service.deciding.room import Measured, Room
from service.settings import Unusable, load

ROOMY = Capabilities(
    volume_backend_name="files",
    vendor_name="Holdfast",
    driver_version="1",
    storage_protocol="local",
    total_capacity_gb=9.0,
    free_capacity_gb=9.0,
    provisioned_capacity_gb=0.0,
    total_volumes=0,
    thin_provisioning_support=True,
    thick_provisioning_support=False,
    reserved_percentage=0,
    max_over_subscription_ratio=1.0,
)
ASKED = {"backend": None, "volume_type": None, "multiattach": False, "size_gib": 1}


TYPES = {"fast": {"QoS_support": "<is> True"}, "shared": {"multiattach": "<is> True"}}


def decision(announced: tuple[str, ...] = ("files",), **told: Capabilities) -> Decision:
    """Return what a command looks at where these backends are known."""
    room = Room(volume_types=TYPES)
    live: Live = {}
    for name, capabilities in told.items():
        now = datetime.now(UTC)
        room.know(name, Measured(capabilities, True, None, now))  # noqa: FBT003
        known = Backend.taken_over(name, 1, "a holder", "node-1")
        live[id_of(name)] = known if name in announced else None
    return Decision(live, room)


def but(**changes: Any) -> Capabilities:
    return msgspec.structs.replace(ROOMY, **changes)


def test_a_backend_that_nobody_announced_is_passed_over() -> None:
    log = decision(("files",), early=ROOMY, files=ROOMY)

    assert place(log, ASKED)["backend"] == "files"

    with pytest.raises(NoCapacity) as refusal:
        place(decision((), early=ROOMY), ASKED)
    assert refusal.value.considered == {}


def test_a_type_that_nobody_defined_is_not_found() -> None:
    with pytest.raises(NotFound, match="golden"):
        place(decision(files=ROOMY), ASKED | {"volume_type": "golden"})


@pytest.mark.parametrize("named", [None, "files"])
@pytest.mark.parametrize(
    ("asked", "has", "why"),
    [
        ({"volume_type": "fast"}, {}, "lacks QoS_support <is> True (it has False)"),
        (
            {"multiattach": True},
            {"multiattach": False},
            "lacks multiattach <is> True (it has False)",
        ),
        ({"size_gib": 10}, {}, "has room for 9 GiB"),
    ],
)
def test_a_backend_is_passed_over_named_or_not(
    named: str | None, asked: dict[str, Any], has: dict[str, Any], why: str
) -> None:
    with pytest.raises(NoCapacity) as refusal:
        place(decision(files=but(**has)), ASKED | {"backend": named} | asked)

    assert refusal.value.considered == {"files": why}


@pytest.mark.parametrize(
    ("asked", "shared"),
    [({}, False), ({"multiattach": True}, True), ({"volume_type": "shared"}, True)],
)
def test_a_volume_is_shared_where_it_or_its_type_says_so(
    asked: dict[str, Any], *, shared: bool
) -> None:
    assert place(decision(files=ROOMY), ASKED | asked)["multiattach"] is shared


@pytest.mark.parametrize(("kind", "elsewhere"), [(None, True), ("gone", False)])
def test_what_nobody_can_tell_is_asked_of_no_other_backend(
    kind: str | None, *, elsewhere: bool
) -> None:
    log = decision(("one", "two"), one=ROOMY, two=ROOMY)
    asked = Volume.create(uuid4(), **place(log, ASKED) | {"volume_type": kind})

    assert rescheduled(log, asked, 1, NotDone("broken", "it broke")) is elsewhere


def test_a_type_that_nobody_can_be_held_to_is_refused_at_start(tmp_path: Path) -> None:
    config = tmp_path / "holdfast.toml"
    config.write_text('[volume_type.gold]\nQoS_support = "<all-in> True"\n')

    with pytest.raises(Unusable, match=r"gold: .*QoS_support: <all-in> is no operator"):
        load(config, {})


def test_of_many_backends_the_roomiest_are_told_of_and_the_chosen_is_among_them() -> (
    None
):
    large = but(total_capacity_gb=1000)
    many = {
        f"files-{n:02}": msgspec.structs.replace(large, free_capacity_gb=100 + n // 8)
        for n in range(30)
    }

    placed = place(decision(tuple(many), **many), ASKED)

    assert placed["backend"] == "files-24"
    assert [known.backend for known in placed["considered"]] == [
        *(f"files-{n}" for n in range(24, 30)),
        "files-16",
        "files-17",
    ]
