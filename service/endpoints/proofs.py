"""Subjects under `audit` for whoever keeps a checkpoint: what is signed, and proofs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from marshmallow import ValidationError

from service.endpoints.endpoint import query
from service.messages.schema import POSITION, Message, StrictInteger, check_end

if TYPE_CHECKING:
    from service.replica import Replica


class Nothing(Message):
    pass


@query("audit.checkpoint", takes=Nothing())
async def checkpoint(replica: Replica) -> dict[str, Any]:
    """Return the newest signed checkpoint, and the key that it is checked with."""
    return await replica.proving.checkpoint()


class Inclusion(Message):
    position = StrictInteger(required=True, validate=POSITION)
    size = StrictInteger(validate=POSITION, load_default=None)


@query("audit.prove_inclusion", takes=Inclusion())
async def inclusion(
    replica: Replica, position: int, size: int | None
) -> dict[str, Any]:
    """Prove that an event is in the log, or was when that was so long."""
    newest = await replica.log.newest()
    size = size or newest
    check_order(position, size, newest, "position", "size")
    return await replica.proving.inclusion(position, size)


class Consistency(Message):
    first = StrictInteger(required=True, validate=POSITION, data_key="from")
    second = StrictInteger(validate=POSITION, load_default=None, data_key="to")


@query("audit.prove_consistency", takes=Consistency())
async def consistency(
    replica: Replica, first: int, second: int | None
) -> dict[str, Any]:
    """Prove that the log begins with what it was when it was shorter."""
    newest = await replica.log.newest()
    second = second or newest
    check_order(first, second, newest, "from", "to")
    return await replica.proving.consistency(first, second)


def check_order(first: int, second: int, newest: int, *names: str) -> None:
    """Refuse to prove what is beyond the end of the log, or backwards."""
    check_end(second, newest, names[1])
    if first > second:
        raise ValidationError(f"Must be at most `{names[1]}`, {second}.", names[0])


ENDPOINTS = (checkpoint, inclusion, consistency)
