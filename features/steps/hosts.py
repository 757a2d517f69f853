"""Sentences about hosts that use volumes as disks, and instances that keep files there.

An instance runs on "node-1" if nothing is said.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from pytest_bdd import given, then, when

from adapters.contracts.initiator import Refused
from features.steps.attachments import (
    HOME,
    MODES,
    complete,
    connect,
    has_attached_on,
    has_let_go,
    hold,
    succeeded,
)
from features.steps.sentences import says
from features.steps.volumes import GIB
from features.steps.world import World


@given(says('"{holder:Name}" uses "{name:Name}" on "{host:Name}"'))
def uses_on(world: World, holder: str, name: str, host: str) -> None:
    has_attached_on(world, holder, name, host)
    world.host(host).log_in(name, world.connections[holder, name])


@given(says('"{holder:Name}" uses "{name:Name}"'))
def uses(world: World, holder: str, name: str) -> None:
    uses_on(world, holder, name, HOME)


@given(says('"{host:Name}" waits for a storage that is away'))
def is_patient(world: World, host: str) -> None:
    world.host(host).be_patient()


@given(says('"{holder:Name}" keeps the file "{file:Name}" on "{name:Name}"'))
def keeps_file(world: World, holder: str, file: str, name: str) -> None:
    uses(world, holder, name)
    host = world.host(HOME)
    host.make_file_system(name)
    path = host.folder(name) / file
    world.instances[holder] = host.start(path, text_of(file))


def text_of(file: str) -> str:
    """Return what an instance writes into a file."""
    return f"what {file} are" * 1000


@given(says('"{holder:Name}" died without a word'))
def died(world: World, holder: str) -> None:
    world.instances[holder].kill()
    world.instances[holder].wait()


@given(says('"{name:Name}" was taken from "{holder:Name}"'))
def was_taken(world: World, name: str, holder: str) -> None:
    has_let_go(world, holder, name)


@when(says('"{holder:Name}" gets "{name:Name}" on "{host:Name}"'))
def gets(world: World, holder: str, name: str, host: str) -> None:
    uses_on(world, holder, name, host)


@when(says('"{holder:Name}" gets "{name:Name}" on "{host:Name}" for {why:Status}'))
def gets_for(world: World, holder: str, name: str, host: str, why: str) -> None:
    succeeded(hold(world, holder, name, mode=MODES[why]))
    connect(world, holder, name, host)
    complete(world, holder, name)
    world.host(host).log_in(name, world.connections[holder, name])


@given(says('"{host:Name}" wrote "{text:Name}" to "{name:Name}"'))
@when(says('"{host:Name}" writes "{text:Name}" to "{name:Name}"'))
def writes(world: World, host: str, text: str, name: str) -> None:
    world.host(host).write(name, text)


@when(says('"{host:Name}" logs in to "{name:Name}" as "{holder:Name}" was told'))
def logs_in(world: World, host: str, name: str, holder: str) -> None:
    attempt(world, host, name, world.connections[holder, name])


@when(
    says(
        '"{host:Name}" logs in to "{name:Name}" as "{holder:Name}" was told,'
        " with a wrong secret"
    )
)
def logs_in_wrongly(world: World, host: str, name: str, holder: str) -> None:
    told = world.connections[holder, name]
    wrong = told["data"] | {"auth_password": "a wrong secret"}
    attempt(world, host, name, told | {"data": wrong})


@when(
    says(
        '"{host:Name}" logs in to "{name:Name}" as "{holder:Name}" was told,'
        " without a secret"
    )
)
def logs_in_barely(world: World, host: str, name: str, holder: str) -> None:
    told = world.connections[holder, name]
    known = {n: v for n, v in told["data"].items() if not n.startswith("auth_")}
    attempt(world, host, name, told | {"data": known})


def attempt(world: World, host: str, name: str, told: dict[str, Any]) -> None:
    """Log in; whether it is let in is for a Then step to judge."""
    world.refusal = ""
    try:
        world.host(host).log_in(name, told)
    except Refused as refused:
        world.refusal = str(refused)


@when("the storage's machine loses its power and starts again")
def restart_machine(world: World) -> None:
    world.lose_power()


# What is then so


@then(says('"{holder:Name}" finds the file "{file:Name}" on "{name:Name}"'))
def finds_file(world: World, holder: str, file: str, name: str) -> None:
    folder = world.host(world.homes[holder]).folder(name)
    assert (folder / file).read_text() == text_of(file)


@then(says('"{host:Name}" is let in to "{name:Name}"'))
def is_let_in(world: World, host: str, name: str) -> None:
    assert not world.refusal
    assert world.host(host).disk(name).is_block_device()


@then(says('"{host:Name}" is not let in'))
def is_not_let_in(world: World, host: str) -> None:
    assert world.refusal


@then(says('"{host:Name}" reads "{text:Name}" from "{name:Name}"'))
def reads(world: World, host: str, text: str, name: str) -> None:
    assert world.host(host).read(name) == text


@then(says('"{host:Name}" cannot write "{name:Name}"'))
def cannot_write(world: World, host: str, name: str) -> None:
    with pytest.raises(OSError, match=r"Read-only|Permission|Input/output|No such"):
        world.host(host).write(name, "written by who may not")


@then(says('"{host:Name}" writes "{name:Name}"'))
def can_write(world: World, host: str, name: str) -> None:
    world.host(host).write(name, "written by who may")


@then(says('"{holder:Name}" goes on keeping files on "{name:Name}"'))
def goes_on(world: World, holder: str, name: str) -> None:
    host = world.host(world.homes[holder])
    host.start(host.folder(name) / "more", text_of("more"))


@then(says('"{host:Name}" sees a disk of {size:d} GiB for "{name:Name}"'))
def sees_size(world: World, host: str, size: int, name: str) -> None:
    world.soon(partial(world.host(host).size, name), size * GIB)
