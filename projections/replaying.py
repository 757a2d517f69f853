"""The whole log again, from lines: verified, and every aggregate made from it.

A line has what the chain needs, in this order, and nothing else:

    {"link":"5faa…","id":"ef78…","position":1,"version":1,"topic":"volume.created",
     "state":{…}}

Lines may come from anybody. Whatever is wrong with one is `NotALog` with its
position, nothing that it names is imported, and no more is kept of it than a page
of lines and a share of the aggregates.
"""

from __future__ import annotations

import re
import struct
from binascii import hexlify, unhexlify
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

from domain import log
from domain.aggregate import Aggregate, Event, OutOfOrder
from domain.chain import GENESIS, packed
from domain.chain import link as chained
from projections.digest import BUCKETS, bucket_hashes, spelt

LONGEST = 4 * 1024 * 1024  # bytes of a line; NATS carries an event in less than one MiB
# Where a line has them, so that whose it is shows before it is taken apart.
LINK = slice(9, 73)
END_OF_ID = slice(115, 117)
LINE = re.compile(
    rb'\{"link":"(.{64})","id":"(.{36})",'
    rb'"position":([1-9]\d{0,17}),"version":([1-9]\d{0,17}),'
    rb'"topic":"([^"]{1,100})","state":(.*)\}',
    re.DOTALL,
).fullmatch
MOST = 1_000_000  # aggregates of a share, which is twice what a share is made for
# Bytes of text, for each line and besides: a line of ours has some 500, and 64 KiB more
# where a caller says as much as he may; a stranger may be after all the memory.
MOST_EACH, MOST_BESIDES = 128 * 1024, 256 * 1024 * 1024
SHOWN = 200  # characters of what is wrong; some of them may be a stranger's

Told = Callable[[int], None]
Heard = Callable[[Event, Aggregate, int], None]


@dataclass(eq=False)
class NotALog(Exception):
    """What was given as a log is none of ours, or was changed."""

    why: str
    line: int
    position: int | None = None

    def __str__(self) -> str:
        at = f", position {self.position}" if self.position else ""
        return f"line {self.line}{at}: {self.why}"


class Cut(Exception):
    """A text cannot be read any further, in words."""


class Share(NamedTuple):
    """One of so many shares of the aggregates; how many is a power of two.

    Whose an aggregate is, its digest's bucket says: the last byte of its id.
    """

    number: int
    of: int

    @property
    def others(self) -> frozenset[bytes]:
        """The ends of the ids that others take; what is no end is everybody's."""
        ends = (b"%02x" % n for n in range(BUCKETS) if n % self.of != self.number)
        return frozenset(ends)


WHOLE = Share(0, 1)


class Came(NamedTuple):
    """What a share of the log has come to."""

    totals: Counter[tuple[str, str]]  # aggregates of each noun and status
    buckets: dict[int, bytes]  # of the digest
    link: str  # of the log's last event


