"""A log replayed from lines, which may be anybody's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest

from domain.aggregate import Done, Event
from domain.backend import Backend
from domain.snapshot import Snapshot
from domain.volume import Volume
from projections import replaying
from projections.digest import digest, joined
from projections.replaying import LONGEST, Came, Lines, NotALog, Share, replayed
from projections.testing import chained, lines_of, parts_of, text_of

WHOLE = Share(0, 1)
Row = dict[str, Any]


def small() -> tuple[list[Event], list[Any]]:
    """Return a small log and what it comes to."""
    things: list[Any] = [
        Backend.taken_over("files", 1, "x", "node-1"),
        Volume.create(uuid4(), size_gib=1, backend="files", name="db"),
        Volume.create(uuid4(), size_gib=2, backend="files", name="é\u2028\x00"),
    ]
    _, volume, _ = things
    volume.report(1, Done(location="/volumes/db"))
    volume.reserve()
    things.append(
        Snapshot.create(uuid4(), volume_id=volume.id, backend="files", size_gib=1)
    )
    return [event for thing in things for event in thing.collect_events()], things


def replay(lines: list[bytes], share: Share = WHOLE, **vouched: Any) -> Came:
    text = text_of(lines)
    pieces = (text[at : at + 100] for at in range(0, len(text), 100))
    return replayed(Lines(pieces), len(lines), share, vouched.get("vouched", {}))


def test_every_aggregate_is_made_again() -> None:
    events, things = small()

    came = replay(lines_of(events))

    assert came.totals == Counter(
        {
            ("backend", "enabled"): 1,
            ("volume", "creating"): 1,
            ("volume", "attaching"): 1,
            ("snapshot", "creating"): 1,
        }
    )
    assert joined(came.buckets) == digest(things)


@pytest.mark.parametrize("of", [1, 2, 4, 64, 256])
def test_shares_come_to_the_same_as_the_whole(of: int) -> None:
    events, things = small()
    lines = lines_of(events)

    came = [replay(lines, Share(number, of)) for number in range(of)]

    assert sum(sum(each.totals.values()) for each in came) == len(things)
    assert joined({k: h for each in came for k, h in each.buckets.items()}) == digest(
        things
    )


def test_an_empty_log_comes_to_nothing() -> None:
    assert replay([]).totals == Counter()


# What is refused, each with the position: a chain that is right saves none of it.


def changed(number: int, **parts: Any) -> Callable[[list[Row]], None]:
    def change(rows: list[Row]) -> None:
        rows[number] |= parts

    return change


def with_state(number: int, old: bytes, new: bytes) -> Callable[[list[Row]], None]:
    def change(rows: list[Row]) -> None:
        state = bytes(rows[number]["state"])
        assert old in state
        rows[number]["state"] = msgspec.Raw(state.replace(old, new))

    return change


def dropped(number: int) -> Callable[[list[Row]], None]:
    return lambda rows: rows.__delitem__(number)


def repeated(number: int) -> Callable[[list[Row]], None]:
    return lambda rows: rows.insert(number, rows[number])


def of_the_backend(rows: list[Row]) -> None:
    """Have a volume's event happen to a backend."""
    backend, volume = rows[0], rows[2]
    state = bytes(volume["state"]).replace(
        volume["id"].encode(), backend["id"].encode()
    )
    volume |= {"id": backend["id"], "state": msgspec.Raw(state)}


def of_the_other(rows: list[Row]) -> None:
    """Have a line say another volume than the event does."""
    rows[2]["id"] = rows[4]["id"]


NESTED = b'{"a":' * 100_000 + b"1" + b"}" * 100_000
HOSTILE: dict[str, tuple[Callable[[list[Row]], None], int, str]] = {
    "a topic that is code": (changed(1, topic="os:system"), 2, "no event os:system"),
    "a topic that rings": (changed(1, topic="\x7f\x85"), 2, "no event ??"),
    "an unheard event": (changed(1, topic="volume.sung"), 2, "no event volume.sung"),
    "a wrong type": (with_state(1, b'"size_gib":1', b'"size_gib":"1"'), 2, "size_gib"),
    "no state": (changed(1, state=msgspec.Raw(b"null")), 2, "Expected `object`"),
    "a state that nests": (changed(1, state=msgspec.Raw(NESTED)), 2, "nested"),
    "a time that is none": (with_state(1, b'"timestamp":"2', b'"timestamp":"x'), 2, ""),
    "another's event": (of_the_other, 3, "of something else"),
    "another version": (with_state(2, b'n":2', b'n":3'), 3, "something else"),
    "an event of another noun": (of_the_backend, 3, "cannot happen"),
    "one dropped": (dropped(1), 2, "not what was written"),
    "one repeated": (repeated(1), 3, "not what was written"),
    "a position too far": (changed(1, position=3), 2, "not what was written"),
    "a version to come": (
        with_state(1, b'"event_version":1', b'"event_version":9'), 2, "no version 9"),
    "a huge number": (changed(1, position=10**30), 2, ""),
    "an id that is none": (with_state(1, b'r_id":"', b'r_id":"x'), 2, ""),
}  # fmt: skip


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_line_is_refused_with_its_position(what: str) -> None:
    change, position, said = HOSTILE[what]
    rows = [parts_of(line) for line in lines_of(small()[0])]
    change(rows)

    with pytest.raises(NotALog) as refused:
        replay(chained(rows))

    assert (refused.value.position, refused.value.line) == (position, position)
    assert said in str(refused.value)
    assert str(refused.value).isprintable()


