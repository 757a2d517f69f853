"""What many commands store in one transaction, and whom a conflict concerns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from uuid import UUID

from eventsourcing.persistence import IntegrityError, StoredEvent

from adapters.postgres.batch import Batch, Conflict, Kept
from domain.aggregate import Event
from service.deciding.command import Command, Key, parts_of

NO_LIMIT = 2**62  # GiB: what is given back is under none


def made_of(
    batch: Sequence[Command],
    stored: Callable[[Event], StoredEvent],
    positions: Mapping[UUID, int],
    word: str | None,
) -> Batch:
    """Return what has to be stored of commands, and what that is based on.

    `positions` tells where aggregates were before, `word` what those are told who
    follow the log. Raises `Conflict`.
    """
    events: list[Event] = []
    keys: list[tuple[Kept, int]] = []
    asked: list[str] = []
    parts: dict[UUID, UUID] = {}
    seen: dict[str, int] = {}
    for command in batch:
        events += command.events
        parts |= command.decision.parts
        for backend, gib in command.seen.items():
            seen[backend] = max(gib, seen.get(backend, 0))
        if command.request_id:
            asked.append(command.request_id)
            if not command.reply.code:
                last = len(events) - 1
                if not command.events:
                    last = last_of(command.reply.aggregate_id, events)
                keys.append((kept(command, positions), last))
    made = list(map(stored, events))
    room = room_of(batch)
    return Batch(made, based_on(batch), keys, asked, parts, *room, seen, word)


def kept(command: Command, positions: Mapping[UUID, int]) -> Kept:
    """Return what is kept of a reply for a repeated request."""
    reply = command.reply
    assert reply.aggregate_id  # what succeeds shows something
    return Kept(
        command.request_id,
        command.fingerprint,
        reply.aggregate_id,
        reply.version,
        reply.part_id,
        positions.get(reply.aggregate_id, 0),
    )


def based_on(batch: Iterable[Command]) -> dict[UUID, int]:
    """Return the version of every aggregate that a batch began with.

    The database confirms that one, or what is written right after it. So `Conflict`
    is raised where an aggregate was read anew in between, and is not as it was left.
    """
    first: dict[UUID, int] = {}
    latest: dict[UUID, int] = {}
    moved_on: set[UUID] = set()
    for command in batch:
        for aggregate_id, (_, version, _, _) in command.decision.touched.items():
            first.setdefault(aggregate_id, version)
            if latest.setdefault(aggregate_id, version) != version:
                moved_on.add(aggregate_id)
        for event in command.events:
            latest[event.originator_id] = event.originator_version
    if moved_on:
        raise Conflict(moved_on)
    return first


def last_of(aggregate_id: UUID | None, events: Sequence[Event]) -> int:
    """Return the index of an aggregate's last event, -1 if there is none.

    What adds nothing shows what another command of its batch has added.
    """
    indexes = reversed(range(len(events)))
    of = (i for i in indexes if events[i].originator_id == aggregate_id)
    return next(of, -1)


def room_of(batch: Iterable[Command]) -> tuple[dict[str, int], dict[str, int]]:
    """Return how many GiB of each backend commands take, and what must not be passed.

    Each command was decided within a limit of its own, for what is taken up to it.
    """
    taken: dict[str, int] = {}
    left: dict[str, int] = {}
    for command in batch:
        for backend, gib in command.taken.items():
            taken[backend] = so_far = taken.get(backend, 0) + gib
            own = command.decision.limits.get(backend, NO_LIMIT) - so_far
            left[backend] = min(own, left.get(backend, own))
    return taken, {backend: left[backend] + gib for backend, gib in taken.items()}


def concerning(undone: Sequence[Command], why: IntegrityError) -> set[Key]:
    """Return what commands have looked at, and what others have changed of it."""
    keys: set[Key] = {i for c in undone for i in c.decision.touched}
    keys |= {p for c in undone for p in parts_of(c.decision.parts)}
    if isinstance(why, Conflict):
        keys |= why.moved_on | set(parts_of(why.moved_on))
    return keys


def concerned(command: Command, why: IntegrityError) -> bool:
    """Tell whether it was this command that others got in the way of."""
    if not isinstance(why, Conflict):
        return True
    changed = why.moved_on & (command.decision.touched.keys() | command.decision.parts)
    return bool(changed or why.allocated.keys() & (command.taken | command.seen))
