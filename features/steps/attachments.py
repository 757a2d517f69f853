"""Sentences about who holds a volume.

A holder is an instance; a name that begins with "node" is a host.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any
from uuid import uuid4

from pytest_bdd import given, then, when

from features.steps.sentences import says
from features.steps.volumes import (
    available,
    being_deleted,
    being_extended,
    being_made,
    could_not_delete,
    could_not_extend,
    is_in_status,
    not_made,
    spelt,
    was_deleted,
)
from features.steps.world import World

HOME = "node-1"  # where an instance runs if nothing is said
MODES = {"reading": "ro", "writing": "rw"}


def who(holder: str) -> dict[str, str]:
    return {"host" if holder.startswith("node") else "instance": holder}


def hold(world: World, holder: str, name: str, **more: Any) -> dict[str, Any]:
    """Reserve, and remember under which id."""
    asked = {"volume_id": world.volumes[name]} | who(holder) | more
    answer = world.ask("attachment.create", **asked)
    if "id" in answer:
        world.attachments[holder, name] = answer["id"]
    return answer


def succeeded(answer: dict[str, Any]) -> dict[str, Any]:
    assert "title" not in answer, answer
    return answer


# The way of today: reserve, connect, complete, delete


@given(says('"{holder:Name}" has reserved "{name:Name}"'))
def has_reserved(world: World, holder: str, name: str) -> None:
    succeeded(hold(world, holder, name))


@given(says('"{holder:Name}" has reserved "{name:Name}" for {purpose:Status}'))
def has_reserved_for(world: World, holder: str, name: str, purpose: str) -> None:
    succeeded(hold(world, holder, name, mode=MODES[purpose]))


@given(says('"{holder:Name}" is attaching "{name:Name}"'))
def is_attaching(world: World, holder: str, name: str) -> None:
    is_attaching_on(world, holder, name, HOME)


@given(says('"{holder:Name}" is attaching "{name:Name}" on "{host:Name}"'))
def is_attaching_on(world: World, holder: str, name: str, host: str) -> None:
    has_reserved(world, holder, name)
    connect(world, holder, name, host)
    succeeded(world.answer)


@given(
    says('"{holder:Name}" has reserved "{name:Name}" on a backend that does not answer')
)
def has_reserved_in_vain(world: World, holder: str, name: str) -> None:
    available(world, name, backend="faulty")
    has_reserved(world, holder, name)
    world.steer("faulty", "hold", "connect")


@given(
    says('"{holder:Name}" has attached "{name:Name}" on a backend that does not answer')
)
def has_attached_for_ever(world: World, holder: str, name: str) -> None:
    available(world, name, backend="faulty")
    has_attached(world, holder, name)
    world.steer("faulty", "hold", "disconnect")


@given(
    says(
        '"{first:Name}" has attached "{name:Name}" on "{here:Name}"'
        ' and "{second:Name}" on "{there:Name}"'
    )
)
def both_have_attached(
    world: World, first: str, name: str, here: str, second: str, there: str
) -> None:
    has_attached_on(world, first, name, here)
    has_attached_on(world, second, name, there)


@given(
    says('"{holder:Name}" is on its way and has let go of "{name:Name}" where it was')
)
def is_on_its_way(world: World, holder: str, name: str) -> None:
    has_attached(world, holder, name)
    reserve_again(world, holder, name)
    has_let_go(world, holder, name)


@given(
    says(
        '"{holder:Name}" was attached to a volume "{name:Name}"'
        " that is being extended to {size:d} GiB"
    )
)
def attached_and_growing(world: World, holder: str, name: str, size: int) -> None:
    available(world, name, backend="faulty")
    was_attached(world, holder, name)
    being_extended(world, name, size)


@given(says('a volume "{name:Name}" that is {status:Status}'))
def that_is(world: World, name: str, status: str) -> None:
    """Bring a volume into any status; whoever holds it is "web-1"."""
    if status not in ("creating", "error"):
        available(world, name, backend="faulty")
    reached: dict[str, Callable[[], None]] = {
        "creating": lambda: being_made(world, name),
        "error": lambda: not_made(world, name),
        "available": lambda: None,
        "extending": lambda: being_extended(world, name, 2),
        "error_extending": lambda: could_not_extend(world, name, 2),
        "deleting": lambda: being_deleted(world, name),
        "deleted": lambda: was_deleted(world, name),
        "error_deleting": lambda: could_not_delete(world, name),
        "reserved": lambda: has_reserved(world, "web-1", name),
        "attaching": lambda: is_attaching(world, "web-1", name),
        "in-use": lambda: has_attached(world, "web-1", name),
        "detaching": lambda: is_detaching(world, "web-1", name),
    }
    reached[status]()
    is_in_status(world, name, status)


@given(says('"{holder:Name}" has attached "{name:Name}"'))
def has_attached(world: World, holder: str, name: str) -> None:
    has_attached_on(world, holder, name, HOME)


@given(says('"{holder:Name}" has attached "{name:Name}" on "{host:Name}"'))
def has_attached_on(world: World, holder: str, name: str, host: str) -> None:
    is_attaching_on(world, holder, name, host)
    complete(world, holder, name)
    succeeded(world.answer)


@given(says('"{holder:Name}" is detaching "{name:Name}"'))
def is_detaching(world: World, holder: str, name: str) -> None:
    has_attached(world, holder, name)
    begin_detaching_from(world, holder, name)
    succeeded(world.answer)


@given(says('"{holder:Name}" has detached "{name:Name}"'))
def has_detached(world: World, holder: str, name: str) -> None:
    has_attached(world, holder, name)
    let_go(world, holder, name)
    succeeded(world.answer)


@given(
    says(
        'a volume "{name:Name}" of {size:d} GiB that "{holder:Name}" holds'
        " and that could not be extended"
    )
)
def held_and_not_extended(world: World, name: str, size: int, holder: str) -> None:
    available(world, name, size_gib=size, backend="faulty")
    has_attached(world, holder, name)
    could_not_extend(world, name, size + 1)


@given(says('"{holder:Name}" could not be connected to "{name:Name}"'))
def could_not_connect(world: World, holder: str, name: str) -> None:
    could_not_connect_on(world, holder, name, HOME)


@given(says('"{holder:Name}" could not be connected to "{name:Name}" on "{host:Name}"'))
def could_not_connect_on(world: World, holder: str, name: str, host: str) -> None:
    has_reserved(world, holder, name)
    world.steer("faulty", "fail", "connect")
    connect(world, holder, name, host)
    assert world.answer["type"] == "fault", world.answer
    world.calm("faulty")


@given(says('"{holder:Name}" could not be taken off "{name:Name}"'))
def could_not_take_off(world: World, holder: str, name: str) -> None:
    has_attached(world, holder, name)
    world.steer("faulty", "fail", "disconnect")
    let_go(world, holder, name)
    assert world.answer["type"] == "fault", world.answer
    world.calm("faulty")


@given(says('"{holder:Name}" let go of "{name:Name}"'))
def has_let_go(world: World, holder: str, name: str) -> None:
    let_go(world, holder, name)
    succeeded(world.answer)


@when(says('"{holder:Name}" reserves "{name:Name}"'))
def reserve(world: World, holder: str, name: str) -> None:
    hold(world, holder, name)


@when(says('"{holder:Name}" reserves "{name:Name}" once more'))
@given(says('"{holder:Name}" has reserved "{name:Name}" once more'))
def reserve_again(world: World, holder: str, name: str) -> None:
    """As before a move to another host: both holds keep their names."""
    first = world.attachments.pop((holder, name))
    answer = hold(world, holder, name)
    if "id" in answer:
        world.attachments[f"{holder} again", name] = answer["id"]
    world.attachments[holder, name] = first


@when(says('"{holder:Name}" reserves "{name:Name}" for {purpose:Status}'))
def reserve_for(world: World, holder: str, name: str, purpose: str) -> None:
    hold(world, holder, name, mode=MODES[purpose])


@when(says('"{holder:Name}" reserves "{name:Name}" from "{host:Name}" at once'))
def reserve_and_connect(world: World, holder: str, name: str, host: str) -> None:
    hold(world, holder, name, connector=world.connector(host))


@when(says('nobody in particular reserves "{name:Name}"'))
def reserve_for_nobody(world: World, name: str) -> None:
    world.ask("attachment.create", volume_id=world.volumes[name])


@when(says('"{holder:Name}" reserves a volume that never was'))
def reserve_nothing(world: World, holder: str) -> None:
    world.ask("attachment.create", volume_id=str(uuid4()), **who(holder))


@when(says('"{holder:Name}" connects "{name:Name}"'))
def connect_at_home(world: World, holder: str, name: str) -> None:
    connect(world, holder, name, HOME)


@when(says('"{holder:Name}" connects "{name:Name}" on "{host:Name}"'))
def connect(world: World, holder: str, name: str, host: str, **more: str) -> None:
    attachment_id = world.attachment_id(holder, name)
    connector = world.connector(host, **more)
    answer = world.ask("attachment.update", id=attachment_id, connector=connector)
    if connection := answer.get("connection"):
        world.connections[holder, name] = connection
        world.homes[holder] = host


@when(says('"{holder:Name}" connects "{name:Name}" on "{host:Name}" for {why:Status}'))
def connect_for(world: World, holder: str, name: str, host: str, why: str) -> None:
    connect(world, holder, name, host, mode=MODES[why])


@when(says('"{holder:Name}" connects "{name:Name}" from nowhere'))
def connect_from_nowhere(world: World, holder: str, name: str) -> None:
    attachment_id = world.attachment_id(holder, name)
    world.ask("attachment.update", id=attachment_id, connector={"platform": "x86_64"})


@when(says('"{holder:Name}" reports that it uses "{name:Name}"'))
def complete(world: World, holder: str, name: str) -> None:
    world.ask("attachment.complete", id=world.attachment_id(holder, name))


@given(says('"{holder:Name}" has asked to let go of "{name:Name}"'))
@when(says('"{holder:Name}" lets go of "{name:Name}"'))
def let_go(world: World, holder: str, name: str) -> None:
    world.ask("attachment.delete", id=world.attachment_id(holder, name))


@when("an attachment that never was is ended")
def end_nothing(world: World) -> None:
    world.ask("attachment.delete", id=str(uuid4()))


# The way of old: reserve, attach, begin to detach, detach


@given(says('"{name:Name}" was promised to whoever comes'))
@when(says('"{name:Name}" is promised to whoever comes'))
def promise(world: World, name: str) -> None:
    world.ask("volume.reserve", id=world.volumes[name])


@when(says('the promise of "{name:Name}" is taken back'))
def take_back(world: World, name: str) -> None:
    world.ask("volume.unreserve", id=world.volumes[name])


@given(says('"{holder:Name}" was attached to "{name:Name}"'))
def was_attached(world: World, holder: str, name: str) -> None:
    attach(world, holder, name)
    succeeded(world.answer)


@when(says('"{holder:Name}" is attached to "{name:Name}"'))
def attach(world: World, holder: str, name: str, **more: str) -> None:
    world.ask("volume.attach", id=world.volumes[name], **who(holder), **more)


@when(says('"{holder:Name}" is attached to "{name:Name}" for {purpose:Status}'))
def attach_for(world: World, holder: str, name: str, purpose: str) -> None:
    attach(world, holder, name, mode=MODES[purpose])


@when(says('"{holder:Name}" is attached to "{name:Name}" as "{path:Name}"'))
def attach_as(world: World, holder: str, name: str, path: str) -> None:
    attach(world, holder, name, mountpoint=path)


@given(says('"{holder:Name}" was refused to write "{name:Name}"'))
def was_refused(world: World, holder: str, name: str) -> None:
    attach_for(world, holder, name, "writing")
    assert world.answer["type"] == "refused", world.answer


@when(
    says(
        '"{holder:Name}" is attached to "{name:Name}", its {what:Status} being {value}'
    )
)
def attach_with(world: World, holder: str, name: str, what: str, value: str) -> None:
    known = {"path": "mountpoint", "purpose": "mode"}
    said = {"instance": holder} | {known.get(what, what): spelt(value)}
    world.ask("volume.attach", id=world.volumes[name], **said)


@when(says('nobody in particular is attached to "{name:Name}"'))
def attach_nobody(world: World, name: str) -> None:
    world.ask("volume.attach", id=world.volumes[name])


@given(says('"{name:Name}" was asked back'))
@when(says('"{name:Name}" is asked back'))
def begin_detaching(world: World, name: str) -> None:
    world.ask("volume.begin_detaching", id=world.volumes[name])


@when(says('"{name:Name}" is asked back from "{holder:Name}"'))
def ask_back_from(world: World, name: str, holder: str) -> None:
    begin_detaching_from(world, holder, name)


def begin_detaching_from(world: World, holder: str, name: str) -> None:
    held = {
        "id": world.volumes[name],
        "attachment_id": world.attachment_id(holder, name),
    }
    world.ask("volume.begin_detaching", **held)


@when(says('"{name:Name}" is kept after all'))
def roll_detaching(world: World, name: str) -> None:
    world.ask("volume.roll_detaching", id=world.volumes[name])


@given(says('"{name:Name}" was detached'))
def was_detached(world: World, name: str) -> None:
    detach(world, name)
    succeeded(world.answer)


@when(says('"{name:Name}" is detached'))
def detach(world: World, name: str) -> None:
    world.ask("volume.detach", id=world.volumes[name])


@when(says('"{name:Name}" is detached from "{holder:Name}"'))
def detach_from(world: World, name: str, holder: str) -> None:
    held = {
        "id": world.volumes[name],
        "attachment_id": world.attachment_id(holder, name),
    }
    world.ask("volume.detach", **held)


@when(says('"{name:Name}" is detached from a holder that never was'))
def detach_from_nobody(world: World, name: str) -> None:
    world.ask("volume.detach", id=world.volumes[name], attachment_id=str(uuid4()))


# At the same moment


@when(says("{times:d} times, two instances reserve the same volume at once"))
def race_to_reserve(world: World, times: int) -> None:
    race(world, times, "attachment.create", "volume_id")


@when(says("{times:d} times, two instances are attached to the same volume at once"))
def race_to_attach(world: World, times: int) -> None:
    race(world, times, "volume.attach", "id")


@when(says("{times:d} times, a reservation and a deletion meet"))
def race_to_delete(world: World, times: int) -> None:
    world.answers = []
    for turn in range(times):
        volume_id = made_for_race(world, turn)
        world.answers += world.service.ask_at_once(
            ("volume.delete", {"id": volume_id}),
            ("attachment.create", {"volume_id": volume_id, "instance": "web-1"}),
        )


def race(world: World, times: int, command: str, key: str) -> None:
    world.answers = []
    for turn in range(times):
        volume_id = made_for_race(world, turn)
        world.answers += world.service.ask_at_once(
            (command, {key: volume_id, "instance": "web-1"}),
            (command, {key: volume_id, "instance": "web-2"}),
        )


def made_for_race(world: World, turn: int) -> str:
    name = f"prize {turn}"
    made = world.do("volume.create", name=name, size_gib=1, backend="files")
    world.volumes[name] = made["id"]
    world.soon(lambda: world.volume(name)["status"], "available")
    return str(made["id"])


@then("each time one of the two wins and the other is refused")
def one_wins(world: World) -> None:
    pairs = zip(world.answers[::2], world.answers[1::2], strict=True)
    for pair in pairs:
        assert sorted(answer.get("type", "") for answer in pair) == ["", "refused"], (
            pair
        )


@then("each time one of the two holds it")
def one_holds(world: World) -> None:
    held = [len(world.volume(name)["attachments"]) for name in world.volumes]
    assert held == [1] * len(held)


def is_settled(world: World, name: str) -> bool:
    return bool(world.volume(name)["status"] != "deleting")


@then("each volume that was not deleted is reserved")
def deleted_or_reserved(world: World) -> None:
    for name in world.volumes:
        world.soon(partial(is_settled, world, name), expected=True)
        seen = world.volume(name)
        left = {"deleted": 0, "reserved": 1}
        assert len(seen["attachments"]) == left[seen["status"]]


# What is then so


@then(says('the attachment of "{holder:Name}" to "{name:Name}" is {status:Status}'))
def attachment_is(world: World, holder: str, name: str, status: str) -> None:
    world.soon(lambda: world.attachment(holder, name)["status"], status)


@then(
    says(
        'the attachment of "{holder:Name}" to "{name:Name}" is {status:Status}'
        ' because "{words:Name}"'
    )
)
def attachment_is_because(
    world: World, holder: str, name: str, status: str, words: str
) -> None:
    attachment_is(world, holder, name, status)
    assert words in world.attachment(holder, name)["error"]["message"]


@then(says('"{holder:Name}" may only read "{name:Name}"'))
def may_only_read(world: World, holder: str, name: str) -> None:
    seen = world.attachment(holder, name)
    assert seen["mode"] == "ro"
    if seen["connection"]:
        assert seen["connection"]["data"]["access_mode"] == "ro"


@then(says('"{holder:Name}" may write "{name:Name}"'))
def may_write(world: World, holder: str, name: str) -> None:
    seen = world.attachment(holder, name)
    assert seen["mode"] == "rw"


@then(says('"{holder:Name}" finds "{name:Name}" as "{path:Name}"'))
def finds_as(world: World, holder: str, name: str, path: str) -> None:
    assert world.attachment(holder, name)["mountpoint"] == path


@then(says('"{name:Name}" has {times:d} attachments'))
@then(says('"{name:Name}" has {times:d} attachment'))
def has_attachments(world: World, name: str, times: int) -> None:
    world.soon(lambda: len(world.volume(name)["attachments"]), times)


# Listing


def found(world: World, **asked: Any) -> list[str]:
    position = world.end_of_log()
    page = world.do("attachment.list", min_position=position, limit=1000, **asked)
    known = {made: holder for (holder, _), made in world.attachments.items()}
    return sorted(known[item["id"]] for item in page["items"] if item["id"] in known)


@then(says('the attachments of "{name:Name}" are those of "{holders:Name}"'))
def listed_by_volume(world: World, name: str, holders: str) -> None:
    assert found(world, volume_id=world.volumes[name]) == holders.split(", ")


@then(says('no attachment of "{name:Name}" is listed'))
def none_listed(world: World, name: str) -> None:
    assert found(world, volume_id=world.volumes[name]) == []


@then(
    says('the {status:Status} attachments of "{name:Name}" are those of "{who:Name}"')
)
def listed_by_status(world: World, status: str, name: str, who: str) -> None:
    listed = found(world, volume_id=world.volumes[name], status=status)
    assert listed == who.split(", ")


@then(says('what "{holder:Name}" holds is an attachment to "{name:Name}"'))
def listed_by_holder(world: World, holder: str, name: str) -> None:
    assert holder in found(world, **who(holder))


@then(
    says(
        'what "{holder:Name}" holds of "{name:Name}" is an attachment of "{host:Name}"'
    )
)
def listed_by_host(world: World, holder: str, name: str, host: str) -> None:
    assert found(world, host=host) == [holder]
