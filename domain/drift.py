"""Drift: where the storage is otherwise than the log says, in pure comparisons."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import msgspec

from domain.ports import Object, Survey
from domain.snapshot import Snapshot
from domain.volume import Volume

GIB = 2**30
VOLUME, SNAPSHOT, OBJECT = "volume", "snapshot", "object"
MOST_INITIATORS = 100  # of one volume that are told; of more, nothing is said


class Drift(StrEnum):
    """What may be otherwise; released words, as topics are."""

    OBJECT_MISSING = "object_missing"
    OBJECT_UNEXPLAINED = "object_unexplained"
    SIZE = "size"
    ORIGIN = "origin"
    TAGS = "tags"
    ACTIVATION = "activation"
    EXPORT_MISSING = "export_missing"
    EXPORT_UNEXPLAINED = "export_unexplained"
    SESSION_WITHOUT_ATTACHMENT = "session_without_attachment"
    TRANSITION_OVERDUE = "transition_overdue"


class Remedy(StrEnum):
    """What is safe to do about a finding; released words, too."""

    CONVERGE = "converge"  # let exactly those hosts reach it that are to
    MARK = "mark"  # let it say again what it is
    GROW = "grow"
    REMOVE = "remove"
    GIVE_UP = "give_up"  # what nobody has settled in time
    BY_HAND = "by_hand"  # nothing is: a person has to look at it


class Storage(StrEnum):
    """Whether there is to be storage."""

    THERE = "there"
    GONE = "gone"
    LET_GO = "let_go"  # others have it, and it says no more whose it was
    UNCLEAR = "unclear"  # it is worked on, or that failed half way


# By status, whatever has it; of all others nothing is known for sure.
STORAGE = {
    "available": Storage.THERE,
    "reserved": Storage.THERE,
    "attaching": Storage.THERE,
    "in-use": Storage.THERE,
    "detaching": Storage.THERE,
    "error_extending": Storage.THERE,
    "deleted": Storage.GONE,
}
MAY_BE_LARGER = frozenset({"error_extending"})


class Subject(msgspec.Struct, frozen=True):
    """What a finding is about: a volume or a snapshot by its id, or what has neither.

    Such an `object` goes by the name that it has in the storage.
    """

    noun: str
    name: str

    @property
    def id(self) -> UUID | None:
        """The id of the volume or the snapshot."""
        return UUID(self.name) if self.noun != OBJECT else None


class Wanted(msgspec.Struct, frozen=True):
    """What the log says that there is to be of one volume or snapshot."""

    storage: Storage = Storage.GONE
    size_gib: int = 0
    made_at: str = ""
    of: UUID | None = None
    reached: bool = False
    may_be_larger: bool = False
    initiators: frozenset[str] = frozenset()  # of the hosts that are to reach it


class Facts(msgspec.Struct, frozen=True):
    """What a survey has found of one subject.

    `exported` None: nothing ever is; `initiators` None: who can reach it is not known.
    """

    subject: Subject
    object: Object | None = None
    exported: bool | None = None
    used: bool = False
    initiators: frozenset[str] | None = None


class Finding(msgspec.Struct, frozen=True):
    """One thing that is otherwise, in words that an operator can compare."""

    drift: Drift
    expected: str
    found: str


class Surveyed(msgspec.Struct, frozen=True):
    """When a storage was last compared with the log, and how much of which differs.

    `failure`: why it could not be since.
    """

    at: datetime | None = None
    findings: Mapping[str, int] = {}
    failure: str | None = None


class Explanation(msgspec.Struct, frozen=True):
    """The last event that explains what is expected."""

    position: int
    event: str
    id: UUID
    version: int


def wanted(of: Volume | Snapshot | None) -> Wanted:
    """Return what there is to be of a volume or a snapshot, None: of what never was."""
    if of is None:
        return Wanted()
    let_go = of.status == "deleted" and of.let_go
    parent = of.volume_id if isinstance(of, Snapshot) else None
    made_at = of.created_at.isoformat()
    found = as_seen(of.status, of.size_gib, made_at, parent)
    if isinstance(of, Volume):
        found = reached_by(found, of.connectors)
    return msgspec.structs.replace(found, storage=Storage.LET_GO) if let_go else found


def reached_by(found: Wanted, connectors: Sequence[dict[str, Any]]) -> Wanted:
    """Return what there is to be of a volume that these hosts are to reach."""
    names = (each.get("initiator") for each in connectors)
    initiators = frozenset(name for name in names if isinstance(name, str))
    return msgspec.structs.replace(
        found, reached=bool(connectors), initiators=initiators
    )


def as_seen(status: str, size_gib: int, made_at: str, of: UUID | None) -> Wanted:
    """Return what there is to be of something that shows itself so."""
    return Wanted(
        storage=STORAGE.get(status, Storage.UNCLEAR),
        size_gib=size_gib,
        made_at=made_at,
        of=of,
        may_be_larger=status in MAY_BE_LARGER,
    )


def differences(log: Wanted, seen: Facts) -> list[Finding]:
    """Return all that is otherwise; of what is unclear, nothing is."""
    told = ((drift, check(log, seen)) for drift, check in CHECKS.items())
    return [Finding(drift, *said) for drift, said in told if said]


def by_subject(survey: Survey, ids: Iterable[Subject]) -> Iterator[Facts]:
    """Tell what a survey has found of each of these subjects, and of all others.

    Of several that say they are the same, the first is, and the others are objects.
    """
    objects: dict[Subject, Object] = {}
    for each in survey.objects:
        subject = subject_of(each)
        if subject in objects:
            subject = Subject(OBJECT, each.name)
        objects[subject] = each
    reached = (survey.exported or frozenset()) | survey.used
    others = (Subject(VOLUME, str(each)) for each in reached)
    for subject in dict.fromkeys([*ids, *objects, *others]):
        volume_id = subject.id if subject.noun == VOLUME else None
        exported = None if survey.exported is None else volume_id in survey.exported
        used = volume_id in survey.used
        initiators = survey.initiators.get(volume_id) if volume_id else None
        if initiators and len(initiators) > MOST_INITIATORS:
            initiators = None
        yield Facts(subject, objects.get(subject), exported, used, initiators)


def subject_of(seen: Object) -> Subject:
    """Return what an object is, as it says."""
    if seen.noun and seen.id:
        return Subject(seen.noun, str(seen.id))
    return Subject(OBJECT, seen.name)


# Each tells what is expected and what was found, or nothing where that is the same.

Said = tuple[str, str] | None


def missing(log: Wanted, seen: Facts) -> Said:
    """Tell of storage that is not there."""
    if log.storage is Storage.THERE and not seen.object:
        return f"{log.size_gib} GiB, made at {log.made_at}", "nothing"
    return None


def unexplained(log: Wanted, seen: Facts) -> Said:
    """Tell of storage that is to be gone, or never was asked for."""
    found = seen.object
    let_go = log.storage is Storage.LET_GO and found and found.lacks
    if found and log.storage in (Storage.GONE, Storage.LET_GO) and not let_go:
        return "nothing", described(found)
    return None


def size(log: Wanted, seen: Facts) -> Said:
    """Tell of storage that has another size."""
    has = compared(log, seen)
    if not has or has.size_bytes == log.size_gib * GIB:
        return None
    if log.may_be_larger and has.size_bytes > log.size_gib * GIB:
        return None
    return in_gib(log.size_gib * GIB), in_gib(has.size_bytes)


def origin(log: Wanted, seen: Facts) -> Said:
    """Tell of storage that was made for something else, or of something else."""
    has = compared(log, seen)
    if has and has.made_at not in (None, log.made_at):
        return f"made at {log.made_at}", f"made at {has.made_at}"
    if has and log.of and has.of not in (None, log.of):
        return f"of volume {log.of}", f"of volume {has.of}"
    return None


def tags(log: Wanted, seen: Facts) -> Said:
    """Tell of storage that does not say what it is."""
    has = compared(log, seen)
    if has and has.lacks:
        return f"{has.name} says " + ", ".join(has.lacks), "it does not"
    return None


def activation(log: Wanted, seen: Facts) -> Said:
    """Tell of storage that hosts are to use and that is not switched on."""
    has = compared(log, seen)
    if has and log.reached and not has.active:
        return f"{has.name} is active", "it is not"
    return None


def export_missing(log: Wanted, seen: Facts) -> Said:
    """Tell of a volume that hosts are to reach and cannot."""
    if not (compared(log, seen) and log.reached):
        return None
    if seen.exported is False:
        return "hosts can reach it", "none can"
    if seen.initiators is not None and (lost := log.initiators - seen.initiators):
        return f"{named(lost)} can reach it", "it cannot"
    return None


def export_unexplained(log: Wanted, seen: Facts) -> Said:
    """Tell of a volume that hosts can reach and are not to."""
    if log.storage is Storage.UNCLEAR or not seen.exported:
        return None
    if not log.reached:
        return "no host can reach it", "hosts can"
    if strangers := (seen.initiators or frozenset()) - log.initiators:
        return f"only {named(log.initiators)} can reach it", f"{named(strangers)} can"
    return None


def session(log: Wanted, seen: Facts) -> Said:
    """Tell of a volume that somebody uses who is not to."""
    if log.storage is not Storage.UNCLEAR and not log.reached and seen.used:
        return "nobody uses it", "somebody does"
    return None


def compared(log: Wanted, seen: Facts) -> Object | None:
    """Return the storage that is there as it is to be."""
    return seen.object if log.storage is Storage.THERE else None


def named(initiators: Collection[str]) -> str:
    """Return initiators in words: a way is told by one of them."""
    if not initiators:
        return "no initiator"
    first, *others = sorted(initiators)
    return f"{first} and {len(others)} more" if others else first


def described(seen: Object) -> str:
    """Return what an object is, in words."""
    made_at = f", made at {seen.made_at}" if seen.made_at else ""
    return f"{seen.name} of {in_gib(seen.size_bytes)}{made_at}"


def in_gib(size_bytes: int) -> str:
    """Return bytes as GiB, and to the byte where they are no whole ones."""
    whole, rest = divmod(size_bytes, GIB)
    return f"{whole} GiB and {rest} bytes" if rest else f"{whole} GiB"


CHECKS: dict[Drift, Callable[[Wanted, Facts], Said]] = {
    Drift.OBJECT_MISSING: missing,
    Drift.OBJECT_UNEXPLAINED: unexplained,
    Drift.SIZE: size,
    Drift.ORIGIN: origin,
    Drift.TAGS: tags,
    Drift.ACTIVATION: activation,
    Drift.EXPORT_MISSING: export_missing,
    Drift.EXPORT_UNEXPLAINED: export_unexplained,
    Drift.SESSION_WITHOUT_ATTACHMENT: session,
}

# Which events say that it is so; where none of them is, the last one of all does.
MADE = frozenset(
    {
        "volume.creation_finished",
        "volume.managing_finished",
        "volume.reversion_finished",
        "snapshot.creation_finished",
        "snapshot.taken_in_group",
    }
)
REACHED = frozenset({"volume.connection_finished", "volume.export_finished"})
EXPLAINED_BY: dict[Drift, frozenset[str]] = {
    Drift.OBJECT_MISSING: MADE,
    Drift.SIZE: MADE | {"volume.extension_finished"},
    Drift.ORIGIN: MADE,
    Drift.TAGS: MADE,
    Drift.ACTIVATION: REACHED,
    Drift.EXPORT_MISSING: REACHED,
}


def explanation(drift: Drift, last: Iterable[Explanation]) -> Explanation | None:
    """Return which of the last events of each kind explains what is expected."""
    said = sorted(last, key=lambda each: each.position)
    those = [each for each in said if each.event in EXPLAINED_BY.get(drift, ())]
    return next(reversed(those or said), None)


# What is safe: each remedy is chosen when a finding is recorded, and once more when it
# is applied, by the log as it is then.


def remedy(drift: Drift, log: Wanted, seen: Facts) -> Remedy:
    """Return what is safe to do about what differs."""
    choose = CHOICES.get(drift)
    return choose(log, seen) if choose else REMEDIES[drift]


def remove_if_dead(log: Wanted, seen: Facts) -> Remedy:
    """Remove what says what it is, where the log says that just that was deleted."""
    found = seen.object
    proven = found and not found.lacks and found.made_at == log.made_at
    dead = log.storage is Storage.GONE and seen.subject.id is not None
    return Remedy.REMOVE if dead and proven else Remedy.BY_HAND


def grow_if_smaller(log: Wanted, seen: Facts) -> Remedy:
    """Grow a volume; what is larger may hold something in what it has more."""
    found = seen.object
    smaller = found is not None and found.size_bytes < log.size_gib * GIB
    volume = seen.subject.noun == VOLUME
    return Remedy.GROW if volume and smaller else Remedy.BY_HAND


def mark_if_certain(log: Wanted, seen: Facts) -> Remedy:
    """Mark what says nothing that is otherwise."""
    found = seen.object
    certain = found and found.made_at in (None, log.made_at)
    parent = found and found.of in (None, log.of)
    return Remedy.MARK if certain and parent else Remedy.BY_HAND


CHOICES: dict[Drift, Callable[[Wanted, Facts], Remedy]] = {
    Drift.OBJECT_UNEXPLAINED: remove_if_dead,
    Drift.SIZE: grow_if_smaller,
    Drift.TAGS: mark_if_certain,
}
REMEDIES: dict[Drift, Remedy] = {
    Drift.OBJECT_MISSING: Remedy.BY_HAND,
    Drift.ORIGIN: Remedy.BY_HAND,
    Drift.ACTIVATION: Remedy.CONVERGE,
    Drift.EXPORT_MISSING: Remedy.CONVERGE,
    Drift.EXPORT_UNEXPLAINED: Remedy.CONVERGE,
    Drift.SESSION_WITHOUT_ATTACHMENT: Remedy.CONVERGE,
    Drift.TRANSITION_OVERDUE: Remedy.GIVE_UP,
}
# What is going to be done, or has to be by hand; by the remedy, or else by the drift.
SAID: dict[Remedy | Drift, str] = {
    Remedy.CONVERGE: "let exactly those hosts reach it that the log says",
    Remedy.MARK: "write its tags again, for nothing says that it is anything else",
    Remedy.GROW: "grow it to the size that the log says",
    Remedy.REMOVE: "remove it: what it says that it was is deleted, or was made on "
    "another backend in its place",
    Remedy.GIVE_UP: "give the work up, so that it can be asked for again",
    Drift.OBJECT_MISSING: "nothing: see whether a disk is away or somebody has renamed "
    "it; else delete the volume or the snapshot, and copy it back from elsewhere",
    Drift.OBJECT_UNEXPLAINED: "nothing, for nothing proves that it was ours and is "
    "dead: look at what it holds; then remove it by hand, or move it to where "
    "`holdfast volume manageable` lists it, and take it over with `volume manage`",
    Drift.SIZE: "nothing, for shrinking would lose what is behind: extend the volume "
    "to what it has; a snapshot that was changed is none any more",
    Drift.ORIGIN: "nothing, for it is another one's: see where it comes from",
    Drift.TAGS: "nothing, for what it says is another one's: see where it comes from",
}


def advice(drift: Drift, remedy: Remedy) -> str:
    """Return what is going to be done, or has to be by hand, in a sentence."""
    return SAID[drift if remedy is Remedy.BY_HAND else remedy]
