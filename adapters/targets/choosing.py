"""Which target a backend has: Cinder's options, with Cinder's names and values."""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import ip_address

from adapters.targets import lio
from adapters.targets.failures import Unusable
from adapters.targets.iscsi import Iscsi
from adapters.targets.lio import LioTarget
from adapters.targets.local import LocalTarget
from adapters.targets.nbd import NbdTarget
from adapters.targets.tgt import TgtTarget
from domain.ports import Target

# By `target_protocol` and `target_helper`; each is given what initiators see, and
# the backend that it is for.
TARGETS: dict[tuple[str, str], Callable[[Iscsi, str], Target]] = {
    ("iscsi", "lioadm"): LioTarget,
    ("iscsi", "tgtadm"): TgtTarget,
    ("nbd", "nbd"): lambda iscsi, owner: NbdTarget(iscsi.portals[0], owner),
    ("local", "local"): lambda _iscsi, _owner: LocalTarget(),
}
# The helper that a protocol has, where it has but one.
ONLY = {"local": "local", "nbd": "nbd"}
LAST_PORT = 65_535
PORTS = {"iscsi": 3260, "nbd": 10809, "local": 0}


def target_of(  # noqa: PLR0913 - Cinder's options
    *,
    owner: str,
    key: bytes,
    target_helper: str = "lioadm",
    target_protocol: str = "",
    target_ip_address: str = "127.0.0.1",
    target_secondary_ip_addresses: tuple[str, ...] = (),
    target_port: int | None = None,
    target_prefix: str = "iqn.2010-10.org.openstack:",
    use_chap_auth: bool = True,
) -> Target:
    """Return the target that the options of the backend `owner` ask for.

    A helper that is a protocol of its own (`local`, `nbd`) needs no
    `target_protocol`. `key` is what secrets are derived from.

    Raises `Unusable`.
    """
    for told, (usable, meant) in {
        "target_helper": (isinstance(target_helper, str), "a word"),
        "target_protocol": (isinstance(target_protocol, str), "a word"),
        "target_secondary_ip_addresses": (
            isinstance(target_secondary_ip_addresses, list | tuple),
            "a list of IP addresses",
        ),
        "target_port": (is_port(target_port), f"a number from 1 to {LAST_PORT}"),
        "target_prefix": (is_prefix(target_prefix), "how a name begins, as iqn.…:"),
        "use_chap_auth": (isinstance(use_chap_auth, bool), "true or false"),
    }.items():
        if not usable:
            raise Unusable(f"{told} is {meant}")
    protocols = {helper: protocol for protocol, helper in TARGETS}
    protocol = target_protocol or protocols.get(target_helper, "")
    chosen = (protocol, ONLY.get(protocol, target_helper))
    if chosen not in TARGETS:
        known = ", ".join(f"{p} by {h}" for p, h in TARGETS)
        raise Unusable(
            f"there is no target for {target_protocol or 'any protocol'} by "
            f"{target_helper}; there are {known}"
        )
    # Another target would neither know nor end what hosts have by the kernel's.
    if TARGETS[chosen] is not LioTarget and (number := lio.served(owner)):
        raise Unusable(
            f"hosts may reach {number} of its volumes by the kernel's target (LIO); "
            "set target_helper to lioadm again, detach them, and change it then"
        )
    port = PORTS[protocol] if target_port is None else target_port
    addresses = (target_ip_address, *target_secondary_ip_addresses)
    portals = tuple(f"{in_url(each)}:{port}" for each in addresses)
    return TARGETS[chosen](Iscsi(key, portals, target_prefix, use_chap_auth), owner)


def is_port(told: object) -> bool:
    """Tell whether it is a port, or none is told."""
    return told is None or (type(told) is int and 0 < told <= LAST_PORT)


def is_prefix(told: object) -> bool:
    """Tell whether a name could begin so, which LIO has as that of a folder."""
    return isinstance(told, str) and bool(re.fullmatch(r"[^\s/]+", told))


def in_url(address: str) -> str:
    """Return an IP address as it stands before a port."""
    if not isinstance(address, str):  # a number would be one as well
        raise Unusable(f"{address!r} is no IP address")
    try:
        known = ip_address(address)
    except ValueError as error:
        raise Unusable(f"{address!r} is no IP address") from error
    if known.is_unspecified:
        raise Unusable(f"{address} is no address that hosts could be told to go to")
    return f"[{known}]" if known.version == 6 else str(known)  # noqa: PLR2004
