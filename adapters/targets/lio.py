"""iSCSI by the kernel's own target (LIO), changed directly through configfs.

A volume has a backstore, and a target with one LUN, 0: no number is ever given to
another volume while a session may remember it. Who may log in is an ACL of the
target, with credentials of its own.

    core/iblock_<of the backend>/<volume>           the backstore
    iscsi/<prefix><volume>/tpgt_1/lun/lun_0/volume  → the backstore
                                 /np/<portal>
                                 /acls/<initiator>/lun_0/volume  → the LUN
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import UUID
from zlib import crc32

from adapters.noting import noted
from adapters.targets.configfs import Visit, inside, said
from adapters.targets.failures import Missing, PortalRefused, in_words
from adapters.targets.iscsi import Iscsi, initiator_of, known, writers, writes
from adapters.tracing import step
from domain.ports import Export

ROOT = Path("/sys/kernel/config/target")
LUN = 0
LETTING_GO = 2.0  # seconds that the kernel may take to close a portal
NUMBERS = re.compile(r"Major: (\d+) Minor: (\d+)")
ANYBODY = "any initiator"
NO_SESSION = "No active iSCSI Session"

# fmt: off
ATTRIBUTES = {
    "generate_node_acls":       "0",  # only who has an ACL
    "demo_mode_discovery":      "0",  # others do not even learn its name
    "prod_mode_write_protect":  "1",  # a LUN is read-only until it may be written
}
# fmt: on


def served(owner: str, root: Path = ROOT) -> int:
    """Return how many volumes of a backend hosts may reach by this target."""
    return len(inside(stores_of(owner, root)))


def stores_of(owner: str, root: Path) -> Path:
    """Return where the backstores of a backend are, apart from others'."""
    return root / "core" / f"iblock_{crc32(owner.encode())}"


