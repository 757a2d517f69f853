"""Who holds a volume and which hosts reach it, from the promise to the letting go."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import Any, TypedDict, Unpack
from uuid import UUID, uuid5

from domain import aggregate
from domain.aggregate import Done, NotDone
from domain.attachment import (
    ATTACHMENT,
    Attachment,
    AttachStatus,
    connector_mode,
    for_driver,
    known_by,
    reached_from,
    same_way,
)
from domain.lifecycle import Refused
from domain.volume_events import VolumeEvents, left_without
from domain.volume_status import AT_REST, GOING, HOLDING, LIFECYCLE, SHOWN, Status

TAKEN_AWAY = NotDone("taken-away", "the volume was taken away from the host since")


@dataclass(eq=False)
class UnknownAttachment(Exception):
    """The volume has no such attachment."""

    attachment_id: UUID

    def __str__(self) -> str:
        return f"there is no attachment {self.attachment_id}"


class Holder(TypedDict, total=False):
    """Who is to hold a volume, and how."""

    instance: str | None
    host: str | None
    mode: str | None
    mountpoint: str | None


class Held(VolumeEvents):
    """Something that hosts hold; one at a time unless it is `multiattach`."""

    # Commands: ask the tables, then record the answer.

    def reserve(self) -> None:
        """Promise the volume to whoever attaches it next."""
        self._hold("reserve", self._next_id(), AttachStatus.ATTACHING)

    def unreserve(self) -> None:
        """Take back a promise without a name; where there is none, nothing is done.

        Of several, one goes that no backend was asked about. Where a host was let in
        for the last, that is undone first.
        """
        unclaimed = sorted(self._unclaimed(), key=lambda each: not each.unexported)
        if unclaimed and unclaimed[0].unexported:
            self._release("unreserve", unclaimed[0], "unreserved")
        elif unclaimed:
            self.detach(unclaimed[0].id)

    def attach(self, **holder: Unpack[Holder]) -> None:
        """Attach to the holder at once; one that is attached already stays so."""
        instance, host = holder.get("instance"), holder.get("host")
        own = self._held_by(instance, host)
        if own and own.status is AttachStatus.ATTACHED:
            self._after("detach")  # refused where nothing may be attached either
            if holder.get("mode") not in (None, own.mode):
                raise Refused("attach", self.status, [f"attached as {holder['mode']}"])
            return
        if own and not own.may_be_of(host):
            raise Refused("attach", self.status, [f"reached from {host}"])
        claimed = own or next((a for a in self._unclaimed() if a.may_be_of(host)), None)
        mode = self._mode("attach", holder.get("mode"), claimed)
        if claimed is None:
            claimed = self._hold(
                "attach", self._next_id(), AttachStatus.ATTACHING, instance, host, mode
            )
        self._attached("attach/claim", "attach", claimed, holder | {"mode": mode})

    def begin_detaching(self, attachment_id: UUID | None = None) -> None:
        """Note that the holder is asked to let go."""
        attachment = self._only("begin_detaching", attachment_id)
        self._after("detach")
        self._move(self.DetachingBegun, "begin_detaching", attachment)

    def roll_detaching(self, attachment_id: UUID | None = None) -> None:
        """Note that the holder kept the volume after all."""
        attachment = self._only("roll_detaching", attachment_id)
        self._after("detach")
        if self._being_disconnected(attachment.id):
            raise Refused("roll_detaching", self.status, ["connected"])
        self._move(self.DetachingRolledBack, "roll_detaching", attachment)

    def detach(self, attachment_id: UUID | None = None) -> None:
        """Take the volume back from a holder; one that is gone has let go already.

        Where a backend has let its host reach the volume, that is undone first.
        """
        if attachment_id in self.gone or not (attachment_id or self.attachments):
            return
        attachment = self._only("detach", attachment_id)
        self._after("detach")
        if self._being_disconnected(attachment.id):
            return
        if attachment.connector is None:
            self._release("detach", attachment, "detached")
            return
        to = ATTACHMENT.after("detach", attachment)
        self._intend(
            self.DisconnectionStarted,
            self._showing(attachment.id, to),
            attachment_id=attachment.id,
            attach_status=to,
            connector=attachment.connector,
            shared=self._shared(attachment.connector, attachment.id),
        )

    def hold(
        self,
        attachment_id: UUID,
        *,
        instance: str | None = None,
        host: str | None = None,
        mode: str | None = None,
    ) -> None:
        """Promise the volume to an instance or a host.

        An instance that holds it may hold it once more: it is on its way to
        another host.
        """
        again = self._held_by(instance, None)
        command = "reserve/again" if again else "reserve"
        self._mode(command, mode, None)
        to = AttachStatus.RESERVED
        self._hold(command, attachment_id, to, instance, host, mode)

    def connect(
        self,
        attachment_id: UUID,
        connector: dict[str, Any],
        mountpoint: str | None = None,
    ) -> None:
        """Ask for the attachment's host to reach the volume.

        Of the several holds of an ordinary volume, one at a time is connected, and
        each to one host: for another one it is detached first.
        """
        attachment = self.attachment("connect", attachment_id)
        others = (a for i, a in self.attachments.items() if i != attachment_id)
        if not self.multiattach and any(other.uses_a_way for other in others):
            raise Refused("connect", self.status, ["multiattach"])
        self._after("connect")
        host = reached_from(attachment.connector)
        if host and host != reached_from(connector):
            raise Refused("connect", self.status, [f"reached from {host}"])
        mode = self._mode("connect", attachment.mode or connector_mode(connector), None)
        to = ATTACHMENT.after("connect", attachment)
        # Who is attached stays so, though the way cannot be given once more.
        given = attachment.exported or self._being_connected(attachment_id)
        stays = to is AttachStatus.ATTACHED and given
        self._intend(
            self.ConnectionStarted,
            self._showing(attachment_id, to),
            attachment_id=attachment_id,
            attach_status=to,
            connector=connector,
            shared=stays or self._shared(connector, attachment_id),
            mode=mode,
            mountpoint=mountpoint or attachment.mountpoint,
        )

    def complete(self, attachment_id: UUID) -> None:
        """Note that the host uses the volume; once it does, saying so adds nothing."""
        attachment = self.attachment("complete", attachment_id)
        if attachment.status is not AttachStatus.ATTACHED:
            self._attached("complete", "complete", attachment, {})

    def export(self, connector: dict[str, Any]) -> None:
        """Ask for a host to reach the volume, whoever holds it."""
        status = self._after("connect")
        mode = self._mode("connect", connector_mode(connector), None)
        shared = self._shared(connector, None) or self._stays_exported_to(connector)
        self._intend(
            self.ExportStarted, status, connector=connector, shared=shared, mode=mode
        )

    def unexport(
        self, connector: dict[str, Any] | None = None, *, force: bool = False
    ) -> None:
        """Ask for the volume to be taken away from a host, or from every host.

        A host that does not reach it has nothing to lose; nothing is done.
        """
        if connector is None:
            status = self._after("remove_export")
        else:
            status = self._after("detach")
            given = reached_from(connector) in self.connections
            if not given and not self._being_exported(connector):
                return
            # Its initiator may be another by now, and has to go with the way.
            connector = self._given().get(reached_from(connector), connector)
        self._intend(
            self.ExportRemovalStarted,
            status,
            connector=connector,
            shared=connector is not None and self._shared_by_export(connector),
            force=force,
        )

    def expire(self, attachment_id: UUID) -> None:
        """End a promise that nobody used in time."""
        attachment = self.attachment("expire", attachment_id)
        self._release("expire", attachment, "nobody used it in time")

    def look_for_session(self, attachment_id: UUID) -> None:
        """Ask whether a host that should have finished by now uses the volume."""
        attachment = self.attachment("look_for_session", attachment_id)
        ATTACHMENT.after("look_for_session", attachment)
        self._intend(
            self.SessionLookedFor,
            self.status,
            attachment_id=attachment_id,
            connector=attachment.connector,
            shared=self._shared(attachment.connector or {}, attachment_id),
        )

    # Outcomes: what a backend reported, one pair for each intent.

    def _connected(self, intent: VolumeEvents.ConnectionStarted, done: Done) -> None:
        connection = self._connection(done, intent.mode)
        self._move_on(
            self.ConnectionFinished, "connected", intent, connection=connection
        )

    def _connection_failed(
        self, intent: VolumeEvents.ConnectionStarted, why: NotDone
    ) -> None:
        # What was asked for once more decides whether its host is turned away.
        again = self._being_connected(intent.attachment_id, but=intent)
        command = "connection_failed/busy" if again else "connection_failed"
        self._move_on(self.ConnectionFailed, command, intent, why)

    def _disconnected(self, intent: VolumeEvents.DisconnectionStarted, _: Done) -> None:
        self._move_on(self.DisconnectionFinished, "detached", intent)
        # A backend works in turn, so this ends what it was asked before, told or not.
        for earlier in self.work_for(intent.attachment_id):
            if isinstance(earlier, self.ConnectionStarted):
                self._connection_failed(earlier, TAKEN_AWAY)

    def _disconnection_failed(
        self, intent: VolumeEvents.DisconnectionStarted, why: NotDone
    ) -> None:
        self._move_on(self.DisconnectionFailed, "detaching_failed", intent, why)

    def _exported(self, intent: VolumeEvents.ExportStarted, done: Done) -> None:
        self.settle(
            self.ExportFinished,
            intent,
            status=self.status,
            connector=intent.connector,
            connection=self._connection(done, intent.mode),
        )

    def _export_failed(self, intent: VolumeEvents.ExportStarted, why: NotDone) -> None:
        self.fail(self.ExportFailed, intent, why, status=self.status)

    def _unexported(self, intent: VolumeEvents.ExportRemovalStarted, _: Done) -> None:
        connector = intent.connector
        self.settle(
            self.ExportRemovalFinished,
            intent,
            status=self.status,
            connector=connector,
        )
        # As with an attachment: this ends what was asked before, told or not.
        for earlier in self._being_exported(connector):
            if earlier.originator_version < intent.originator_version:
                self._export_failed(earlier, TAKEN_AWAY)

    def _unexport_failed(
        self, intent: VolumeEvents.ExportRemovalStarted, why: NotDone
    ) -> None:
        self.fail(self.ExportRemovalFailed, intent, why, status=self.status)

    def _session_found(self, intent: VolumeEvents.SessionLookedFor, done: Done) -> None:
        if done.found:
            self._move_on(self.SessionFound, "session_found", intent)
            return
        # What was asked for since decides how the attachment goes on.
        since = self.work_for(intent.attachment_id) != [intent]
        command = "session_missing/busy" if since else "session_missing"
        self._move_on(self.SessionMissing, command, intent)

    def _session_unclear(
        self, intent: VolumeEvents.SessionLookedFor, why: NotDone
    ) -> None:
        self._move_on(self.SessionUnclear, "session_unclear", intent, why)

    # Recording: what several commands share.

    def _intend(
        self, event: type[aggregate.Intent], status: Status, **data: Any
    ) -> None:
        self.record(event, status=status, backend=self.backend, **data)

    def _hold(
        self,
        command: str,
        attachment_id: UUID,
        to: AttachStatus,
        instance: str | None = None,
        host: str | None = None,
        mode: str | None = None,
    ) -> Attachment:
        self._after(command)
        self.record(
            self.Reserved,
            status=self._showing(attachment_id, to),
            attachment_id=attachment_id,
            attach_status=to,
            instance=instance,
            host=host,
            mode=mode,
        )
        return self.attachments[attachment_id]

    def _attached(
        self, command: str, move: str, attachment: Attachment, holder: Holder
    ) -> None:
        self._after(command)
        if self._being_connected(attachment.id):
            # Where that fails, its host has no way, and is attached to nothing.
            raise Refused(move, self.status, ["connected"])
        self._move(
            self.Attached,
            move,
            attachment,
            instance=holder.get("instance") or attachment.instance,
            host=holder.get("host") or attachment.host,
            mode=holder.get("mode") or attachment.mode,
            mountpoint=holder.get("mountpoint") or attachment.mountpoint,
        )

    def _move(
        self,
        event: type[aggregate.Event],
        command: str,
        attachment: Attachment,
        **data: Any,
    ) -> None:
        to = ATTACHMENT.after(command, attachment)
        self.record(
            event,
            status=self._showing(attachment.id, to),
            attachment_id=attachment.id,
            attach_status=to,
            **data,
        )

    def _move_on(
        self,
        event: type[aggregate.Outcome],
        command: str,
        intent: Any,
        why: NotDone | None = None,
        **data: Any,
    ) -> None:
        """Record what an intent did to its attachment, which may have ended since."""
        attachment_id = intent.attachment_id
        live = self.attachments.get(attachment_id)
        to = ATTACHMENT.after(command, live) if live else AttachStatus.DETACHED
        data |= {"attachment_id": attachment_id, "attach_status": to}
        status = self._showing(attachment_id, to)
        if why:
            self.fail(event, intent, why, status=status, **data)  # type: ignore[arg-type]
        else:
            self.settle(event, intent, status=status, **data)

    def _release(self, command: str, attachment: Attachment, why: str) -> None:
        self._move(self.Released, command, attachment, why=why)

    def _release_all(self, why: str) -> None:
        for attachment in list(self.attachments.values()):
            self._release("detached", attachment, why)

    # Asking: what the tables and the attachments say.

    def attachment(self, command: str, attachment_id: UUID) -> Attachment:
        """Return a live attachment; `UnknownAttachment`, or `Refused` if it is gone."""
        if attachment_id in self.attachments:
            return self.attachments[attachment_id]
        if attachment_id in self.gone:
            raise Refused(command, AttachStatus.DETACHED, [])
        raise UnknownAttachment(attachment_id)

    @property
    def connectors(self) -> list[dict[str, Any]]:
        """The connectors of the hosts that are to reach it, each once.

        Of a volume that is going, or half gone, there is none.
        """
        if self.status in GOING or not (self.attachments or self.connections):
            return []
        held = [
            for_driver(a.connector, a.mode)
            for a in self.attachments.values()
            if a.exported and a.connector
        ]
        given = [
            for_driver(connector, connector_mode(connector) or self._default_mode)
            for connector in self.connections.values()
        ]
        # A host that may write for one of its instances may write.
        wanted = sorted([*held, *given], key=lambda c: connector_mode(c) != "ro")
        return list({known_by(connector): connector for connector in wanted}.values())

    def work_for(self, attachment_id: UUID) -> list[aggregate.Intent]:
        """Return what backends are asked to do for an attachment."""
        asked = self.in_flight.values()
        return [i for i in asked if getattr(i, "attachment_id", None) == attachment_id]

    def _after(self, command: str) -> Status:
        """Return the status a command leads to, or raise `Refused`."""
        status = LIFECYCLE.after(command, self)
        return self._shown({}) if status is Status.AVAILABLE else status

    def _showing(self, changed: UUID, to: AttachStatus) -> Status:
        """Return what the volume shows once one attachment has changed."""
        return self._shown({changed: to}) if self.status in AT_REST else self.status

    def _shown(self, changed: dict[UUID, AttachStatus]) -> Status:
        return SHOWN[strongest(self.attachments, changed)]

    def _only(self, command: str, attachment_id: UUID | None) -> Attachment:
        """Return the attachment meant; among several, it has to be named."""
        if attachment_id:
            return self.attachment(command, attachment_id)
        if len(self.attachments) > 1:
            raise Refused(command, self.status, ["attachment_id given"])
        for attachment in self.attachments.values():
            return attachment
        raise Refused(command, self.status, ["attached"])

    def _unclaimed(self) -> list[Attachment]:
        found = (a for a in self.attachments.values() if a.nameless)
        return [a for a in found if a.status is AttachStatus.ATTACHING]

    def _held_by(self, instance: str | None, host: str | None) -> Attachment | None:
        holds = (a for a in self.attachments.values() if a.held_by(instance, host))
        return next((a for a in holds if a.status in HOLDING), None)

    def _mode(self, command: str, mode: str | None, claimed: Attachment | None) -> str:
        """Return the mode to attach in; refuse what others were promised not to."""
        promised = claimed.mode if claimed else None
        wanted = mode or promised or self._default_mode
        if self.readonly and wanted != "ro":
            raise Refused(command, self.status, ["writable"])
        if promised and wanted != promised:
            raise Refused(command, self.status, [f"attached as {promised}"])
        return wanted

    def _connection(self, done: Done, mode: str) -> dict[str, Any]:
        """Return Cinder's connection_info: what the driver told, and how to use it."""
        told = done.connection or {}
        used = {"volume_id": str(self.id), "access_mode": mode, "encrypted": False}
        return told | {"data": told.get("data", {}) | used}

    def _shared(self, connector: dict[str, Any], but: UUID | None) -> bool:
        """Tell whether another hold reaches the volume from the connector's host.

        One that is being taken away does not: of two that go at once, the last takes
        the way with it.
        """
        holds = (a for i, a in self.attachments.items() if i != but)
        if any(same_way(a.connector, connector) and self._stays(a) for a in holds):
            return True
        return but is not None and self._stays_exported_to(connector)

    def _stays(self, attachment: Attachment) -> bool:
        going = self._being_disconnected(attachment.id)
        return not (attachment.turned_away or going)

    def _shared_by_export(self, connector: dict[str, Any]) -> bool:
        """Tell whether a hold, or a way of another host's, is by the same initiator."""
        others = left_without(self._given(), connector).values()
        by_others = any(same_way(other, connector) for other in others)
        return by_others or self._shared(connector, None)

    def _stays_exported_to(self, connector: dict[str, Any]) -> bool:
        return any(same_way(stays, connector) for stays in self._given().values())

    def _given(self) -> dict[str, dict[str, Any]]:
        """Return the ways without a hold that there are once all asked for is done."""
        return reduce(left_after, self.in_flight.values(), self.connections)

    def _being_disconnected(self, attachment_id: UUID) -> bool:
        asked = self.work_for(attachment_id)
        return any(isinstance(intent, self.DisconnectionStarted) for intent in asked)

    def _being_connected(
        self, attachment_id: UUID, but: aggregate.Intent | None = None
    ) -> bool:
        asked = (each for each in self.work_for(attachment_id) if each is not but)
        return any(isinstance(intent, self.ConnectionStarted) for intent in asked)

    def _being_exported(
        self, connector: dict[str, Any] | None
    ) -> list[VolumeEvents.ExportStarted]:
        """Return the ways that a host, or any host, is to be told of yet."""
        asked = self.in_flight.values()
        ways = [i for i in asked if isinstance(i, self.ExportStarted)]
        host = reached_from(connector)
        return [w for w in ways if not connector or reached_from(w.connector) == host]

    def _next_id(self) -> UUID:
        # Derived, so that a decision taken twice chooses the same.
        return uuid5(self.id, f"attachment {self.version + 1}")

    # Guards: what the tables may ask.

    @property
    def detached(self) -> bool:
        """Nobody holds it."""
        return self._shown({}) is Status.AVAILABLE

    @property
    def disconnected(self) -> bool:
        """Nobody holds it, and no host has a way to reach it, or is being given one."""
        ways = self.connections or self._being_exported(None)
        return self.detached and not ways

    @property
    def unused(self) -> bool:
        """No host uses it, or is about to."""
        return not any(a.uses_a_way or a.attached for a in self.attachments.values())

    @property
    def attach_status(self) -> AttachStatus:
        """Cinder's attach_status: the strongest of the attachments."""
        return strongest(self.attachments, {})

    @property
    def _default_mode(self) -> str:
        return "ro" if self.readonly else "rw"


def left_after(
    connections: dict[str, dict[str, Any]], asked: aggregate.Intent
) -> dict[str, dict[str, Any]]:
    """Return the connections that there will be once an intent is done."""
    if isinstance(asked, Held.ExportStarted):
        return connections | {reached_from(asked.connector): asked.connector}
    if isinstance(asked, Held.ExportRemovalStarted):
        return left_without(connections, asked.connector)
    return connections


def strongest(
    attachments: dict[UUID, Attachment], changed: dict[UUID, AttachStatus]
) -> AttachStatus:
    """Return the strongest status among attachments, of which some have changed."""
    held = {i: a.status for i, a in attachments.items()} | changed
    if not held:
        return AttachStatus.DETACHED
    return next((s for s in SHOWN if s in held.values()), AttachStatus.DETACHED)
