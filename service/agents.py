"""Running a backend's agent: its driver by name, its broker by URL, never the log."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

from nats.aio.client import Client

from adapters.jetstream.agent import Agent
from adapters.targets.choosing import target_of
from adapters.tasks import ended
from domain.ports import Driver, DriverFailed, Target
from service.connecting import connect
from service.holding import held, lock_of
from service.interpreter import quicken
from service.running import Told, begun, check_key, overseen, until_stopped
from service.settings import (
    DRIVERS,
    IS_A_NAME,
    LVM_DRIVER,
    BackendSettings,
    Settings,
    Unusable,
    found,
)
from service.telemetry import metrics
from service.telemetry.operations import note
from service.telemetry.readiness import beginning, of_agent

GRACE = 10.0  # seconds that an operation may go on when its agent is to leave


def run_agent(
    settings: Settings, name: str | None, told: Told, driver: str | None = None
) -> None:
    """Run the agent of one backend, which may be left unnamed if it is the only one."""
    backend = served(settings, name, driver)
    check_key(settings)

    async def main(stack: AsyncExitStack) -> Awaitable[Any]:
        quicken()
        systemd = begun(stack, "holdfast-agent", settings)
        systemd.tell("STATUS=waiting for another agent on this host to end")
        holder = await stack.enter_async_context(held(lock_of(settings, backend.name)))
        stack.callback(abandon)  # before the lock is let go
        driver = driver_for(settings, backend)
        readiness = beginning(settings.nats_url)
        await overseen(stack, systemd, settings, readiness)
        client = await stack.enter_async_context(
            await connect(settings.nats_url, "agent")
        )
        told(settings.nats_url)
        serving = agent(client, settings, backend, driver, holder)
        work = asyncio.ensure_future(serving.run())
        stack.push_async_callback(ended, work)
        stack.push_async_callback(finished, serving)
        stack.enter_context(metrics.collected(lambda: metrics.of_agent(serving)))
        readiness.becomes(of_agent(client, serving))
        stack.callback(systemd.leaves)
        return work

    until_stopped(main)


def agent(
    client: Client,
    settings: Settings,
    backend: BackendSettings,
    driver: Driver,
    holder: str,
) -> Agent:
    """Return the agent of one backend, whose metrics are kept."""
    return Agent(client, driver, backend.name, settings.key, holder, note)


def driver_for(settings: Settings, backend: BackendSettings) -> Driver:
    """Return the driver of a backend of the settings; raise `Unusable`."""
    return driver_of(backend, settings.key, defaults_of(settings))


async def finished(*agents: Agent) -> None:
    """Let agents finish what is under way, for as long as it may take."""
    await asyncio.gather(*(each.finish(GRACE) for each in agents))


def abandon() -> None:
    """End at once where a driver is still at work: it may be killed at any point.

    It is not waited for, and does not go on beside the next agent.
    """
    if any(thread.name.startswith("agent-") for thread in threading.enumerate()):
        os._exit(0)


def served(settings: Settings, name: str | None, driver: str | None) -> BackendSettings:
    """Return the backend that an agent is to serve.

    Where the settings have none, it is the volume group of the plain keys. Raises
    `Unusable` where none is meant, or it has another driver.
    """
    dotted = driver and DRIVERS.get(driver, driver)
    if not settings.backends:
        called = name or settings.volume_group
        if not IS_A_NAME.fullmatch(called):
            raise Unusable(f"{called} is no name for a backend; give it one: --backend")
        return BackendSettings(called, dotted or settings.volume_driver or LVM_DRIVER)
    named = [b for b in settings.backends if name in (None, b.name)]
    if len(named) != 1:
        known = ", ".join(backend.name for backend in settings.backends)
        raise Unusable(f"name one of the backends in the settings: {known}")
    [backend] = named
    has = backend.volume_driver or dotted or LVM_DRIVER
    if dotted not in (None, has):
        raise Unusable(f"backend {backend.name} has the driver {has}, not {dotted}")
    return replace(backend, volume_driver=has)


def defaults_of(settings: Settings) -> dict[str, Any]:
    """Return the plain keys that are meant for drivers which know them."""
    return {
        "volume_group": settings.volume_group,
        "num_shell_tries": settings.num_shell_tries,
    }


def driver_of(
    backend: BackendSettings, key: bytes, defaults: Mapping[str, Any] | None = None
) -> Driver:
    """Return the driver that a backend names, with the keys that are its own.

    One that has secrets to set is given the `key` that they are derived with, and
    one that exports its volumes the `target` that Cinder's options choose.
    """
    dotted = backend.volume_driver or LVM_DRIVER
    kind = found(dotted)
    options = dict(backend.options) | {
        "name": backend.name,
        "reserved_percentage": backend.reserved_percentage,
        "max_over_subscription_ratio": backend.max_over_subscription_ratio,
    }
    known = known_to(kind, backend)
    plain = {name: value for name, value in (defaults or {}).items() if name in known}
    options = plain | options
    if "key" in known:
        options["key"] = key
    if "target" in known:
        options["target"] = targeted(options, backend.name, key)
    unknown = [key for key in options if key not in known]
    missing = [
        key for key, p in known.items() if p.default is p.empty and key not in options
    ]
    for keys, wrong in ((unknown, "does not know"), (missing, "needs")):
        if keys:
            raise Unusable(
                f"backend {backend.name}: {dotted} {wrong} {', '.join(keys)}"
            )
    if "folder" in options:
        options["folder"] = Path(options["folder"])
    try:
        driver: Driver = kind(**options)
    except DriverFailed as error:
        raise Unusable(f"backend {backend.name}: {error}") from error
    return driver


def known_to(kind: type, backend: BackendSettings) -> Mapping[str, Parameter]:
    """Return what a driver's class is made from; raise `Unusable`."""
    try:
        return signature(kind).parameters
    except ValueError as error:  # a class that is not written in Python
        wrong = f"backend {backend.name}: {backend.volume_driver} is no driver"
        raise Unusable(wrong) from error


def targeted(options: dict[str, Any], owner: str, key: bytes) -> Target:
    """Return the target that the options choose, and take those from them."""
    known = signature(target_of).parameters.keys() - {"owner", "key"}
    chosen = {name: options.pop(name) for name in known & options.keys()}
    try:
        return target_of(owner=owner, key=key, **chosen)
    except DriverFailed as error:
        raise Unusable(f"backend {owner}: {error}") from error