class LioTarget:
    """The kernel's iSCSI target.

    Every step looks first, so what was left half-made at any of them is completed
    or removed. What is not below our prefix, or on our backstores, is not touched.
    """

    storage_protocol = "iSCSI"

    def __init__(self, iscsi: Iscsi, owner: str, root: Path = ROOT) -> None:
        """Keep the backstores of `owner`, a backend, apart from others'."""
        self._iscsi = iscsi
        self._root = root
        self._stores = stores_of(owner, root)

    def set_up(self) -> None:
        """Look whether the modules are there; the kernel loads them for a folder."""
        visit = Visit()
        try:
            visit.folder(self._root / "iscsi")
            visit.folder(self._stores)
        except FileNotFoundError as error:
            raise Missing(
                "the kernel's target is not there; `mount -t configfs none "
                "/sys/kernel/config`, then `modprobe -a target_core_mod "
                "target_core_iblock iscsi_target_mod`"
            ) from error
        except PermissionError as error:
            raise Missing("only root may use the kernel's target") from error

    def connect(
        self, volume_id: UUID, device: str, connector: dict[str, Any]
    ) -> dict[str, Any]:
        """Let the initiator log in.

        Who may write already keeps that until `converge`: it may be for another
        instance on the same host.
        """
        initiator = initiator_of(connector)
        with at_work(f"export volume {volume_id}") as visit:
            self._show(visit, volume_id, device)
            self._admit(visit, volume_id, initiator)
            if writes(connector):
                self._let_write(visit, volume_id, initiator, may=True)
            self._open(visit, volume_id)
        iqn = self._iqn(volume_id)
        return self._iscsi.connection(iqn, volume_id, connector, LUN)

    def disconnect(self, volume_id: UUID, connector: dict[str, Any]) -> None:
        """Let the initiator in no more; with the last one the target goes, too."""
        with at_work(f"take volume {volume_id} away") as visit:
            if known(connector.get("initiator")):
                self._dismiss(visit, self._acl(volume_id, connector["initiator"]))
            if not inside(self._group(volume_id) / "acls"):
                self._remove(visit, volume_id)

    def remove(self, volume_id: UUID) -> None:
        """End all sessions, and let go of the device."""
        with at_work(f"remove the export of volume {volume_id}") as visit:
            self._remove(visit, volume_id)

    def resized(self, volume_id: UUID, device: str) -> None:
        """Do nothing: a backstore is as large as its device, at any time.

        An initiator sees that when it looks again (a rescan): this kernel
        announces nothing.
        """

    def has_session(
        self, volume_id: UUID, device: str, connector: dict[str, Any] | None
    ) -> bool:
        """Tell whether an initiator is logged in."""
        if connector is None:
            acls = inside(self._group(volume_id) / "acls")
        elif known(connector.get("initiator")):
            acls = [self._acl(volume_id, connector["initiator"])]
        else:
            acls = []
        told = (said(acl / "info") for acl in acls)
        return any(each and not each.startswith(NO_SESSION) for each in told)

    def exports(self) -> set[UUID]:
        """Tell whose backstores there are: they come first, and go last."""
        found = set()
        for store in inside(self._stores):
            with suppress(ValueError):
                found.add(UUID(store.name))
        return found

    def initiators(self) -> dict[UUID, frozenset[str]]:
        """Tell who has an ACL, and where somebody has let all in."""
        return {each: self._let_in(self._group(each)) for each in self.exports()}

    def converge(self, wanted: Export, device: str) -> bool:
        """Let exactly these initiators log in, each to read or to write."""
        volume_id, hosts = wanted.volume_id, writers(wanted.connectors)
        with at_work(f"converge the export of volume {volume_id}") as visit:
            if not hosts:
                self._remove(visit, volume_id)
                return bool(visit.changes)
            self._show(visit, volume_id, device)
            for acl in inside(self._group(volume_id) / "acls"):
                if acl.name not in hosts:
                    self._dismiss(visit, acl)
            for initiator, may in hosts.items():
                self._admit(visit, volume_id, initiator)
                self._let_write(visit, volume_id, initiator, may=may)
            self._open(visit, volume_id)
            return bool(visit.changes)

    def _let_in(self, group: Path) -> frozenset[str]:
        """Tell who may log in to a target."""
        named = {acl.name for acl in inside(group / "acls")}
        open_ = said(group / "attrib" / "generate_node_acls") == "1"
        return frozenset(named | ({ANYBODY} if open_ else set()))

    def _iqn(self, volume_id: UUID) -> str:
        """Return the name of the volume's target; one that is there keeps its name.

        The prefix may have been another when its hosts were let in.
        """
        iqn, targets = self._iscsi.iqn(volume_id), self._root / "iscsi"
        store = self._stores / str(volume_id)
        if not (targets / iqn).is_dir() and store.is_dir():
            for target in targets.glob(f"*{volume_id}"):
                link = target / "tpgt_1" / "lun" / f"lun_{LUN}" / "volume"
                if link.is_symlink() and link.samefile(store):
                    return target.name
        return iqn

    def _group(self, volume_id: UUID) -> Path:
        return self._root / "iscsi" / self._iqn(volume_id) / "tpgt_1"

    def _acl(self, volume_id: UUID, initiator: str) -> Path:
        return self._group(volume_id) / "acls" / initiator

    def _show(self, visit: Visit, volume_id: UUID, device: str) -> None:
        """Have a target with the device, which nobody may log in to yet."""
        store, group = self._stores / str(volume_id), self._group(volume_id)
        lun = group / "lun" / f"lun_{LUN}"
        if astray(store, device, lun / "volume"):
            self._remove(visit, volume_id)
        visit.folder(self._stores)
        visit.folder(store)
        if said(store / "enable") != "1":
            visit.write(store / "control", f"udev_path={device}")
            visit.write(store / "enable", "1")
        # Initiators tell disks by it: multipath, /dev/disk/by-id.
        serial = store / "wwn" / "vpd_unit_serial"
        if str(volume_id) not in said(serial):
            visit.write(serial, str(volume_id))
        for folder in (group.parent.parent, group.parent, group):
            visit.folder(folder)
        for name, value in ATTRIBUTES.items():
            visit.put(group / "attrib" / name, value)
        visit.put(group / "attrib" / "authentication", str(int(self._iscsi.chap)))
        visit.folder(lun)
        visit.link(lun / "volume", store)

    def _open(self, visit: Visit, volume_id: UUID) -> None:
        """Have the target listen at its portals and take logins."""
        group = self._group(volume_id)
        for portal in inside(group / "np"):
            if portal.name not in self._iscsi.portals:
                visit.gone(portal)
        for name in self._iscsi.portals:
            listen(visit, group / "np" / name)
        visit.put(group / "enable", "1")

    def _admit(self, visit: Visit, volume_id: UUID, initiator: str) -> None:
        """Have an ACL for the initiator, which does not let it write yet."""
        acl = self._acl(volume_id, initiator)
        visit.folder(acl)
        if self._iscsi.chap:
            username, secret = self._iscsi.credentials(volume_id, initiator)
            visit.put(acl / "auth" / "userid", username)
            visit.put(acl / "auth" / "password", secret)
        visit.folder(acl / f"lun_{LUN}")
        lun = self._group(volume_id) / "lun" / f"lun_{LUN}"
        visit.link(acl / f"lun_{LUN}" / "volume", lun)

    def _let_write(
        self, visit: Visit, volume_id: UUID, initiator: str, *, may: bool
    ) -> None:
        lun = self._acl(volume_id, initiator) / f"lun_{LUN}"
        visit.put(lun / "write_protect", str(int(not may)))

    def _dismiss(self, visit: Visit, acl: Path) -> None:
        """Have no ACL: removing it ends its sessions."""
        for lun in inside(acl):
            if lun.name.startswith("lun_"):
                for link in links(lun):
                    visit.gone(link)
                visit.gone(lun)
        visit.gone(acl)

    def _remove(self, visit: Visit, volume_id: UUID) -> None:
        """Have neither target nor backstore."""
        group = self._group(volume_id)
        if group.is_dir():
            visit.put(group / "enable", "0")
            for acl in inside(group / "acls"):
                self._dismiss(visit, acl)
            for portal in inside(group / "np"):
                visit.gone(portal)
            for lun in inside(group / "lun"):
                for link in links(lun):
                    visit.gone(link)
                visit.gone(lun)
            visit.gone(group)
        visit.gone(group.parent)
        visit.gone(self._stores / str(volume_id))


