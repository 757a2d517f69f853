"""Every subject that callers and agents may ask, asked once in a life of volumes.

Whatever a request is about, its like is sent as well with a secret where none belongs,
and each is repeated with its key.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any
from uuid import uuid4

from nats.aio.client import Client

from adapters.jetstream.signing import SIGNATURE, signature
from service.endpoints.endpoint import PREFIX

PATIENCE = 90.0
WAIT = "60"


class Everything:
    """Somebody who asks for everything, and notes what was asked."""

    def __init__(
        self,
        caller: Client,
        agent: Client,
        key: bytes,
        misplaced: str,
        backend: str,
        connector: dict[str, str],
    ) -> None:
        self.asked: Counter[str] = Counter()
        self.told: list[dict[str, Any]] = []  # answers with a password
        self._caller = caller
        self._agent = agent
        self._key = key
        self._misplaced = misplaced
        self._backend = backend
        self._connector = connector

    async def live(self) -> None:
        """Go through all of it."""
        await self.volumes()
        await self.attachments()
        await self.snapshots()
        await self.groups()
        await self.consistency_groups()
        await self.backends()
        await self.audit()
        await self.agents()

    async def volumes(self) -> None:
        """Make, change, take over and look at volumes."""
        volume = await self.made(
            "volume.create", size_gib=1, name="db", metadata={"a": "b"}
        )
        about = {"id": volume}
        await self.ask("volume.show", **about)
        await self.ask("volume.update", description="changed", **about)
        await self.ask("volume.extend", size_gib=2, **about)
        for verb in ("reserve", "unreserve"):
            await self.ask(f"volume.{verb}", **about)
        await self.ask("volume.attach", host="node-1", **about)
        for verb in ("begin_detaching", "roll_detaching", "detach"):
            await self.ask(f"volume.{verb}", **about)
        asked = about | {"connector": self._connector}
        await self.connected("volume.initialize_connection", **asked)
        await self.ask("volume.terminate_connection", **asked)
        await self.ask("volume.remove_export", **about)
        await self.ask("volume.list", min_position=1)
        await self.ask("volume.manageable", backend=self._backend)
        await self.ask("volume.unmanage", **about)
        told = await self.ask("volume.history", **about)
        reference = told["items"][-1]["data"]["reference"]
        await self.made(
            "volume.manage", backend=self._backend, reference=reference, **about
        )
        await self.ask("volume.delete", **about)

    async def attachments(self) -> None:
        """Hold a volume, and connect it in all ways."""
        volume = await self.made("volume.create", size_gib=1)
        held = {"volume_id": volume, "instance": "web-1"}
        asked = held | {"connector": self._connector}
        made = await self.connected("attachment.create", **asked)
        about = {"id": made["id"]}
        await self.ask("attachment.show", **about)
        await self.connected("attachment.update", connector=self._connector, **about)
        await self.ask("attachment.complete", **about)
        await self.ask("attachment.list", volume_id=volume)
        await self.ask("attachment.history", **about)
        await self.ask("attachment.delete", **about)
        await self.connected("attachment.create", **asked)  # and it stays so

    async def snapshots(self) -> None:
        """Take, change, use, take over and look at snapshots."""
        volume = await self.made("volume.create", size_gib=1)
        snapshot = await self.made("snapshot.create", volume_id=volume, name="night")
        about = {"id": snapshot}
        await self.ask("snapshot.show", **about)
        await self.ask("snapshot.update", description="changed", **about)
        await self.ask("snapshot.list", volume_id=volume)
        await self.ask("volume.revert", id=volume, snapshot_id=snapshot)
        await self.ask("volume.create", source={"snapshot": snapshot})
        await self.ask("snapshot.manageable", backend=self._backend)
        await self.ask("snapshot.unmanage", **about)
        told = await self.ask("snapshot.history", **about)
        reference = told["items"][-1]["data"]["reference"]
        again = await self.made(
            "snapshot.manage", volume_id=volume, reference=reference
        )
        await self.ask("snapshot.delete", id=again)

    async def groups(self) -> None:
        """Make groups, and take what they hold."""
        volume = await self.made("volume.create", size_gib=1)
        about = {"id": await self.made("group.create", backend=self._backend)}
        await self.ask("group.update", add_volumes=[volume], **about)
        taken = await self.made("group_snapshot.create", group_id=about["id"])
        copy = await self.made("group.create_from_source", group_snapshot_id=taken)
        for noun, its_id in (("group", about["id"]), ("group_snapshot", taken)):
            await self.ask(f"{noun}.show", id=its_id)
            await self.ask(f"{noun}.history", id=its_id)
            await self.ask(f"{noun}.list")
        await self.ask("group_snapshot.delete", id=taken)
        await self.ask("group.delete", delete_volumes=True, id=copy)

    async def consistency_groups(self) -> None:
        """Do likewise under the names that Cinder had before."""
        volume = await self.made("volume.create", size_gib=1)
        about = {
            "id": await self.made("consistency_group.create", backend=self._backend)
        }
        await self.ask("consistency_group.update", add_volumes=[volume], **about)
        taken = await self.made("cgsnapshot.create", group_id=about["id"])
        source = {"group_snapshot_id": taken}
        await self.made("consistency_group.create_from_source", **source)
        await self.ask("cgsnapshot.delete", id=taken)
        await self.ask("consistency_group.delete", delete_volumes=True, **about)

    async def backends(self) -> None:
        """Look after a backend, and after what is kept of the log."""
        about = {"name": self._backend}
        await self.ask("backend.disable", reason="moving house", **about)
        for verb in (
            "enable",
            "show",
            "initialize",
            "capabilities",
            "is_working",
            "publish_capabilities",
            "drift",
            "repair",
            "history",
        ):
            await self.ask(f"backend.{verb}", **about)
        await self.ask("backend.list")
        await self.ask("projection.list")
        await self.ask("projection.rebuild", name="volumes")

    async def audit(self) -> None:
        """Look back."""
        volume = await self.made("volume.create", size_gib=1)
        made = await self.ask("volume.show", id=volume)
        then = {"position": made["position"]}
        await self.ask("audit.state_at", id=volume, **then)
        await self.ask("audit.at", noun="volume", **then)
        await self.ask("audit.diff", **{"from": 1})
        await self.ask("audit.why", id=volume)
        await self.ask("audit.verify")
        await self.ask("audit.checkpoint")
        await self.ask("audit.prove_inclusion", **then)
        await self.ask("audit.prove_consistency", **{"from": 1})
        await self.ask("audit.digest")

    async def agents(self) -> None:
        """Say what an agent says, of a backend that is ours alone."""
        about: dict[str, Any] = {"name": "canaries"}
        host: dict[str, Any] = {"host": "node-1"}
        told = await self.tell("agent.take_lease", holder="somebody", **host, **about)
        about |= {"lease": told["lease"]}
        await self.tell(
            "agent.announce", driver="none", storage_protocol="none", **host, **about
        )
        await self.tell("agent.renew_lease", **about)
        await self.tell("agent.pool", percents={"data": 85}, **about)
        for verb in ("in_flight", "exports"):
            await self.tell(f"agent.{verb}", after=0, **about)
        await self.tell("agent.expected", noun="volume", after=0, **about)
        await self.tell("agent.surveyed", position=1, facts=[], **about)
        await self.tell("agent.overdue", **about)
        await self.tell("agent.report", reports=[], **about)
        nothing: dict[str, Any] = {"noun": "volume", "id": str(uuid4()), "intent": 1}
        await self.tell(
            "agent.progress", ok=False, causation_id="1", percent=1, **nothing, **about
        )
        await self.tell("agent.release_lease", **about)

    # Asking

    async def made(self, subject: str, **message: Any) -> str:
        """Return the id of what a command makes, once it is there."""
        return str((await self.ask(subject, **message))["id"])

    async def connected(self, subject: str, **message: Any) -> dict[str, Any]:
        """Return an answer that has a password, as its repetition has."""
        for name in ("auth_password", "discovery_auth_password", "keyring"):
            within = message["connector"] | {name: self._misplaced}
            await self._refused(subject, message | {"connector": within})
        answer, again = await self._twice(subject, message)
        assert password_in(answer) == password_in(again)
        self.told.append(answer)
        return answer

    async def ask(self, subject: str, **message: Any) -> dict[str, Any]:
        """Return what is answered."""
        answer, _ = await self._twice(subject, message)
        return answer

    async def _twice(
        self, subject: str, message: dict[str, Any]
    ) -> tuple[dict[str, Any], ...]:
        """Return what is answered twice with one key, after what is in bad taste."""
        await self._refused(subject, message | {"auth_password": self._misplaced})
        await self._refused(subject, message | {"id": {"secret": self._misplaced}})
        await self._sent(subject, f'{{"password": "{self._misplaced}'.encode())
        headers = {"Holdfast-Request-Id": str(uuid4()), "Holdfast-Wait": WAIT}
        body = json.dumps(message).encode()
        answers = [await self._sent(subject, body, headers) for _ in range(2)]
        for answer in answers:
            assert "title" not in answer, (subject, message, answer)
        self.asked[subject] += 1
        return tuple(answers)

    async def tell(
        self, subject: str, *, ok: bool = True, **message: Any
    ) -> dict[str, Any]:
        """Return what an agent is answered."""
        bodies = (message | {"auth_password": self._misplaced}, message)
        for told in bodies:
            body = json.dumps(told).encode()
            signed = {SIGNATURE: signature(self._key, PREFIX + subject, body)}
            asked = self._agent.request(
                PREFIX + subject, body, PATIENCE, headers=signed
            )
            answer: dict[str, Any] = json.loads((await asked).data)
        assert ("title" not in answer) == ok, (subject, message, answer)
        self.asked[subject] += 1
        return answer

    async def _refused(self, subject: str, message: dict[str, Any]) -> None:
        answer = await self._sent(subject, json.dumps(message).encode())
        assert answer["type"] == "invalid", (subject, answer)

    async def _sent(
        self, subject: str, body: bytes, headers: dict[str, str] | None = None
    ) -> dict[str, Any]:
        told = await self._caller.request(
            PREFIX + subject, body, PATIENCE, headers=headers
        )
        answer: dict[str, Any] = json.loads(told.data)
        return answer


def password_in(answer: dict[str, Any]) -> str:
    """Return the password that a connecting caller is told."""
    password: str = answer.get("connection", answer)["data"]["auth_password"]
    return password