class Lines:
    """The lines of a text that comes in pieces, a page at a time."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._read = 0  # bytes
        self._ready: list[bytes] = []
        self._rest = b""
        self.number = 0  # of the last line that was given

    def page(self, most: int) -> list[bytes]:
        """Return the next lines, as many as there are at hand, and none at the end."""
        while not self._ready:
            try:
                piece = next(self._pieces, None)
            except Cut as cut:
                raise NotALog(str(cut), self.number + 1) from cut
            if piece is None:
                if self._rest:
                    raise NotALog("it has no end", self.number + 1)
                return []
            self._read += len(piece)
            if self._read > MOST_BESIDES + MOST_EACH * self.number:
                raise NotALog("too much is said up to here", self.number + 1)
            *self._ready, self._rest = (self._rest + piece).split(b"\n")
            if len(self._rest) > LONGEST:
                line = self.number + len(self._ready) + 1
                raise NotALog(f"it is longer than {LONGEST:,} bytes", line)
        page, self._ready = self._ready[:most], self._ready[most:]
        self.number += len(page)
        return page

    def line(self) -> bytes:
        """Return the next line, which must be there."""
        for line in self.page(1):
            return line
        raise NotALog("there is no such line", self.number + 1)


def replayed(
    lines: Lines,
    events: int,
    share: Share,
    vouched: Mapping[int, str],
    told: Told = lambda _: None,
    heard: Heard | None = None,
) -> Came:
    """Return what the next so many lines come to, as far as one share goes.

    Each share verifies the links of its own lines, so all of them verify the chain.
    `vouched` are the links that checkpoints have at positions. `told` is how many
    lines were read, `heard` each event of the share. Raises `NotALog`.
    """
    aggregates: dict[bytes, Any] = {}
    before, number, others = GENESIS.hex().encode(), 0, share.others
    while number < events:
        page = lines.page(events - number)
        if not page:
            raise NotALog("the log ends before it", lines.number + 1, number + 1)
        first = lines.number - len(page) - number
        for line in page:
            number += 1
            if line[END_OF_ID] not in others:
                try:
                    event, made = take(aggregates, line, before, number)
                    if number in vouched:
                        check(line, vouched[number])
                    if heard:
                        heard(event, made, number)
                except WRONG as wrong:
                    raise NotALog(said(wrong), first + number, number) from wrong
            before = line[LINK]
        told(number)
    all_made, link = aggregates.values(), before.decode(errors="replace")
    return Came(Counter(map(standing, all_made)), bucket_hashes(all_made), link)


class Wrong(Exception):
    """A line is not what it should be, in words."""


def take(
    aggregates: dict[bytes, Any], line: bytes, before: bytes, position: int
) -> tuple[Event, Aggregate]:
    """Verify a line, bring its aggregate to the version after it, and return both."""
    found = LINE(line)
    if found is None:
        raise Wrong("that is no line of a log")
    link, key, place, version, topic, state = found.groups()
    at_version = int(version)
    row = packed(unhexlify(key.replace(b"-", b"")), at_version, topic, state)
    if int(place) != position or link != hexlify(chained(unhexlify(before), row)):
        raise Wrong("the log is not what was written there")
    kind = _KINDS[topic]
    event = decoded(kind, topic, state)
    known = aggregates.get(key)
    # An aggregate that is known had its id spelt out when it began.
    same = (
        spelt(event.originator_id) == key
        if known is None
        else event.originator_id.int == known.id.int
    )
    if not same or event.originator_version != at_version:
        raise Wrong("the event is of something else than the line says")
    if len(aggregates) > MOST:
        raise Wrong(f"there are more than {MOST:,} things to be kept at once")
    made = event.mutate(known)
    if type(made) is not kind.of:
        raise Wrong(f"{topic.decode()} cannot happen to a {noun_of(made)}")
    aggregates[key] = made
    return event, made


def row_in(line: bytes) -> bytes:
    """Return the row in a line that was verified, as chain and tree have it."""
    found = LINE(line)
    assert found
    _, key, _, version, topic, state = found.groups()
    return packed(unhexlify(key.replace(b"-", b"")), int(version), topic, state)


def decoded(kind: Kind, topic: bytes, state: bytes) -> Event:
    """Return an event of a version that we know."""
    event = kind.decode(state)
    if event.event_version != kind.version:
        raise Wrong(f"there is no version {event.event_version} of {topic.decode()}")
    return event


class Kind(NamedTuple):
    """What reads the events of a topic, their version, and what they happen to."""

    decode: Callable[[bytes], Event]
    version: int
    of: type[Aggregate]


class _Kinds(dict[bytes, Kind]):
    """The kind of each topic, as a line spells it."""

    def __missing__(self, topic: bytes) -> Kind:
        name = topic.decode()
        decode = log.DECODERS[name]
        version = len(log.EVENTS[name].UPCASTS) + 1
        kind = self[topic] = Kind(decode, version, log.KINDS[name])
        return kind


def check(line: bytes, vouched: str) -> None:
    """Raise `Wrong` for a link that is not the one which a checkpoint has."""
    if line[LINK] != vouched.encode():
        raise Wrong("a checkpoint says otherwise: the log was written anew")


def standing(aggregate: Aggregate) -> tuple[str, str]:
    """Return what an aggregate is, and its status, of which a stranger's has no end."""
    return noun_of(aggregate), str(aggregate.status)[:SHOWN]


def noun_of(aggregate: Aggregate) -> str:
    """Return what the log calls an aggregate."""
    return _NOUNS[type(aggregate)]


def said(wrong: Exception) -> str:
    """Return what is wrong with a line, whatever a stranger has put into it."""
    kinds = (words for kind, words in WORDS.items() if isinstance(wrong, kind))
    text = next(kinds, "{}").format(wrong)
    return "".join(c if c.isprintable() else "?" for c in text[:SHOWN])


# fmt: off
WORDS: dict[type[Exception], str] = {
    log.UnknownTopic:      "there is no event {}",
    OutOfOrder:            "a version is missing before it",
    RecursionError:        "it is nested too deeply",
    Wrong:                 "{}",
    msgspec.MsgspecError:  "{}",
    AttributeError:        "it cannot happen to what was there before it",
    LookupError:           "it cannot happen to what was there before it",
    TypeError:             "it cannot happen to what was there before it",
    struct.error:          "it is not what the log keeps",
    ValueError:            "it is not what the log keeps",
    OverflowError:         "it is not what the log keeps",
}
# fmt: on
WRONG = tuple(WORDS)
_KINDS = _Kinds()
_NOUNS = {kind: noun for noun, kind in log.AGGREGATES.items()}
