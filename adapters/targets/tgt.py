"""iSCSI by tgtd, for machines whose kernel has no target.

As with LIO a volume has a target of its own. Its disk is LUN 1, for tgt keeps 0. tgt
knows accounts of a target, not whose each is, and cannot keep one of several hosts
from writing. It never tells a password again: after a change of the key, restart it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Lock
from typing import Any
from uuid import UUID

from adapters.noting import noted
from adapters.targets.failures import CannotKeepFromWriting, PortalRefused
from adapters.targets.iscsi import Iscsi, initiator_of, writers, writes
from adapters.targets.tgtd import Mode, Op, Shown, TgtdRefused, ask, targets
from adapters.tracing import step
from domain.ports import Export

LUN = 1
TRIES = 50
PAUSE = 0.1  # seconds
WILDCARDS = ("0.0.0.0", "[::]")


class TgtTarget:
    """The targets of a tgtd that somebody else has started.

    They are told from others by our prefix: two backends of a machine need two.
    """

    storage_protocol = "iSCSI"

    def __init__(self, iscsi: Iscsi, owner: str) -> None:
        self._iscsi = iscsi
        self._owner = owner
        self._lock = Lock()  # numbers of targets are ours to choose

    def set_up(self) -> None:
        """Look whether tgtd answers, and have it listen at our portals.

        It goes on without a portal whose port was busy when it started.
        """
        lines = ask(Op.SHOW, Mode.PORTAL).splitlines()
        open_ = {line.removeprefix("Portal: ").rpartition(",")[0] for line in lines}
        for portal in self._iscsi.portals:
            port = portal.rpartition(":")[2]
            if not open_ & {portal, *(f"{each}:{port}" for each in WILDCARDS)}:
                try:
                    ask(Op.NEW, Mode.PORTAL, f"portalOps portal={portal},")
                except TgtdRefused as error:
                    raise PortalRefused(portal) from error

    def connect(
        self, volume_id: UUID, device: str, connector: dict[str, Any]
    ) -> dict[str, Any]:
        """Let the initiator log in.

        Raises `CannotKeepFromWriting` for a host that is to read only.
        """
        initiator = initiator_of(connector)
        if not writes(connector):
            raise CannotKeepFromWriting("tgt")
        with self._at_work(f"export volume {volume_id}"):
            target, _ = self._show(volume_id, device)
            self._admit(target, volume_id, initiator)
        iqn = self._iscsi.iqn(volume_id)
        return self._iscsi.connection(iqn, volume_id, connector, LUN)

    def disconnect(self, volume_id: UUID, connector: dict[str, Any]) -> None:
        """Let the initiator in no more; with the last one the target goes, too."""
        with self._at_work(f"take volume {volume_id} away"):
            if (target := self._find(volume_id)) is None:
                return
            name = connector.get("initiator")
            if not target.initiators - {name}:
                self._remove(target, volume_id)
            elif name in target.initiators:
                self._dismiss(target, volume_id, name)

    def remove(self, volume_id: UUID) -> None:
        """End all sessions, and let go of the device."""
        with self._at_work(f"remove the export of volume {volume_id}"):
            if target := self._find(volume_id):
                self._remove(target, volume_id)

    def resized(self, volume_id: UUID, device: str) -> None:
        """Open the device anew, for tgtd keeps the size that it found.

        Sessions stay; what they ask meanwhile fails, and is asked again by them.
        """
        with self._at_work(f"look again at volume {volume_id}"):
            if target := self._find(volume_id):
                if target.device:  # or it was killed after that
                    self._close(target)
                self._fill(target, volume_id, device)

    def has_session(
        self, volume_id: UUID, device: str, connector: dict[str, Any] | None
    ) -> bool:
        """Tell whether an initiator is logged in."""
        target = self._find(volume_id)
        if target is None or connector is None:
            return bool(target and target.sessions)
        return connector.get("initiator") in target.sessions

    def exports(self) -> set[UUID]:
        """Tell which targets begin with our prefix."""
        return {*self.initiators()}

    def initiators(self) -> dict[UUID, frozenset[str]]:
        """Tell which initiators are bound to targets that begin with our prefix."""
        return {
            volume_id: frozenset(target.initiators)
            for target in targets()
            if (volume_id := self._iscsi.volume_id(target.iqn))
        }

    def converge(self, wanted: Export, device: str) -> bool:
        """Let exactly these initiators log in; those that may not write cannot."""
        volume_id = wanted.volume_id
        hosts = {name for name, may in writers(wanted.connectors).items() if may}
        with self._at_work(f"converge the export of volume {volume_id}"):
            if not hosts:
                if target := self._find(volume_id):
                    self._remove(target, volume_id)
                return target is not None
            target, changed = self._show(volume_id, device)
            for name in target.initiators - hosts:
                target = self._dismiss(target, volume_id, name)
                changed = True
            for name in hosts:
                changed |= self._admit(target, volume_id, name)
            return changed

    def _find(self, volume_id: UUID) -> Shown | None:
        iqn = self._iscsi.iqn(volume_id)
        return next((each for each in targets() if each.iqn == iqn), None)

    def _show(self, volume_id: UUID, device: str) -> tuple[Shown, bool]:
        """Have a target with the device; tell whether it was otherwise."""
        target = self._find(volume_id)
        if target and target.device not in ("", device):
            self._remove(target, volume_id)
            target = None
        as_it_was = target and target.device and target.serial == serial(volume_id)
        if target and as_it_was:
            return target, False
        target = target or self._make(volume_id)
        self._fill(target, volume_id, device)
        return target, True

    def _make(self, volume_id: UUID) -> Shown:
        """Have a target, which nobody may log in to yet."""
        iqn = self._iscsi.iqn(volume_id)
        for left in reversed(range(3)):
            tid = max((each.tid for each in targets()), default=0) + 1
            try:
                ask(Op.NEW, Mode.TARGET, f"targetname={iqn}", tid=tid)
            except TgtdRefused:  # somebody else has just taken the number
                if not left:
                    raise
            else:
                break
        return Shown(tid, iqn)

    def _fill(self, target: Shown, volume_id: UUID, device: str) -> None:
        """Have the device as LUN, by which initiators know it again."""
        if not target.device:
            ask(Op.NEW, Mode.DEVICE, f"path={device}", tid=target.tid, lun=LUN)
            target.device = device
        named = f"targetOps scsi_sn={serial(volume_id)},scsi_id={volume_id.hex},"
        ask(Op.UPDATE, Mode.DEVICE, named, tid=target.tid, lun=LUN)

    def _close(self, target: Shown) -> None:
        """Have no LUN."""
        insist(Op.DELETE, Mode.DEVICE, tid=target.tid, lun=LUN)
        target.device = ""

    def _admit(self, target: Shown, volume_id: UUID, initiator: str) -> bool:
        """Let an initiator in; without an account nobody would be asked for one."""
        changed = False
        username, secret = self._iscsi.credentials(volume_id, initiator)
        if self._iscsi.chap and username not in target.accounts:
            with suppress(TgtdRefused):  # left behind, with whatever password
                ask(Op.DELETE, Mode.ACCOUNT, f"user={username}")
            ask(Op.NEW, Mode.ACCOUNT, f"user={username},password={secret}")
            ask(Op.BIND, Mode.ACCOUNT, f"user={username}", tid=target.tid)
            target.accounts.append(username)
            changed = True
        if initiator not in target.initiators:
            name = f"initiator-name={initiator}"
            ask(Op.BIND, Mode.TARGET, name, tid=target.tid)
            target.initiators.add(initiator)
            changed = True
        return changed

    def _dismiss(self, target: Shown, volume_id: UUID, initiator: str) -> Shown:
        """Let an initiator in no more, and end its sessions.

        tgtd crashes when it is told to end one connection, so they all end with the
        target, which is made anew: the others' initiators log in again.
        """
        if initiator in target.sessions:
            self._remove(target, volume_id)
            again, _ = self._show(volume_id, target.device)
            for other in target.initiators - {initiator}:
                self._admit(again, volume_id, other)
            return again
        self._close_account(target, self._iscsi.credentials(volume_id, initiator)[0])
        ask(Op.UNBIND, Mode.TARGET, f"initiator-name={initiator}", tid=target.tid)
        target.initiators.remove(initiator)
        return target

    def _close_account(self, target: Shown, username: str) -> None:
        """Have no account of that name.

        tgtd crashes when it is asked what there is while one is lacking before the
        last, so those behind it are let go of first, and then bound again.
        """
        if username in target.accounts:
            behind = target.accounts[target.accounts.index(username) + 1 :]
            for user in reversed([username, *behind]):
                ask(Op.UNBIND, Mode.ACCOUNT, f"user={user}", tid=target.tid)
            for user in behind:
                ask(Op.BIND, Mode.ACCOUNT, f"user={user}", tid=target.tid)
            target.accounts.remove(username)
        with suppress(TgtdRefused):  # there is none without CHAP
            ask(Op.DELETE, Mode.ACCOUNT, f"user={username}")

    def _remove(self, target: Shown, volume_id: UUID) -> None:
        """Have no target: its sessions end, and its accounts go."""
        for name in target.initiators:
            ask(Op.UNBIND, Mode.TARGET, f"initiator-name={name}", tid=target.tid)
        for user in reversed(target.accounts):
            ask(Op.DELETE, Mode.ACCOUNT, f"user={user}")
        insist(Op.DELETE, Mode.TARGET, tid=target.tid, force=True)

    @contextmanager
    def _at_work(self, doing: str) -> Iterator[None]:
        verb = doing.partition(" ")[0]
        with (
            self._lock,
            step(f"tgt {verb}", **{"holdfast.doing": doing}),
            noted(f"tgt: {doing}"),
        ):
            yield


def insist(op: Op, mode: Mode, **what: Any) -> None:
    """Ask until it is done: tgtd refuses while commands are under way."""
    for left in reversed(range(TRIES)):
        try:
            ask(op, mode, **what)
        except TgtdRefused:
            if not left:
                raise
            time.sleep(PAUSE)
        else:
            break


def serial(volume_id: UUID) -> str:
    """Return what initiators know the disk by."""
    return volume_id.hex
