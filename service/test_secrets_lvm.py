"""The same where secrets are in use: on LVM, for hosts that log in by iSCSI.

The kernel has to know what hosts prove themselves with. It forgets that with its
machine's power; LVM's tags, metadata and archives never have it.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from adapters.targets.lio import ROOT
from service.test_secrets import Left, Together, left_by
from service.test_secrets import (
    test_everything_was_asked_that_can_be as test_all_is_asked,
)
from service.test_secrets import test_no_secret_is_in as test_nothing_is_in
from service.testing.canaries import Place, files
from service.testing.everything import password_in

pytestmark = [pytest.mark.lvm(lio=True, disks=("16G",), seconds=900), pytest.mark.slow]

DISK, GROUP = Path("/dev/ubda"), "holdfast"
METADATA = 17 * 1024**2  # bytes from the disk's beginning
BACKEND = f"""
[[backend]]
name = "lvm"
volume_driver = "lvm"
volume_group = "{GROUP}"
lvm_devices = ["{DISK}"]
"""


class OnLvm(Together):
    """`holdfast up` on a volume group."""

    backend = "lvm"

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        lvm("vgcreate", "-q", "-y", "--metadatasize", "16M", GROUP, str(DISK))
        super().__init__(folder, stack, BACKEND, given=False)

    def elsewhere(self) -> dict[str, list[Place]]:
        """Return what LVM keeps, and what the kernel knows."""
        return {"LVM": [*self.kept_by_lvm()], "kernel": [*known_to_kernel()]}

    def kept_by_lvm(self) -> Iterator[Place]:
        """Yield its metadata as it lies on the disk, its reports, and its files."""
        with DISK.open("rb") as disk:
            yield str(DISK), disk.read(METADATA)
        yield "lvs", lvm("lvs", "-a", "-o", "all", "--reportformat", "json", GROUP)
        yield from files(Path("/etc/lvm"), Path("/run/lvm"))


def known_to_kernel() -> Iterator[Place]:
    """Yield the passwords of the initiators that may log in now."""
    for path in ROOT.glob("iscsi/*/tpgt_1/acls/*/auth/password"):
        yield str(path), path.read_bytes()


def lvm(verb: str, *words: str) -> bytes:
    """Run a command of LVM's, which looks at our disk alone."""
    command = [verb, "--devices", str(DISK), *words]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Left:
    return left_by(partial(OnLvm, tmp_path_factory.mktemp("secrets")), every=0.02)


def test_no_secret_is_in_lvm(left: Left) -> None:
    test_nothing_is_in("LVM", left)


def test_the_kernel_alone_knows_the_password_of_who_may_log_in(left: Left) -> None:
    known = left.secrets.told_in(left.places["kernel"])

    names = {each.partition(" in ")[0] for each in known}
    assert {left.secrets.known[name].decode() for name in names} == {
        password_in(left.asked.told[-1])
    }


__all__ = ["test_all_is_asked", "test_nothing_is_in"]
