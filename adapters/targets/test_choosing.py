"""Which target Cinder's options choose."""

from __future__ import annotations

from typing import Any

import pytest

from adapters.targets.choosing import target_of
from adapters.targets.failures import Unusable
from adapters.targets.lio import LioTarget
from adapters.targets.local import LocalTarget
from adapters.targets.nbd import NbdTarget
from adapters.targets.tgt import TgtTarget


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({}, LioTarget),
        ({"target_helper": "lioadm", "target_protocol": "iscsi"}, LioTarget),
        ({"target_helper": "tgtadm"}, TgtTarget),
        ({"target_helper": "nbd"}, NbdTarget),
        ({"target_protocol": "nbd"}, NbdTarget),
        ({"target_helper": "local"}, LocalTarget),
        ({"target_protocol": "local"}, LocalTarget),
    ],
)
def test_a_helper_and_a_protocol_choose(options: dict[str, Any], kind: type) -> None:
    assert isinstance(target_of(owner="lvm", key=b"", **options), kind)


@pytest.mark.parametrize(
    "options",
    [
        {"target_helper": "scstadmin"},
        {"target_protocol": "iser"},
        {"target_helper": "local", "target_protocol": "iscsi"},
        {"target_ip_address": "storage-1"},
        {"target_ip_address": "0.0.0.0"},
        {"target_ip_address": 5},
        {"target_secondary_ip_addresses": ["10.0.0.1", ""]},
        *({"target_secondary_ip_addresses": each} for each in ("10.0.0.1", 5)),
        {"target_helper": ["lioadm"]},
        *({"target_port": port} for port in ("3260", 3260.0, True, 0, 65_536)),
        *({"use_chap_auth": chap} for chap in ("false", 0)),
        *({"target_prefix": prefix} for prefix in (5, "", "a b:", "iqn.2026-01/:")),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(Unusable):
        target_of(owner="lvm", key=b"", **options)
