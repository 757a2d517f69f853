"""Why something is as it is: the tree of causes, from a request to all that followed.

What one decision recorded stands side by side in the log, with the same time and the
same provenance. What a backend or a deadline brought about names the position of what
it goes back to, and is found in that one's own history. So the tree needs no index: it
grows by looking up aggregates and positions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple
from uuid import UUID

from adapters.postgres import looking_back
from adapters.postgres.recorder import LogRecorder, Written
from domain import log as language
from domain.aggregate import Event, Progress
from projections import resources
from service.audit.history import LARGEST_PAGE, Subject, about, encode, item
from service.deciding.command import NotFound
from service.deciding.log import Log

MOST = 400  # events in one tree; an answer has to fit into a message
MOST_RELATED = 20
HIGHEST = 30  # causes above what is explained
DEEPEST = 100  # events, one below the other
MOST_CAUSED = 300  # of one event: the progress of long work, and its outcome
NEARBY = 32  # positions that are read at once for what was decided together
# Fields that name another resource.
REFERENCES = ("volume_id", "snapshot_id", "group_id", "group_snapshot_id", "copy_id")

Node = dict[str, Any]


class Happened(NamedTuple):
    """An event and how it stands in the log."""

    event: Event
    written: Written

    @property
    def position(self) -> int:
        """Where it stands."""
        return self.written.position

    @property
    def intent(self) -> int | None:
        """The version of what it settles, if anything."""
        return getattr(self.event, "intent", None)

    @property
    def cause(self) -> int:
        """The position that it names as its cause, 0 for none."""
        named = self.event.provenance.causation_id
        return int(named) if named.isdecimal() else 0

    def followed_from(self, other: Happened) -> bool:
        """Tell whether it names another event of its aggregate as its cause."""
        return other.position == self.cause or (
            other.event.originator_version == self.intent
        )

    def is_with(self, other: Happened) -> bool:
        """Tell whether both were decided together."""
        mine, its = self.event, other.event
        return (mine.timestamp, mine.provenance) == (its.timestamp, its.provenance)


async def why(log: Log, key: UUID | str, position: int | None) -> dict[str, Any]:
    """Return the causes of a resource's status, or of its event at a position."""
    subject = await about(log, key)
    explained = await log.read(explaining, log.recorder, subject, position)
    if explained is None:
        if position:
            raise NotFound("event", f"{position} of {key}")
        raise NotFound("resource", key)
    return await log.read(tree, log.recorder, explained)


async def followed(log: Log, request_id: str) -> dict[str, Any]:
    """Return all that followed from a request.

    What was refused has left nothing, and what was so already is another's.
    """
    position = await log.read(looking_back.answered, log.recorder, request_id)
    found = await log.read(tree, log.recorder, position) if position else None
    if found is None or found["request"]["request_id"] != request_id:
        raise NotFound("request", request_id)
    return found


def explaining(
    recorder: LogRecorder, subject: Subject, position: int | None
) -> int | None:
    """Return the position of what led to a subject's status, or of that very event."""
    found, status = None, ""
    for happened in read(looking_back.history(recorder, subject.aggregate_id)):
        if subject.concerns(happened.event) and (
            position == happened.position
            if position
            else not found or subject.part_id or happened.event.status != status
        ):
            found = happened.position
        status = happened.event.status
    return found


def tree(recorder: LogRecorder, explained: int) -> dict[str, Any]:
    """Return the tree that an event is in, from the request that it goes back to."""
    growing = Tree(recorder)
    first = growing.root_of(growing.at(explained))
    nodes = growing.all_grown(growing.decided_with(first), 1)
    by = first.event.provenance
    return {
        "position": explained,
        "request": {
            "request_id": by.request_id or None,
            "actor": by.actor or None,
            "reason": by.reason or None,
            "trace_id": by.trace_id or None,
            "at": resources.instant(first.event.timestamp),
        },
        "led_to": nodes,
        "related": growing.related(explained),
        "whole": growing.whole,
    }


