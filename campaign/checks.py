"""What has to agree once all is quiet: a new check is a function in the table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar
from uuid import UUID

import msgspec

from adapters.file.failures import GIB
from campaign.disk import BEAT
from campaign.seen import Seen
from campaign.storage import OnDisk
from campaign.witness import WAITING
from domain.aggregate import Aggregate, Failure
from domain.group_snapshot import Consistency, GroupSnapshot, GroupSnapshotStatus
from domain.log import AGGREGATES
from domain.ports import Cause
from domain.snapshot import Snapshot, SnapshotStatus
from domain.volume import Volume
from domain.volume_status import UNDER_WAY, Status
from projections import resources
from service.endpoints.endpoint import PREFIX, fingerprint

A = TypeVar("A", bound=Aggregate)
Check = Callable[[Seen], Iterator[str]]

# What may be asked for though it is so already; it is done, and adds nothing.
MOOT = {"volume.delete", "attachment.delete", "attachment.complete"}


def own(seen: Seen) -> dict[str, list[int]]:
    """Return the positions of what each request led to at once."""
    found: dict[str, list[int]] = {}
    for position, event in enumerate(seen.log, start=1):
        asked = event.provenance
        if asked.request_id and not asked.recorded_by:
            found.setdefault(asked.request_id, []).append(position)
    return found


def acknowledged(seen: Seen) -> Iterator[str]:
    """Every acknowledged command is in the log once, and where its answer says."""
    positions = own(seen)
    for key in seen.diary.done():
        asked, at = seen.diary.asked[key], positions.get(key, [])
        if twice := repeats(seen, at):
            yield f"{key} was done twice: {twice} at {at}"
        if not at and asked.subject not in MOOT:
            yield f"{key} was acknowledged, and is not in the log"
        for answer in asked.done if asked.subject not in WAITING else ():
            position, version = answer.body["position"], answer.body["version"]
            if at and [position] != at[-1:]:
                yield f"{key} is at {at}, and was said to be at {position}"
            if not is_at(seen, position, version):
                yield f"{key} was said to be at {position}, which is something else"


def repeats(seen: Seen, positions: Sequence[int]) -> list[str]:
    """Return what happened more than once to the same, of what a request led to."""
    events = (seen.log[position - 1] for position in positions)
    counts = Counter((event.TOPIC, event.originator_id) for event in events)
    return [topic for (topic, _), number in counts.items() if number > 1]


def is_at(seen: Seen, position: int, version: int) -> bool:
    """Tell whether the log has a version of something at a position."""
    there = 0 < position <= len(seen.log)
    return there and seen.log[position - 1].originator_version == version


def refused(seen: Seen) -> Iterator[str]:
    """What was refused left nothing in the log, and nothing there was not asked for."""
    for key, at in own(seen).items():
        asked = seen.diary.asked.get(key)
        if not asked:
            yield f"nobody asked for {key}, which is at {at}"
        elif not asked.done:
            said = {answer.body["type"] for answer in asked.heard}
            yield f"{key} was refused ({', '.join(said)}), and is in the log at {at}"


def repeated(seen: Seen) -> Iterator[str]:
    """A repeated request is given the first answer again."""
    for key in seen.diary.done():
        asked = seen.diary.asked[key]
        shown = [answer.body for answer in asked.done]
        if asked.subject in WAITING:
            shown = [body["id"] for body in shown]
        if any(body != shown[0] for body in shown):
            yield f"{key} was answered {shown[0]}, and then otherwise: {shown}"


def forged(seen: Seen) -> Iterator[str]:
    """A request id that was used is no use for anything else, and what is wrong is."""
    for key, answer in seen.diary.forged:
        if not unavailable(answer.code) and answer.body.get("type") != "conflict":
            yield f"{key} was used once more, and that was answered {answer.body}"
    for key, asked in seen.diary.asked.items():
        for answer in asked.heard if asked.wrong else ():
            told = answer.body.get("type")
            if told != asked.wrong and not unavailable(answer.code):
                yield f"{key} is {asked.wrong}, and was answered {answer.body}"


def unavailable(code: str) -> bool:
    return code == "503"


def remembered(seen: Seen) -> Iterator[str]:
    """The table of request ids has what the log has, and what added nothing to it."""
    for key in own(seen).keys() - seen.keys.keys():
        yield f"{key} is in the log, and its id is not kept"
    for key, kept in seen.keys.items():
        asked = seen.diary.asked.get(key)
        if not asked:
            yield f"nobody asked for {key}, whose id is kept"
        elif kept.fingerprint != fingerprint(PREFIX + asked.subject, asked.message):
            yield f"{key} is kept for another request"
        elif not is_at(seen, kept.position, kept.version):
            yield f"{key} is kept with version {kept.version} at {kept.position}"


def streamed(seen: Seen) -> Iterator[str]:
    """The stream has what the log has, each position once and in order."""
    for message in seen.stream:
        at, row = message.sequence, None
        if message.position != at:
            yield f"the stream has position {message.position} at {at}"
        elif at > len(seen.rows):
            yield f"the stream has {at}, and the log ends at {len(seen.rows)}"
        else:
            row = seen.rows[at - 1]
            if (row.topic, row.state) != (message.topic, message.state):
                yield f"the stream has something else at {at} than the log"
    last = seen.stream[-1].sequence if seen.stream else 0
    if last != len(seen.rows):
        yield f"the stream ends at {last}, the log at {len(seen.rows)}"


def read(seen: Seen) -> Iterator[str]:
    """Lists show what the log comes to."""
    for noun in ("volume", "snapshot", "group", "group_snapshot"):
        kind, shown = AGGREGATES[noun], getattr(resources, noun)
        made = {str(e.id): as_json(shown(e)) for e in all_of(seen, kind)}
        yield from differences(noun, made, seen.listed[noun])
    yield from differences(
        "attachment",
        {
            str(key): as_json(resources.attachment(volume, key))
            for volume in all_of(seen, Volume)
            for key in volume.attachments | volume.gone
        },
        seen.listed["attachment"],
    )


def all_of(seen: Seen, kind: type[A]) -> list[A]:
    """Return the aggregates of a kind that the log makes."""
    return [each for each in seen.fold.values() if isinstance(each, kind)]


def as_json(shown: Any) -> Any:
    """Return a resource as callers get it."""
    return msgspec.json.decode(msgspec.json.encode(shown))


def differences(
    noun: str, expected: Mapping[str, Any], found: Mapping[str, Any]
) -> Iterator[str]:
    """Yield what one has and the other has not."""
    for key in expected.keys() | found.keys():
        wanted, shown = expected.get(key), found.get(key)
        if wanted != shown:
            yield f"{noun} {key} is {wanted}, and listed as {shown}"


def counted(seen: Seen) -> Iterator[str]:
    """What is taken of each backend is what its volumes and snapshots take."""
    taken: Counter[str] = Counter()
    for each in [*all_of(seen, Volume), *all_of(seen, Snapshot)]:
        taken[each.backend] += each.allocated_gib
    if +taken != +Counter(dict(seen.allocated)):
        yield f"{dict(taken)} GiB are taken, and counted {dict(seen.allocated)}"


def settled(seen: Seen) -> Iterator[str]:
    """Nothing is under way, and nothing has failed."""
    for each in all_of(seen, Aggregate):
        if each.unsettled or each.status in UNDER_WAY:
            yield f"{each.id} is {each.status}, with {each.in_flight}"
    for position, event in enumerate(seen.log, start=1):
        if isinstance(event, Failure):
            yield f"{event.TOPIC} at {position}: {event.message}"


def kept(seen: Seen) -> Iterator[str]:
    """On the disk is what the log says, and nothing else."""
    made = dict(causes(seen))
    there: list[Volume | Snapshot] = [*all_of(seen, Volume), *all_of(seen, Snapshot)]
    for noun, kind, disk in (
        ("volume", Volume, seen.disk),
        ("snapshot", Snapshot, seen.snapshots),
    ):
        expected = {
            str(each.id): OnDisk(each.size_gib * GIB, made[each.id], set())
            for each in there
            if isinstance(each, kind) and each.status != Status.DELETED
        }
        for key in expected.keys() | disk.keys():
            wanted, found = expected.get(key), disk.get(key)
            if wanted != found:
                yield f"{noun} {key} should be {wanted} on the disk, and is {found}"
    for name in sorted(seen.leftovers):
        yield f"{name} was left on the disk"


def causes(seen: Seen) -> Iterator[tuple[UUID, Cause]]:
    """Yield for what each volume and snapshot was made."""
    for position, event in enumerate(seen.log, start=1):
        cause = Cause(position, event.timestamp.isoformat())
        if isinstance(event, Volume.Created | Snapshot.Created):
            yield event.originator_id, cause
        elif isinstance(event, GroupSnapshot.Created):
            for member in event.members:
                yield member.snapshot_id, cause


def exported(seen: Seen) -> Iterator[str]:
    """Who is to reach a volume does, and nobody else."""
    if seen.exports is not None:
        yield from astray(seen.fold, seen.exports)


def astray(fold: Mapping[UUID, Any], found: Mapping[str, set[str]]) -> Iterator[str]:
    """Tell whose exports, as they were found, are not what the log wants."""
    wanted = {
        str(volume.id): {connector["initiator"] for connector in volume.connectors}
        for volume in fold.values()
        if isinstance(volume, Volume) and volume.connectors
    }
    for key in wanted.keys() | found.keys():
        if wanted.get(key) != found.get(key):
            yield f"{key} is for {wanted.get(key)}, and {found.get(key)} reach it"


def written(seen: Seen) -> Iterator[str]:
    """What was written durably is there, in copies as well; nothing was before."""
    for (key, where), found in seen.blocks.items():
        what = seen.texts[key][where]
        if what not in (None, found):
            yield f"{key} has {found!r} at {where}, and {what!r} was written"
    yield from seen.diary.unclean


def at_once(seen: Seen) -> Iterator[str]:
    """Snapshots of a group are all there, and of one moment where that is said.

    Numbers were written to its volumes in turn.
    """
    for taken in all_of(seen, GroupSnapshot):
        those = [seen.fold[each] for each in taken.snapshots]
        if taken.status != GroupSnapshotStatus.AVAILABLE:
            continue
        for each in those:
            if each.status != SnapshotStatus.AVAILABLE:
                yield f"{each.id} of group snapshot {taken.id} is {each.status}"
        if taken.consistency == Consistency.GROUP:
            numbers = [int(seen.blocks.get((str(s.id), BEAT)) or 0) for s in those]
            if max(numbers) - min(numbers) > 1:
                yield f"group snapshot {taken.id} is of several moments: {numbers}"


def in_turn(seen: Seen) -> Iterator[str]:
    """An agent never goes back to what came before something else it has begun."""
    newest: dict[UUID, int] = {}
    for key, version in seen.deeds:
        if version < newest.get(key, 0):
            yield f"{key}: version {version} was done after {newest[key]}"
        newest[key] = version


def sound(seen: Seen) -> Iterator[str]:
    """Nothing failed by itself, and nothing was answered as a fault of ours."""
    for name in seen.failed:
        yield f"{name} has ended by itself"
    for key, asked in seen.diary.asked.items():
        for answer in asked.heard:
            if answer.body.get("type") == "fault":
                yield f"{key} met a fault: {answer.body}"


CHECKS: tuple[Check, ...] = (
    acknowledged,
    refused,
    repeated,
    forged,
    remembered,
    streamed,
    read,
    counted,
    settled,
    kept,
    exported,
    written,
    at_once,
    in_turn,
    sound,
)