def astray(store: Path, device: str, link: Path) -> bool:
    """Tell whether the backstore has another device, or the LUN another backstore."""
    opened = NUMBERS.search(said(store / "info"))
    if opened and said(store / "enable") == "1":
        number = Path(device).stat().st_rdev
        if (os.major(number), os.minor(number)) != tuple(map(int, opened.groups())):
            return True
    return link.is_symlink() and not (store.is_dir() and link.samefile(store))


def listen(visit: Visit, portal: Path) -> None:
    """Have the portal; while the last other target lets go of it, there is none."""
    ends = time.monotonic() + LETTING_GO
    while True:
        try:
            visit.folder(portal)
        except OSError as error:  # EINVAL, whatever the reason
            if time.monotonic() > ends:
                raise PortalRefused(portal.name) from error
            time.sleep(0.01)
        else:
            return


def links(folder: Path) -> list[Path]:
    """Return the links in a folder."""
    return [each for each in inside(folder) if each.is_symlink()]


@contextmanager
def at_work(doing: str) -> Iterator[Visit]:
    """Yield a visit to configfs; what the kernel refuses is said in words."""
    verb = doing.partition(" ")[0]
    with (
        step(f"lio {verb}", **{"holdfast.doing": doing}),
        noted(f"lio: {doing}"),
        in_words(doing),
    ):
        yield Visit()