class Tree:
    """A tree while it grows; it has each event once."""

    def __init__(self, recorder: LogRecorder) -> None:
        self._recorder = recorder
        self._placed: dict[int, Event] = {}
        self._room = LARGEST_PAGE
        self.whole = True

    def at(self, position: int) -> Happened:
        """Return the event at a position."""
        [found] = read(looking_back.between(self._recorder, position, position))
        return found

    def root_of(self, one: Happened) -> Happened:
        """Return what an event goes back to."""
        for _ in range(HIGHEST):
            cause = self.cause_of(one)
            if cause is None:
                return one
            one = cause
        self.whole = False
        return one

    def cause_of(self, one: Happened) -> Happened | None:
        """Return what led to an event, or to what that was decided with.

        It was there before all of them, or the way up would never end.
        """
        together = self.decided_with(one)
        begun = min(each.position for each in together)
        named = (cause for each in together for cause in self._named_by(each))
        return next((cause for cause in named if cause.position < begun), None)

    def decided_with(self, one: Happened) -> list[Happened]:
        """Return an event and what was decided with it, its own aggregate's first."""
        before, behind = (islice(self._beside(one, step), MOST) for step in (-1, 1))
        together = [*reversed([*before]), one, *behind]
        own = one.event.originator_id
        return sorted(together, key=lambda each: each.event.originator_id != own)

    def all_grown(self, beside: Iterable[Happened], depth: int) -> list[Node]:
        """Return events that were decided together, those that have no place yet."""
        return [
            self._grown(each, (), depth) for each in beside if self._fits(each, depth)
        ]

    def _grown(self, one: Happened, beside: Sequence[Happened], depth: int) -> Node:
        """Return an event with all that followed from it.

        What was decided `beside` an outcome followed from that.
        """
        node = node_of(one)
        self._placed[one.position] = one.event
        self._room -= len(encode(node))
        followed = self.all_grown(beside, depth + 1)
        followed.extend(
            self._grown(each, self.decided_with(each), depth + 1)
            for each in self._caused(one)
            if self._fits(each, depth + 1)
        )
        return node | {"led_to": followed}

    def _fits(self, one: Happened, depth: int) -> bool:
        """Tell whether an event has a place to be given, and there is room for it."""
        new = one.position not in self._placed
        room = len(self._placed) < MOST and self._room > 0 and depth <= DEEPEST
        self.whole &= room or not new
        return new and room

    def related(self, explained: int) -> list[Node]:
        """Return what the events name: how it was when that happened, and is now.

        What became of it is told once, and may stand in the tree.
        """
        ids = dict.fromkeys(key for e in self._placed.values() for key in references(e))
        found = []
        for key in islice(ids, MOST_RELATED):
            fate = self._fate(key, explained)
            if fate and fate["because"]["position"] not in self._placed:
                self._room -= len(encode(fate))
                if self._room > 0:
                    found.append(fate)
        return found

    def _beside(self, one: Happened, step: int) -> Iterator[Happened]:
        """Yield what stands before or behind an event and was decided with it."""
        place = one.position + step
        while True:
            first, last = sorted((place, place + step * NEARBY))
            near = [*read(looking_back.between(self._recorder, first, last))][::step]
            for each in near:
                if not each.is_with(one):
                    return
                yield each
            if not near:
                return
            place = near[-1].position + step

    def _named_by(self, one: Happened) -> Iterator[Happened]:
        """Yield what an event names as its cause: a position, or what it settles."""
        if 0 < one.cause < one.position:
            yield self.at(one.cause)
        if one.intent is not None:
            key = one.event.originator_id
            yield from read(self._recorder.history(key, one.intent, one.intent))

    def _caused(self, one: Happened) -> Iterator[Happened]:
        """Yield what names an event as its cause; how far work was is no cause."""
        key, version = one.event.originator_id, one.event.originator_version
        about = key, version, one.position, MOST_CAUSED
        for each in read(looking_back.caused(self._recorder, *about)):
            if each.followed_from(one) and not isinstance(each.event, Progress):
                yield each

    def _fate(self, key: UUID, explained: int) -> Node | None:
        """Return what became of something, and the event that led to that."""
        then, last = None, None
        for happened in read(looking_back.history(self._recorder, key)):
            if last is None or happened.event.status != last.event.status:
                last = happened
            if happened.position <= explained:
                then = happened.event.status
        if last is None:
            return None
        noun, now = last.written.topic.partition(".")[0], last.event.status
        because = node_of(last)
        return {"noun": noun, "id": str(key), "then": then, "now": now} | {
            "because": because
        }


def node_of(one: Happened) -> Node:
    """Return an event as a line of its history, with whose that is."""
    noun, key = one.written.topic.partition(".")[0], one.event.originator_id
    return {"noun": noun, "id": str(key)} | item(one.written, one.event)


def references(event: Event) -> Iterator[UUID]:
    """Yield the resources that an event names beside its own."""
    named = [getattr(event, name, None) for name in REFERENCES]
    named += (getattr(event, "source", None) or {}).values()
    for key in named:
        if isinstance(key, UUID) and key != event.originator_id:
            yield key


def read(history: Iterable[Written]) -> Iterator[Happened]:
    """Yield events as they stand."""
    for written in history:
        yield Happened(language.decode(written.topic, written.state), written)
