"""A secret goes to the caller who has a host connected, and is nowhere else."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from domain import chap
from domain.capabilities import Capabilities
from domain.ports import Cause, DriverFailed, Export, Progress, unheard
from domain.volume import Volume
from service.testing.deciding import capabilities
from service.testing.house import House, Run
from service.testing.loads import published

NODE = {"host": "node-1", "initiator": "iqn.2026-01.example:node-1"}
OTHER = {"host": "node-1", "initiator": "iqn.2026-01.example:node-1-again"}


class Locked:
    """A driver whose target asks for a password."""

    tells: dict[str, Any] = {}  # noqa: RUF012
    fails = ""

    def __init__(self) -> None:
        self.reached: list[dict[str, Any]] = []

    def recognize(self) -> None:
        pass

    def set_up(self) -> None:
        pass

    def capabilities(self) -> Capabilities:
        return capabilities(10_000)

    def create(
        self, asked: Volume.Created, cause: Cause, progress: Progress = unheard
    ) -> str:
        return "/locked"

    def connect(self, volume_id: UUID, connector: dict[str, Any]) -> dict[str, Any]:
        self.reached.append(connector)
        if self.fails:
            raise DriverFailed(self.fails)
        user = chap.username(volume_id, connector["initiator"])
        told = {"auth_method": "CHAP", "auth_username": user} | self.tells
        return {"driver_volume_type": "iscsi", "data": told}

    def exports(self) -> set[UUID]:
        return set()

    def converge(self, wanted: Export) -> bool:
        return False

    def disconnect(self, volume_id: UUID, connector: dict[str, Any]) -> None:
        self.reached.remove(connector)


async def initialized(house: House, volume_id: str, key: str) -> Any:
    asked = {"id": volume_id, "connector": NODE}
    return await house.asker.insist("volume.initialize_connection", key, **asked)


async def updated(house: House, volume_id: str, key: str) -> Any:
    held = str(UUID(int=UUID(volume_id).int + 1))
    told = {"id": held, "volume_id": volume_id, "host": "node-1"}
    await house.asker.insist("attachment.create", f"{key}-held", **told)
    asked = {"id": held, "connector": NODE}
    return (await house.asker.insist("attachment.update", key, **asked))["connection"]


async def created(house: House, volume_id: str, key: str) -> Any:
    asked = {"volume_id": volume_id, "host": "node-1", "connector": NODE}
    told = await house.asker.insist("attachment.create", key, **asked)
    return told["connection"]


WAYS = [initialized, updated, created]


@pytest.mark.parametrize("connected", WAYS)
def test_who_connects_is_told_the_password_and_again_for_the_same_key(
    run: Run, connected: Callable[..., Any]
) -> None:
    async def scenario(house: House) -> tuple[Any, ...]:
        volume_id = await house.available()
        first = await connected(house, volume_id, "key-1")
        again = await connected(house, volume_id, "key-1")
        secret = chap.secret(house.settings.key, UUID(volume_id), NODE["initiator"])
        return secret, first["data"]["auth_password"], again["data"]["auth_password"]

    secret, first, again = run(Locked(), scenario)

    assert first == again == secret


@pytest.mark.parametrize("connected", WAYS)
def test_the_password_is_nowhere_else(
    run: Run,
    connected: Callable[..., Any],
    settings: dict[str, str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)

    async def scenario(house: House) -> tuple[str, list[str]]:
        volume_id = await house.available()
        connection = await connected(house, volume_id, "key-1")
        [*held] = await house.asker.all("attachment.list", volume_id=volume_id)
        seen = [await everything(house, volume_id, each["id"]) for each in held]
        seen += [await everything(house, volume_id, None), *stored(settings)]
        return connection["data"]["auth_password"], [*seen, caplog.text]

    secret, seen = run(Locked(), scenario)

    assert not [text for text in seen if secret in text]
    assert "auth_username" in "".join(seen)


async def everything(house: House, volume_id: str, held: str | None) -> str:
    """Return all that anybody else can be told."""
    ask, told = house.asker.insist, []
    for verb in ("show", "history"):
        told.append(await ask(f"volume.{verb}", id=volume_id))
        if held:
            told.append(await ask(f"attachment.{verb}", id=held))
    last = (await ask("audit.verify"))["to"]
    told.append(await ask("audit.state_at", id=held or volume_id, position=last))
    if held:
        completed = await ask("attachment.complete", "completed", id=held)
        told.append(completed)
    raw = await house.asker.client.request(
        "holdfast.v1.volume.update",
        json.dumps({"id": volume_id, "name": "seen"}).encode(),
        headers={"Holdfast-Wait": "1"},
    )
    told += [raw.data.decode(), await house.asker.all("volume.list")]
    stream = await house.asker.client.jetstream().subscribe(
        "holdfast.v1.events.>", ordered_consumer=True
    )
    last = (await ask("audit.verify"))["to"]
    await published(house.asker.client, last)
    told += [(await stream.next_msg(timeout=30)).data.decode() for _ in range(last)]
    await stream.unsubscribe()
    return json.dumps(told)


def stored(settings: dict[str, str]) -> list[str]:
    """Return every row of every table of a log."""
    schema = settings["POSTGRES_SCHEMA"]
    host, port = settings["POSTGRES_HOST"], settings["POSTGRES_PORT"]
    with psycopg.connect(host=host, port=port, user="postgres") as connection:
        named = "SELECT table_name FROM information_schema.tables WHERE table_schema=%s"
        tables = [name for (name,) in connection.execute(named, (schema,))]
        assert "read_attachments" in tables
        rows: list[str] = []
        for table in tables:
            every = f'SELECT * FROM "{schema}"."{table}"'
            rows += map(repr, connection.execute(every.encode()))
        return rows


def test_a_host_is_told_no_password_of_another_initiator(run: Run) -> None:
    async def scenario(house: House) -> Any:
        volume_id = await house.available()
        held = {"volume_id": volume_id, "host": "node-1"}
        first = await house.asker.insist(
            "attachment.create", "key-1", connector=NODE, **held
        )
        about = {"id": first["id"], "connector": OTHER}
        await house.asker.insist("attachment.update", **about)
        return await house.asker.insist(
            "attachment.create", "key-1", connector=NODE, **held
        )

    again = run(Locked(), scenario)

    assert again["connector"] == OTHER
    assert "auth_password" not in again["connection"]["data"]


@pytest.mark.parametrize(
    "told",
    [
        {"auth_password": "canary"},
        {"nested": {"client_secret": "canary"}},
        {"several": [{"keyring": "canary"}]},
    ],
)
def test_a_driver_that_tells_a_secret_is_refused_and_the_host_is_let_go(
    run: Run, settings: dict[str, str], told: dict[str, Any]
) -> None:
    driver = Locked()
    driver.tells = told

    async def scenario(house: House) -> tuple[Any, list[str]]:
        volume_id = await house.available()
        asked: dict[str, Any] = {"id": volume_id, "connector": NODE}
        subject = "volume.initialize_connection"
        answer = await house.asker.ask(subject, seconds=20, **asked)
        return answer, stored(settings)

    answer, rows = run(driver, scenario)

    assert "told a secret" in answer.body["detail"]
    assert not driver.reached
    assert not [row for row in rows if "canary" in row]


@pytest.mark.parametrize("fails", [True, False])
def test_a_driver_that_quotes_what_a_host_proves_itself_with_is_not_quoted(
    run: Run, settings: dict[str, str], *, fails: bool
) -> None:
    driver = Locked()

    async def scenario(house: House) -> tuple[str, str]:
        volume_id = await house.available()
        secret = chap.secret(house.settings.key, UUID(volume_id), NODE["initiator"])
        driver.tells = {"login": secret}
        driver.fails = f"`login --with {secret}` failed" if fails else ""
        asked: dict[str, Any] = {"id": volume_id, "connector": NODE}
        await house.asker.ask("volume.initialize_connection", seconds=20, **asked)
        return secret, "".join(stored(settings))

    secret, rows = run(driver, scenario)

    assert "(secret)" in rows
    assert secret not in rows


def test_what_names_a_secret_and_is_none_passes(run: Run) -> None:
    driver = Locked()
    driver.tells = {"secret_uuid": str(uuid4()), "auth_password": None}

    async def scenario(house: House) -> Any:
        return await initialized(house, await house.available(), "key-1")

    assert run(driver, scenario)["data"]["secret_uuid"]
