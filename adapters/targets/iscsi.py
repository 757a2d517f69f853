"""iSCSI as initiators see it: names, portals, credentials."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from adapters.targets.failures import NoInitiator
from domain import chap

# RFC 7143, 4.2.7.3 to 4.2.7.5. Names beyond ASCII, which RFC 3722 allows, are
# refused, and so is whatever could be a path.
INITIATOR = re.compile(
    r"iqn\.\d{4}-\d{2}(\.[a-z0-9-]+)+(:[a-z0-9.:-]+)?|eui\.[0-9a-f]{16}"
    r"|naa\.([0-9a-f]{16}|[0-9a-f]{32})",
    re.IGNORECASE | re.ASCII,
)
LONGEST = 223


@dataclass(frozen=True)
class Iscsi:
    """How an installation shows its volumes: a target each, at all portals.

    `key` is the installation's, from which secrets are derived. Portals are
    addresses with ports, the main one first.
    """

    key: bytes
    portals: tuple[str, ...]
    prefix: str
    chap: bool = True

    def iqn(self, volume_id: UUID) -> str:
        """Return the name of the volume's target."""
        return f"{self.prefix}{volume_id}"

    def volume_id(self, iqn: str) -> UUID | None:
        """Return whose target it is; None for somebody else's."""
        with suppress(ValueError):
            known = UUID(iqn.removeprefix(self.prefix))
            return known if iqn == self.iqn(known) else None
        return None

    def credentials(self, volume_id: UUID, initiator: str) -> tuple[str, str]:
        """Return who the initiator is to the target, and what proves it."""
        return (
            chap.username(volume_id, initiator),
            chap.secret(self.key, volume_id, initiator),
        )

    def connection(
        self, iqn: str, volume_id: UUID, connector: dict[str, Any], lun: int
    ) -> dict[str, Any]:
        """Return Cinder's connection_info, without the secret."""
        count = len(self.portals)
        data: dict[str, Any] = {
            "target_discovered": False,
            "target_portal": self.portals[0],
            "target_iqn": iqn,
            "target_lun": lun,
            "volume_id": str(volume_id),
        }
        if count > 1 or connector.get("multipath"):
            data |= {
                "target_portals": list(self.portals),
                "target_iqns": [iqn] * count,
                "target_luns": [lun] * count,
            }
        if self.chap:
            username = chap.username(volume_id, initiator_of(connector))
            data |= {"auth_method": "CHAP", "auth_username": username}
        return {"driver_volume_type": "iscsi", "data": data}


def initiator_of(connector: dict[str, Any]) -> str:
    """Return who will log in; raise `NoInitiator` where that is no name of one."""
    name = connector.get("initiator")
    if not known(name):
        raise NoInitiator(name)
    return str(name)


def known(name: object) -> bool:
    """Tell whether it is the name of an initiator."""
    return (
        isinstance(name, str)
        and len(name) <= LONGEST
        and INITIATOR.fullmatch(name) is not None
    )


def writes(connector: dict[str, Any]) -> bool:
    """Tell whether the connector's host may write."""
    return connector.get("mode") != "ro"


def writers(connectors: Iterable[dict[str, Any]]) -> dict[str, bool]:
    """Return the initiators, and whether each may write for any of its instances.

    A connector that names none was never let in.
    """
    wanted: dict[str, bool] = {}
    for each in filter(lambda c: known(c.get("initiator")), connectors):
        name = each["initiator"]
        wanted[name] = wanted.get(name, False) or writes(each)
    return wanted
