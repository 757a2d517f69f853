"""Choosing among the backends as a replica knows them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from domain.backend import Backend, id_of
from domain.placement import NoCapacity
from domain.ports import Capabilities
from domain.provenance import MOMENT, Moment, Provenance
from service.log import Decision, Live
from service.placing import place
from service.room import Measured, Room

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


def test_a_backend_that_nobody_announced_is_passed_over() -> None:
    MOMENT.set(Moment(datetime.now(UTC), Provenance()))
    announced = Backend.announced("files", "node-1", "a.Driver", "local")
    room = Room()
    for name in ("early", "files"):
        room.know(
            name,
            Measured(ROOMY, working=True, reason=None, reported_at=datetime.now(UTC)),
        )
    live: Live = {id_of("files"): announced, id_of("early"): None}

    assert place(Decision(live, room), ASKED)["backend"] == "files"

    with pytest.raises(NoCapacity):
        place(Decision(dict.fromkeys(live), room), ASKED)