PLACE = b'"position":2,'
BROKEN: dict[str, Callable[[bytes], bytes]] = {
    "half of it": lambda line: line[: len(line) // 2],
    "nothing": lambda line: b"",
    "no UTF-8": lambda line: line.replace(b"db", b"\xff\xfe"),
    "another order": lambda line: b'{"position":2,' + line[1:].replace(PLACE, b""),
    "a space": lambda line: line[:-1] + b" }",
    "a space before": lambda line: line.replace(b'"state":', b'"state": '),
    "one more field": lambda line: line[:-1] + b',"more":1}',
    "two ids": lambda line: line[:-1] + b',"id":"%s"}' % str(UUID(int=0)).encode(),
    "a capital end": lambda line: line[:115] + b"FF" + line[117:],
    "a capital id": lambda line: line[:81] + line[81:117].upper() + line[117:],
    "another link": lambda line: line[:9] + other(line[9:11]) + line[11:],
    "a link that is none": lambda line: line[:9] + b"zz" + line[11:],
    "a zero before": lambda line: line.replace(PLACE, b'"position":02,'),
    "a bit": lambda line: line[:-20] + bytes([line[-20] ^ 1]) + line[-19:],
}  # fmt: skip


def other(digits: bytes) -> bytes:
    """Return two digits that are not these."""
    return b"11" if digits == b"00" else b"00"


@pytest.mark.parametrize("what", BROKEN)
@pytest.mark.parametrize("of", [1, 4])
def test_a_broken_line_is_refused_with_its_position(what: str, of: int) -> None:
    lines = lines_of(small()[0])
    lines[1] = BROKEN[what](lines[1])
    refused = []

    for number in range(of):
        try:
            replay(lines, Share(number, of))
        except NotALog as wrong:
            refused.append(wrong.position)

    assert min(refused, key=lambda position: position or 0) == 2


def test_a_line_without_an_end_is_no_line() -> None:
    with pytest.raises(NotALog, match="line 1: it has no end"):
        replayed(Lines([b"{"]), 1, WHOLE, {})


def test_a_line_that_goes_on_for_ever_is_given_up() -> None:
    read = 0

    def endless() -> Any:
        nonlocal read
        while True:
            read += 2**20
            yield b"a" * 2**20

    with pytest.raises(NotALog, match="line 1: it is longer"):
        replayed(Lines(endless()), 1, WHOLE, {})

    assert read <= LONGEST + 2**20


def test_more_than_can_be_kept_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replaying, "MOST", 2)

    with pytest.raises(NotALog, match="there are more than 2 things"):
        replay(lines_of(small()[0]))


def test_lines_that_say_too_much_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    pieces = [line + b"\n" for line in lines_of(small()[0])]
    monkeypatch.setattr(replaying, "MOST_EACH", 0)
    monkeypatch.setattr(replaying, "MOST_BESIDES", len(pieces[0] + pieces[1]))

    with pytest.raises(NotALog, match="line 3: too much is said up to here"):
        replayed(Lines(pieces), len(pieces), WHOLE, {})


def test_a_log_that_ends_too_soon_is_refused() -> None:
    lines = lines_of(small()[0])

    with pytest.raises(NotALog, match="position 7: the log ends before it"):
        replayed(Lines([text_of(lines)]), len(lines) + 1, WHOLE, {})


def test_a_log_that_was_written_anew_is_not_what_a_checkpoint_has() -> None:
    lines = lines_of(small()[0])
    link = lines[2][9:73].decode()

    replay(lines, vouched={3: link})
    with pytest.raises(NotALog, match="position 4: a checkpoint says otherwise"):
        replay(lines, vouched={4: link})
