"""Sentences about checkpoints, and about what is proven to those who keep one."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from pytest_bdd import given, then, when

from adapters.jetstream.checkpoints import STREAM
from domain.checkpoint import Checkpoint, opened
from domain.note import Verifier
from domain.tree import is_consistent, is_included
from features.steps.sentences import says
from features.steps.world import World


def checkpoint_in(told: dict[str, Any]) -> Checkpoint:
    """Return what is signed, once it is checked."""
    return opened(told["note"], Verifier.read(told["key"]))


def path_in(told: dict[str, Any]) -> list[bytes]:
    return [bytes.fromhex(step["hash"]) for step in told["path"]]


@given("a checkpoint that an auditor keeps", target_fixture="kept")
def keeps(world: World) -> dict[str, Any]:
    world.soon(lambda: "note" in world.look("audit.checkpoint"), expected=True)
    return world.look("audit.checkpoint")


@when("the newest checkpoint is asked for")
def ask_newest(world: World) -> None:
    keeps(world)
    world.ask("audit.checkpoint")


@then("it is signed with the log's own key")
def is_signed(world: World) -> None:
    checkpoint = checkpoint_in(world.answer)
    root, link = checkpoint.root.hex(), checkpoint.link.hex()
    assert (world.answer["root"], world.answer["chain"]) == (root, link)
    verdict = world.look("audit.verify", to=checkpoint.size)
    assert (verdict["intact"], verdict["chain"]) == (True, link)


@then("the same is in a stream from which nobody takes it away")
def is_in_stream(world: World, kept: dict[str, Any]) -> None:
    async def notes() -> list[str]:
        stream = world.service.client.jetstream()
        info = await stream.stream_info(STREAM)
        assert (info.config.deny_delete, info.config.deny_purge) == (True, True)
        numbers = range(1, info.state.last_seq + 1)
        found = [await stream.get_msg(STREAM, number) for number in numbers]
        return [(message.data or b"").decode() for message in found]

    assert kept["note"] in world.service.run(notes())


@when(says('the creation of "{name:Name}" is to be proven'))
def prove_creation(world: World, name: str) -> None:
    position = world.history(name)[0]["position"]
    world.ask("audit.prove_inclusion", position=position, size=world.end_of_log())


@then("the proof leads from that event to the root hash of the log")
def leads_to_root(world: World) -> None:
    told = world.answer
    row, root = bytes.fromhex(told["row"]), bytes.fromhex(told["root"])
    index, size = told["position"] - 1, told["size"]
    assert b"volume.created" in row
    assert is_included(sha256(b"\0" + row).digest(), index, size, path_in(told), root)


@when("an event beyond the end of the log is to be proven")
def prove_beyond(world: World) -> None:
    world.ask("audit.prove_inclusion", position=world.end_of_log() + 1)


@when("it is to be proven that the log only grew since")
def prove_growth(world: World, kept: dict[str, Any]) -> None:
    world.ask("audit.prove_consistency", **{"from": checkpoint_in(kept).size})


@then("the proof leads from the kept root hash to the new one")
def leads_to_new(world: World, kept: dict[str, Any]) -> None:
    then, told = checkpoint_in(kept), world.answer
    now = bytes.fromhex(told["to_root"])
    assert told["to"] > told["from"] == then.size
    assert is_consistent(then.size, told["to"], path_in(told), then.root, now)


@when("it is to be proven that the log grew backwards")
def prove_backwards(world: World) -> None:
    world.ask("audit.prove_consistency", **{"from": 2, "to": 1})
