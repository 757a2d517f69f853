"""Trouble with targets, in sentences an operator can act on."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from functools import partial

from adapters.refused import SystemRefused, in_words_of
from domain.ports import DriverFailed, VolumeIsBusy


class Unusable(DriverFailed):
    """Options that no target can be made from."""

    code = "unusable"


class Missing(DriverFailed):
    """What the target needs is not there; the message says what to load or install."""

    code = "missing"


@dataclass(eq=False)
class NoInitiator(DriverFailed):
    """A connector that does not say who will log in."""

    code = "no_initiator"

    said: object

    def __str__(self) -> str:
        if not self.said:
            return (
                "the connector has no initiator; install open-iscsi on the host and "
                "send its name with the connector"
            )
        return (
            f"{str(self.said)[:250]!r} is no name of an initiator (RFC 7143, 4.2.7): "
            "it begins with iqn., eui. or naa."
        )


class NoHost(DriverFailed):
    """A connector that does not say which host it is."""

    code = "no_host"

    def __str__(self) -> str:
        return "the connector has no host; send the name of the one that connects"


@dataclass(eq=False)
class CannotKeepFromWriting(DriverFailed):
    """A host that is to read only, on a target that cannot tell hosts apart."""

    target: str

    def __str__(self) -> str:
        return (
            f"{self.target} cannot keep one host from writing; connect it with mode "
            "rw, or use a backend with target_helper lioadm"
        )


@dataclass(eq=False)
class PortalRefused(DriverFailed):
    """An address and port at which nobody can be let in."""

    portal: str

    def __str__(self) -> str:
        return (
            f"cannot listen at {self.portal}; see with `ss -ltnp` what else has the "
            "port, or choose another target_port or target_ip_address"
        )


class DeviceIsBusy(SystemRefused, VolumeIsBusy):
    """Somebody else has claimed the device, or uses what is to be removed."""


# fmt: off
REFUSALS = {
    errno.EBUSY:  (DeviceIsBusy,  "see with lsblk who else has it"),
    errno.ENOENT: (SystemRefused, "see that the volume's device is there"),
    errno.EACCES: (SystemRefused, "the agent needs to be root"),
    errno.EPERM:  (SystemRefused, "the agent needs to be root"),
}
# fmt: on
OTHERWISE = (SystemRefused, "look in the kernel log")

in_words = partial(in_words_of, REFUSALS, OTHERWISE)
